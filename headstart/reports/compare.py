"""Two approaches on the same listings and the same folds: which is better, if that can be told.

Two tests must agree, as each is blind to what the other sees. The paired bootstrap over near-duplicate groups
asks whether other listings to judge would have changed the order, with the classifiers as they are. The
corrected resampled t-test asks whether classifiers trained on other listings would have, and knows that folds
share training rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.heads.splits import Fold
from headstart.reports.metrics import GroupBootstrap
from headstart.reports.result import ALPHA, Comparison, Interval


@dataclass(frozen=True)
class Duel:
    """A classifier beside the TF-IDF control, both trained once, on listings that neither had seen."""

    accuracy: float
    """Of the control, on all listings held out."""
    only_classifier: int
    """Listings that it alone got right, one of each near-duplicate group."""
    only_control: int
    p_value: float
    """McNemar's exact test."""


def compare(
    a: str,
    b: str,
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    bootstrap: GroupBootstrap,
    folds: Sequence[Fold],
) -> Comparison:
    """Accuracy of ``a`` minus accuracy of ``b``, averaged over the repeats.

    "better" or "worse" only where the 95 % interval (percentiles of the paired bootstrap over groups) leaves
    out zero *and* the corrected p-value is below 0.05. For several comparisons at once, use `compare_all`.

    Args:
        correct_a, correct_b: whether each row was right, ``(repeats, n)`` bool, from `metrics.hits`.
        bootstrap: over the same n rows.
        folds: those that both were judged on.
    """
    return _compared([(a, b, _gain(correct_a, correct_b))], bootstrap, folds)[0]


def gained(correct_a: np.ndarray, correct_b: np.ndarray, bootstrap: GroupBootstrap) -> Interval:
    """Accuracy of ``a`` minus accuracy of ``b``, with percentiles of the paired bootstrap; as in `compare`."""
    return _differences([_gain(correct_a, correct_b)], bootstrap)[0]


def compare_all(
    correct: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]],
    bootstrap: GroupBootstrap,
    folds: Sequence[Fold],
) -> tuple[Comparison, ...]:
    """`compare` each pair of names, with p-values adjusted by `holm` for their number."""
    alone = _compared([(a, b, _gain(correct[a], correct[b])) for a, b in pairs], bootstrap, folds)
    adjusted = holm([one.p_value for one in alone])
    return tuple(
        replace(one, p_value=p, verdict=verdict(one.difference, p)) for one, p in zip(alone, adjusted, strict=True)
    )


def _compared(
    gains: Sequence[tuple[str, str, np.ndarray]], bootstrap: GroupBootstrap, folds: Sequence[Fold]
) -> list[Comparison]:
    """Each ``(a, b, gain)`` by itself, p-values as they are."""
    found = []
    for (a, b, gain), difference in zip(gains, _differences([each for *_, each in gains], bootstrap), strict=True):
        by_fold = np.array([gain[fold.repeat, fold.test].mean() for fold in folds])
        tested = float(np.mean([len(fold.test) / (gain.shape[1] - len(fold.test)) for fold in folds]))
        p_value = corrected_t_test(by_fold, tested)
        found.append(Comparison(a, b, difference, p_value, verdict(difference, p_value)))
    return found


def _gain(correct_a: np.ndarray, correct_b: np.ndarray) -> np.ndarray:
    """1 where only ``a`` is right, −1 where only ``b`` is."""
    return correct_a.astype(float) - correct_b


def _differences(gains: Sequence[np.ndarray], bootstrap: GroupBootstrap) -> list[Interval]:
    """The mean of each, with percentiles of the bootstrap: drawn once for all, as drawing is what takes time."""
    if not gains:
        return []
    sums = np.stack([*(gain.mean(axis=0) for gain in gains), np.ones(gains[0].shape[1])], axis=1)
    draws = bootstrap.draws(sums, lambda resampled: resampled[:, :-1] / resampled[:, -1:])
    lows, highs = np.quantile(draws, [0.025, 0.975], axis=0).tolist()
    return [Interval(float(gain.mean()), low, high) for gain, low, high in zip(gains, lows, highs, strict=True)]


def corrected_t_test(differences: np.ndarray, test_to_train: float) -> float:
    """Two-sided p-value of the corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning 52).

    The variance of the mean difference is ``(1/J + n_test/n_train) s²``, not ``s²/J``: J folds that share
    training rows are not J independent trials. J − 1 degrees of freedom.

    Args:
        differences: one for each fold of each repeat ``(J,)``, J ≥ 2.
        test_to_train: rows tested over rows of the training side, ``1 / (folds - 1)`` in k-fold.
    """
    from scipy.special import stdtr  # Student's distribution; scipy.stats takes far longer to import

    mean = float(differences.mean())
    if mean == 0:
        return 1.0
    error = math.sqrt((1 / len(differences) + test_to_train) * float(differences.var(ddof=1)))
    if error == 0:
        return 0.0
    return float(2 * stdtr(len(differences) - 1, -abs(mean) / error))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray, groups: np.ndarray | None = None) -> tuple[int, int, float]:
    """McNemar's exact test on a holdout: both classifiers trained once, each listing judged once (McNemar 1947).

    If both are equally good, each listing on which just one is right is a fair coin. The test takes listings for
    independent: near-duplicates, right or wrong together, make it too sure, so that one listing of each group counts.

    Args:
        correct_a, correct_b: whether each listing was right ``(n,)`` bool.
        groups: near-duplicate group of each ``(n,)``; each its own if not given.

    Returns:
        Listings that only ``a`` got right, those that only ``b`` did, and the two-sided binomial p-value.
    """
    from scipy.special import bdtr  # the binomial distribution; scipy.stats takes far longer to import

    if groups is not None:
        one = np.unique(groups, return_index=True)[1]
        correct_a, correct_b = correct_a[one], correct_b[one]
    a_only, b_only = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    p_value = min(1.0, 2 * float(bdtr(min(a_only, b_only), a_only + b_only, 0.5)))
    return a_only, b_only, p_value


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979), in the order given: compare each with the level wanted."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def verdict(difference: Interval, p_value: float) -> str:
    """Of `a` against `b`, in words, where the interval and the test agree."""
    if p_value < ALPHA and difference.low > 0:
        return "better"
    if p_value < ALPHA and difference.high < 0:
        return "worse"
    return "not distinguishable"
