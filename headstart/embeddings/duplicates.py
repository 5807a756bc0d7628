"""Near-duplicate listings: re-posts, colour variants, the same photo twice.

They must stay on one side of every split, or a classifier is praised for remembering.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.errors import HeadstartError

_TILE = 1024
"""Listings compared at once: their cosines take 4 MB, and at worst, all of them alike, their links 64 MB."""

_ROUNDING = 1e-5
"""How far below 1 the cosine of one content encoded twice may fall: float16 at rest, float32 sums."""


def near_duplicate_groups(blocks: Sequence[tuple[np.ndarray, np.ndarray]], cosine: float = 0.95) -> np.ndarray:
    """Number the groups of listings that resemble each other under at least one encoder.

    Two listings are linked when some encoder has both and their cosine reaches the threshold; a group is a
    connected component of these links, so its two ends may resemble each other less. The same content
    always links, at any threshold. A listing that no encoder has, or whose vectors are all zero, is alone.

    Every pair is compared: time grows as n² times the dimension (100,000 listings at 2,048 dimensions are
    10¹³ multiplications, minutes on a few cores). Memory beside the vectors is a tile's, not n²; the vectors
    may be a memory map.

    Args:
        blocks: for each encoder its vectors ``(n, d)``, any float type, and which listings it has ``(n,)``.
        cosine: the threshold, above 0 and at most 1.

    Returns:
        Group of each listing ``(n,)``: 0, 1, … in order of first appearance.

    Raises:
        HeadstartError: no blocks, blocks of different lengths, or a threshold out of range.
    """
    if not 0 < cosine <= 1:
        raise HeadstartError(f"cosine {cosine}: a near-duplicate threshold is above 0, at most 1: try 0.95")
    lengths = {len(array) for block in blocks for array in block}
    if len(lengths) != 1:
        raise HeadstartError(
            f"near-duplicates: {sorted(lengths)} listings; give vectors of one or more encoders, as many each"
        )
    groups = np.arange(lengths.pop())
    threshold = np.float32(min(cosine, 1 - _ROUNDING))
    for vectors, present in blocks:
        here = np.flatnonzero(present)
        for start in range(0, len(here), _TILE):
            rows = here[start : start + _TILE]
            units = _unit_rows(vectors[rows])
            for other in range(start, len(here), _TILE):
                columns = here[other : other + _TILE]
                cosines = units @ (units if other == start else _unit_rows(vectors[columns])).T
                left, right = np.nonzero(cosines >= threshold)
                groups = _merged(groups, rows[left], columns[right])
    return groups


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Float32 rows of length 1; rows of zeros stay zeros, and so resemble nothing."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _merged(groups: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The groups after linking listing ``left[i]`` with ``right[i]`` for every i."""
    ends = groups[left], groups[right]
    if np.array_equal(*ends):
        return groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(groups.max()) + 1
    links = coo_array((np.ones(len(left), dtype=bool), ends), shape=(count, count))
    # Components are numbered by their lowest member, so groups stay in order of first appearance.
    _, component = connected_components(links, directed=False)
    return component[groups]
