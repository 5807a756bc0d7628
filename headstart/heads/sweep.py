"""Sweep: many settings tried on inner folds, the best chosen there, and judged on outer folds that took no part.

For every outer fold the settings are ranked by their calibrated log-loss on the inner folds of its training side alone;
the best learns from that whole side and classifies the fold's test rows. What is reported is what choosing like that
is worth (Cawley & Talbot 2010, JMLR 11): the settings chosen may differ from fold to fold. The leaderboard ranks by the
mean over all training sides, and the first of it is what is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import ModelError
from headstart.heads.config import HeadConfig
from headstart.heads.members import members_of
from headstart.heads.nested import Listings, Panel, cut
from headstart.heads.splits import Fold

INNER_FOLDS = 3
GRID: dict[str, tuple[Any, ...]] = {
    "l2": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    "fusion": ("late", "concat", "gated"),
    "words": (True, False),
    "absent": (0.0, 0.2),
    "hidden": (0, 16),
}
"""What a setting may be where nothing else is given."""


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep over C settings found."""

    configs: tuple[HeadConfig, ...]
    """The best first."""
    losses: np.ndarray
    """Log-loss of each on each row when it is in an inner fold, mean over the training sides, ``(C, n)``; NaN of a row
    that never is."""
    right: np.ndarray
    """How often each is then right, the same, ``(C, n)``."""
    chosen: tuple[HeadConfig, ...]
    """For each outer fold."""
    probabilities: np.ndarray
    """Of each row by the settings chosen for its fold, ``(n, K)``."""
    folds: tuple[Fold, ...]


def grid(
    heads: Mapping[str, tuple[str, ...]], modality: Mapping[str, str], given: Mapping[str, Sequence[Any]], words: bool
) -> list[HeadConfig]:
    """Every setting that makes sense, each once.

    Args:
        heads: from `head_encoders`: which encoders may be read together.
        modality: of each encoder.
        given: name of a setting → its values, in place of those of `GRID`.
        words: whether there are texts for the control as a member.

    Raises:
        ModelError: a value that HeadConfig refuses.
    """
    values = {**GRID, **given}
    found: dict[HeadConfig, None] = {}
    for encoders in heads.values():
        both = len({modality[each] for each in encoders}) > 1
        for each in itertools.product(*values.values()):
            settings = dict(zip(values, each, strict=True))
            late = settings["fusion"] == "late"
            has_words = bool(late and words and settings["words"] and any(modality[e] == "text" for e in encoders))
            if late and len(encoders) + has_words < 2:
                continue  # one member: the plain head
            gated = settings["fusion"] == "gated"
            if gated and (not both or (settings["hidden"] and "hidden" not in given)):
                continue  # a gate on hidden units takes most of a sweep's time: only where it is asked for
            # What a head cannot use is as by default, so that it is not tried twice.
            settings["absent"] = settings["absent"] if both and not late else 0.0
            settings["words"] = has_words
            found[HeadConfig(encoders, **settings)] = None
    return list(found)


def drawn(configs: Sequence[HeadConfig], count: int, seed: int) -> list[HeadConfig]:
    """So many of the settings at random, in their order; all where there are no more."""
    if len(configs) <= count:
        return list(configs)
    places = np.random.default_rng(seed).choice(len(configs), count, replace=False)
    return [configs[place] for place in np.sort(places)]


def sweep(
    listings: Listings,
    configs: Sequence[HeadConfig],
    folds: Sequence[Fold],
    seed: int,
    told: Callable[[str], None] = lambda line: None,
) -> Swept:
    """Try every setting on the inner folds of every training side; judge the choice on the outer folds.

    Args:
        listings: what to learn from.
        configs: the settings, each once.
        folds: the outer folds, of one repeat.
        seed: of the inner folds and the initial weights.
        told: called with a line before each long step.

    Raises:
        ModelError: no settings, or categories too small for inner folds.
    """
    if not configs:
        raise ModelError("no settings to try: give more values, or none for the usual ones")
    sides = [cut(listings, fold, (seed, number), INNER_FOLDS) for number, fold in enumerate(folds)]
    if short := next((side for side in sides if not side.inner), None):
        raise ModelError(f"settings cannot be compared on inner folds ({short.why}): give more listings")
    members = list(dict.fromkeys(member for config in configs for member in members_of(config)))
    told(f"{len(configs):,} settings × {len(sides)} training sides × {INNER_FOLDS} inner folds …")
    panel = Panel(listings, sides, members, seed, scouts=True)
    count, rows = len(configs), len(listings.codes)
    losses, right, times = np.zeros((count, rows)), np.zeros((count, rows)), np.zeros(rows)
    means = np.zeros((count, len(sides)))
    for number in range(len(sides)):
        for place, config in enumerate(configs):
            fused = panel.fuse(members_of(config), number, met=True)
            each = fused.losses()
            losses[place, fused.rows] += each
            right[place, fused.rows] += fused.log_probabilities.argmax(axis=1) == listings.codes[fused.rows]
            means[place, number] = each.mean()
        times[fused.rows] += 1
    best = means.argmin(axis=0)
    told(f"the best of each training side learns from all of it, judged on {len(folds)} outer folds …")
    probabilities = np.full((rows, listings.classes), np.nan)
    for choice in np.unique(best).tolist():
        numbers = np.flatnonzero(best == choice)
        own = members_of(configs[choice])
        whole = Panel(listings, [sides[number] for number in numbers], own, seed)
        for turn, fold in enumerate(folds[number] for number in numbers.tolist()):
            probabilities[fold.test] = np.exp(whole.fuse(own, turn).test())
    order = np.argsort(means.mean(axis=1), kind="stable")
    times = np.where(times, times, np.nan)
    return Swept(
        tuple(configs[place] for place in order),
        losses[order] / times,
        right[order] / times,
        tuple(configs[place] for place in best),
        probabilities,
        tuple(folds),
    )
