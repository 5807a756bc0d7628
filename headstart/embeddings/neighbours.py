"""The nearest neighbours of each listing among the other groups of near-duplicates.

Re-posts of one product vouch for each other whatever their category is; so each group has one voice, and none about
its own members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.embeddings.approximate import index_of, tiles
from headstart.embeddings.duplicates import unit_rows
from headstart.errors import HeadstartError
from headstart.progress import progress

EXACT = 30_000
"""Up to as many listings, each is compared with all; see `benchmarks/neighbours.py`."""

_PROBES = 12
"""Cells of the index that are looked through for a listing."""

_SPARE = 5
"""Candidates of an index beyond those asked for: its order is that of components rounded to 8 bits."""


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of n listings, the nearest first."""

    rows: np.ndarray
    """Row numbers ``(n, k)``, int64; −1 where there are fewer."""
    cosines: np.ndarray
    """How near they are ``(n, k)``, float32, at most 1; 0 where there is none."""


def nearest(
    blocks: Sequence[tuple[np.ndarray, np.ndarray]], groups: np.ndarray, k: int, among: np.ndarray | None = None
) -> Neighbours:
    """Find the k listings that most resemble each, of as many groups, none of them its own.

    A group speaks through its first listing that has a vector. Resemblance is the mean cosine over the encoders that
    the listing has. Vectors are centred by their encoder's mean, for embeddings lie in a narrow cone in which all
    cosines are near 1; a neighbour that lacks an encoder counts as its mean, with a cosine of 0. A listing without
    a vector, or whose vectors are all zero, has no neighbours and is nobody's.

    Up to `EXACT` listings, all are compared, in NumPy. Beyond, the candidates come from an index
    (`headstart.embeddings.approximate`), and only their order and cosines are exact: of the 10 neighbours it finds 99.9
    in 100 among 100,000 drawn listings, 97 in 100 among a million (`benchmarks/neighbours.py`); in place of those
    missed stand the next nearest. Memory is the index's, a byte a component; the vectors may be a memory map.

    Args:
        blocks: for each encoder its vectors ``(n, d)``, any float type, and which listings it has ``(n,)``.
        groups: group of each listing ``(n,)``, as `near_duplicate_groups` numbers them.
        k: how many neighbours, at least 1.
        among: listings that may be neighbours ``(n,)`` bool; all if not given.

    Raises:
        HeadstartError: no blocks, blocks or groups of different lengths, k below 1, or more listings than `EXACT` and
            no library for the index.
    """
    lengths = {len(groups), *(len(array) for block in blocks for array in block)}
    if len(lengths) != 1 or not blocks:
        raise HeadstartError(
            f"neighbours: {sorted(lengths)} listings; give vectors of one or more encoders, as many each"
        )
    if k < 1:
        raise HeadstartError(f"{k} neighbours: at least 1, try 10")
    read, encoders = _centred(blocks)
    there = np.flatnonzero(encoders)
    heard = there if among is None else there[among[there]]
    voices = heard[np.unique(groups[heard], return_index=True)[1]]
    result = Neighbours(np.full((len(groups), k), -1, np.int64), np.zeros((len(groups), k), np.float32))
    if not len(voices):
        return result
    exact = len(there) * len(voices) <= EXACT**2
    found_in: Any = read(voices) if exact else index_of(read, voices, _PROBES)
    with progress("comparing listings", len(there)) as done:
        for mine in tiles(there):
            queries = read(mine) / encoders[mine, None]
            if exact:
                found = voices[None]
                cosines = queries @ found_in.T
            else:
                at = found_in.search(queries, k + 1 + _SPARE)[1]
                found = voices[at]
                cosines = np.matmul(_each(read, found), queries[:, :, None])[:, :, 0]
                cosines[at < 0] = -np.inf
            cosines[groups[found] == groups[mine, None]] = -np.inf
            _keep_best(result, mine, found, cosines)
            done(len(mine))
    return result


def _keep_best(result: Neighbours, mine: np.ndarray, found: np.ndarray, cosines: np.ndarray) -> None:
    """Write down the nearest of those found ``(q or 1, m)`` for q listings; cosines ``(q, m)``, −∞ for none."""
    count = min(result.rows.shape[1], cosines.shape[1])
    best = np.argpartition(cosines, -count, axis=1)[:, -count:]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1), axis=1)
    cosines = np.take_along_axis(cosines, best, axis=1)
    some = cosines > -np.inf
    result.rows[mine, :count] = np.where(some, np.take_along_axis(found, best, axis=1), -1)
    result.cosines[mine, :count] = np.where(some, np.minimum(cosines, 1), 0)


def _centred(blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """What reads listings' centred vectors of length 1, all encoders' side by side, and how many encoders each has."""
    read_by, means = [], []
    for vectors, present in blocks:
        has, total = np.asarray(present, dtype=bool).copy(), np.zeros(vectors.shape[1])
        for rows in tiles(np.flatnonzero(has)):
            tile = np.asarray(vectors[rows], dtype=np.float32)
            has[rows] = tile.any(axis=1)
            total += tile.sum(axis=0, dtype=np.float64)
        read_by.append(has)
        means.append((total / max(1, has.sum())).astype(np.float32))

    def read(rows: np.ndarray) -> np.ndarray:
        parts = []
        for (vectors, _), has, mean in zip(blocks, read_by, means, strict=True):
            part = np.asarray(vectors[rows], dtype=np.float32) - mean
            part[~has[rows]] = 0
            parts.append(unit_rows(part))
        return np.concatenate(parts, axis=1)

    return read, np.sum(read_by, axis=0)


def _each(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Vectors ``(q, m, d)`` of row numbers ``(q, m)``."""
    once, where = np.unique(rows, return_inverse=True)
    return read(once)[where.reshape(rows.shape)]
