"""Photos on disk: found by name in a folder; sizes and times of many files at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Tried in this order where photos are named by id."""

THREADS = 4
"""Files are asked for and read side by side: on two cores it gains, and on a network disk most of it is waiting."""
_ASKED = 2048  # files in one question


class PhotoFolder:
    """Looks photos up by name.

    The disk is asked for each. To list the folder instead takes as long, holds every name in memory, and waits for a
    million files where ten are wanted.
    """

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder.absolute()}{os.sep}"

    def find(self, names: Sequence[str]) -> tuple[list[str | None], np.ndarray]:
        """The absolute path of each photo in the folder or below it, and what `file_stats` says of them.

        A name that leaves the folder is not followed.
        """
        paths = [self._prefix + name if name and _inside(name) else "" for name in names]
        stats = file_stats(paths)
        return [path if size >= 0 else None for path, size in zip(paths, stats[0].tolist(), strict=True)], stats

    def find_by_id(self, listings: Sequence[str]) -> tuple[list[str | None], np.ndarray]:
        """The same for the photos whose names are an id and one of `PHOTO_SUFFIXES`."""
        found, stats = self.find([listing + PHOTO_SUFFIXES[0] for listing in listings])
        for suffix in PHOTO_SUFFIXES[1:]:
            missing = [i for i, path in enumerate(found) if path is None]
            others, stats[:, missing] = self.find([listings[i] + suffix for i in missing])
            for i, path in zip(missing, others, strict=True):
                found[i] = path
        return found, stats

    def why_not(self, name: str) -> str:
        """The reason why there is no photo of a name."""
        if not name:
            return "no photo named"
        if "://" in name:
            return "photo is a web address, not a file"
        return "photo name leaves the photo folder" if _leaves(name) else "photo not found"


def file_stats(paths: Sequence[str]) -> np.ndarray:
    """Sizes in bytes and modification times in ns, int64 of shape ``(2, n)``.

    The size is −1 where there is no file (a folder or a device is none) or it cannot be asked for.
    """
    groups = [paths[start : start + _ASKED] for start in range(0, len(paths), _ASKED)]
    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate([np.empty((2, 0), np.int64), *pool.map(_stats, groups)], axis=1)


def _stats(paths: Sequence[str]) -> np.ndarray:
    from pyarrow.fs import LocalFileSystem

    try:  # one call for all takes less time than os.stat, and lets other threads run
        infos = LocalFileSystem().get_file_info([os.fsencode(path) for path in paths])
    except (OSError, ValueError):  # one lies in a folder that may not be entered, or has a name that cannot be
        if len(paths) == 1:
            return np.array([[-1], [0]])
        return np.concatenate([_stats([path]) for path in paths], axis=1)
    sizes = [info.size for info in infos]
    return np.array(
        [
            [-1 if size is None else size for size in sizes],
            [0 if size is None else info.mtime_ns for info, size in zip(infos, sizes, strict=True)],
        ]
    )


def _inside(name: str) -> bool:
    return not ("/" in name or os.sep in name) or not _leaves(os.path.split(name)[0])


@lru_cache(maxsize=1 << 12)  # folders repeat
def _leaves(name: str) -> bool:
    first, *others = name.replace("\\", "/").split("/")
    return ".." in (first, *others) or ":" in first or (first == "" and bool(others))
