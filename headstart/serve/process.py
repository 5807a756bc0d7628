"""A worker's process as the pool sees it, and the listings that it has been given."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.serve.versions import Version

OUTSTANDING = 2
"""Batches that a worker has: one that it is at, and one whose photos are decoded meanwhile."""


@dataclass(eq=False)
class Ticket:
    """A listing that waits for its answer."""

    text: str | None
    photo: bytes
    answer: asyncio.Future[tuple[dict[str, Any], int]]
    """Resolved with the answer and the version of the model that gave it."""
    came: float
    tries: int = 0


@dataclass(eq=False)
class Worker:
    """A worker's process, and the batches that it has."""

    version: Version
    process: asyncio.subprocess.Process
    about: dict[str, Any] = field(default_factory=dict)
    """What it said when it was ready; empty until then."""
    batches: dict[int, list[Ticket]] = field(default_factory=dict)
    busy_since: float = 0.0
    watch: asyncio.TimerHandle | None = None
    retired: bool = False

    @property
    def ready(self) -> bool:
        """It has loaded, and is not to end."""
        return bool(self.about) and not self.retired

    @property
    def free(self) -> bool:
        """It can be given a batch. One whose pipe is closed has died, which is noticed in a moment."""
        pipe = self.process.stdin
        there = self.ready and pipe is not None and not pipe.is_closing()
        return there and len(self.batches) < OUTSTANDING and not self._suspects

    @property
    def memory(self) -> int:
        """Bytes that are resident; 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def _suspects(self) -> bool:
        """It is at a listing over which another worker died, alone."""
        return any(ticket.tries for batch in self.batches.values() for ticket in batch)

    def retire(self) -> None:
        """Let it end when it has answered what it has; one that still loads ends now."""
        self.retired = True
        if not self.about:
            self.kill()
        elif not self.batches and self.process.stdin is not None:
            self.process.stdin.close()

    def kill(self) -> None:
        """End it now."""
        if self.process.returncode is None:
            self.process.kill()
