"""How much memory a piece of work takes at most."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS = Path("/proc/self/status")


class Peak:
    """Looks at this process's own memory 50 times a second while it is entered, on Linux.

    Memory is what the process allocates (the kernel's RssAnon): pages of files, which the kernel takes back when it
    needs them, do not count.

    Attributes:
        bytes: the most that was seen; 0 elsewhere than on Linux.
    """

    def __init__(self) -> None:
        self.bytes = 0

    def __enter__(self) -> Self:
        self.bytes, self._done = allocated(), threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.bytes = max(self.bytes, allocated())


def allocated() -> int:
    """Bytes in memory of this process that are no pages of a file; 0 where the system does not say."""
    try:
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
    except (OSError, StopIteration):
        return 0
