"""Two approaches on the same listings and the same folds: which is better, if that can be told.

Two tests must agree, as each is blind to what the other sees. The paired bootstrap over near-duplicate groups
asks whether other listings to judge would have changed the order, with the classifiers as they are. The
corrected resampled t-test asks whether classifiers trained on other listings would have, and knows that folds
share training rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headstart.heads.splits import Fold
from headstart.reports.metrics import GroupBootstrap, ratio
from headstart.reports.result import ALPHA, Comparison, Interval


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
    gain, difference = correct_a.astype(float) - correct_b, gained(correct_a, correct_b, bootstrap)
    by_fold = np.array([gain[fold.repeat, fold.test].mean() for fold in folds])
    tested = float(np.mean([len(fold.test) / (gain.shape[1] - len(fold.test)) for fold in folds]))
    p_value = corrected_t_test(by_fold, tested)
    return Comparison(a, b, difference, p_value, verdict(difference, p_value))


def gained(correct_a: np.ndarray, correct_b: np.ndarray, bootstrap: GroupBootstrap) -> Interval:
    """Accuracy of ``a`` minus accuracy of ``b``, with percentiles of the paired bootstrap; as in `compare`."""
    gain = correct_a.astype(float) - correct_b
    values = np.stack([gain.mean(axis=0), np.ones(gain.shape[1])], axis=1)
    low, high = np.quantile(bootstrap.draws(values, ratio), [0.025, 0.975])
    return Interval(float(gain.mean()), float(low), float(high))


def compare_all(
    correct: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]],
    bootstrap: GroupBootstrap,
    folds: Sequence[Fold],
) -> tuple[Comparison, ...]:
    """`compare` each pair of names, with p-values adjusted by `holm` for their number."""
    alone = [compare(a, b, correct[a], correct[b], bootstrap, folds) for a, b in pairs]
    adjusted = holm([one.p_value for one in alone])
    return tuple(
        replace(one, p_value=p, verdict=verdict(one.difference, p)) for one, p in zip(alone, adjusted, strict=True)
    )


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


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test on a holdout: both classifiers trained once, each listing judged once (McNemar 1947).

    If both are equally good, each listing on which just one is right is a fair coin. The test takes listings for
    independent: near-duplicates, right or wrong together, make it too sure. Where a holdout has them, judge one listing
    of each group.

    Args:
        correct_a, correct_b: whether each listing was right ``(n,)`` bool.

    Returns:
        Listings that only ``a`` got right, those that only ``b`` did, and the two-sided binomial p-value.
    """
    from scipy.special import bdtr  # the binomial distribution; scipy.stats takes far longer to import

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
