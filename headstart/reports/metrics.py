"""Predictions → figures with 95 % intervals.

Listings that resemble each other are right or wrong together, so what is resampled is the near-duplicate
group, not the listing (the cluster bootstrap: Davison & Hinkley 1997, section 3.8). The intervals say how the
figures would move with other listings to judge; that a classifier trained on others would differ too is for
`compare` to weigh.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import HeadstartError
from headstart.heads.splits import Fold
from headstart.reports.result import ClassFigures, Interval

_Z = 1.959964  # 95 % of a normal distribution lies within as many standard deviations
_CHUNK = 2_000_000  # numbers held at once in each array while resampling: 16 MB

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums over listings ``(r, m)`` → a figure, or several, for each of the r resamples, ``(r,)`` or ``(r, f)``."""


@dataclass(frozen=True)
class Figures:
    """What one approach's predictions are worth. The fields are those of `result.Approach`."""

    accuracy: Interval
    macro_f1: Interval
    top3: Interval
    folds: tuple[float, ...]
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, eq=False)
class GroupBootstrap:
    """Resamples of whole groups, with replacement, the same at every use: what is drawn from it is paired."""

    groups: np.ndarray
    """Near-duplicate group of each row ``(n,)``."""
    resamples: int = 2000
    seed: int = 0

    def draws(self, values: Any, statistic: Statistic) -> np.ndarray:
        """The statistic of each resample, ``(resamples,)`` or ``(resamples, f)``, from resampled sums of ``values``.

        Args:
            values: what each row adds to each of m sums ``(n, m)``, an array or a scipy sparse array.
        """
        from scipy.sparse import csr_array

        _, group = np.unique(self.groups, return_inverse=True)
        rows = np.arange(len(group))
        by_group = csr_array((np.ones(len(group)), (group, rows))) @ csr_array(values)
        return np.concatenate([statistic(weights @ by_group) for weights in self._weights(*by_group.shape)])

    def interval(self, values: Any, statistic: Statistic) -> Interval:
        """The statistic on all rows, a figure between 0 and 1, with its 95 % interval.

        The resamples give the variance; the interval is Wilson's for the number of independent listings at
        which a proportion would vary as much (Korn & Graubard 1998), at most the number of rows. Near 1 it is
        lopsided, as it should be: simulated with 840 listings in groups of up to six and a true accuracy of
        0.99, it holds the truth 94 times in 100, the bootstrap's percentiles only 88. Where all resamples
        agree, as when everything is right, they say nothing about the variance, and that number is
        `effective_count`: the interval never shrinks to a point.
        """
        mean = float(statistic(np.asarray(values.sum(axis=0), dtype=float).reshape(1, -1))[0])
        draws = self.draws(values, statistic)
        if np.ptp(draws) < 1e-12:
            count = effective_count(self.groups)
        else:
            count = min(mean * (1 - mean) / float(draws.var()), len(self.groups))
        return wilson(mean, count)

    def _weights(self, groups: int, sums: int) -> Iterator[np.ndarray]:
        """How often each group is in each resample ``(chunk, groups)``, chunk after chunk."""
        rng = np.random.default_rng(self.seed)
        chunk = max(1, _CHUNK // max(groups, sums))
        for start in range(0, self.resamples, chunk):
            count = min(chunk, self.resamples - start)
            drawn = rng.integers(groups, size=(count, groups))
            yield np.stack([np.bincount(each, minlength=groups) for each in drawn]).astype(float)


def effective_count(groups: np.ndarray) -> float:
    """How many independent listings rows in such groups are worth if each group is wholly right or wrong.

    Kish's effective sample size, ``(Σ size)² / Σ size²``: the number of rows where every group has one, the
    number of groups where all have the same size.
    """
    if not len(groups):
        return 0.0
    sizes = np.unique(groups, return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def wilson(proportion: float, count: float) -> Interval:
    """Wilson's 95 % score interval of a proportion seen on ``count`` independent listings (Wilson 1927).

    On no listing at all, anything from 0 to 1.
    """
    if count == 0:
        return Interval(proportion, 0.0, 1.0)
    spread = _Z**2 / count
    centre = (proportion + spread / 2) / (1 + spread)
    half = math.sqrt(proportion * (1 - proportion) * spread + spread**2 / 4) / (1 + spread)
    # In algebra the ends reach 0 and 1 exactly; rounding must not put the proportion outside them.
    low, high = min(centre - half, proportion), max(centre + half, proportion)
    return Interval(proportion, max(0.0, low), min(1.0, high))


def hits(labels: np.ndarray, probabilities: np.ndarray, top: int = 1) -> np.ndarray:
    """Whether the true category is among the ``top`` most probable ones, ``(repeats, n)`` bool.

    Of equally probable categories the one with the lower number comes first.

    Args:
        labels: true category number of each row ``(n,)``.
        probabilities: out-of-fold ``(repeats, n, k)``.

    Raises:
        HeadstartError: a probability is not finite, as where a row was never predicted.
    """
    if not np.isfinite(probabilities).all():
        raise HeadstartError("probabilities: some are not finite; predict each row once in each repeat")
    true = np.take_along_axis(probabilities, labels[None, :, None], axis=2)
    earlier = np.arange(probabilities.shape[2]) < labels[:, None]
    before = (probabilities > true) | ((probabilities == true) & earlier)
    return before.sum(axis=2) < top


def accuracy(correct: np.ndarray, bootstrap: GroupBootstrap) -> Interval:
    """Share of rows that are right, averaged over the repeats; ``correct`` is `hits`, ``(repeats, n)``."""
    return bootstrap.interval(np.stack([correct.mean(axis=0), np.ones(correct.shape[1])], axis=1), ratio)


def macro_f1(labels: np.ndarray, predicted: np.ndarray, classes: int, bootstrap: GroupBootstrap) -> Interval:
    """F1 averaged over the categories, then over the repeats; ``predicted`` is ``(repeats, n)`` numbers.

    Categories absent from a resample are left out of its average: they cannot be judged on it.
    """
    from scipy.sparse import csr_array, hstack

    rows = np.arange(len(labels))

    def one_hot(category: np.ndarray, value: np.ndarray) -> Any:
        return csr_array((value.astype(float), (rows, category)), shape=(len(rows), classes))

    everyone = np.ones(len(rows))
    columns = [one_hot(labels, everyone)]
    for guess in predicted:
        columns += [one_hot(guess, everyone), one_hot(guess, guess == labels)]

    def statistic(sums: np.ndarray) -> np.ndarray:
        support, *rest = np.split(sums, len(columns), axis=1)
        f1 = [_f1(right, support, said) for said, right in zip(rest[::2], rest[1::2], strict=True)]
        seen = support > 0
        return np.where(seen, np.mean(f1, axis=0), 0).sum(axis=1) / seen.sum(axis=1)

    return bootstrap.interval(hstack(columns, format="csr"), statistic)


def figures(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    folds: Sequence[Fold],
    bootstrap: GroupBootstrap,
) -> Figures:
    """All that the report says of one approach.

    Args:
        labels: category number of each row ``(n,)``.
        probabilities: out-of-fold ``(repeats, n, k)``: each row predicted once in each repeat.
        classes: the k category names.
        folds: those that the probabilities come from.
        bootstrap: over the same n rows; the same one for every approach.

    Raises:
        HeadstartError: a probability is not finite.
    """
    correct = hits(labels, probabilities)
    predicted = probabilities.argmax(axis=2)
    confusion = np.stack([_confusion(labels, guess, len(classes)) for guess in predicted])
    certain = len(classes) <= 3
    return Figures(
        accuracy=accuracy(correct, bootstrap),
        macro_f1=macro_f1(labels, predicted, len(classes), bootstrap),
        # Among three categories the right one is always in the first three: nothing is estimated.
        top3=Interval(1.0, 1.0, 1.0) if certain else accuracy(hits(labels, probabilities, top=3), bootstrap),
        folds=tuple(float(correct[fold.repeat, fold.test].mean()) for fold in folds),
        per_class=_per_class(labels, confusion, classes, bootstrap.groups),
        confusion=_pairs(confusion.mean(axis=0)),
    )


def ratio(sums: np.ndarray) -> np.ndarray:
    """First sum over second, for `GroupBootstrap`: a mean whose number of rows varies between resamples."""
    return sums[:, 0] / sums[:, 1]


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _pairs(confusion: np.ndarray) -> tuple[tuple[int, int, float], ...]:
    """What of a matrix is not zero, row after row."""
    true, given = np.nonzero(confusion)
    return tuple(zip(true.tolist(), given.tolist(), confusion[true, given].tolist(), strict=True))


def _f1(right: np.ndarray, support: np.ndarray, said: np.ndarray) -> np.ndarray:
    """2 right / (truly of the category + said to be), and 0 where there is neither."""
    return 2 * right / np.maximum(support + said, 1)


def _per_class(
    labels: np.ndarray, confusion: np.ndarray, classes: Sequence[str], groups: np.ndarray
) -> tuple[ClassFigures, ...]:
    """Figures of each category. ``confusion`` is ``(repeats, k, k)``.

    The recall's interval is Wilson's on the effective number of the category's groups: few listings, often
    all of them right, are too little for the bootstrap. It errs on the wide side: a group counts as one.
    """
    right = np.diagonal(confusion, axis1=1, axis2=2)
    support, said = confusion.sum(axis=2), confusion.sum(axis=1)
    precision = (right / np.maximum(said, 1)).mean(axis=0)
    recall = (right / np.maximum(support, 1)).mean(axis=0)
    f1 = _f1(right, support, said).mean(axis=0)
    order = np.argsort(labels, kind="stable")
    groups_of = np.split(groups[order], np.cumsum(support[0])[:-1])
    return tuple(
        ClassFigures(
            label=name,
            rows=int(support[0, number]),
            precision=float(precision[number]),
            recall=wilson(float(recall[number]), effective_count(groups_of[number])),
            f1=float(f1[number]),
        )
        for number, name in enumerate(classes)
    )
