"""What keeps a store sound and small: verify, mend, compact.

All three work part by part, in bounded memory. Mending and compacting write new parts before they delete old ones, and
hold the store alone; others may read meanwhile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from headstart.embeddings.arrays import HEADER_BYTES, REMEDY
from headstart.embeddings.generations import drop_damaged, in_groups
from headstart.embeddings.index import KeyMap
from headstart.embeddings.part import (
    MOST_ROWS,
    Part,
    Receipt,
    all_failures,
    open_part,
    part_problems,
    row_checks,
    write_part,
)
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import DamageError, StoreError
from headstart.runtime import cores

PLAN_ENDING = ".plan.arrow"
Chosen = tuple[Part, np.ndarray]
"""A part, and which of its rows are to stay."""
_OURS = re.compile(r"[0-9a-f]{16}-")
_LEFT_OVER = re.compile(rf"\..*\.tmp|.*{re.escape(PLAN_ENDING)}")


@dataclass(frozen=True)
class Problem:
    """Something wrong with a store."""

    what: str
    part: str | None = None
    """Id of the part that mending takes out of use; None where nothing can be done about it here."""


def verify(store: EmbeddingStore, advance: Callable[[int], None] = lambda parts: None) -> list[Problem]:
    """Read everything and list what is wrong; empty when all is well. Changes nothing.

    Args:
        advance: called with the number of parts just read.
    """
    found = []
    with ThreadPoolExecutor(cores()) as threads:
        for problems in threads.map(partial(_problems, store, touched_only=False), store.receipt_paths()):
            found += problems
            advance(1)
    return found + [Problem(what) for what in drop_damaged(store.folder, dry_run=True)]


def mend(store: EmbeddingStore, touched_only: bool = False) -> tuple[list[Problem], int]:
    """Take damaged parts out of use; their rows that are sound go into new parts.

    Args:
        touched_only: read only those parts in full whose files are newer than their receipt, as after a restore or an
            accident. Damage by the disk itself leaves no such trace. The index, where one wrong bit may hide many keys,
            is read in any case.

    Returns:
        What was wrong, and how many vectors were lost; the next extraction encodes them again.

    Raises:
        StoreError: another process is using the store, or it cannot be written.
    """
    found, lost = [], 0
    with _alone(store):
        for path in store.receipt_paths():
            if problems := _problems(store, path, touched_only):
                found += problems
                if problems[0].part:
                    lost += _salvage(store, path)
        if all(problem.part for problem in found):  # else a file may still belong to something
            _sweep(store)
        found += [Problem(what) for what in drop_damaged(store.folder)]
    store.refresh()
    return found, lost


@contextmanager
def _alone(store: EmbeddingStore) -> Iterator[None]:
    with store.in_use(alone=True) as alone:
        if not alone:
            why = "in use by another command: try again when that has ended"
            if not os.access(store.folder, os.W_OK):
                why = "not yours to write into: ask its owner"
            raise StoreError(f"{store.folder} is {why}")
        try:
            yield
        except OSError as error:
            raise StoreError(f"{store.folder} cannot be written ({error.strerror}): nothing is lost") from None


def _problems(store: EmbeddingStore, path: Path, touched_only: bool) -> list[Problem]:
    """What is wrong with a part and its receipt; nothing, where another process has just compacted it away."""
    found = _looked_into(store, path, touched_only)
    return found if path.exists() else []


def _looked_into(store: EmbeddingStore, path: Path, touched_only: bool) -> list[Problem]:
    try:
        receipt = store.read_receipt(path)
        if not touched_only:
            return [Problem(what, receipt.id) for what in part_problems(store.folder, receipt)]
        open_part(store.folder, receipt)
        files = [path.with_name(f"{receipt.id}{ending}") for ending in receipt.digests]
        if max(file.stat().st_mtime_ns for file in files) <= path.stat().st_mtime_ns:
            return []
        problems = part_problems(store.folder, receipt)
        if not problems:
            path.touch()  # it was copied, say: no need to read it again next time
        return [Problem(what, receipt.id) for what in problems]
    except DamageError as error:
        return [Problem(str(error).removesuffix(f": {REMEDY}"), path.stem)]
    except StoreError as error:
        return [Problem(str(error))]


def _salvage(store: EmbeddingStore, path: Path) -> int:
    """Write a damaged part's sound rows as a new part and delete it.

    Returns:
        How many rows were lost.
    """
    vectors = _rows(path.with_suffix(".npy"), str(store.dtype), store.dim)
    keyed = _rows(path.with_suffix(".keys.npy"), "<u8", 3)
    there = max(len(vectors), len(keyed))
    rows = min(len(vectors), len(keyed))
    keys, vectors = keyed[:rows, :2].T, vectors[:rows]
    sound = keyed[:rows, 2] == row_checks(keys, vectors, store.fingerprint)
    try:
        receipt = store.read_receipt(path)
        expected, info, failures = receipt.rows, receipt.info, receipt.failures
    except StoreError:
        expected, info, failures = there, {}, ()
    if sound.any() or failures:
        write_part(store.folder, _bytes(keys[:, sound]), vectors[sound], store.fingerprint, info, failures)
    _delete(store.folder, path.stem)
    return max(0, expected - int(np.count_nonzero(sound)))


def _rows(path: Path, dtype: str, columns: int) -> np.ndarray:
    """As many whole rows as the file of an array holds, whatever its header says."""
    row = np.dtype(dtype).itemsize * columns
    try:
        count = (path.stat().st_size - HEADER_BYTES) // row * columns
        return np.fromfile(path, dtype, max(0, count), offset=HEADER_BYTES).reshape(-1, columns)
    except FileNotFoundError:
        return np.empty((0, columns), dtype)


def _bytes(keys: np.ndarray) -> np.ndarray:
    """Halves of keys → uint8 of shape ``(n, 16)``."""
    return np.ascontiguousarray(keys.T).view(np.uint8).reshape(-1, 16)


def _delete(folder: Path, part: str) -> None:
    """Delete a part, its receipt first: what has no receipt does not exist."""
    for ending in (".json", ".keys.npy", ".npy"):
        (folder / f"{part}{ending}").unlink(missing_ok=True)


def _sweep(store: EmbeddingStore) -> None:
    """Delete what killed processes left behind: files half written, vectors without a receipt, old plans."""
    there = {path.name for path in store.folder.iterdir()}
    for name in there:
        ending = ".index" if ".index." in name else ""
        receipt = f"{name.split('.')[0]}{ending}.json"
        if _LEFT_OVER.fullmatch(name) or (_OURS.match(name) and name.endswith(".npy") and receipt not in there):
            (store.folder / name).unlink(missing_ok=True)


def compact(
    store: EmbeddingStore,
    used: Callable[[], KeyMap] | None = None,
    most_rows: int = MOST_ROWS,
    advance: Callable[[int], None] = lambda parts: None,
) -> tuple[int, int]:
    """Merge small parts into large ones, and keep each vector once.

    Args:
        used: gives keys, once nobody else writes; vectors of other contents are dropped. None keeps all.
        most_rows: vectors a part.
        advance: called with the number of parts just dealt with.

    Returns:
        Vectors before and after.

    Raises:
        DamageError: a vector is damaged; what it stands in is left as it was.
        StoreError: another process is using the store, or it cannot be written.
    """
    with _alone(store):
        _sweep(store)
        store.refresh()
        before = len(store)
        wanted = used() if used else None
        failures = store.failures(wanted)
        for group in in_groups(_choose(store, wanted), lambda chosen: int(np.count_nonzero(chosen[1])), most_rows):
            part, keep = group[0]
            if len(group) > 1 or not keep.all() or part.receipt.format == 1:
                _merge(store, group, failures)
            advance(len(group))
        store.refresh()
        store.settle()
        store.refresh()
    return before, len(store)


def _choose(store: EmbeddingStore, used: KeyMap | None) -> Iterator[Chosen]:
    """Each part and which of its rows are to stay: those of used keys that no part before it has."""
    seen = KeyMap(folder=store.folder)
    for part in store.parts:
        keep = seen.add_new(part.keys)
        yield part, keep if used is None else keep & used.get(part.keys)[0]


def _merge(store: EmbeddingStore, group: Sequence[Chosen], failed: Collection[str]) -> None:
    """One part in place of several, with the chosen rows of each and those failures that are still some."""
    parts, rows = [part for part, _ in group], [np.flatnonzero(keep) for _, keep in group]
    keys = [part.keys[:, here] for part, here in zip(parts, rows, strict=True)]
    kept = np.empty((sum(map(len, rows)), store.dim), store.dtype)
    ends = np.cumsum([len(here) for here in rows])
    for part, here, its, end in zip(parts, rows, keys, ends, strict=True):
        kept[end - len(here) : end] = part.read(here, its)
    receipts = [part.receipt for part in parts]
    failures = [failure for key, failure in all_failures(receipts).items() if key in failed]
    if len(kept) or failures:
        info = _info(receipts, [len(here) for here in rows])
        write_part(store.folder, _bytes(np.concatenate(keys, axis=1)), kept, store.fingerprint, info, failures)
    for part in parts:
        _delete(store.folder, part.receipt.id)


def _info(receipts: list[Receipt], rows: list[int]) -> dict[str, object]:
    """How a merged part came about: seconds in proportion to what is left, the rest as far as it is the same."""
    latest = receipts[-1].info
    seconds = sum(
        receipt.info.get("seconds", 0.0) * kept / receipt.rows
        for receipt, kept in zip(receipts, rows, strict=True)
        if receipt.rows
    )
    machines = sorted({m for receipt in receipts for m in str(receipt.info.get("machine", "")).split(" and ")} - {""})
    return {**latest, "seconds": round(seconds, 4), "machine": " and ".join(machines), "merged": len(receipts)}
