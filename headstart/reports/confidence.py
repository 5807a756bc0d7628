"""Are the probabilities worth their name: figures of calibration, acceptance and sets, with 95 % intervals.

All are of out-of-fold predictions ``(repeats, n, k)``, as in `metrics`, and averaged over the repeats; what is
resampled is the near-duplicate group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headstart.heads.calibration import ACCEPT, ALL, RARE, SUGGEST
from headstart.reports.judging import Judgement
from headstart.reports.metrics import GroupBootstrap, hits, ratio
from headstart.reports.result import Acceptance, Confidence, Interval, ReliabilityBin, SetFigures

BINS = 15
SHARES = tuple(tenth / 10 for tenth in range(1, 11))


def confidence(labels: np.ndarray, names: Sequence[str], judgement: Judgement, bootstrap: GroupBootstrap) -> Confidence:
    """All that the report says of an approach's probabilities; `labels` are the numbers of categories ``(n,)``."""
    probabilities, sets = judgement.probabilities, judgement.sets
    suggested = judgement.action == SUGGEST
    return Confidence(
        log_loss=log_loss(labels, probabilities, bootstrap),
        calibration_error=calibration_error(labels, probabilities, bootstrap),
        chance_error=chance_error(probabilities, bootstrap.groups),
        reliability=reliability(labels, probabilities, bootstrap),
        surest=risk_coverage(labels, probabilities, SHARES, bootstrap),
        accepted=acceptance(hits(labels, probabilities), judgement.action == ACCEPT, bootstrap),
        suggested=set_figures(labels, sets, bootstrap, suggested),
        suggested_share=float(suggested.mean()),
        sets=set_figures(labels, sets, bootstrap),
        together=tuple(np.array(names, object)[judgement.promised == RARE]),
        unpromised=tuple(np.array(names, object)[judgement.promised == ALL]),
    )


def log_loss(labels: np.ndarray, probabilities: np.ndarray, bootstrap: GroupBootstrap) -> Interval:
    """Mean of minus the logarithm of the probability given to the right category, in nats."""
    true = np.take_along_axis(probabilities, labels[None, :, None], axis=2)[:, :, 0]
    return mean(-np.log(np.maximum(true, 1e-12)), np.ones(true.shape, bool), bootstrap)


