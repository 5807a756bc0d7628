"""A benchmark result made by hand: seven French categories, five approaches, figures that agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headstart.heads.splits import Fold
from headstart.reports.packing import packed_listings, packed_right
from headstart.reports.result import (
    Acceptance,
    Approach,
    BenchmarkResult,
    CatalogFigures,
    ClassFigures,
    Comparison,
    Confidence,
    Confused,
    Corrected,
    Doubling,
    Duplicates,
    EncoderFigures,
    FineTuned,
    FineTuning,
    Interval,
    LearningPoint,
    Missing,
    Mistake,
    Protocol,
    ReliabilityBin,
    Seconds,
    SetFigures,
)
from headstart.reports.suspects import Misfiled, Suspect
from headstart.reports.verdict import verdict

CATEGORIES = (
    "Maison & cuisine",
    "Montres",
    "Vêtements et chaussures",
    "Informatique",
    "Beauté, parfum et soins du corps",
    "Bébé",
    "Ameublement et linge de maison",
)
TEXT, IMAGE = "use-multilingual-v3", "efficientnet-lite0"
APPROACHES = (
    ("text", "Text alone", (TEXT,), 0.93, Seconds(5.21, 0.62, 0.0041)),
    ("image", "Photo alone", (IMAGE,), 0.87, Seconds(21.4, 0.83, 0.0062)),
    ("concat", "Text and photo, concatenated", (TEXT, IMAGE), 0.94, Seconds(26.6, 0.91, 0.0087)),
    ("late", "Text, photo and words, late fusion", (TEXT, IMAGE), 0.955, Seconds(26.6, 2.04, 0.12)),
    ("control", "TF-IDF control", (), 0.935, Seconds(0.0, 1.34, 0.11)),
)
WEIGHTS = {
    "concat": {f"{TEXT}, {IMAGE}": 1.08, "prior": 0.0},
    "late": {TEXT: 0.52, IMAGE: 0.44, "words": 0.61, "prior": 0.03},
}

FOLDS, REPEATS = 5, 2


def groups_of(rows: int) -> np.ndarray:
    """The first hundred listings are near-duplicates in pairs."""
    own = np.arange(rows)
    return np.where(own < 100, own // 2 * 2, own)


def folds_of(rows: int) -> list[Fold]:
    """Test rows alone, pairs of near-duplicates together."""
    none, found = np.arange(0), []
    for repeat in range(REPEATS):
        tested = (np.random.default_rng(repeat).permutation(rows) % FOLDS)[groups_of(rows)]
        found += [Fold(none, none, np.flatnonzero(tested == number), repeat) for number in range(FOLDS)]
    return found


def around(mean: float, half: float) -> Interval:
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def confidence(accuracy: float, classes: int, rows: int) -> Confidence:
    """Probabilities a little too sure of themselves, of an approach that is so accurate."""
    doubt = np.geomspace(2.4 * (1 - accuracy), 0.002, 15)
    seen = tuple(
        ReliabilityBin(
            rows / 15, float(1 - d), Interval(float(1 - 1.1 * d), float(1 - 1.1 * d - 0.1 * d**0.5), float(1 - d / 2))
        )
        for d in np.minimum(doubt, 0.6)
    )
    surest = tuple(
        Acceptance(
            Interval(s, s, s), Interval((1 - accuracy) * s**4, (1 - accuracy) * s**4 / 3, 0.01 + (1 - accuracy) * s**3)
        )
        for s in (tenth / 10 for tenth in range(1, 11))
    )
    return Confidence(
        log_loss=around(4 * (1 - accuracy), 0.04),
        calibration_error=Interval(0.019, 0.013, 0.029),
        chance_error=0.0126,
        reliability=seen,
        surest=surest,
        accepted=Acceptance(around(max(0.3, 1 - 3 * (1 - accuracy)), 0.021), Interval(0.0173, 0.0094, 0.031)),
        suggested=SetFigures(around(0.861, 0.06), Interval(1.62, 1.5, 1.74)),
        suggested_share=min(0.6, 2.5 * (1 - accuracy)),
        sets=SetFigures(Interval(0.953, 0.937, 0.966), Interval(1.14, 1.1, 1.18)),
        together=(),
        unpromised=(),
    )


def without(name: str, accuracy: float, classes: int) -> Missing:
    chance = 1 / classes
    text = {"image": chance, "text": accuracy, "control": accuracy}.get(name, 0.917)
    image = {"image": accuracy, "text": chance, "control": chance}.get(name, 0.871)
    return Missing(*(around(value, 0.02) for value in (text, image, (text + image) / 2)))


def learning(names: Sequence[str]) -> tuple[LearningPoint, ...]:
    def point(name: str, top: float, listings: int, whole: bool) -> LearningPoint:
        value = top - 0.9 / listings**0.9
        draws = (value,) if whole else (value - 0.02, value, value + 0.02)
        return LearningPoint(name, listings, whole, around(value, 0.012 + 0.06 / listings**0.5), draws)

    return tuple(
        point(name, top, listings, listings == 120)
        for name, _, _, top, _ in APPROACHES
        if name in names
        for listings in (5, 10, 20, 40, 80, 120)
    )


def doublings(names: Sequence[str]) -> tuple[Doubling, ...]:
    def doubling(name: str, accuracy: float, gain: float) -> Doubling:
        told = "better" if gain > 0.012 else "not distinguishable"
        difference = Interval(gain, gain - 0.011, gain + 0.011)
        return Doubling(name, 840, around(accuracy - gain, 0.017), Comparison(name, name, difference, 0.02, told))

    return tuple(doubling(name, 0.95, 0.006 * (2 + place)) for place, name in enumerate(names))


def approach(place: int, labels: Sequence[str], rows: int) -> Approach:
    name, title, encoders, goal, seconds = APPROACHES[place]
    rng = np.random.default_rng(place)
    classes = len(labels)
    confusion = np.zeros((classes, classes))
    for true in range(classes):
        wrong = int(rng.binomial(rows, 1 - goal))
        shares = rng.dirichlet(np.full(classes - 1, 0.4))
        confusion[true, np.arange(classes) != true] = rng.multinomial(wrong, shares)
        confusion[true, true] = rows - wrong
    right = np.diag(confusion)
    precision, recall = right / confusion.sum(axis=0), right / rows
    f1 = 2 * precision * recall / (precision + recall)
    accuracy = float(right.sum() / confusion.sum())
    found = np.stack([rng.permutation(rows * classes) < right.sum() for _ in range(REPEATS)])
    return Approach(
        name=name,
        title=title,
        encoders=encoders,
        settings={"hidden": 0, "dropout": 0.2} if encoders else {"ngrams": "1–2"},
        accuracy=around(accuracy, 0.016),
        macro_f1=around(float(f1.mean()), 0.018),
        top3=around(min(1.0, accuracy + 0.04), 0.006),
        seconds=seconds,
        folds=tuple(float(found[fold.repeat, fold.test].mean()) for fold in folds_of(rows * classes)),
        right=packed_right(found),
        per_class=tuple(
            ClassFigures(label, rows, float(p), around(float(r), 0.045), float(f))
            for label, p, r, f in zip(labels, precision, recall, f1, strict=True)
        ),
        confusion=tuple((int(i), int(j), float(confusion[i, j])) for i, j in np.argwhere(confusion)),
        ungrouped_accuracy=around(accuracy + 0.007, 0.014),
        confidence=confidence(accuracy, classes, rows * classes),
        missing=without(name, accuracy, classes),
        inner_loss=4.1 * (1 - goal),
        weights=WEIGHTS.get(name, {encoders[0] if encoders else "words": 1.12, "prior": 0.02}),
    )


def make(labels: Sequence[str] = CATEGORIES, rows: int = 150, drawn: bool = True) -> BenchmarkResult:
    judged = rows * len(labels)
    approaches = tuple(approach(place, labels, rows) for place in range(len(APPROACHES)))
    mistake = Mistake("b-17", "Coffret de bain, lot de 3 serviettes brodées", "nowhere/b-17.jpg", 0.913)
    suspect = Suspect(
        id="b-17",
        text="Coffret de bain, lot de 3 serviettes brodées",
        photo="nowhere/b-17.jpg",
        filed=labels[-1],
        suggested=labels[0],
        probability=0.913,
        filed_probability=0.012,
        score=0.987,
        evidence=("fused", "text", "neighbours"),
        unclear=False,
        reason=f"the text says {labels[0]}; 9 of 10 neighbours are {labels[0]}",
    )
    result = BenchmarkResult(
        title="Les Bonnes Affaires",
        verdict=(),
        catalog=CatalogFigures(
            path="catalogue.csv",
            drawn=drawn,
            rows=judged + 12,
            with_text=judged - 20,
            with_image=judged - 31,
            with_label=judged + 5,
            classes=len(labels),
            judged=judged,
            class_rows=dict.fromkeys(labels, rows),
            rare={"Jouets": 4, "Livres": 1},
            problems={"photo missing": 41, "photo unreadable": 2, "no label": 7},
        ),
        protocol=Protocol(
            folds=FOLDS,
            repeats=REPEATS,
            seed=0,
            resamples=2000,
            inner_folds=4,
            error_rate=0.02,
            coverage=0.95,
            splits="5a" * 32,
        ),
        listings=packed_listings(groups_of(judged), folds_of(judged)),
        duplicates=Duplicates(cosine=0.95, groups=37, rows=81, largest=4),
        encoders=(
            EncoderFigures("use-multilingual-v3", "text", 512, "8f3a" * 16, judged - 40, 5.21, "2 cores, x86_64"),
            EncoderFigures("efficientnet-lite0", "image", 1280, "c01d" * 16, judged - 51, 21.4, "2 cores, x86_64"),
        ),
        approaches=approaches,
        comparisons=(
            Comparison("late", "text", Interval(0.009, -0.004, 0.022), 0.17, "not distinguishable"),
            Comparison("late", "image", Interval(0.071, 0.05, 0.093), 0.0004, "better"),
            Comparison("image", "control", Interval(-0.068, -0.09, -0.045), 0.0004, "worse"),
        ),
        chosen="late",
        choosing=Interval(0.941, 0.925, 0.955),
        learning=learning(("text", "image", "late", "control")),
        provenance={
            "date": "2026-05-04 10:12 UTC",
            "command": "headstart benchmark catalogue.csv --text titre --image photo --label rayon",
            "machine": "Linux x86_64, 2 cores",
            "python": "3.11.9",
            "tensorflow": "2.21.0",
            "headstart": "0.1.0",
        },
        confused=(
            Confused(labels[-1], labels[0], (mistake, replace(mistake, id="b-18", text="", photo="", probability=0.7))),
        ),
        doublings=doublings(("text", "image", "late", "control")),
        misfiled=Misfiled(Interval(31.2, 23.8, 40.6), 45, (suspect, replace(suspect, id="b-19", text="", photo=""))),
        corrected=Corrected(
            40,
            28,
            Interval(0.941, 0.925, 0.955),
            Interval(0.951, 0.937, 0.963),
            Comparison("corrected", "filed", Interval(0.01, 0.002, 0.018), 0.012, "better"),
        ),
    )
    return replace(result, verdict=verdict(result))


def tuning(told: str, gain: float, folds: int = 10, **changes: Any) -> FineTuning:
    """The late fusion fine-tuned, with this verdict."""
    seconds = Seconds(26.6, 2.0, 0.1)
    difference = Interval(gain, gain - 0.01, gain + 0.01)
    one = FineTuned(
        approach="late",
        title="Text, photo and words, late fusion",
        encoders=("use-multilingual-v3",),
        frozen=Interval(0.95, 0.94, 0.96),
        tuned=Interval(0.95 + gain, 0.94, 0.97),
        frozen_loss=Interval(0.2, 0.1, 0.3),
        tuned_loss=Interval(0.18, 0.09, 0.29),
        comparison=Comparison("late", "late", difference, 0.01, told),
        frozen_seconds=seconds,
        seconds=Seconds(26.6 + 10.5, 202.0, 3.1),
        tunings=folds,
        unchanged=0,
        cut_short=0,
        epochs=2.0,
        memory=0,
    )
    return FineTuning("top", {}, 20.0, 900.0, folds, 10, 1050 if folds > 1 else 210, {}, (replace(one, **changes),))


@pytest.fixture
def make_tuning() -> Callable[..., FineTuning]:
    return tuning


@pytest.fixture
def make_result() -> Callable[..., BenchmarkResult]:
    return make


@pytest.fixture
def result() -> BenchmarkResult:
    return make()
