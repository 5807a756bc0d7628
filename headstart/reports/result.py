"""What a benchmark found, as plain data: written to results.json and read back from it.

Format 1. Figures are fractions between 0 and 1, times are seconds, intervals are at 95 %.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Seconds:
    """What an approach costs, apart: reading every listing once, fitting one classifier, classifying them all."""

    encode: float
    train: float
    predict: float


@dataclass(frozen=True)
class ClassFigures:
    """One category under one approach. Precision, recall and F1 are averaged over the repeats."""

    label: str
    rows: int
    precision: float
    recall: Interval
    f1: float


@dataclass(frozen=True)
class Approach:
    """One approach, judged on the protocol's folds."""

    name: str
    title: str
    encoders: tuple[str, ...]
    settings: dict[str, Any]
    accuracy: Interval
    macro_f1: Interval
    top3: Interval
    seconds: Seconds
    folds: tuple[float, ...]
    """Accuracy of each test fold, repeat after repeat."""
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[float, ...], ...]
    """Listings of category i (row) put into category j (column), averaged over the repeats."""
    ungrouped_accuracy: Interval
    """The same approach on folds that ignore near-duplicates."""


@dataclass(frozen=True)
class Comparison:
    """Two approaches on the same listings: accuracy of `a` minus accuracy of `b`."""

    a: str
    b: str
    difference: Interval
    p_value: float
    verdict: str
    """``"better"``, ``"worse"`` or ``"not distinguishable"``: `a` against `b`."""


@dataclass(frozen=True)
class CatalogFigures:
    """What was read, and what of it could be judged."""

    path: str
    drawn: bool
    rows: int
    with_text: int
    with_image: int
    with_label: int
    classes: int
    judged: int
    class_rows: dict[str, int]
    rare: dict[str, int]
    """Categories with too few distinct listings for the folds, left out, and their listings."""
    problems: dict[str, int]
    """Reason → listings, as counted while reading (photo missing, photo unreadable, no label, …)."""


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicate listings: groups kept on one side of every split."""

    cosine: float
    groups: int
    rows: int
    """Listings that have at least one near-duplicate."""
    largest: int


@dataclass(frozen=True)
class Protocol:
    """How the approaches were judged."""

    folds: int
    repeats: int
    seed: int
    resamples: int


@dataclass(frozen=True)
class EncoderFigures:
    """One encoder's part in the run."""

    name: str
    modality: str
    dim: int
    fingerprint: str
    vectors: int
    """Distinct vectors used."""
    seconds: float
    """Time to decode and encode them, at the average rate at which this store's vectors were made."""
    machine: str


@dataclass(frozen=True)
class BenchmarkResult:
    """Everything the report says."""

    title: str
    verdict: tuple[str, ...]
    catalog: CatalogFigures
    protocol: Protocol
    duplicates: Duplicates
    encoders: tuple[EncoderFigures, ...]
    approaches: tuple[Approach, ...]
    comparisons: tuple[Comparison, ...]
    provenance: dict[str, str]
    """Date, command, machine, Python and library versions: name → value."""
    format: int = field(default=FORMAT)

    @property
    def best(self) -> Approach:
        """The approach with the highest accuracy."""
        return max(self.approaches, key=lambda approach: approach.accuracy.mean)

    def to_json(self) -> str:
        """The result as results.json holds it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
