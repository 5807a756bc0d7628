"""What was found of each judged listing, packed into a few strings of results.json.

Bits: eight a byte, the first listing's highest, in base64. Numbers: little-endian uint32, deflated by zlib, in base64.
Of 100,000 listings that is 17 kB for each approach and repeat, 60 kB for each repeat's folds, and some 50 kB for
near-duplicates.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.heads.splits import Fold
from headstart.reports.reading import NotThatError
from headstart.reports.result import BenchmarkResult, JudgedListings


@dataclass(frozen=True, eq=False)
class Judged:
    """The n judged listings of a result, in the catalogue's order."""

    groups: np.ndarray
    """Near-duplicate group of each, the number of its first listing ``(n,)``."""
    folds: list[Fold]
    """Repeat after repeat; their test rows alone."""
    right: dict[str, np.ndarray]
    """Approach → whether each listing was right in each of R repeats, ``(R, n)`` bool."""


def packed_listings(groups: np.ndarray, folds: Sequence[Fold]) -> JudgedListings:
    """Groups ``(n,)`` and all folds, repeat after repeat."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    rows = np.arange(len(groups))
    return JudgedListings(pack_numbers(rows - first[group]), tuple(map(pack_numbers, fold_numbers(folds))))


def fold_numbers(folds: Sequence[Fold]) -> np.ndarray:
    """Which fold tests each row in each repeat, from 0, ``(R, n)``."""
    repeats = 1 + folds[-1].repeat
    found = np.empty((repeats, sum(len(fold.test) for fold in folds) // repeats), int)
    for number, fold in enumerate(folds):
        found[fold.repeat, fold.test] = number % (len(folds) // repeats)
    return found


def packed_right(correct: np.ndarray) -> tuple[str, ...]:
    """`metrics.hits` ``(R, n)``, a string for each repeat."""
    return tuple(map(pack_bits, correct))


def unpacked(result: BenchmarkResult) -> Judged:
    """What `packed_listings` and `packed_right` put into a result.

    Raises:
        NotThatError: they are not of as many listings, folds and repeats as the result says, or not what its figures
            were made of.
    """
    listings, protocol = result.catalog.judged, result.protocol
    if listings < 1 or protocol.folds < 2 or protocol.repeats < 1:
        raise NotThatError(f"{listings} listings, {protocol.folds} folds, {protocol.repeats} repeats")
    back = unpack_numbers(result.listings.groups, listings, "listings.groups")
    rows = np.arange(listings)
    if (back > rows).any() or back[rows - back].any():
        raise NotThatError("listings.groups names what is no first listing")
    _need(len(result.listings.folds), protocol.repeats, "listings.folds")
    folds = []
    for repeat, text in enumerate(result.listings.folds):
        where = f"listings.folds[{repeat}]"
        tested = unpack_numbers(text, listings, where)
        if set(np.unique(tested).tolist()) != set(range(protocol.folds)):
            raise NotThatError(f"{where} has other folds than 0 to {protocol.folds - 1}")
        none = np.arange(0)
        folds += [Fold(none, none, np.flatnonzero(tested == number), repeat) for number in range(protocol.folds)]
    right = {}
    for place, approach in enumerate(result.approaches):
        where = f"approaches[{place}].right"
        _need(len(approach.right), protocol.repeats, where)
        found = np.stack([unpack_bits(text, listings, where) for text in approach.right])
        _need(len(approach.folds), len(folds), f"approaches[{place}].folds")
        if not np.allclose([found[fold.repeat, fold.test].mean() for fold in folds], approach.folds):
            raise NotThatError(f"{where} does not give approaches[{place}].folds")
        right[approach.name] = found
    return Judged(rows - back, folds, right)


def pack_bits(values: np.ndarray) -> str:
    """Bools ``(n,)``."""
    return base64.b64encode(np.packbits(values).tobytes()).decode()


def unpack_bits(text: str, count: int, where: str = "") -> np.ndarray:
    """``(count,)`` bool; NotThatError where they are not as many."""
    data = _decoded(text, where)
    _need(len(data), (count + 7) // 8, where, "bytes")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool)


def pack_numbers(values: np.ndarray) -> str:
    """Integers ``(n,)`` from 0 to 2³² − 1."""
    return base64.b64encode(zlib.compress(values.astype("<u4").tobytes(), 9)).decode()


def unpack_numbers(text: str, count: int, where: str = "") -> np.ndarray:
    """``(count,)`` int; NotThatError where they are not as many."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(_decoded(text, where), 4 * count + 1)  # no more, whatever the text holds
    except zlib.error as error:
        raise NotThatError(f"{where} cannot be inflated ({error})") from None
    if len(data) != 4 * count or not inflater.eof:
        raise NotThatError(f"{where} does not hold {count} numbers")
    return np.frombuffer(data, "<u4").astype(int)


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise NotThatError(f"{where} is no base64") from None


def _need(found: int, wanted: int, where: str, what: str = "values") -> None:
    if found != wanted:
        raise NotThatError(f"{where} has {found} {what}, not {wanted}")
