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
KINDS = ("uniform", "confusable", "re-postings")
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
    """``uniform``: any other category. ``confusable``: categories that the heads confuse with the right one.
    ``re-postings``: any other category, a group of near-duplicates together, so that none of them tells on another."""
    flips: float
    """In each draw, on average."""
    draws: int
    audit: Found
    cleanlab: Found
    ahead: dict[str, Interval]
    """By how much the audit is ahead in each figure; Student's intervals over the draws of what is flipped, in one
    catalogue."""
    estimate: float
    """Listings that look misfiled, on average: those flipped, and those that looked so before."""
    before: float
    """How many looked so before."""


def self_test(
    codes: np.ndarray, groups: np.ndarray, look: Look, classes: int, share: float, draws: int = 5, seed: int = 0
) -> list[SelfTest]:
    """File a share of listings wrongly, look for them, count what was found; with other listings in every draw.

    Listings that were misfiled before count as rightly filed: precision is a little better than told.

    Args:
        codes: categories of n listings as filed ``(n,)``.
        groups: near-duplicate group of each ``(n,)``.
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
    before = misfiled(codes, groups, said, said.judged).mean
    towards = confusion(codes, said, classes)
    found = []
    with progress("looking for flipped listings", len(KINDS) * draws) as advance:
        for kind in KINDS:
            told = []
            for draw in range(draws):
                probabilities = towards if kind == "confusable" else None
                together = groups if kind == "re-postings" else None
                rows, filed = flip(codes, flips, probabilities, (seed, draw), classes, together)
                told.append(_one(rows, filed, groups, *look(filed)))
                advance(1)
            found.append(_summed(kind, before, told))
    return found


def flip(
    codes: np.ndarray,
    flips: int,
    towards: np.ndarray | None,
    seed: Sequence[int],
    classes: int,
    together: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Listings filed wrongly ``(flips,)``, ascending, and the categories of all of them then ``(n,)``.

    Args:
        codes: their categories ``(n,)``.
        flips: how many; with groups of several, the last may bring a few more.
        towards: probability of each wrong category for each right one ``(K, K)``; None for all alike.
        seed: of the draw.
        classes: how many categories there are.
        together: numbers of the groups that are flipped as one ``(n,)``, each to one category; None for each listing.
    """
    rng = np.random.default_rng(tuple(seed))
    group = np.arange(len(codes)) if together is None else np.unique(together, return_inverse=True)[1]
    order = rng.permutation(int(group.max()) + 1)
    reached = np.cumsum(np.bincount(group)[order])
    chosen = order[: int(np.searchsorted(reached, flips)) + 1]
    rows, filed = np.flatnonzero(np.isin(group, chosen)), codes.copy()
    step, chance = rng.integers(1, classes, len(order)), rng.random(len(order))
    if towards is None:
        filed[rows] = (filed[rows] + step[group[rows]]) % classes
    else:
        ends = towards[codes[rows]].cumsum(axis=1)
        filed[rows] = np.minimum((chance[group[rows], None] * ends[:, -1:] > ends).sum(axis=1), classes - 1)
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


def _one(
    rows: np.ndarray, filed: np.ndarray, groups: np.ndarray, said: Opinions, weighed: Weighed
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """The figures of both rankings, the estimate, and how many were flipped, in one draw.

    Flips in a category that is not judged any more are missed by both.
    """
    from cleanlab.rank import get_label_quality_scores

    wrong = np.isin(np.arange(len(filed)), rows)
    likely = np.exp(said.log_probabilities[FUSED].astype(np.float64))
    quality = get_label_quality_scores(filed, likely / likely.sum(axis=1, keepdims=True))
    last = np.where(said.judged, 0.0, -1e9)
    ours, theirs = np.maximum(weighed.margin, -1e9), last - quality
    estimate = misfiled(filed, groups, said, said.judged).mean
    return _figures(ours, wrong), _figures(theirs, wrong), estimate, len(rows)


def _figures(score: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """`FIGURES` of one ranking."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    order, flips = np.argsort(-score, kind="stable"), int(wrong.sum())
    first, some, twice = (wrong[order[:count]] for count in (FIRST, flips, 2 * flips))
    precision, area = average_precision_score(wrong, score), roc_auc_score(wrong, score)
    return np.array([precision, first.mean(), some.mean(), twice.sum() / flips, area])


def _summed(kind: str, before: float, told: Sequence[tuple[np.ndarray, np.ndarray, float, int]]) -> SelfTest:
    ours, theirs = (np.stack([each[place] for each in told]) for place in (0, 1))
    ahead = dict(zip(FIGURES, map(over_draws, (ours - theirs).T), strict=True))
    audit, cleanlab = (Found(*each.mean(axis=0).tolist()) for each in (ours, theirs))
    estimate, flips = (float(np.mean([each[place] for each in told])) for place in (2, 3))
    return SelfTest(kind, flips, len(told), audit, cleanlab, ahead, estimate, before)


def over_draws(values: np.ndarray) -> Interval:
    """Their mean, with Student's 95 % interval ``(draws,)``."""
    from scipy.stats import t

    mean = float(values.mean())
    reach = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return Interval(mean, mean - reach, mean + reach)


def table(found: Sequence[SelfTest]) -> Table:
    """Both rankings beside each other, for each kind of flips."""
    header = (
        "Flipped",
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
