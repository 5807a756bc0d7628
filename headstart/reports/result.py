"""What a benchmark found, as plain data: written to results.json and read back from it.

Format 4. Figures are fractions between 0 and 1, times are seconds, intervals are at 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headstart.errors import HeadstartError
from headstart.reports.interval import Interval
from headstart.reports.reading import parsed, written
from headstart.reports.suspects import Misfiled

FORMAT = 4
ALPHA = 0.05
"""Level of every test."""


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
class ReliabilityBin:
    """Predictions of about the same confidence, the probability of the most probable category."""

    rows: float
    """Listings, averaged over the repeats."""
    confidence: float
    """Mean confidence."""
    accuracy: Interval
    """Share that is right; were it the confidence, the probabilities would be calibrated."""


@dataclass(frozen=True)
class Acceptance:
    """What accepting some listings without a look is worth: one point of the risk–coverage curve."""

    share: Interval
    """Of the listings that are accepted."""
    error: Interval
    """Share of wrong categories among the accepted; 0 with an interval from 0 to 1 where nothing is."""


@dataclass(frozen=True)
class SetFigures:
    """Sets of categories meant to hold the right one."""

    coverage: Interval
    """Share of the listings whose set holds the right category."""
    size: Interval
    """Mean number of categories in a set, between 0 and k."""


@dataclass(frozen=True)
class Confidence:
    """What an approach's probabilities are worth; thresholds and weights come from each fold's training side."""

    log_loss: Interval
    """Mean of minus the logarithm of the probability given to the right category, in nats."""
    calibration_error: Interval
    """Expected calibration error, 15 bins of equally many listings."""
    chance_error: float
    """What that would be, on average, if the probabilities were exactly right: chance parts the two in every bin."""
    reliability: tuple[ReliabilityBin, ...]
    surest: tuple[Acceptance, ...]
    """The surest 10 %, 20 %, … of the listings judged."""
    accepted: Acceptance
    """What `Protocol.error_rate` accepts."""
    suggested: SetFigures
    """The sets of the listings that are not accepted and whose set has 1 to 3 categories."""
    suggested_share: float
    """Share of the listings that are suggested; the rest goes to a person."""
    sets: SetFigures
    """The sets of all listings, for `Protocol.coverage`."""
    together: tuple[str, ...]
    """Categories of which a training side had too few for a threshold of their own: what sets cover is promised on
    average over these."""
    unpromised: tuple[str, ...]
    """Those of which there were too few even together: nothing is promised of them."""


@dataclass(frozen=True)
class Missing:
    """Accuracy when test listings lose a modality that they had. Nothing is trained again."""

    without_image: Interval
    without_text: Interval
    half: Interval
    """One half of the listings without photo, the other without text."""


@dataclass(frozen=True)
class LearningPoint:
    """An approach that learnt from a few listings of each category, or from all."""

    approach: str
    listings: int
    """Of each category, at most; of all listings the mean."""
    whole: bool
    """All listings of the training sides, as they are spread over the categories."""
    accuracy: Interval
    """Mean over the draws."""
    draws: tuple[float, ...]
    """Accuracy after each draw of the listings learnt from."""


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
    right: tuple[str, ...]
    """Whether each judged listing was right, a string for each repeat: bits, as in `packing`."""
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, int, float], ...]
    """Category i, category j, and how many listings of i were put into j, averaged over the repeats; pairs that
    occur, by their places in `per_class`."""
    ungrouped_accuracy: Interval
    """The same approach on one repeat of folds that ignore near-duplicates, in all its choices, too."""
    confidence: Confidence
    missing: Missing
    """Of an approach that reads one modality, with figures at the level of chance where it is the one lost."""
    inner_loss: float
    """Mean cross-entropy on the inner folds of the training sides, in nats: what approaches are chosen by."""
    weights: dict[str, float]
    """Mean weight of each member of a fusion (of one: 1 / temperature), and of the prior, for listings with all."""

    def matrix(self) -> list[list[float]]:
        """`confusion` with its zeros, a row for each category: of 1,000 categories a million numbers."""
        rows = [[0.0] * len(self.per_class) for _ in self.per_class]
        for true, given, number in self.confusion:
            rows[true][given] = number
        return rows


@dataclass(frozen=True)
class Mistake:
    """A listing put into a wrong category."""

    id: str
    text: str
    """How it begins."""
    photo: str
    """Its file, as the folder was named; empty where there is none."""
    probability: float
    """Given to the wrong category, averaged over the repeats in which it was the most probable."""


@dataclass(frozen=True)
class Confused:
    """Two categories that the chosen approach confuses, with listings to look at."""

    category: str
    given: str
    examples: tuple[Mistake, ...]
    """Of different near-duplicate groups, the surest mistakes first."""


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
class Doubling:
    """What the last doubling of the listings learnt from brought: all of each training side, against one half."""

    approach: str
    listings: int
    """Learnt from, in all; the mean over the training sides."""
    half: Interval
    """Accuracy after one half of them, each category's; the mean over draws."""
    comparison: Comparison
    """All against one half, on the same listings; p adjusted for the number of approaches."""


