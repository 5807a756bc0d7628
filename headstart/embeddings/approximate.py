"""An index of many vectors in which the nearest ones are found without comparing all.

Vectors are sorted into cells by k-means, and the nearest few cells of a query are looked through (inverted file: Sivic
and Zisserman 2003, "Video Google"; the library is Faiss, Douze et al. 2024, arXiv:2401.08281). Each component is kept
in 8 bits: enough to choose candidates, which are then compared by their own vectors. `benchmarks/neighbours.py`
measures it against other libraries; reducing the dimensions first loses more neighbours than it saves time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headstart.errors import HeadstartError
from headstart.progress import progress
from headstart.runtime import cores

TILE = 1024
"""Listings worked on at once."""

_LEARNT_FROM = 40
"""Vectors for each cell that k-means learns the cells from; Faiss advises 39 at least."""


def available() -> bool:
    """Is the library there, of the extra ``audit``?"""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def index_of(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, probes: int) -> Any:
    """An index of these rows, a byte a component: 2 GB for a million rows of 1,792.

    Its ``search(queries, k)`` gives the inner products with the k nearest and their positions in `rows`, each
    ``(q, k)``; a position is −1 where fewer are found.

    Args:
        read: float32 vectors ``(m, d)`` of m row numbers.
        rows: row numbers ``(n,)``, at least one.
        probes: cells looked through for a query, of some 4√n.

    Raises:
        HeadstartError: the library is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise HeadstartError(
            f"{len(rows):,} listings are too many to compare each with each: pip install 'headstart[audit]'"
        ) from None
    faiss.omp_set_num_threads(cores())
    cells = min(len(rows), int(4 * len(rows) ** 0.5))
    learnt_from = np.random.default_rng(0).choice(rows, min(len(rows), _LEARNT_FROM * cells), replace=False)
    sample = np.concatenate([read(tile) for tile in tiles(np.sort(learnt_from))])
    index: Any = faiss.index_factory(sample.shape[1], f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid = 5, 1
    index.train(sample)
    index.nprobe = probes
    with progress("indexing vectors", len(rows)) as done:
        for tile in tiles(rows):
            index.add(read(tile))
            done(len(tile))
    return index


def tiles(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The row numbers, a tile at a time."""
    for start in range(0, len(rows), TILE):
        yield rows[start : start + TILE]
