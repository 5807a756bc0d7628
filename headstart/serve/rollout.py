"""Which version of a model is served: the highest that can be, and with ``--watch`` each better one as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from headstart.errors import HeadstartError, ModelError, one_line
from headstart.progress import say
from headstart.serve.pool import Pool
from headstart.serve.versions import Version, candidates, is_there, versions_of

LOOK = 2.0
"""Seconds between two looks for a new version."""
AGAIN = 60.0
"""Until versions that could not be served are tried once more."""


class Rollout:
    """The versions of a model, one after the other in the workers of a pool."""

    def __init__(self, pool: Pool, model: Path, found: Sequence[Version]) -> None:
        self.loading: Version | None = None
        """Whose workers start."""
        self.failed: dict[Version, str] = {}
        """Why versions cannot be served that would come before the one that is."""
        self.hopeless = ""
        """Why none can be served, once that is known."""
        self._pool, self._model, self._found = pool, model, found

    async def begin(self) -> None:
        """Serve the highest version that can be; where none can, `hopeless` says why the highest could not."""
        await self._first_of(candidates(self._found))
        if self._pool.version is None:
            self.hopeless = next(iter(self.failed.values()))

    async def watch(self) -> None:
        """Serve each better version as it comes. Where none is left, and what cannot be served, is told once."""
        again, gone = time.monotonic() + AGAIN, False
        while (served := self._pool.version) is not None:
            await asyncio.sleep(LOOK)
            try:
                found = await asyncio.to_thread(versions_of, self._model, [served, *self.failed])
            except ModelError:
                found = []
            except OSError:  # the folder cannot be read this time
                continue
            if not is_there(served, found) and not gone:
                say(f"version {served.number} is gone from {self._model}: it stays until another one can be served")
            gone = not is_there(served, found)
            wanted = candidates(found, served)
            self.failed = {version: reason for version, reason in self.failed.items() if version in wanted}
            passed = self.failed if time.monotonic() < again else ()
            if tried := candidates(found, served, passed):
                await self._first_of(tried)
                again = time.monotonic() + AGAIN

    async def _first_of(self, tried: Sequence[Version]) -> None:
        """Serve the first of these versions that can be."""
        served = self._pool.version
        for version in tried:
            self.loading = version
            try:
                if version.fault:
                    raise ModelError(version.fault)
                if served is not None and version not in self.failed:
                    say(f"version {version.number} is there: its workers start")
                await self._pool.start(version)
            except Exception as error:  # whatever is wrong with one, the next is tried
                kind = "" if isinstance(error, HeadstartError) else f"{type(error).__name__}: "
                reason = kind + one_line(error)
                alone = served is None and len(tried) == 1  # the server ends with that line
                if not alone and self.failed.get(version) != reason:
                    stays = "" if served is None else f": version {served.number} stays"
                    say(f"version {version.number} cannot be served ({reason}){stays}")
                self.failed[version] = reason
                continue
            self.failed.pop(version, None)
            if about := self._pool.about:  # its worker has not died already
                say(
                    f"serving version {version.number} of {self._model}: {about['categories']:,} categories, "
                    f"{', '.join(about['encoders'])}"
                )
            break
        self.loading = None
