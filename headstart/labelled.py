"""The listings of a catalogue that have a category, and which of them may judge what learns from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headstart.errors import ModelError
from headstart.progress import say
from headstart.workflow import Read, need_labels

if TYPE_CHECKING:
    from headstart.heads.nested import Listings


@dataclass(frozen=True, eq=False)
class Labelled:
    """The listings of a catalogue that have a category."""

    listings: Listings
    names: np.ndarray
    """Of the categories, in alphabetical order."""
    rows: np.ndarray
    """Their numbers in the catalogue."""
    learnt: np.ndarray
    """Those that a fine-tuned encoder has learnt from, and their near-duplicates, ``(n,)`` bool."""


def labelled(read: Read, cosine: float = 0.95) -> Labelled:
    """Listings to learn from, in groups of near-duplicates.

    Raises:
        HeadstartError: no column of categories, or fewer than two of them.
    """
    from headstart.embeddings.duplicates import near_duplicate_groups
    from headstart.heads.nested import Listings

    need_labels(read)
    labels = list(read.features.labels)
    rows = np.flatnonzero([label is not None for label in labels])
    if len(set(labels) - {None}) < 2:
        raise ModelError(
            f"two or more categories are needed, {read.source.columns.label!r} holds "
            f"{sorted({str(labels[row]) for row in rows}) or 'none'}: check --label and --label-level"
        )
    features = read.features.take(rows)
    groups = near_duplicate_groups(read.alike.take(rows).blocks(), cosine)
    if (largest := int(np.bincount(groups).max())) > 0.3 * len(groups):
        say(
            f"{largest:,} of {len(groups):,} listings look alike to {' or '.join(features.vectors)} and stay on one "
            "side: the figures may mislead; leave out an encoder that tells nothing apart"
        )
    names, codes = np.unique([str(labels[row]) for row in rows], return_inverse=True)
    texts = list(read.texts())
    learnt = np.isin(groups, groups[read.learnt[rows]])  # their near-duplicates are no judges either
    listings = Listings(features, codes, len(names), groups, [texts[row] for row in rows.tolist()], learnt)
    return Labelled(listings, names, rows, learnt)


def apart(
    found: Labelled, rows: np.ndarray, share: float, seed: int, most: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and a share to set apart, drawn among those that no fine-tuned encoder has learnt from.

    As in `holdout`, groups stay whole, and what is set apart has no category that nothing else teaches.

    Args:
        found: the listings.
        rows: of them, those to part.
        share: of these rows, to set apart; all that no encoder has learnt from where they are fewer.
        seed: of the draw.
        most: share of those that no encoder has learnt from that may be set apart, where one has learnt from others.

    Raises:
        ModelError: fine-tuned encoders have learnt from all of them.
    """
    from headstart.heads.splits import holdout

    codes, groups = found.listings.codes, found.listings.groups
    free = rows[~found.learnt[rows]]
    if len(free) == len(rows):
        seen, held = holdout(codes[rows], groups[rows], share, seed)
        return rows[seen], rows[held]
    if not len(free):
        raise ModelError(
            f"fine-tuned encoders have learnt from all {len(rows):,} listings, none is left to judge by: give more"
        )
    part = min(share * len(rows) / len(free), most)
    # What an earlier holdout left is about the share, and is kept together.
    held = free if part > 0.9 else free[holdout(codes[free], groups[free], part, seed)[1]]
    taught = np.isin(codes[held], codes[np.setdiff1d(rows, held)])
    held = held[~np.isin(groups[held], groups[held[~taught]])]
    return np.setdiff1d(rows, held), held


def say_judges(found: Labelled, held: np.ndarray) -> None:
    """Tell on what is judged, where a fine-tuned encoder has learnt from some of the listings."""
    if found.learnt.any():
        free = int((~found.learnt).sum())
        say(f"judged on {len(held):,} of the {free:,} listings that no fine-tuned encoder has learnt from")
