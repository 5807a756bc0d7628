"""Frozen encoders beside fine-tuned ones: what is judged, by how many folds, and what is said of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from blinkered import NAME, Blinkered, texts, write_catalog
from headstart.catalog import Columns, read_catalog
from headstart.embeddings.features import open_features
from headstart.extract.run import extract
from headstart.heads.config import HeadConfig
from headstart.heads.finetune import TuneConfig
from headstart.heads.nested import Listings
from headstart.heads.splits import repeated_folds
from headstart.heads.tuning import FOLDER, Workshop
from headstart.reports.judging import Jury
from headstart.reports.metrics import hits
from headstart.reports.result import FineTuning, Seconds
from headstart.reports.tuning import fine_tuning

ROWS, SEED = 240, 3
MEMBER = HeadConfig((NAME,))
TOP = TuneConfig("top", learning_rate=0.01, epochs=30, patience=30, batch=16)
FROZEN = Seconds(1.0, 2.0, 0.5)


@dataclass
class Court:
    """Listings, their folds, and frozen heads that are judged on them."""

    folder: Path
    repeats: int = 2
    shuffled: bool = False

    def __post_init__(self) -> None:
        said, codes = texts(ROWS)
        if self.shuffled:
            codes = np.random.default_rng(4).permutation(codes)
        path = write_catalog(self.folder, said, codes)
        self.catalog, self.root = read_catalog(path, Columns(text=("text",), label="category")), self.folder / "store"
        _, stores, read = extract(self.catalog, [Blinkered()], self.root)
        self.features = open_features(read, stores)
        listings = Listings(self.features, codes, 3, np.arange(ROWS), said)
        folds = repeated_folds(codes, listings.groups, 2, self.repeats, SEED)
        self.jury = Jury(listings, {"text": MEMBER}, folds, [], SEED)

    def workshop(self, config: TuneConfig = TOP) -> Workshop:
        return Workshop(self.catalog, self.features, [Blinkered()], np.arange(ROWS), self.root, config)

    def judge(self, minutes: float, config: TuneConfig = TOP) -> FineTuning:
        workshop = self.workshop(config)
        titles, costs, ends = {"text": "Text alone"}, {"text": FROZEN}, time.perf_counter() + 60 * minutes
        return fine_tuning(self.jury, titles, costs, workshop, minutes, ends, 200, SEED)

    def frozen(self, folds: int) -> float:
        """Share of the test rows of the first folds that the frozen approach has right."""
        right = [
            hits(self.jury.listings.codes[fold.test], np.exp(self.jury.fused["text"][number].test())[None]).mean()
            for number, fold in enumerate(self.jury.grouped[:folds])
        ]
        return float(np.mean(right))

    def forget(self, first: int) -> None:
        """Delete what is kept of the folds from this one on."""
        workshop, listings = self.workshop(), self.jury.listings
        kept = lambda fold: workshop.kept(listings, MEMBER, self.jury.grouped[fold], (SEED, fold))  # noqa: E731
        for path in (self.root / FOLDER).iterdir():
            data = path.read_bytes()
            before = [kept(fold) for fold in range(first)]
            path.unlink()
            if [kept(fold) for fold in range(first)] != before:
                path.write_bytes(data)


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    return Court(tmp_path_factory.mktemp("court"))


@pytest.fixture(scope="module")
def whole(court: Court) -> FineTuning:
    """With time for everything."""
    return court.judge(60)


def test_with_time_for_all_folds_all_are_judged(court: Court, whole: FineTuning) -> None:
    assert (whole.folds, whole.of, whole.rows, whole.depth) == (4, 4, ROWS, "top")
    [found] = whole.approaches
    assert found.frozen.mean == pytest.approx(court.frozen(4)) and found.frozen.mean < 0.55
    assert found.tuned.mean > 0.8 and found.tuned_loss.mean < found.frozen_loss.mean
    assert (found.tunings, found.unchanged, found.cut_short) == (4, 0, 0) and found.epochs > 0
    assert found.comparison.verdict == "better" and found.comparison.p_value < 0.05
    assert found.comparison.difference.mean == pytest.approx(found.tuned.mean - found.frozen.mean)
    assert found.comparison.difference.low > 0
    assert found.encoders == (NAME,) and found.frozen_seconds == FROZEN
    assert found.seconds.train > FROZEN.train and found.seconds.encode >= FROZEN.encode
    assert whole.seconds > 0 and whole.refused == {}


def test_what_is_kept_takes_no_time_and_decides_what_can_be_judged(court: Court, whole: FineTuning) -> None:
    assert court.judge(0) == FineTuning(**{**vars(whole), "minutes": 0})

    court.forget(2)
    found = court.judge(0)
    assert (found.folds, found.of, found.rows) == (2, 4, ROWS), "one repeat"
    [one] = found.approaches
    assert one.frozen.mean == pytest.approx(court.frozen(2)) and one.tunings == 2
    assert one.comparison.difference.mean == pytest.approx(one.tuned.mean - one.frozen.mean)

    court.forget(1)
    found = court.judge(0)
    assert (found.folds, found.of, found.rows) == (1, 4, len(court.jury.grouped[0].test)), "a holdout"
    [one] = found.approaches
    assert one.frozen.mean == pytest.approx(court.frozen(1)) and one.tunings == 1
    assert one.comparison.verdict == "better" and one.comparison.p_value < 1e-4, "by McNemar's test"
    assert one.comparison.difference.mean == pytest.approx(one.tuned.mean - one.frozen.mean)


@pytest.mark.parametrize("how", ["no time", "no better epoch"])
def test_heads_that_stay_as_they_were_count_as_frozen(court: Court, how: str) -> None:
    config = TuneConfig("top", learning_rate=1e-3 if how == "no time" else 1e-12, epochs=2, patience=1)
    found = court.judge(0 if how == "no time" else 60, config)
    [one] = found.approaches
    assert one.tuned == one.frozen and one.tuned_loss == one.frozen_loss
    assert one.unchanged == one.tunings == found.folds and one.cut_short == (1 if how == "no time" else 0)
    assert one.comparison.verdict == "not distinguishable" and one.comparison.p_value == 1
    assert vars(one.comparison.difference) == {"mean": 0, "low": 0, "high": 0}


def test_of_shuffled_labels_fine_tuning_learns_nothing(tmp_path: Path) -> None:
    court = Court(tmp_path, repeats=1, shuffled=True)
    [found] = court.judge(60, replace(TOP, epochs=10)).approaches
    assert abs(found.tuned.mean - 1 / 3) < 3 * np.sqrt(2 / 9 / ROWS)
    assert found.comparison.verdict == "not distinguishable"


def test_a_few_seconds_are_kept(court: Court) -> None:
    """Trainings without end get what time there is: a fold is judged, and what was found until then counts."""
    config = TuneConfig("top", learning_rate=0.02, epochs=10**6, patience=10**6)
    started = time.perf_counter()
    found = court.judge(0.1, config)
    assert time.perf_counter() - started < 60, "six seconds and what a busy machine adds"
    assert found.folds == 1 and found.approaches[0].cut_short == 1
