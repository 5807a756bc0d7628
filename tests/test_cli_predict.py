"""``headstart predict`` on more listings than are held at a time: any format, several workers, kills."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from catalogs import WORDS, listings
from commands import headstart_here, refused
from headstart.embeddings.store import stores

ROWS = 6000
"""In several parts of the store: what workers share, and what a kill leaves."""
TEXTS = ROWS - ROWS // 50


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of words, and many.csv for it to classify; some listings of that have no text."""
    folder = tmp_path_factory.mktemp("shop")
    listings(folder, 90, photos=False)
    columns = ("--id", "sku", "--text", "titre", "--label", "rayon")
    done = headstart_here("train", "listings.csv", *columns, "--encoder", "lexical-hash", "--save", "model", cwd=folder)
    assert done.returncode == 0, done.stderr
    every = [words.split() for words in WORDS.values()]
    with (folder / "many.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("sku", "titre"))
        for row in range(ROWS):
            words = every[row % 3]
            out.writerow((f"n{row}", "" if row % 50 == 7 else f"{words[row % 5]} {words[row % 4]} {row}"))
    return folder


def said(path: Path) -> list[dict[str, object]]:
    """Rows of any format, with numbers as numbers."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    read = pyarrow.csv.read_csv if path.suffix == ".csv" else pyarrow.parquet.read_table
    return [{name: value or "" for name, value in row.items()} for row in read(path).to_pylist()]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_several_batches_say_what_one_says(shop: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few = pyarrow.csv.read_csv(shop / "many.csv").slice(0, 100)
    if suffix == "csv":
        pyarrow.csv.write_csv(few, shop / "few.csv")
    elif suffix == "parquet":
        pyarrow.parquet.write_table(few, shop / "few.parquet")
    else:
        (shop / "few.jsonl").write_text("\n".join(map(json.dumps, few.to_pylist())))
    files = []
    for batch in (16_384, 30):
        monkeypatch.setattr("headstart.predictions.BATCH", batch)
        files.append(shop / f"few-{batch}.{suffix}")
        done = headstart_here("predict", "model", f"few.{suffix}", "--out", files[-1].name, cwd=shop)
        assert done.returncode == 0, done.stderr
        assert "100 listings classified: " in done.stderr
    one, several = map(said, files)
    assert [row["id"] for row in several] == few["sku"].to_pylist()
    assert [row["read"] for row in several] == ["nothing" if n % 50 == 7 else "text" for n in range(100)]
    for row, other in zip(one, several, strict=True):
        for name in [name for name in row if "probability" in name]:
            assert row.pop(name) == pytest.approx(other.pop(name), abs=2e-4)
        assert row == other
    if suffix == "parquet":
        assert pyarrow.parquet.ParquetFile(files[1]).num_row_groups == 4, "it was written in batches"


def test_two_workers_give_the_same_file(shop: Path) -> None:
    for name, words in (("one", ()), ("two", ("--workers", "2"))):
        done = headstart_here("predict", "model", "many.csv", "--store", name, "--out", f"{name}.csv", *words, cwd=shop)
        assert done.returncode == 0, done.stderr
        [store] = stores(shop / name)
        assert len(store.parts) > 1, "there was something to share"
    assert (shop / "two.csv").read_bytes() == (shop / "one.csv").read_bytes()
    assert len(said(shop / "two.csv")) == ROWS


def test_joblib_runs_as_many_workers_as_asked_for_with_the_backend_named(shop: Path) -> None:
    from joblib import register_parallel_backend
    from joblib.parallel import ThreadingBackend

    asked = []

    class Witness(ThreadingBackend):
        def configure(self, n_jobs: int = 1, *given: object, **more: object) -> int:
            asked.append(n_jobs)
            return super().configure(n_jobs, *given, **more)

    register_parallel_backend("threading", Witness)
    try:
        words = ("--store", "threads", "--out", "threads.csv", "--workers", "3", "--backend", "threading")
        done = headstart_here("predict", "model", "many.csv", *words, cwd=shop)
    finally:
        register_parallel_backend("threading", ThreadingBackend)
    assert done.returncode == 0, done.stderr
    assert asked == [3]


def test_workers_that_cannot_be_are_refused_before_anything_is_read(shop: Path) -> None:
    done = headstart_here("predict", "model", "many.csv", "--scheduler", "tcp://10.0.0.5:8786", cwd=shop)
    refused(done, "loky", "--backend dask")


def test_a_killed_run_goes_on_where_it_was(shop: Path) -> None:
    command = ["predict", "model", "many.csv", "--store", "killed", "--out", "killed.csv"]
    code = "from headstart.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *command], cwd=shop, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list((shop / "killed").glob("lexical-hash-*/[0-9]*-*.json")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (shop / "killed.csv").exists()
    [store] = stores(shop / "killed")
    kept = len(store)
    assert 0 < kept < TEXTS
    done = headstart_here(*command, cwd=shop)
    assert done.returncode == 0, done.stderr
    assert f"{TEXTS - kept:,} of {TEXTS:,} distinct texts encoded" in done.stderr
    assert len(said(shop / "killed.csv")) == ROWS