@dataclass(frozen=True)
class FineTuned:
    """An approach with its encoders fine-tuned, beside the same with frozen ones, on the same listings."""

    approach: str
    title: str
    encoders: tuple[str, ...]
    """Those that were fine-tuned."""
    frozen: Interval
    """Accuracy."""
    tuned: Interval
    frozen_loss: Interval
    """Log-loss, in nats."""
    tuned_loss: Interval
    comparison: Comparison
    """Tuned against frozen. On a holdout the p-value is McNemar's."""
    frozen_seconds: Seconds
    seconds: Seconds
    """Of the tuned approach, what it shares with the frozen one included; fine-tuning is that of one fold."""
    tunings: int
    """Heads that were fine-tuned, over all folds."""
    unchanged: int
    """Of these, how many stayed as they were: nothing that was tried lowered the loss of the inner rows."""
    cut_short: int
    """Of these, how many the time allowed ended."""
    epochs: float
    """Mean number of the epoch that was kept, or moved towards; 0 of a head that stayed as it was."""
    memory: int
    """Bytes that the process had allocated at most, while fine-tuning; 0 where the system does not say."""


@dataclass(frozen=True)
class FineTuning:
    """Frozen encoders against fine-tuned ones."""

    depth: str
    """``"top"``: the layers above a trunk whose activations are kept; ``"full"``: whole networks."""
    settings: dict[str, Any]
    minutes: float
    """Allowed."""
    seconds: float
    """Taken, in this run or in one before whose work was still there."""
    folds: int
    """Folds that were judged: all, those of one repeat, or one, a holdout."""
    of: int
    """Folds of the frozen approaches."""
    rows: int
    """Listings judged."""
    refused: dict[str, str]
    """Encoder → why it cannot be fine-tuned."""
    approaches: tuple[FineTuned, ...]


@dataclass(frozen=True)
class Corrected:
    """What a person's decisions about misfiled listings are worth: learning from corrected categories, or from those
    filed; both are judged by the corrected ones, on the same folds."""

    decisions: int
    """That were made, but for those on listings of a holdout."""
    changed: int
    """Listings judged that were filed elsewhere."""
    filed: Interval
    """Accuracy of the chosen approach that learnt from the categories as filed."""
    corrected: Interval
    """From the corrected ones; as of `chosen`."""
    comparison: Comparison
    """Corrected against filed."""


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
    inner_folds: int
    error_rate: float
    """Wrong categories allowed among what is accepted."""
    coverage: float
    """How often sets are to hold the right category."""
    splits: str
    """SHA-256 of the judged listings' ids, categories, near-duplicate groups and folds, in hexadecimal: where it is the
    same, two results are of the same listings, cut alike."""


@dataclass(frozen=True)
class JudgedListings:
    """The judged listings, in the catalogue's order, for comparing with another result: numbers, as in `packing`."""

    groups: str
    """How far before each one the first listing of its near-duplicate group is; 0 for that one itself."""
    folds: tuple[str, ...]
    """The fold that tests each, from 0, a string for each repeat."""


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
    listings: JudgedListings
    duplicates: Duplicates
    encoders: tuple[EncoderFigures, ...]
    approaches: tuple[Approach, ...]
    comparisons: tuple[Comparison, ...]
    chosen: str
    """The approach with the lowest inner loss over all training sides."""
    choosing: Interval
    """Accuracy where each fold's approach is the one that its own training side chooses: no label of a listing has a
    part in the choice of what classifies it, as it has, a little, in `chosen`."""
    learning: tuple[LearningPoint, ...]
    provenance: dict[str, str]
    """Date, command, machine, Python and library versions: name → value."""
    tuning: FineTuning | None = None
    """None where nothing was to be fine-tuned."""
    confused: tuple[Confused, ...] = ()
    """The pairs of categories confused most often, by `chosen`."""
    doublings: tuple[Doubling, ...] = ()
    """Of the approaches in `learning`."""
    misfiled: Misfiled | None = None
    """None where they were not looked for."""
    corrected: Corrected | None = None
    """None without decisions."""
    format: int = field(default=FORMAT)

    @property
    def chosen_approach(self) -> Approach:
        """The approach that `chosen` names: the one to take, though another's accuracy may have come out higher."""
        return next(approach for approach in self.approaches if approach.name == self.chosen)

    def to_json(self) -> str:
        """The result as results.json holds it, lists of numbers on one line each."""
        return written(self)

    @classmethod
    def from_json(cls, text: str) -> BenchmarkResult:
        """The result that `to_json` gave, of this format.

        Raises:
            HeadstartError: of another format, no benchmark's result, or damaged.
        """
        result = parsed(cls, text, FORMAT)
        if result.chosen not in {approach.name for approach in result.approaches}:
            raise HeadstartError("a damaged results.json: chosen names no approach; run the benchmark again")
        return result
