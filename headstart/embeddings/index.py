"""KeyMap: content keys → numbers, in few sorted runs that may lie on disk.

A run is one uint64 array of shape ``(2 + values, n)``: the halves of n keys, sorted by the first half, then what each
key maps to. New keys come as small runs; runs of like size are merged, as in a log-structured merge tree (O'Neil et
al., 1996), so that n keys cost n log n in all and are found by a few binary searches.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

MOST_MERGED = 1 << 23
"""Keys in a run that is made by merging: about 200 MB of memory. Longer runs stay side by side."""
_SPILLED = 1 << 20
"""Runs of so many keys are put on disk where a KeyMap has a folder for them."""


def halves(keys: np.ndarray) -> np.ndarray:
    """Keys, uint8 of shape ``(n, 16)``, as uint64 of shape ``(2, n)``."""
    return np.ascontiguousarray(keys).view("<u8").reshape(-1, 2).T


def sorted_run(run: np.ndarray) -> np.ndarray:
    """The same columns, sorted by their first row; where that is equal, in their order."""
    return np.take(run, np.argsort(run[0], kind="stable"), axis=1)


def merged(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Several runs as one. The sort is a merge: NumPy's stable one of integers looks for what is sorted already."""
    return sorted_run(np.concatenate(runs, axis=1))


def find(run: np.ndarray, wanted: np.ndarray, since: np.ndarray | None = None) -> np.ndarray:
    """Where keys stand in a run, the first place of each.

    Args:
        run: as above.
        wanted: halves of keys, uint64 of shape ``(2, m)``; in sorted order they are found three times as fast.
        since: int64 of shape ``(m,)``: after a place of each key, to find the next one; None from the beginning.

    Returns:
        int64 of shape ``(m,)``, −1 where a key is not there.
    """
    first, second = run[0], run[1]
    places = np.full(wanted.shape[1], -1, np.int64)
    at = np.searchsorted(first, wanted[0]) if since is None else since.copy()
    open_ = np.flatnonzero(at < len(first))
    # Keys that share their first half stand side by side: step on until the second half fits or the first differs.
    while len(open_):
        here = at[open_]
        alike = first[here] == wanted[0, open_]
        open_, here = open_[alike], here[alike]
        same = second[here] == wanted[1, open_]
        places[open_[same]] = here[same]
        open_ = open_[~same]
        at[open_] += 1
        open_ = open_[at[open_] < len(first)]
    return places


class KeyMap:
    """A map from keys to one or more numbers each; where a key was added twice, the first counts."""

    def __init__(self, runs: Iterable[np.ndarray] = (), values: int = 0, folder: Path | None = None) -> None:
        """Start from sorted runs.

        Args:
            runs: in memory or memory-mapped.
            values: numbers a key.
            folder: where long runs may go, in files that vanish with this process; without it they stay in memory.
        """
        self.runs = list(runs)
        self.values = values
        self._folder = folder

    def __len__(self) -> int:
        """How many keys were added."""
        return sum(run.shape[1] for run in self.runs)

    def get(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look keys up.

        Args:
            wanted: halves of keys, uint64 of shape ``(2, m)``.

        Returns:
            Whether each is there, bool of shape ``(m,)``, and its numbers, uint64 of shape ``(values, m)``, 0 where
            it is not.
        """
        order = np.argsort(wanted[0])
        left = wanted[:, order]
        there = np.zeros(wanted.shape[1], bool)
        numbers = np.zeros((self.values, wanted.shape[1]), np.uint64)
        for run in self.runs:
            if not len(order):
                break
            places = find(run, left)
            hit = places >= 0
            there[order[hit]] = True
            for number, row in zip(numbers, run[2:], strict=True):
                number[order[hit]] = row[places[hit]]
            left, order = left[:, ~hit], order[~hit]
        return there, numbers

    def add(self, run: np.ndarray) -> None:
        """Add columns of key halves and numbers, sorted or not."""
        if not run.shape[1]:
            return
        self.runs.append(sorted_run(run))
        while len(self.runs) > 1:
            size, last = self.runs[-2].shape[1], self.runs[-1].shape[1]
            if size > 2 * last or size + last > MOST_MERGED:
                break
            self.runs[-2:] = [merged(self.runs[-2:])]
        if self._folder is not None and self.runs[-1].shape[1] >= _SPILLED:
            self.runs[-1] = _on_disk(self.runs[-1], self._folder)

    def add_new(self, keys: np.ndarray) -> np.ndarray:
        """Add those of these keys, halves of shape ``(2, m)``, that are not there; of a key met twice the first.

        Returns:
            Which ones, bool of shape ``(m,)``. The map must have no values.
        """
        new = np.flatnonzero(~self.get(keys)[0])
        order = new[np.lexsort((new, keys[1, new], keys[0, new]))]
        repeats = np.concatenate([[False], (keys[:, order[1:]] == keys[:, order[:-1]]).all(axis=0)])[: len(order)]
        chosen = np.zeros(keys.shape[1], bool)
        chosen[order[~repeats]] = True
        self.add(keys[:, chosen])
        return chosen


def _on_disk(run: np.ndarray, folder: Path) -> np.ndarray:
    if isinstance(run, np.memmap):
        return run
    # Its name is gone at once, the map keeps the file. It is written, not mapped to be filled: on a full disk a map
    # would end the process.
    with tempfile.TemporaryFile(dir=folder if os.access(folder, os.W_OK) else None) as file:
        file.write(run.data)
        file.flush()
        return np.memmap(file, run.dtype, "r", shape=run.shape)
