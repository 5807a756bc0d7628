"""A benchmark result made by hand: seven French categories, four approaches, figures that agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from headstart.reports.result import (
    Approach,
    BenchmarkResult,
    CatalogFigures,
    ClassFigures,
    Comparison,
    Duplicates,
    EncoderFigures,
    Interval,
    Protocol,
    Seconds,
)

CATEGORIES = (
    "Maison & cuisine",
    "Montres",
    "Vêtements et chaussures",
    "Informatique",
    "Beauté, parfum et soins du corps",
    "Bébé",
    "Ameublement et linge de maison",
)
APPROACHES = (
    ("text", "Text alone", ("use-multilingual-v3",), 0.93, Seconds(5.21, 0.62, 0.0041)),
    ("image", "Photo alone", ("efficientnet-lite0",), 0.87, Seconds(21.4, 0.83, 0.0062)),
    (
        "fused",
        "Text and photo, concatenated",
        ("use-multilingual-v3", "efficientnet-lite0"),
        0.947,
        Seconds(26.6, 0.91, 0.0087),
    ),
    ("control", "TF-IDF control", (), 0.94, Seconds(0.0, 1.34, 0.11)),
)


def around(mean: float, half: float) -> Interval:
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


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
    return Approach(
        name=name,
        title=title,
        encoders=encoders,
        settings={"hidden": 0, "dropout": 0.2} if encoders else {"ngrams": "1–2"},
        accuracy=around(accuracy, 0.016),
        macro_f1=around(float(f1.mean()), 0.018),
        top3=around(min(1.0, accuracy + 0.04), 0.006),
        seconds=seconds,
        folds=tuple(float(accuracy + d) for d in rng.normal(0, 0.012, 10)),
        per_class=tuple(
            ClassFigures(label, rows, float(p), around(float(r), 0.045), float(f))
            for label, p, r, f in zip(labels, precision, recall, f1, strict=True)
        ),
        confusion=tuple(tuple(float(n) for n in row) for row in confusion),
        ungrouped_accuracy=around(accuracy + 0.007, 0.014),
    )


def make(labels: Sequence[str] = CATEGORIES, rows: int = 150, drawn: bool = True) -> BenchmarkResult:
    judged = rows * len(labels)
    approaches = tuple(approach(place, labels, rows) for place in range(len(APPROACHES)))
    return BenchmarkResult(
        title="Les Bonnes Affaires",
        verdict=(
            "Text and photo together put 94 of 100 listings in the right category.",
            "Adding the photo to the text is not distinguishable from text alone on these listings.",
        ),
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
        protocol=Protocol(folds=5, repeats=2, seed=0, resamples=2000),
        duplicates=Duplicates(cosine=0.95, groups=37, rows=81, largest=4),
        encoders=(
            EncoderFigures("use-multilingual-v3", "text", 512, "8f3a" * 16, judged - 40, 5.21, "2 cores, x86_64"),
            EncoderFigures("efficientnet-lite0", "image", 1280, "c01d" * 16, judged - 51, 21.4, "2 cores, x86_64"),
        ),
        approaches=approaches,
        comparisons=(
            Comparison("fused", "text", Interval(0.009, -0.004, 0.022), 0.17, "not distinguishable"),
            Comparison("fused", "image", Interval(0.071, 0.05, 0.093), 0.0004, "better"),
            Comparison("image", "control", Interval(-0.068, -0.09, -0.045), 0.0004, "worse"),
        ),
        provenance={
            "date": "2026-05-04 10:12 UTC",
            "command": "headstart benchmark catalogue.csv --text titre --image photo --label rayon",
            "machine": "Linux x86_64, 2 cores",
            "python": "3.11.9",
            "tensorflow": "2.21.0",
            "headstart": "0.1.0",
        },
    )


@pytest.fixture
def make_result() -> Callable[..., BenchmarkResult]:
    return make


@pytest.fixture
def result() -> BenchmarkResult:
    return make()
