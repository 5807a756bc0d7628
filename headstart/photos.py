"""Photos in a folder, found by name without a look at the disk for each."""

from __future__ import annotations

import os
from pathlib import Path

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Tried in this order where photos are named by id."""


class PhotoFolder:
    """Looks photos up by name. Each folder is listed once; what comes into it later is not seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> Path | None:
        """The file of that name in the folder or below it. A name that leaves the folder is not followed."""
        inside, file = os.path.split(name) if "/" in name or os.sep in name else ("", name)
        if inside not in self._listed:
            self._listed[inside] = frozenset() if _leaves(inside) else self._files(inside)
        return self.folder / name if file in self._listed[inside] else None

    def find_by_id(self, listing: str) -> Path | None:
        """The photo whose name is the id and one of `PHOTO_SUFFIXES`."""
        return next((path for suffix in PHOTO_SUFFIXES if (path := self.find(listing + suffix))), None)

    def why_not(self, name: str) -> str:
        """The reason why `find` gives None for a name."""
        if not name:
            return "no photo named"
        if "://" in name:
            return "photo is a web address, not a file"
        return "photo name leaves the photo folder" if _leaves(name) else "photo not found"

    def _files(self, inside: str) -> frozenset[str]:
        try:
            with os.scandir(self.folder / inside) as entries:
                return frozenset(entry.name for entry in entries if entry.is_file())
        except (OSError, ValueError):  # no such folder, or a name that no file system takes
            return frozenset()


def _leaves(name: str) -> bool:
    first, *others = name.replace("\\", "/").split("/")
    return ".." in (first, *others) or ":" in first or (first == "" and bool(others))