def chance_error(
    probabilities: np.ndarray, groups: np.ndarray, bins: int = BINS, draws: int = 100, seed: int = 0
) -> float:
    """The mean `calibration_error` of these probabilities if they were exactly right: labels drawn from them.

    Listings of one near-duplicate group ``(n,)`` are right or wrong together, as far as their probabilities allow.
    """
    top, found = probabilities.max(axis=2), []
    rng = np.random.default_rng(seed)
    number = np.unique(groups, return_inverse=True)[1]
    for confident in top:
        place = _bins(confident, bins)
        for _ in range(draws):
            gap = confident - (rng.random(len(confident))[number] < confident)
            found.append(np.abs(np.bincount(place, gap, bins)).sum() / len(confident))
    return float(np.mean(found))


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bootstrap: GroupBootstrap, bins: int = BINS
) -> Interval:
    """Expected calibration error: mean distance between confidence and accuracy, over bins of equally many listings.

    Equal-mass bins (Nixon et al. 2019, arXiv 1904.01685) within each repeat; listings of equal confidence share a bin.
    It errs upwards, as chance alone parts the two in every bin: 840 listings of which 95 % are right show about 0.013
    where nothing is wrong. So do the draws of the bootstrap, whose interval is where such a figure lies, not the truth.

    Args:
        labels: category number of each row ``(n,)``.
        probabilities: out-of-fold ``(repeats, n, k)``.
        bootstrap: over the same n rows.

    Raises:
        HeadstartError: a probability is not finite.
    """
    confidence = probabilities.max(axis=2)
    gap = confidence - hits(labels, probabilities)
    repeats, rows = gap.shape
    columns = np.zeros((rows, repeats, bins))
    for repeat in range(repeats):
        columns[np.arange(rows), repeat, _bins(confidence[repeat], bins)] = gap[repeat] / repeats
    values = np.concatenate([columns.reshape(rows, -1), np.ones((rows, 1))], axis=1)
    return bootstrap.interval(values, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bootstrap: GroupBootstrap, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Confidence and accuracy in bins of equally many predictions, least confident first; no empty ones.

    The repeats share their bins, so the table is steadier than `calibration_error`. Arguments and errors are the same.
    """
    confidence = probabilities.max(axis=2)
    correct = hits(labels, probabilities)
    place = _bins(confidence, bins)
    return tuple(
        ReliabilityBin(
            rows=float(inside.sum() / len(inside)),
            confidence=float(confidence[inside].mean()),
            accuracy=_among(correct, inside, bootstrap),
        )
        for inside in (place == number for number in np.unique(place))
    )


def acceptance(correct: np.ndarray, accepted: np.ndarray, bootstrap: GroupBootstrap) -> Acceptance:
    """Share accepted and error among the accepted, such as those that `Rules.decide` accepts.

    Args:
        correct: `metrics.hits`, ``(repeats, n)`` bool.
        accepted: ``(repeats, n)`` bool.
        bootstrap: over the same n rows.
    """
    everything = np.ones(accepted.shape, dtype=bool)
    return Acceptance(_among(accepted, everything, bootstrap), _among(~correct, accepted, bootstrap))


def risk_coverage(
    labels: np.ndarray, probabilities: np.ndarray, shares: Sequence[float], bootstrap: GroupBootstrap
) -> tuple[Acceptance, ...]:
    """`acceptance` of the most confident listings, for each share of them (El-Yaniv & Wiener 2010, JMLR 11).

    Of equally confident ones the earlier row comes first. The threshold is that of the listings judged: `Calibration`
    sets one beforehand, and then the share accepted is what it happens to be.

    Args:
        labels: category number of each row ``(n,)``.
        probabilities: out-of-fold ``(repeats, n, k)``.
        shares: each above 0 and up to 1.
        bootstrap: over the same n rows.

    Raises:
        HeadstartError: a probability is not finite.
    """
    correct = hits(labels, probabilities)
    rank = np.argsort(np.argsort(-probabilities.max(axis=2), axis=1, kind="stable"), axis=1)
    return tuple(acceptance(correct, rank < round(share * rank.shape[1]), bootstrap) for share in shares)


def set_figures(
    labels: np.ndarray, sets: np.ndarray, bootstrap: GroupBootstrap, inside: np.ndarray | None = None
) -> SetFigures:
    """How often the sets hold the right category, and how large they are.

    Args:
        labels: category number of each row ``(n,)``.
        sets: `Decisions.sets` out of fold, ``(repeats, n, k)`` bool.
        bootstrap: over the same n rows.
        inside: whose sets, ``(repeats, n)`` bool; all if not given. Of none the coverage is 0, between 0 and 1.
    """
    held = np.take_along_axis(sets, labels[None, :, None], axis=2)[:, :, 0]
    inside = np.ones(held.shape, bool) if inside is None else inside
    return SetFigures(_among(held, inside, bootstrap), mean(sets.sum(axis=2), inside, bootstrap))


def _bins(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Number of each one's bin, from 0 up to ``bins - 1``; some are empty where many are equally confident."""
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return np.searchsorted(edges, confidence, side="right")


def _among(chosen: np.ndarray, inside: np.ndarray, bootstrap: GroupBootstrap) -> Interval:
    """Share of the ``chosen`` among those ``inside``, both ``(repeats, n)`` bool, over all repeats.

    Only rows that are inside in some repeat are resampled: where they agree, the interval is as wide as their own
    number makes it, not that of all rows.
    """
    rows = inside.any(axis=0)
    if not rows.any():
        return Interval(0.0, 0.0, 1.0)
    values = np.stack([(chosen & inside).mean(axis=0), inside.mean(axis=0)], axis=1)
    return replace(bootstrap, groups=bootstrap.groups[rows]).interval(values[rows], ratio)


def mean(values: np.ndarray, inside: np.ndarray, bootstrap: GroupBootstrap) -> Interval:
    """Mean of the values inside, both ``(repeats, n)``, over all repeats; percentiles of the bootstrap."""
    rows = inside.any(axis=0)
    if not rows.any():
        return Interval(0.0, 0.0, 0.0)
    sums = np.stack([(values * inside).mean(axis=0), inside.mean(axis=0)], axis=1)[rows]
    draws = replace(bootstrap, groups=bootstrap.groups[rows]).draws(sums, ratio)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high))
