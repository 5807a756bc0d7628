"""How well misfiled listings are found: some are filed wrongly on purpose, and looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.errors import HeadstartError
from headstart.heads.opinions import FUSED, Opinions
from headstart.progress import progress
from headstart.reports import wording
from headstart.reports.audit import Weighed, misfiled, need_cleanlab
from headstart.reports.result import Interval
from headstart.reports.tables import Table

FIRST = 20
KINDS = ("uniform", "confusable")
FIGURES = ("average_precision", "first", "flipped", "twice", "auroc")
Look = Callable[[np.ndarray], tuple[Opinions, Weighed]]


@dataclass(frozen=True)
class Found:
    """What a ranking found, on average over the draws; all from 0 to 1."""

    average_precision: float
    """Area under its curve of precision and recall."""
    first: float
    """Precision among the first `FIRST`."""
    flipped: float
    """Precision among as many as were flipped; the recall there is the same."""
    twice: float
    """Recall among twice as many."""
    auroc: float
    """Probability that a flipped listing ranks before another one."""


@dataclass(frozen=True)
class SelfTest:
    """Flips of one kind, ranked by an audit and by cleanlab's default on the same probabilities."""

    kind: str
    """``uniform``: any other category. ``confusable``: categories that the heads confuse with the right one."""
    flips: int
    """In each draw."""
    draws: int
    audit: Found
    cleanlab: Found
    ahead: dict[str, Interval]
    """By how much the audit is ahead in each figure; Student's intervals over the draws."""
    estimate: Interval
    """Listings taken for misfiled, on average: those flipped, and those that were before."""


def self_test(
    codes: np.ndarray, look: Look, classes: int, share: float, draws: int = 5, seed: int = 0
) -> list[SelfTest]:
    """File a share of listings wrongly, look for them, count what was found; with other listings in every draw.

    Listings that were misfiled before count as rightly filed: precision is a little better than told.

    Args:
        codes: categories of n listings as filed ``(n,)``.
        look: what gives the evidence for other categories.
        classes: how many categories there are.
        share: of the listings.
        draws: how often.
        seed: of what is drawn.

    Raises:
        HeadstartError: a share that flips no listing or more than half, or too few draws for an interval.
    """
    flips = round(share * len(codes))
    if not 0 < flips <= len(codes) / 2 or draws < 2:
        raise HeadstartError(
            f"a share of {share:g} in {draws} draws: flip at least one listing and at most half, twice or more"
        )
    need_cleanlab()
    said, _ = look(codes)
    towards = confusion(codes, said, classes)
    found = []
    with progress("looking for flipped listings", len(KINDS) * draws) as advance:
        for kind in KINDS:
            told = []
            for draw in range(draws):
                rows, filed = flip(codes, flips, towards if kind == "confusable" else None, (seed, draw), classes)
                told.append(_one(rows, filed, *look(filed)))
                advance(1)
            found.append(_summed(kind, flips, told))
    return found


def flip(
    codes: np.ndarray, flips: int, towards: np.ndarray | None, seed: Sequence[int], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Listings filed wrongly ``(flips,)``, and the categories of all of them then ``(n,)``.

    Args:
        codes: their categories ``(n,)``.
        flips: how many.
        towards: probability of each wrong category for each right one ``(K, K)``; None for all alike.
        seed: of the draw.
        classes: how many categories there are.
    """
    rng = np.random.default_rng(tuple(seed))
    rows, filed = np.sort(rng.choice(len(codes), flips, replace=False)), codes.copy()
    if towards is None:
        filed[rows] = (filed[rows] + rng.integers(1, classes, flips)) % classes
    else:
        ends = towards[codes[rows]].cumsum(axis=1)
        filed[rows] = np.minimum((rng.random((flips, 1)) * ends[:, -1:] > ends).sum(axis=1), classes - 1)
    return rows, filed


def confusion(codes: np.ndarray, said: Opinions, classes: int) -> np.ndarray:
    """How likely each other category is to the heads, given the one filed ``(K, K)``; rows add up to 1."""
    rows = np.flatnonzero(said.judged)
    sums = np.zeros((classes, classes))
    np.add.at(sums, codes[rows], np.exp(said.log_probabilities[FUSED][rows]))
    np.fill_diagonal(sums, 0)
    sums += 1e-12 * (1 - np.eye(classes))
    found: np.ndarray = sums / sums.sum(axis=1, keepdims=True)
    return found


def _one(rows: np.ndarray, filed: np.ndarray, said: Opinions, weighed: Weighed) -> tuple[np.ndarray, np.ndarray, float]:
    """The figures of both rankings, and the estimate, of one draw."""
    from cleanlab.rank import get_label_quality_scores

    judged = np.flatnonzero(said.judged)
    wrong = np.isin(judged, rows)
    likely = np.exp(said.log_probabilities[FUSED][judged].astype(np.float64))
    quality = get_label_quality_scores(filed[judged], likely / likely.sum(axis=1, keepdims=True))
    estimate = misfiled(filed, np.arange(len(filed)), said).mean
    return _figures(weighed.score[judged], wrong), _figures(-quality, wrong), estimate


def _figures(score: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """`FIGURES` of one ranking."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    order, flips = np.argsort(-score, kind="stable"), int(wrong.sum())
    first, some, twice = (wrong[order[:count]] for count in (FIRST, flips, 2 * flips))
    return np.array(
        [
            average_precision_score(wrong, score),
            first.mean(),
            some.mean(),
            twice.sum() / flips,
            roc_auc_score(wrong, score),
        ]
    )


def _summed(kind: str, flips: int, told: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> SelfTest:
    ours, theirs = (np.stack([each[place] for each in told]) for place in (0, 1))
    ahead = dict(zip(FIGURES, map(over_draws, (ours - theirs).T), strict=True))
    audit, cleanlab = (Found(*each.mean(axis=0).tolist()) for each in (ours, theirs))
    estimate = over_draws(np.array([each[2] for each in told]))
    return SelfTest(kind, flips, len(told), audit, cleanlab, ahead, estimate)


def over_draws(values: np.ndarray) -> Interval:
    """Their mean, with Student's 95 % interval ``(draws,)``."""
    from scipy.stats import t

    mean = float(values.mean())
    reach = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return Interval(mean, mean - reach, mean + reach)


def table(found: Sequence[SelfTest]) -> Table:
    """Both rankings beside each other, for each kind of flips."""
    header = (
        "Flips",
        "Ranked by",
        "Average precision",
        f"First {FIRST}",
        "As many as flipped",
        "Twice as many",
        "AUROC",
    )
    rows = []
    for each in found:
        for name, figures in (("headstart", each.audit), ("cleanlab", each.cleanlab)):
            rows.append((each.kind, name, *(f"{getattr(figures, key):.3f}" for key in FIGURES)))
        rows.append((each.kind, "ahead by", *(_ahead(each.ahead[key]) for key in FIGURES)))
    return Table(header, tuple(rows))


def _ahead(value: Interval) -> str:
    return wording.plain(f"{wording.signed(value.mean)} ({wording.ends(value)})")
