"""``headstart fine-tune``: what it saves is an encoder, whatever ends the run."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blinkered import Blinkered, environment, registered, texts, write_catalog
from commands import headstart_here, refused
from headstart.catalog import Columns
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.extract.registry import encoder
from headstart.extract.tuned import TunedEncoder
from headstart.fine_tuning import beside
from headstart.reports.result import BenchmarkResult
from headstart.workflow import Source

COLUMNS = ("--text", "text", "--label", "category", "--duplicate-cosine", "1")
FAST = ("--depth", "full", "--learning-rate", "0.01", "--epochs", "20")
ENDLESS = ("--depth", "full", "--learning-rate", "0.001", "--epochs", "1000000", "--patience", "1000000")
"""Too slow ever to be done."""
ROWS = 240
COSINE = 0.999


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with listings, and with an encoder that was fine-tuned on them; what was told of it is in told.json."""
    folder = tmp_path_factory.mktemp("shop")
    write_catalog(folder, *texts(ROWS))
    with registered(folder / "package"):
        done = fine_tune(folder, *FAST, "--save", "tuned", "--json")
        assert done.returncode == 0, done.stderr
        (folder / "told.json").write_text(done.stdout)
        yield folder


def fine_tune(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    encoders = () if "--encoder" in words else ("--encoder", "blinkered")
    return headstart_here("fine-tune", "listings.csv", *COLUMNS, *encoders, *words, cwd=folder)


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


def test_it_is_better_than_the_frozen_encoder(shop: Path) -> None:
    found = told(shop)
    assert found["frozen"]["mean"] < 0.6 and found["tuned"]["mean"] > 0.85
    assert found["only_tuned"] > 15 > found["only_frozen"] and found["p_value"] < 0.001
    assert found["train_rows"] + found["test_rows"] == ROWS and found["saved"]
    assert found["course"]["best"] > 0


def test_extracted_with_and_a_head_trained_the_figures_agree(shop: Path) -> None:
    tuned = ("--encoder", "tuned:tuned")
    extracted = headstart_here("extract", "listings.csv", "--text", "text", *tuned, cwd=shop)
    assert extracted.returncode == 0 and f"{ROWS} of {ROWS} distinct texts encoded" in extracted.stderr
    done = headstart_here("train", "listings.csv", *COLUMNS, *tuned, "--save", "model", "--json", cwd=shop)
    assert done.returncode == 0, done.stderr
    assert "nothing new, nothing encoded" in done.stderr, "the folder's name, however written, is one encoder"
    found, told_then = json.loads(done.stdout), told(shop)
    assert found["listings"] == {"train": told_then["train_rows"], "test": told_then["test_rows"]}
    every = told_then["test_rows"]
    assert f"judged on {every} of the {every} listings that no fine-tuned encoder has learnt from" in done.stderr
    assert abs(found["accuracy"]["mean"] - told_then["tuned"]["mean"]) < 0.07

    done = headstart_here("predict", "model", "listings.csv", "--out", "said.csv", cwd=shop)
    assert done.returncode == 0, done.stderr
    said, right = (
        [row["category"] for row in csv.DictReader((shop / name).open())] for name in ("said.csv", "listings.csv")
    )
    assert np.mean(np.array(said) == right) > 0.85


@pytest.mark.parametrize("command", ["benchmark", "sweep"])
def test_folds_are_refused_on_the_listings_it_learnt_from(shop: Path, command: str) -> None:
    done = headstart_here(command, "listings.csv", *COLUMNS, "--encoder", "tuned:tuned", cwd=shop)
    refused(done, f"learnt from {told(shop)['train_rows']} of these listings", "headstart train")


def test_on_new_listings_it_is_judged_like_any_other_and_tuned_further(shop: Path, timed_once: None) -> None:
    """The report has a section of it. Near-duplicates are told by the encoder in the beginning."""
    (shop / "new").mkdir()
    write_catalog(shop / "new", *texts(90, seed=8))
    words = (*COLUMNS[:-1], str(COSINE), "--folds", "2", "--repeats", "1", "--fine-tune", "top")
    done = headstart_here("benchmark", "new/listings.csv", *words, "--encoder", "tuned:tuned", cwd=shop)
    assert done.returncode == 0, done.stderr
    result = BenchmarkResult.from_json((shop / "report" / "results.json").read_text())
    assert result.tuning is not None and (result.tuning.depth, result.tuning.folds, result.tuning.of) == ("top", 2, 2)
    found = {each.approach: each for each in result.tuning.approaches}
    assert found.keys() == {"text", "late"} and found["text"].encoders == (f"tuned:{shop / 'tuned'}",)
    assert found["text"].frozen.mean > 0.85 and found["text"].tunings == 2
    for report in ("report.html", "report.md"):
        assert "fine-tun" in (shop / "report" / report).read_text().lower()
    assert "--fine-tune top" in result.provenance["command"]
    alike = []
    for each in (Blinkered(), encoder(f"tuned:{shop / 'tuned'}")):
        vectors = each.encode([each.prepare(text) for text in texts(90, seed=8)[0]]).astype(np.float16)
        groups = near_duplicate_groups([(vectors, np.ones(90, bool))], COSINE)
        alike.append(int((np.bincount(groups)[groups] > 1).sum()))
    assert result.duplicates.rows == alike[0] != alike[1]


def test_what_cannot_be_is_refused_before_a_listing_is_read(shop: Path) -> None:
    several = ("--encoder", "blinkered", "--encoder", "lexical-hash")
    refused(fine_tune(shop, *several, "--store", "unread"), "one encoder at a time", "blinkered and lexical-hash")
    refused(fine_tune(shop, "--encoder", "lexical-hash", "--store", "unread"), "lexical-hash has no network")
    (shop / "file").write_text("")
    refused(fine_tune(shop, "--save", "file", "--store", "unread"), "file cannot be written")
    assert not (shop / "unread").exists()


def test_a_loss_that_is_not_finite_ends_it_in_one_line(shop: Path, tmp_path: Path) -> None:
    done = fine_tune(shop, "--depth", "full", "--learning-rate", "1e30", "--save", str(tmp_path))
    refused(done, "fine-tuning blinkered: the loss is not finite in epoch", "learning rate below 1e+30")
    assert not list(tmp_path.iterdir())


def test_where_nothing_is_better_the_frozen_encoder_is_kept(shop: Path, tmp_path: Path) -> None:
    done = fine_tune(shop, "--depth", "full", "--learning-rate", "1e-9", "--epochs", "2", "--save", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "nothing that was tried did better: the frozen encoder is kept" in done.stdout
    assert "nothing is saved" in done.stderr and not list(tmp_path.iterdir())
    rates = [line.split()[1] for line in done.stdout.splitlines()[:2]]
    assert rates[0] == rates[1]


def test_with_the_budget_used_up_the_best_so_far_is_saved_beside_what_is_there(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = fine_tune(shop, *ENDLESS, "--minutes", "0.2", "--save", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    course = json.loads(done.stdout)["course"]
    assert course["stop"] == "budget"
    if course["best"]:  # a machine that is busy may have no time for any
        check_left(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# ---- runs that are stopped


def check_left(folder: Path) -> None:
    """What a run has left is whole, and an encoder."""
    left = encoder(f"tuned:{folder}")
    assert isinstance(left, TunedEncoder)
    assert left.encode([np.ones(11, np.float32)]).shape == (1, 12) and len(left.learnt[0]) > 0.7 * ROWS
    parts = {path.name.partition("-")[0] for path in folder.iterdir() if path.name[0] != "."}
    assert parts - {"notes.txt"} == {"tuned.json", "variables", "learnt"}


def until_saved(folder: Path, over: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not (folder / "tuned.json").exists() and not over() and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(0.05)  # it is saved again and again


def stopped(errors: str, folder: Path) -> None:
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("stopped: the best so far, of epoch ") and last.endswith(f", is in {folder}"), errors


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_the_best_so_far(shop: Path, tmp_path: Path) -> None:
    """In a process of its own; what a kill -9 leaves while it is saved, tests/extract/test_tuned.py looks at."""
    words = (*COLUMNS, "--encoder", "blinkered", *ENDLESS, "--save", str(tmp_path))
    run = subprocess.Popen(
        [sys.executable, "-c", "from headstart.cli import main; main()", "fine-tune", "listings.csv", *words],
        cwd=shop, env=environment(shop / "package"), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until_saved(tmp_path, lambda: run.poll() is not None)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    stopped(errors, tmp_path)
    check_left(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_a_stopped_run_has_left_can_be_tuned_further(shop: Path, tmp_path: Path) -> None:
    """It is judged on half of what it has never learnt from, and stopped by the rest, whatever seed is given then."""
    over = threading.Event()

    def stop() -> None:
        until_saved(tmp_path, over.is_set)
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as other:
        other.submit(stop)
        done = fine_tune(shop, *ENDLESS, "--save", str(tmp_path))
        over.set()
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    stopped(done.stderr, tmp_path)
    check_left(tmp_path)
    words = ("--encoder", f"tuned:{tmp_path}", *FAST, "--seed", "5", "--holdout", "0.5", "--json")
    again = fine_tune(shop, *words, "--save", str(tmp_path / "further"))
    assert again.returncode == 0, again.stderr
    found, first = json.loads(again.stdout), told(shop)
    free = first["test_rows"]
    assert f"judged on {found['test_rows']} of the {free} listings that no fine-tuned encoder" in again.stderr
    assert found["train_rows"] + found["test_rows"] == ROWS and abs(found["test_rows"] - free / 2) < 4
    assert found["saved"] and found["course"]["best"] > 0
    further = TunedEncoder(str(tmp_path / "further"))
    assert further.origin.name == "blinkered"
    assert len(further.learnt[0]) == found["train_rows"] > len(TunedEncoder(str(tmp_path)).learnt[0])


def test_the_encoders_to_stand_beside_it_are_of_what_it_does_not_read() -> None:
    columns = Columns(text=("text",), image="photo")
    for name, others in (("efficientnet-lite0", ["use-multilingual-v3"]), ("lexical-hash", ["efficientnet-lite0"])):
        assert beside(Source(Path("listings.csv"), columns, encoders=(name,))) == others
    assert beside(Source(Path("listings.csv"), Columns(text=("text",)), encoders=("lexical-hash",))) == []
