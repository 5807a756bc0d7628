"""The learning curve: what an approach is worth after a few listings of each category, and after more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headstart.heads.nested import INNER_SHARE, Listings, Panel, Side
from headstart.heads.splits import Fold, holdout
from headstart.reports.compare import compare, holm, verdict
from headstart.reports.judging import Jury
from headstart.reports.metrics import GroupBootstrap, accuracy
from headstart.reports.result import Doubling, LearningPoint

SIZES = (5, 10, 20, 40, 80, 160, 320)
"""Listings of each category."""
HALF = 0
"""Stands for one half of each category's listings among the sizes."""
DRAWS = 3
"""From each training side, so many times."""


def learning_curve(
    jury: Jury, names: Sequence[str], bootstrap: GroupBootstrap, seed: int
) -> tuple[tuple[LearningPoint, ...], tuple[Doubling, ...]]:
    """Accuracy after so many listings of each category, and after all, the heads of all draws from one bank.

    From the training side of each fold of the first repeat as many of every category are drawn, `DRAWS` times, more
    adding to fewer; test rows are the fold's own, so every point is judged on the same listings. The members of a
    fusion keep the weights of the whole side. Sizes go up to those that half of the categories have.

    One half of each side, drawn alike, tells what the last doubling brought. Learning curves mostly flatten (Viering &
    Loog 2022, arXiv 2103.10948), so that is about the most to expect of the next one. It takes no model of the curve,
    where a power law fitted to these few points says what its form makes it say.

    Args:
        jury: whose folds and weights are used.
        names: of its approaches.
        bootstrap: over the judged rows.
        seed: of the draws.
    """
    listings = jury.listings
    first = [(number, fold) for number, fold in enumerate(jury.grouped) if fold.repeat == 0]
    smallest = min(np.median(np.bincount(listings.codes[fold.side])) for _, fold in first)
    sizes = [size for size in SIZES if size < smallest]
    if not sizes:
        return (), ()
    sizes.append(HALF)
    places = [(size, draw, number, fold) for size in sizes for draw in range(DRAWS) for number, fold in first]
    sides = [Side(_drawn(listings, fold, size, (seed, number, draw))) for size, draw, number, fold in places]
    members = [member for name in names for member in jury.members[name]]
    panel = Panel(listings, sides, members, seed)
    learnt = float(np.mean([len(fold.side) for _, fold in first]))
    points, doublings = [], []
    for name in names:
        right = np.zeros((len(sizes), DRAWS, len(listings.codes)), bool)
        whole = np.zeros((1, len(listings.codes)), bool)
        for side, (size, draw, number, fold) in enumerate(places):
            said = jury.fused[name][number].test(side=side, panel=panel)
            right[sizes.index(size), draw, fold.test] = said.argmax(axis=1) == listings.codes[fold.test]
        for number, fold in first:
            whole[0, fold.test] = jury.fused[name][number].test().argmax(axis=1) == listings.codes[fold.test]
        *few, half = right
        for size, each in [*zip(sizes, few, strict=False), (round(learnt / listings.classes), whole)]:
            draws = tuple(each.mean(axis=1).tolist())
            points.append(LearningPoint(name, size, each is whole, accuracy(each, bootstrap), draws))
        gain = compare(name, name, whole, half.mean(axis=0, keepdims=True), bootstrap, [fold for _, fold in first])
        doublings.append(Doubling(name, round(learnt), accuracy(half, bootstrap), gain))
    return tuple(points), tuple(_adjusted(doublings))


def _adjusted(doublings: Sequence[Doubling]) -> list[Doubling]:
    """With p-values and verdicts for their number."""
    adjusted = holm([each.comparison.p_value for each in doublings])
    return [
        replace(each, comparison=replace(each.comparison, p_value=p, verdict=verdict(each.comparison.difference, p)))
        for each, p in zip(doublings, adjusted, strict=True)
    ]


def _drawn(listings: Listings, fold: Fold, size: int, seed: Sequence[int]) -> Fold:
    """A fold that learns from `size` listings of each category or, of `HALF`, from one in two; near-duplicates are
    drawn one after the other."""
    rng = np.random.default_rng(seed)
    rows = fold.side[np.argsort(rng.permutation(len(listings.codes))[listings.groups[fold.side]], kind="stable")]
    own = [rows[listings.codes[rows] == code] for code in np.unique(listings.codes[rows])]
    taken = np.sort(np.concatenate([each[: size or (len(each) + 1) // 2] for each in own]))
    train, inner = holdout(listings.codes[taken], listings.groups[taken], INNER_SHARE, seed)
    return Fold(taken[train], taken[inner], fold.test, 0)
