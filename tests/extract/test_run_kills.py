"""Extractions that are killed, interrupted or doubled, in one process and on workers."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from disturbed import Run, check, kill, left_behind, many, register, start, start_with_workers, until, vectors
from extracting import read, reports
from small_encoders import Letters

from headstart.embeddings.upkeep import compact, verify
from headstart.extract.run import LEAST_ROWS, open_store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
TEXTS = 2500
PART = LEAST_ROWS["text"]
"""Texts in each part of so small a catalogue."""
Extract = Callable[..., Run]


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    """Starts ``headstart extract`` of TEXTS texts into a store, with these words, and a `Letters` told so."""
    register(tmp_path / "package")
    many(tmp_path, TEXTS)

    def extract(root: Path, *words: str, **told: object) -> Run:
        listings = [tmp_path / "listings.csv", "--text", "text", "--store", root, "--encoder", "letters", *words]
        return (start_with_workers if "--workers" in words else start)(tmp_path / "package", listings, told)

    return extract


def encoded(diary: Path) -> int:
    """How many items were encoded by all who keep this diary."""
    return diary.stat().st_size if diary.exists() else 0


def resume(tmp_path: Path, root: Path) -> int:
    """Extract what is missing, having checked that it is done; how many texts that was."""
    letters = Letters()
    [text] = reports(many(tmp_path, TEXTS), [letters], root)
    assert text.encoded == len(letters.read)
    assert check(root, TEXTS) == TEXTS
    assert left_behind(root) == []
    return text.encoded


def test_an_extraction_killed_at_any_moment_loses_only_the_parts_in_flight(tmp_path: Path, extract: Extract) -> None:
    assert extract(tmp_path / "undisturbed").wait() == 0
    draw, counts, lost = random.Random(4), [], []
    for number in range(25):
        root, diary = tmp_path / f"store {number}", tmp_path / f"diary{number}"
        run = extract(root, microseconds=100, diary=diary)
        if number % 5:
            moment = draw.randrange(TEXTS)
            until(lambda: encoded(diary) >= moment)  # noqa: B023
            time.sleep(draw.uniform(0, 0.02))
        else:
            time.sleep(draw.uniform(0, 0.2))  # while it starts and plans
        assert kill(run) in (0, -signal.SIGKILL)
        kept = vectors(root)
        assert kept == 0 or check(root, TEXTS) == kept
        counts.append(kept)
        lost.append(encoded(diary) - kept)
        assert resume(tmp_path, root) == TEXTS - kept, "what was kept is not encoded again"
        assert vectors(root) == TEXTS
    assert 0 <= min(lost) < max(lost) <= 2 * PART, "of what was encoded, a part in writing and one that was not full"
    assert len(set(counts)) > 2, "killed before, between and after parts"
    features = [read(many(tmp_path, TEXTS), tmp_path / each, [Letters()]) for each in ("undisturbed", "store 3")]
    assert np.array_equal(*(each.vectors["letters"] for each in features))
    assert features[1].present["letters"].all()


def test_an_extraction_killed_again_and_again_gets_done(tmp_path: Path, extract: Extract) -> None:
    root, counts = tmp_path / "store", [0]
    while counts[-1] < TEXTS - PART:
        diary = tmp_path / f"diary{len(counts)}"
        run = extract(root, diary=diary, stop=PART + 1)  # a part is written while the next one is encoded
        until((diary.parent / "waiting").exists)
        until(lambda: vectors(root) > counts[-1])
        (diary.parent / "waiting").unlink()
        assert kill(run) == -signal.SIGKILL
        counts.append(check(root, TEXTS))
    assert counts == [*range(0, TEXTS - PART, PART), counts[-1]]
    assert resume(tmp_path, root) == TEXTS - counts[-1]


def test_ctrl_c_keeps_everything_that_was_encoded(tmp_path: Path, extract: Extract) -> None:
    root, diary = tmp_path / "store", tmp_path / "diary"
    run = extract(root, diary=diary, stop=PART + 200)
    until((tmp_path / "waiting").exists)
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    assert run.errors.splitlines()[-1].startswith("stopped: what was kept so far stays")
    assert "Traceback" not in run.errors
    assert vectors(root) == check(root, TEXTS) == encoded(diary) >= PART + 200
    assert left_behind(root) == []
    assert resume(tmp_path, root) == TEXTS - encoded(diary)


def test_two_extractions_at_once_lose_nothing_and_double_nothing_after_compact(
    tmp_path: Path, extract: Extract
) -> None:
    draw, doubled = random.Random(5), []
    for number in range(10):
        root = tmp_path / f"store {number}"
        runs = [extract(root, microseconds=draw.randrange(400)) for _ in range(2)]
        for run in runs:
            assert run.wait() == 0, run.errors
        store = open_store(root, Letters())
        assert check(root, TEXTS) == TEXTS
        doubled.append(len(store) - TEXTS)
        assert compact(store) == (TEXTS + doubled[-1], TEXTS)
        assert resume(tmp_path, root) == 0
    assert max(doubled) > 0, "they were at work together"


def test_a_killed_worker_costs_only_the_parts_in_flight(tmp_path: Path, extract: Extract) -> None:
    draw, lost = random.Random(6), []
    for number in range(3):
        root, diary = tmp_path / f"store {number}", tmp_path / f"diary{number}"
        run = extract(root, "--workers", "2", microseconds=1000, diary=diary)
        moment = draw.randrange(TEXTS - 2 * PART)
        until(lambda: encoded(diary) > moment)  # noqa: B023
        os.kill(run.workers()[0], signal.SIGKILL)
        assert run.wait() == 0, run.errors
        assert "a worker died" in run.errors
        assert "Traceback" not in run.errors
        assert vectors(root) == check(root, TEXTS) == TEXTS, "nothing lost, nothing twice"
        lost.append(encoded(diary) - TEXTS)
        until(lambda: not run.group())  # noqa: B023
        assert resume(tmp_path, root) == 0
    assert 0 < max(lost) <= 2 * PART


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, extract: Extract, number: int) -> None:
    root, diary = tmp_path / "store", tmp_path / "diary"
    run = extract(root, "--workers", "2", diary=diary, stop=2 * PART + 1)
    until((tmp_path / "waiting").exists)
    until(lambda: vectors(root) >= PART)
    run.signal(number, everyone=number == signal.SIGINT)  # a terminal sends Ctrl-C to all
    assert run.wait() == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[number]
    assert "Traceback" not in run.errors
    until(lambda: not run.group())
    (store,) = [open_store(root, Letters())]
    assert verify(store) == []
    kept = vectors(root)
    assert PART <= kept <= encoded(diary)
    assert resume(tmp_path, root) == TEXTS - kept
