"""Folds: stratified by category, near-duplicates on one side, repeated, with an inner split for choices.

scikit-learn's StratifiedGroupKFold balances as well, but cannot cut a share (holdout, inner split), does not
promise every category in training, and takes a tenth of a second for each thousand listings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.errors import HeadstartError


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers, each array in rising order; together they are all rows, none twice."""

    train: np.ndarray
    """Rows that weights learn from. Holds every category."""
    inner: np.ndarray
    """Rows of the training side set apart for early stopping and choices; none where categories are tiny."""
    test: np.ndarray
    """Rows that are judged, and used for nothing else."""
    repeat: int

    @property
    def side(self) -> np.ndarray:
        """The training side: train and inner rows."""
        return np.sort(np.concatenate([self.train, self.inner]))


def repeated_folds(
    labels: np.ndarray,
    groups: np.ndarray,
    folds: int = 5,
    repeats: int = 2,
    seed: int | Sequence[int] = 0,
    inner_share: float = 0.125,
) -> list[Fold]:
    """Stratified grouped k-fold, drawn anew for each repeat, each training side with its inner split.

    In each repeat every row is tested exactly once. No group is on two sides of train, inner and test. Every
    category is in every `Fold.train`. Repeat ``r`` is drawn from the seed ``(seed, r)``, and the inner split
    of its fold ``f`` from ``(seed, r, f)``: more repeats leave the first ones as they were.

    Args:
        labels: category of each row ``(n,)``, of `judgeable` rows only.
        groups: near-duplicate group of each row ``(n,)``; ``np.arange(n)`` to ignore near-duplicates.
        folds: at least 2.
        inner_share: about this share of the training side goes to `Fold.inner`; large groups make it inexact.

    Returns:
        ``folds × repeats`` folds, repeat after repeat.

    Raises:
        HeadstartError: too few folds, repeats or groups; or a category that is not in every training side,
            as it has one group only, or few and all of them mixed with other categories.
    """
    if folds < 2 or repeats < 1:
        raise HeadstartError(f"{folds} folds, {repeats} repeats: at least 2 folds and 1 repeat are needed")
    rows = np.arange(len(labels))
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    result = []
    for repeat in range(repeats):
        rng = np.random.default_rng((*seeds, repeat))
        fold_of = _deal(labels, groups, [1 / folds] * folds, range(folds), rng)
        _check(labels, fold_of, folds)
        for number in range(folds):
            side = rows[fold_of != number]
            train, inner = holdout(labels[side], groups[side], inner_share, (*seeds, repeat, number))
            result.append(Fold(side[train], side[inner], rows[fold_of == number], repeat))
    return result


def holdout(
    labels: np.ndarray, groups: np.ndarray, share: float, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Set apart about ``share`` of the rows, stratified, groups whole.

    A category too small for the share stays wholly on the training side, which holds every category.

    Returns:
        Row numbers of the training side and of the part set apart, in rising order.

    Raises:
        HeadstartError: a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise HeadstartError(f"share {share}: the part set apart lies between 0 and 1, such as 0.2")
    side = _deal(labels, groups, [1 - share, share], [1], np.random.default_rng(seed))
    return np.flatnonzero(side == 0), np.flatnonzero(side == 1)


def judgeable(labels: Sequence[str | None], groups: np.ndarray, folds: int) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows can be judged: those with a label, in a category with at least ``folds`` groups.

    Returns:
        The rows ``(n,)`` bool, and each category left out with its number of rows.
    """
    groups_of: dict[str, set[int]] = {}
    rows_of: dict[str, int] = {}
    for label, group in zip(labels, groups.tolist(), strict=True):
        if label is not None:
            groups_of.setdefault(label, set()).add(group)
            rows_of[label] = rows_of.get(label, 0) + 1
    rare = {label: rows_of[label] for label, seen in groups_of.items() if len(seen) < folds}
    return np.array([label is not None and label not in rare for label in labels], dtype=bool), rare


def _deal(
    labels: np.ndarray,
    groups: np.ndarray,
    shares: Sequence[float],
    tested: Sequence[int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Deal whole groups to piles of the given shares; the pile of each row ``(n,)``.

    Largest groups first, equal ones in random order. Each goes to the pile where it adds least to
    ``Σ count² / (share × category size)`` over piles and categories, which is least when every pile holds its
    share of every category; among equals, to the pile emptiest for its share. The last group that could keep
    a category outside a ``tested`` pile is kept out of it, so that its training side has the category.
    """
    _, category = np.unique(labels, return_inverse=True)
    _, group, group_size = np.unique(groups, return_inverse=True, return_counts=True)
    size_of = np.bincount(category)
    # Each pair of a group and a category in it, group after group, with its rows.
    pairs, rows_of_pair = np.unique(group * len(size_of) + category, return_counts=True)
    group_of_pair, kind_of_pair = np.divmod(pairs, len(size_of))
    groups_left = np.bincount(kind_of_pair)
    first = np.searchsorted(group_of_pair, np.arange(len(group_size) + 1)).tolist()

    share = np.asarray(shares)
    testable = np.isin(np.arange(len(share)), tested)
    held = np.zeros((len(share), len(size_of)))
    rows_in = np.zeros(len(share))
    dealt = np.zeros(len(size_of))
    pile_of_group = np.empty(len(group_size), dtype=np.intp)
    for number in np.lexsort((rng.permutation(len(group_size)), -group_size)).tolist():
        inside = slice(first[number], first[number + 1])
        kinds, counts = kind_of_pair[inside], rows_of_pair[inside]
        here = held[:, kinds]
        cost = ((2 * here + counts) * (counts / size_of[kinds])).sum(axis=1) / share
        last = groups_left[kinds] == 1
        if last.any():
            whole = (here == dealt[kinds])[:, last].any(axis=1)
            cost[whole & testable] = np.inf
        pile = np.lexsort((rows_in / share, cost))[0]
        held[pile, kinds] += counts
        rows_in[pile] += group_size[number]
        dealt[kinds] += counts
        groups_left[kinds] -= 1
        pile_of_group[number] = pile
    return pile_of_group[group]


def _check(labels: np.ndarray, fold_of: np.ndarray, folds: int) -> None:
    if len(np.unique(fold_of)) < folds:
        raise HeadstartError(f"{folds} folds: fewer groups of listings than folds; use fewer folds")
    for label in np.unique(labels).tolist():
        if len(np.unique(fold_of[labels == label])) < 2:
            raise HeadstartError(
                f"category {label}: near-duplicates tie all its listings to one fold; "
                "use more folds, raise the near-duplicate threshold, or leave it out"
            )
