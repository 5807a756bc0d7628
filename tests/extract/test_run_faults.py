"""Extractions that are killed, interrupted, doubled, or meet an encoder or a disk that fails."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extracting import read, reports, write_catalog
from small_encoders import Letters

from headstart.catalog import Catalog
from headstart.embeddings.key import key_rows, text_keys
from headstart.embeddings.part import MOST_ROWS
from headstart.errors import EncoderError, ItemError, StoreError
from headstart.extract.run import extract, open_store


def many(folder: Path, count: int = 400) -> Catalog:
    """Listings with a text of their own and no photo."""
    return write_catalog(folder, [(str(n), f"text {n}", "") for n in range(count)])


def kept(root: Path, count: int = 400) -> Iterator[tuple[str, np.ndarray]]:
    """Each text of `many` whose vector is kept, and the vector."""
    store = open_store(root, Letters())
    texts = [f"text {n}" for n in range(count)]
    rows = store.lookup(key_rows([key for key in text_keys(texts) if key is not None]))
    for text, row in zip(texts, rows, strict=True):
        if row >= 0:
            yield text, store.read(np.array([row]))[0]


def check(root: Path) -> int:
    """How many texts of `many` are kept, having checked that the store is sound and every vector the right one."""
    assert open_store(root, Letters()).verify() == []
    count = 0
    for text, vector in kept(root):
        assert np.array_equal(vector, Letters().encode([text])[0])
        count += 1
    return count


@pytest.mark.parametrize("fault", ["nan", "shape", "raises"])
def test_an_encoder_that_breaks_is_refused_and_what_it_made_before_is_kept(tmp_path: Path, fault: str) -> None:
    class Broken(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            vectors = super().encode(batch)
            if len(self.read) > 20:
                if fault == "raises":
                    raise EncoderError("letters broke")
                vectors = vectors[:, 1:] if fault == "shape" else vectors * np.nan
            return vectors

    root = tmp_path / "store"
    with pytest.raises(EncoderError, match="letters") as caught:
        extract(many(tmp_path), [Broken()], root)
    assert "\n" not in str(caught.value)
    assert check(root) == 20
    reports(many(tmp_path), [Letters()], root)
    assert check(root) == 400


def test_vectors_too_great_for_half_precision_are_refused_and_earlier_parts_are_kept(tmp_path: Path) -> None:
    class Loud(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            vectors = super().encode(batch)
            return vectors * 1e6 if len(self.read) > 20 else vectors

    with pytest.raises(StoreError, match="not finite in float16"):
        extract(many(tmp_path), [Loud()], tmp_path / "store", part_rows=8)
    assert check(tmp_path / "store") == 16


def test_vectors_too_small_for_half_precision_are_refused(tmp_path: Path) -> None:
    class Faint(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            return super().encode(batch) * np.float32(1e-12)

    with pytest.raises(EncoderError, match="too small to keep"):
        extract(many(tmp_path), [Faint()], tmp_path / "store")


@pytest.mark.parametrize("part_rows", [MOST_ROWS, 10 * MOST_ROWS])
def test_no_part_grows_beyond_what_the_format_allows(tmp_path: Path, part_rows: int) -> None:
    class Picky(Letters):
        batch = 1000

        def prepare(self, item: str) -> Any:
            if item == "text 0":
                raise ItemError("no")  # one batch is shorter, so that the batches do not add up to a part
            return item

        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            return np.ones((len(batch), self.dim), np.float32)

    catalog = many(tmp_path, MOST_ROWS + 2000)
    [text], [store] = extract(catalog, [Picky()], tmp_path / "store", part_rows=part_rows)
    assert text.encoded == len(store) == MOST_ROWS + 1999
    assert len(store.receipts) == 2


@pytest.mark.parametrize("place", ["root", "above", "store"])
def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    root = tmp_path / "above" / "root"
    obstacle = {"root": root, "above": root.parent, "store": root / open_store(tmp_path, Letters()).folder.name}[place]
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.touch()
    letters = Letters()
    with pytest.raises(StoreError, match="choose another --store") as caught:
        extract(many(tmp_path), [letters], root)
    assert "\n" not in str(caught.value)
    assert letters.read == []


def test_a_store_that_vanishes_while_it_is_written_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "store"

    class Vandal(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            if len(self.read) > 20:
                shutil.rmtree(root, ignore_errors=True)
            return super().encode(batch)

    with pytest.raises(StoreError, match="cannot be written") as caught:
        extract(many(tmp_path), [Vandal()], root, part_rows=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["*.npy", "*.keys.npy", "*-*.json", "encoder.json"])
def test_a_damaged_store_is_refused_and_the_advice_mends_it(tmp_path: Path, file: str) -> None:
    root = tmp_path / "store"
    catalog = many(tmp_path)
    reports(catalog, [Letters()], root, part_rows=200)
    folder = open_store(root, Letters()).folder
    path = sorted(path for path in folder.glob(file) if file != "*.npy" or ".keys" not in path.name)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    letters = Letters()
    with pytest.raises(StoreError, match=r"delete .* and extract again") as caught:
        extract(catalog, [letters], root)
    assert path.name in str(caught.value)
    assert letters.read == []
    receipt = path if path.suffix == ".json" else folder / f"{path.name.split('.')[0]}.json"
    receipt.unlink()
    [text] = reports(catalog, [letters], root)
    assert text.encoded == (0 if file == "encoder.json" else 200)
    assert check(root) == 400


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an extraction of `many` in a process of its own; see `small_encoders`."""
    many(tmp_path)
    started: list[subprocess.Popen[str]] = []

    def start(root: Path, part_rows: int, seconds: float) -> subprocess.Popen[str]:
        program = Path(__file__).with_name("small_encoders.py")
        command = [sys.executable, program, tmp_path / "listings.csv", root, str(part_rows), str(seconds)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(list(map(str, command)), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def release(process: subprocess.Popen[str], batches: int = 1) -> None:
    """Let a process encode; returns when that many batches have begun."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    for _ in range(batches):
        assert process.stdout.readline() == "batch\n"


def test_an_extraction_killed_again_and_again_resumes_and_loses_nothing_kept(tmp_path: Path, start: Start) -> None:
    root, moments, counts = tmp_path / "store", random.Random(7), [0]
    for _ in range(6):
        process = start(root, part_rows=4, seconds=0.05)  # at least five seconds for the 400
        release(process)
        time.sleep(moments.uniform(0.01, 0.25))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        counts.append(check(root))
    assert all(before <= after for before, after in pairwise(counts))
    assert 0 < counts[-1] < 400
    letters = Letters()
    [text] = reports(many(tmp_path), [letters], root)
    assert text.encoded == len(letters.read) == 400 - counts[-1], "only what was not kept is encoded"
    assert check(root) == 400

    undisturbed = tmp_path / "undisturbed"
    reports(many(tmp_path), [Letters()], undisturbed)
    a, b = (read(many(tmp_path), each, [Letters()]) for each in (root, undisturbed))
    assert np.array_equal(a.vectors["letters"], b.vectors["letters"])
    assert a.present["letters"].all()


def test_ctrl_c_keeps_what_was_encoded(tmp_path: Path, start: Start) -> None:
    root = tmp_path / "store"
    process = start(root, part_rows=4096, seconds=0.05)
    release(process, batches=6)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]
    count = check(root)
    assert 5 * 4 <= count < 400, "the five batches before the one that was interrupted"
    [text] = reports(many(tmp_path), [Letters()], root)
    assert text.encoded == 400 - count


def test_two_extractions_at_once_into_one_store_lose_nothing(tmp_path: Path, start: Start) -> None:
    root = tmp_path / "store"
    processes = [start(root, part_rows=8, seconds=0.001) for _ in range(2)]  # both have planned to encode all
    for process in processes:
        release(process)
    for process in processes:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    assert check(root) == 400
    assert len(open_store(root, Letters())) == 800, "they did the same work, and every key has its first vector"
    [text] = reports(many(tmp_path), [Letters()], root)
    assert text.encoded == 0
