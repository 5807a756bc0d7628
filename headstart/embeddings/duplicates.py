"""Near-duplicate listings: re-posts, colour variants, the same photo twice.

They must stay on one side of every split, or a classifier is praised for remembering.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

from headstart.embeddings.approximate import TILE, available, index_of, tiles
from headstart.errors import HeadstartError
from headstart.progress import progress, say

EXACT = 100_000
"""Up to as many listings of an encoder, every pair is compared: minutes at most, and no link is missed."""

_CANDIDATES = 16
"""Nearest listings, itself among them, that each is compared with beyond that size."""

_PROBES = 5
"""Cells of the index that each is looked for in; what is this near shares a cell more often than not."""

_SLACK = 0.02
"""How far below the threshold an index's cosine, of components rounded to 8 bits, may be for a pair to be compared."""

_ROUNDING = 1e-5
"""How far below 1 the cosine of one content encoded twice may fall: float16 at rest, float32 sums."""


def near_duplicate_groups(blocks: Sequence[tuple[np.ndarray, np.ndarray]], cosine: float = 0.95) -> np.ndarray:
    """Number the groups of listings that resemble each other under at least one encoder.

    Two listings are linked when some encoder has both and their cosine reaches the threshold; a group is a
    connected component of these links, so its two ends may resemble each other less. The same content
    always links, at any threshold. A listing that no encoder has, or whose vectors are all zero, is alone.

    Up to `EXACT` listings of an encoder, every pair is compared: time grows as n² times the dimension (100,000
    listings at 2,048 dimensions are 10¹³ multiplications, minutes on a few cores). Memory beside the vectors is a
    tile's, not n²; the vectors may be a memory map.

    Beyond, where Faiss is installed, each content is compared only with its 15 nearest by an index (see
    `headstart.embeddings.approximate`), and so a link may be missed: of the pairs of a million drawn listings that
    reach 0.95, 99.95 in 100 ended in one group (`benchmarks/neighbours.py`). Exact copies are always linked, and every
    link is one by the exact cosine.

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
        links = _all_links
        if len(here) > EXACT and available():
            links = _likely_links
        elif len(here) > EXACT:
            say(f"comparing each of {len(here):,} listings with each: pip install 'headstart[audit]' makes it quick")
        for left, right in links(vectors, here, threshold):
            groups = _merged(groups, left, right)
    return groups


def _all_links(vectors: np.ndarray, here: np.ndarray, threshold: np.float32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of listings that reach the threshold, of all pairs: a tile's cosines are 4 MB, its links 64 MB."""
    for number, rows in enumerate(tiles(here)):
        units = unit_rows(vectors[rows])
        for columns in tiles(here[number * TILE :]):
            cosines = units @ (units if columns[0] == rows[0] else unit_rows(vectors[columns])).T
            left, right = np.nonzero(cosines >= threshold)
            yield rows[left], columns[right]


def _likely_links(
    vectors: np.ndarray, here: np.ndarray, threshold: np.float32
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Exact copies, then the pairs that reach the threshold among each content and its nearest by an index."""
    firsts: dict[bytes, int] = {}
    original = np.full(len(here), -1)
    with progress("looking for copies", len(here)) as done:
        for start in range(0, len(here), TILE):
            rows = here[start : start + TILE]
            contents = np.ascontiguousarray(vectors[rows])
            for at in np.flatnonzero(contents.any(axis=1)):
                digest = blake2b(contents[at].data, digest_size=16).digest()
                original[start + at] = firsts.setdefault(digest, rows[at])
            done(len(rows))
    some = original >= 0
    yield here[some], original[some]
    contents = np.array([*firsts.values()], dtype=np.int64)
    if len(contents) < 2:
        return

    def read(rows: np.ndarray) -> np.ndarray:
        return unit_rows(vectors[rows])

    index = index_of(read, contents, _PROBES)
    pairs = []
    with progress("looking for near-duplicates", len(contents)) as done:
        for start in range(0, len(contents), TILE):
            units = read(contents[start : start + TILE])
            cosines, found = index.search(units, _CANDIDATES)
            left, rank = np.nonzero((found >= 0) & (cosines >= threshold - _SLACK))
            right = found[left, rank]
            left, right = left[right != left + start], right[right != left + start]
            linked = np.einsum("ij,ij->i", units[left], read(contents[right])) >= threshold
            pairs.append((contents[left[linked] + start], contents[right[linked]]))
            done(len(units))
    # At once: to number a million groups anew for every tile would take longer than to find the links.
    left, right = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    yield left, right


def unit_rows(vectors: np.ndarray) -> np.ndarray:
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
