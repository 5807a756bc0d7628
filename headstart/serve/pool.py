"""The workers: batches are formed for them, they are watched, and their successors take over without a gap.

Nothing waits in a worker but the batch that it is at and the next. All else waits here, where it can be refused,
dropped when nobody waits for it any more, or given to another worker when one dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from headstart.errors import HeadstartError, one_line
from headstart.progress import say
from headstart.runtime import cores
from headstart.serve import frames
from headstart.serve.costs import Costs
from headstart.serve.keys import VARIABLE
from headstart.serve.metrics import Metrics, State
from headstart.serve.process import Ticket, Worker
from headstart.serve.versions import Version

PHOTOS = 8
"""In a batch, at most: more gain little on a processor, and texts behind them would wait for half a second."""
TRIES = 2
"""Workers that may die over a listing before it is to blame: one with others, then one over it alone."""
LONGEST_PAUSE = 30.0
"""Seconds, at most, until a worker that died is started again; it begins with one."""


class Refused(Exception):
    """A listing that is not taken now; `after` seconds later it may be."""

    def __init__(self, reason: str, after: float) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class Settings:
    """How the workers work."""

    workers: int = 1
    rows: int = 32
    """Listings in a batch, at most."""
    pause: float = 0.002
    """Seconds that a batch waits to fill up, where the worker is at another one."""
    longest: float = 1.0
    """Seconds that a listing may be expected to wait for those before it; else it is refused."""
    timeout: float = 30.0
    """Seconds for a batch; a worker that takes longer is killed."""
    error_rate: float = 0.02
    coverage: float = 0.95


class Place:
    """What a request that was let in takes until its listings are here; else most would be read, and then refused.

    It is kept for as long as a listing may wait: then slow clients that come no faster than they can be answered never
    take all places, however long they send.
    """

    def __init__(self, inside: list[int], photo: bool, seconds: float) -> None:
        self._inside, self._photo = inside, photo
        inside[photo] += 1
        self._late = asyncio.get_running_loop().call_later(seconds, self.leave)
        self.kept = True

    def leave(self) -> None:
        """Take no more."""
        if self.kept:
            self.kept = False
            self._late.cancel()
            self._inside[self._photo] -= 1


class Pool:
    """Workers of one version of a model, or of two while one takes over from the other.

    All of it runs in the event loop's thread.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._queue: deque[Ticket] = deque()
        self._workers: list[Worker] = []
        self._keepers: set[asyncio.Task[None]] = set()
        self._batch = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._inside = [0, 0]  # listings without and with a photo that come, wait, or are being classified
        self.costs = Costs()
        self.version: Version | None = None
        """Which is served."""

    @property
    def ready(self) -> bool:
        """There is a worker that can answer."""
        return any(worker.ready for worker in self._workers)

    @property
    def about(self) -> dict[str, Any]:
        """What the model served said of itself; empty where no worker is ready."""
        return next((worker.about for worker in self._workers if worker.ready), {})

    def expected(self) -> float:
        """Seconds that a listing that came now would wait for those before it."""
        return self.costs.of(*self._inside) / max(1, self._ready())

    def check_room(self) -> None:
        """Refuse a request for which there is no room.

        Raises:
            Refused: it would wait too long, or nobody can answer it.
        """
        if not self.ready:
            raise Refused("no worker is ready: try again in a moment", 5)
        if (wait := self.expected()) > self._settings.longest:
            raise Refused(f"busy: {sum(self._inside)} listings are inside, try again later", wait)

    def place(self, photo: bool) -> Place:
        """Take a place for a request whose body is still to come: it counts as a listing that waits."""
        return Place(self._inside, photo, self._settings.longest)

    def ask(self, text: str | None, photo: bytes) -> asyncio.Future[tuple[dict[str, Any], int]]:
        """Line a listing up. The future's result is its answer and the version that gave it; cancel it to leave."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(text, photo, loop.create_future(), loop.time())
        self._inside[bool(photo)] += 1
        ticket.answer.add_done_callback(lambda _: self._left(ticket))
        self._queue.append(ticket)
        self._pump()
        return ticket.answer

    def _left(self, ticket: Ticket) -> None:
        """It is answered, or nobody waits for it any more: then its photo is not kept until its turn would come."""
        self._inside[bool(ticket.photo)] -= 1
        if ticket.answer.cancelled():
            with suppress(ValueError):  # a worker has it
                self._queue.remove(ticket)

    # Batches ---------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Give batches to the workers that have room."""
        while self._queue and (worker := self._free()) is not None:
            if self._queue[0].tries and worker.batches:
                return  # it goes alone: what is behind it in the same worker would be blamed as well
            now = asyncio.get_running_loop().time()
            due = self._queue[0].came + self._settings.pause
            if worker.batches and len(self._queue) < self._settings.rows and now < due:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_at(due, self._on_time)
                return
            if batch := self._take():
                self._send(worker, batch)

    def _on_time(self) -> None:
        self._timer = None
        self._pump()

    def _free(self) -> Worker | None:
        """The worker with the fewest batches, if it has room for another."""
        there = [each for each in self._workers if each.free]
        return min(there, key=lambda worker: len(worker.batches), default=None)

    def _take(self) -> list[Ticket]:
        """The next batch. A listing over which a worker died goes alone: it is not to take others with it."""
        batch: list[Ticket] = []
        photos = 0
        while self._queue and len(batch) < self._settings.rows:
            ticket = self._queue[0]
            if ticket.answer.done():  # nobody waits for it any more
                self._queue.popleft()
                continue
            photos += bool(ticket.photo)
            if photos > PHOTOS or (ticket.tries and batch):
                break
            batch.append(self._queue.popleft())
            if ticket.tries:
                break
        return batch

    def _send(self, worker: Worker, batch: list[Ticket]) -> None:
        loop = asyncio.get_running_loop()
        self._batch += 1
        if not worker.batches:
            worker.busy_since = loop.time()
            self._watch(worker)
        worker.batches[self._batch] = batch
        head = {"batch": self._batch, "listings": [(ticket.text, len(ticket.photo)) for ticket in batch]}
        if worker.process.stdin is not None:
            worker.process.stdin.write(frames.packed(head, [ticket.photo for ticket in batch]))
        self._metrics.batched(len(batch))

    def _watch(self, worker: Worker) -> None:
        """Kill it if it does not answer in time."""
        if worker.watch is not None:
            worker.watch.cancel()
        worker.watch = asyncio.get_running_loop().call_later(self._settings.timeout, self._hangs, worker)

    def _hangs(self, worker: Worker) -> None:
        if worker.batches:
            say(f"a worker took more than {self._settings.timeout:g} s for a batch: it is killed")
            worker.kill()

    def _answered(self, worker: Worker, head: dict[str, Any]) -> None:
        batch, now = worker.batches.pop(head["batch"]), asyncio.get_running_loop().time()
        seconds, worker.busy_since = now - worker.busy_since, now
        photos = sum(bool(ticket.photo) for ticket in batch)
        if not any("error" in answer for answer in head["answers"]):  # what could not be read took no time
            self.costs.tell(len(batch) - photos, photos, seconds)
        self._metrics.answered(seconds)
        self._watch(worker)
        for ticket, answer in zip(batch, head["answers"], strict=True):
            if not ticket.answer.done():
                ticket.answer.set_result((answer, worker.version.number))
        if worker.retired:
            worker.retire()
        self._pump()

    # Processes -------------------------------------------------------------------------------------------------------

    async def start(self, version: Version) -> None:
        """Have workers of this version take over; returns when one of them is ready.

        Raises:
            HeadstartError: they cannot load it. The version before goes on.
        """
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keepers = [asyncio.create_task(self._keep(version, first)) for _ in range(self._settings.workers)]
        for each in keepers:
            self._keepers.add(each)
            each.add_done_callback(self._keepers.discard)
        try:
            await first
        except HeadstartError:
            for each in keepers:
                each.cancel()
            raise

    async def stop(self) -> None:
        """End all workers, those that have batches when they have answered them."""
        self._stopping.set()
        for worker in self._workers:
            worker.retire()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=self._settings.timeout)
        for each in self._keepers:
            each.cancel()
        self.kill()

    def kill(self) -> None:
        """End all workers now, whatever they have."""
        for worker in self._workers:
            worker.kill()

    async def _keep(self, version: Version, first: asyncio.Future[None]) -> None:
        """Run a worker of this version, and another one when it dies, until a later version has taken over."""
        pause = 1.0
        while True:
            worker = None
            try:
                worker = await self._spawned(version)
                failed = await self._lived(worker, first)
            except (OSError, ValueError, LookupError) as error:  # it could not be started, or talked nonsense
                failed = one_line(error)
            loaded = worker is not None and bool(worker.about)
            if not first.done() and not loaded:
                first.set_exception(HeadstartError(failed or f"a worker ended while it loaded {version.folder}"))
                return
            if self._stopping.is_set() or (worker is not None and worker.retired) or version is not self.version:
                return
            pause = 1.0 if loaded else min(2 * pause, LONGEST_PAUSE)
            self._metrics.restarted()
            say(f"a worker died{failed and f' ({failed})'}: another one starts in {pause:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            if self._stopping.is_set() or version is not self.version:  # another one has taken over meanwhile
                return

    async def _lived(self, worker: Worker, first: asyncio.Future[None]) -> str:
        """Have it answer until it ends, and give what it leaves to others; why it could not begin, if it says so."""
        self._workers.append(worker)
        try:
            if self._stopping.is_set():  # since it was started
                return ""
            return await self._listen(worker, first)
        finally:
            worker.kill()
            self._workers.remove(worker)
            if worker.watch is not None:
                worker.watch.cancel()
            self._take_back(worker)

    async def _spawned(self, version: Version) -> Worker:
        settings = self._settings
        told = {
            "model": str(version.folder),
            "seal": version.seal,
            "error_rate": settings.error_rate,
            "coverage": settings.coverage,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headstart.serve.worker", json.dumps(told)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                **{name: value for name, value in os.environ.items() if name != VARIABLE},  # it needs no keys
                "OMP_NUM_THREADS": str(max(1, cores() // settings.workers)),
            },
        )
        return Worker(version, process)

    async def _listen(self, worker: Worker, first: asyncio.Future[None]) -> str:
        """Take what it says until it ends; why it could not begin, where it says so."""
        assert worker.process.stdout is not None
        while (message := await frames.read_from(worker.process.stdout)) is not None:
            head, _ = message
            if "failed" in head:
                return str(head["failed"])
            if "ready" in head:
                if worker.retired:
                    continue
                worker.about = head
                if not first.done():
                    self._take_over(worker.version, head["ready"])
                    first.set_result(None)
                self._pump()
            else:
                self._answered(worker, head)
        await worker.process.wait()
        return ""

    def _take_over(self, version: Version, seconds: dict[str, float]) -> None:
        """A first worker of a version is ready: those of the one before are not asked any more."""
        self.version = version
        self.costs = Costs(**seconds)
        for other in self._workers:
            if other.version is not version:
                other.retire()

    def _take_back(self, worker: Worker) -> None:
        """Line up again, first of all, what a dead worker had."""
        for batch in reversed(worker.batches.values()):
            for ticket in reversed(batch):
                ticket.tries += 1
                if ticket.answer.done():
                    continue
                if ticket.tries < TRIES:
                    self._queue.appendleft(ticket)
                else:
                    told = {"error": "this listing ended the worker that read it", "kind": "failed"}
                    ticket.answer.set_result((told, worker.version.number))
        self._pump()

    def _ready(self) -> int:
        return sum(worker.ready for worker in self._workers)

    def state(self) -> State:
        """What the metrics tell of it."""
        version = None if self.version is None else self.version.number
        return State(version, sum(self._inside), self._ready(), sum(worker.memory for worker in self._workers))
