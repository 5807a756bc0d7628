"""The learning curve: what an approach is worth after a few listings of each category, and after more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.heads.nested import Panel, Side
from headstart.heads.splits import Fold
from headstart.reports.judging import Jury
from headstart.reports.metrics import GroupBootstrap, accuracy, hits
from headstart.reports.result import LearningPoint

SIZES = (5, 10, 20, 40, 80, 160, 320)
"""Listings of each category."""


def learning_curve(jury: Jury, names: Sequence[str], bootstrap: GroupBootstrap, seed: int) -> tuple[LearningPoint, ...]:
    """Accuracy after so many listings of each category, all heads from one bank.

    From the training side of each fold of the first repeat the same number of every category is drawn, more adding to
    fewer; test rows are the fold's own, so every point is judged on the same listings. The members of a fusion keep the
    weights of the whole side. Sizes go up to those that half of the categories have.

    Args:
        jury: whose folds and weights are used.
        names: of its approaches.
        bootstrap: over the judged rows.
        seed: of the draw.
    """
    listings = jury.listings
    first = [(number, fold) for number, fold in enumerate(jury.grouped) if fold.repeat == 0]
    smallest = min(np.median(np.bincount(listings.codes[_side(fold)])) for _, fold in first)
    sizes = [size for size in SIZES if size < smallest]
    sides = [Side(_drawn(listings.codes, fold, size, (seed, number))) for size in sizes for number, fold in first]
    if not sides:
        return ()
    members = [member for name in names for member in jury.members[name]]
    panel = Panel(listings, sides, members, seed)
    found = []
    for name in names:
        for place, size in enumerate(sizes):
            out = np.zeros((1, len(listings.codes), listings.classes))
            for turn, (number, fold) in enumerate(first):
                fused = jury.fused[name][number]
                out[0, fold.test] = np.exp(fused.test(side=place * len(first) + turn, panel=panel))
            found.append(LearningPoint(name, size, accuracy(hits(listings.codes, out), bootstrap)))
    return tuple(found)


def _side(fold: Fold) -> np.ndarray:
    return np.concatenate([fold.train, fold.inner])


def _drawn(codes: np.ndarray, fold: Fold, size: int, seed: tuple[int, int]) -> Fold:
    """A fold that learns from `size` listings of each category, an eighth of them inner rows where there are enough."""
    rows = np.random.default_rng(seed).permutation(_side(fold))
    taken = np.concatenate([rows[codes[rows] == code][:size] for code in np.unique(codes[rows])])
    held = max(1, size // 8)
    inner = np.concatenate([rows[codes[rows] == code][:size][:held] for code in np.unique(codes[rows])])
    inner = inner[np.bincount(codes[taken], minlength=codes.max() + 1)[codes[inner]] > held]
    return Fold(np.sort(np.setdiff1d(taken, inner)), np.sort(inner), fold.test, 0)
