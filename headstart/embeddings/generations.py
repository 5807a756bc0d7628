"""The sorted index of a store's keys on disk, in generations.

A generation is ``<id>.index.npy``, a run as in `index.py` whose value is where a key's vector is, and a sealed
``<id>.index.json`` with the ids of the parts that it covers. Parts written since are sorted in memory when the store is
opened, until there are enough of them for a generation of their own; generations of like size are merged. All of this
can be made again from the parts: what is damaged or out of date is left aside.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from headstart.embeddings.arrays import REMEDY, map_array, write_array
from headstart.embeddings.index import MOST_MERGED, find, merged, sorted_run
from headstart.embeddings.part import FORMAT, Part, read_record, write_record
from headstart.errors import DamageError, StoreError
from headstart.files import file_digest

X = TypeVar("X")
ENDING = ".index.json"
WORTH_KEEPING = 1 << 18
"""Keys that are sorted in memory at every opening rather than kept: a fifth of a second's work."""
_ROW = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Generation:
    """Keys of some parts, sorted; a location is the part's place in `parts` times 2^32, plus the row in it."""

    id: str
    parts: tuple[str, ...]
    run: np.ndarray
    """uint64 of shape ``(3, n)``."""

    def find(self, wanted: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Rows of keys, −1 where one is not there.

        Args:
            wanted: halves of keys, uint64 of shape ``(2, m)``.
            starts: the row at which each of `parts` starts in the store, −1 for one that is gone.
        """
        rows = np.full(wanted.shape[1], -1, np.int64)
        left = np.argsort(wanted[0])
        places = find(self.run, wanted[:, left])
        while len(left := left[places >= 0]):
            places = places[places >= 0]
            location = self.run[2, places]
            part = (location >> _ROW).astype(np.int64)
            start = np.where(part < len(starts), starts[np.minimum(part, len(starts) - 1)], -1)
            there = start >= 0
            rows[left[there]] = start[there] + (location[there] & _LOW).astype(np.int64)
            # Of a key kept twice the first part may be gone, and the second not.
            left = left[~there]
            places = find(self.run, wanted[:, left], places[~there] + 1)
        return rows


def in_memory(parts: Sequence[Part]) -> Generation:
    """A generation of these parts that is not on disk."""
    columns = [np.empty((3, 0), np.uint64)]
    for number, part in enumerate(parts):
        location = (np.uint64(number) << _ROW) + np.arange(part.receipt.rows, dtype=np.uint64)
        columns.append(np.concatenate([part.keys, location[None]]))
    return Generation("", tuple(part.receipt.id for part in parts), sorted_run(np.concatenate(columns, axis=1)))


def read_generations(folder: Path) -> list[Generation]:
    """The generations kept in a store's folder, oldest first; those that cannot be read are left out."""
    found = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        with suppress(StoreError, OSError):
            found.append(_open(path))
    return found


def _open(path: Path) -> Generation:
    """Open one and check its digest: a flipped bit among sorted keys hides those behind it.

    Raises:
        DamageError: it is not what was written.
        StoreError: it cannot be read.
    """
    record, array = read_record(path), path.with_suffix(".npy")
    run = map_array(array, (3, record["rows"]), "<u8")
    if file_digest(array) != record["digest"]:
        raise DamageError(f"{array} has changed since it was written: {REMEDY}")
    return Generation(path.name.removesuffix(ENDING), tuple(record["parts"]), run)


def settle(folder: Path, parts: Sequence[Part]) -> None:
    """Bring the generations on disk up to date, if there is enough to gain.

    Raises:
        OSError: the disk does not take them; the store is as good without.
    """
    place = {part.receipt.id: number for number, part in enumerate(parts)}
    kept: list[Generation] = []
    for generation in read_generations(folder):
        alive = [part for part in generation.parts if part in place]
        if len(alive) == len(generation.parts) and not any(set(alive) & set(other.parts) for other in kept):
            kept.append(generation)
        else:
            _delete(folder, generation.id)  # its parts count as new
    covered = {part for generation in kept for part in generation.parts}
    new = [part for part in parts if part.receipt.id not in covered]
    if sum(part.receipt.rows for part in new) < WORTH_KEEPING:
        return
    for group in in_groups(new, lambda part: part.receipt.rows, MOST_MERGED):
        newest = in_memory(group)
        while kept and _worth_merging(kept[-1].run.shape[1], newest.run.shape[1]):
            older = kept.pop()
            moved = newest.run.copy()
            moved[2] += np.uint64(len(older.parts)) << _ROW
            newest = Generation("", older.parts + newest.parts, merged([older.run, moved]))
            _delete(folder, older.id)
        kept.append(_write(folder, newest))


def _worth_merging(older: int, newer: int) -> bool:
    return older <= 2 * newer and older + newer <= MOST_MERGED


def in_groups(items: Iterable[X], rows: Callable[[X], int], most: int) -> Iterator[list[X]]:
    """Neighbours in order, as many at a time as have at most so many rows together."""
    group: list[X] = []
    together = 0
    for item in items:
        count = rows(item)
        if group and together + count > most:
            yield group
            group, together = [], 0
        group.append(item)
        together += count
    if group:
        yield group


def _write(folder: Path, generation: Generation) -> Generation:
    name = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
    path = folder / f"{name}.index.npy"
    digest = write_array(path, generation.run)
    record = {"format": FORMAT, "rows": generation.run.shape[1], "parts": generation.parts, "digest": digest}
    write_record(path.with_suffix(".json"), record)
    return Generation(name, generation.parts, generation.run)


def _delete(folder: Path, generation: str) -> None:
    for ending in (ENDING, ".index.npy"):
        (folder / f"{generation}{ending}").unlink(missing_ok=True)


def drop_damaged(folder: Path, dry_run: bool = False) -> list[str]:
    """Check every generation; those that are damaged are deleted and told, a line each."""
    problems = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            _open(path)
        except (StoreError, OSError) as error:
            if not path.exists():  # another process has just put it into a larger one
                continue
            problems.append(str(error))
            if not dry_run and isinstance(error, DamageError):
                _delete(folder, path.name.removesuffix(ENDING))
    return problems
