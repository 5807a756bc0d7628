"""One worker: items of a plan → vectors in parts. The same in this process, in another, and on another machine.

Threads read and decode while the network encodes what they made before, and a thread of its own writes the part that
is full; each waits for the next, so that memory is bounded.
"""

from __future__ import annotations

import os
import platform
import signal
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart.embeddings.key import PHOTO_LIMIT, content_key, key_rows, path_key
from headstart.embeddings.part import Failure, Receipt
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import CatalogError, EncoderError, ItemError
from headstart.extract.batching import MOST, BatchSize
from headstart.extract.encoder import Encoder
from headstart.extract.plan import Item, read_items
from headstart.runtime import cores, machine, now, versions

X = TypeVar("X")
Y = TypeVar("Y")
LEAST = float(np.finfo(np.float16).tiny)
"""Below it half precision, in which vectors are kept, loses digits."""
TOGETHER = {"text": 32, "image": 1}
"""Items that a thread prepares at a time: to hand over a single text takes longer than to prepare it."""
GONE = "photo is not there any more"
GONE_IN_A_ROW = 1000
"""So many photos that were there when they were planned did not go one by one: their disk did."""


@dataclass(frozen=True)
class Task:
    """Some record batches of a plan to encode: names and numbers, light to send and safe to repeat."""

    encoder: Encoder
    fingerprint: str
    """Of the encoder, which may be another one where the task runs."""
    store: Path
    plan: Path
    batches: range


def encode_part(task: Task) -> None:
    """Do a task. Its outcome is a part's receipt in the store; this process's next task finds the network loaded."""
    where = (task.fingerprint, task.store, threading.get_ident())
    if where not in _WORKERS:
        if task.encoder.fingerprint != task.fingerprint:
            raise EncoderError(
                f"{task.encoder.name} is {task.encoder.fingerprint[:12]} on the worker {platform.node()}, not "
                f"{task.fingerprint[:12]}: install the same version there"
            )
        _WORKERS[where] = Worker(task.encoder, EmbeddingStore(task.store))
    try:
        for _ in _WORKERS[where].run(task.plan, [task.batches]):
            pass
    except SystemExit as error:  # a polite kill, which would end the parent as well
        raise WorkerStopped(platform.node()) from error


class WorkerStopped(Exception):
    """A worker was told to end."""


def follow(parent: int) -> None:
    """Let this process end when its parent does, and leave Ctrl-C, which a terminal sends to both, to the parent."""
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Loky takes a process that grows by 300 MB for one that leaks, and starts it anew: here it is the network.
    process_executor._MAX_MEMORY_LEAK_SIZE = 1 << 62

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_WORKERS: dict[tuple[str, Path, int], Worker] = {}
_LOADING = threading.Lock()


def part_name(plan: Path, batches: range) -> str:
    """What the id of a part starts with that was made of a plan's batches: parts stand in the catalogue's order."""
    return f"{plan.name.partition('.')[0]}-{batches.start:08x}"


@dataclass
class _Prepared:
    """An item as the network's input, or why not."""

    item: Item
    batches: range
    """Of the plan, that it is from."""
    made: Any


class Worker:
    """An encoder at work for one store."""

    def __init__(self, encoder: Encoder, store: EmbeddingStore) -> None:
        self.encoder, self.store = encoder, store
        self._batch_size = BatchSize(encoder.batch, MOST[encoder.modality])
        self._loaded = False
        self._gone = 0

    def run(self, plan: Path, ranges: Iterable[range]) -> Iterator[Receipt]:
        """Encode ranges of a plan's record batches, a part each.

        Yields:
            The receipt of each part when it is kept, in order. What is encoded is kept also when an error or Ctrl-C
            ends it.

        Raises:
            CatalogError: the photos' folder is gone.
            EncoderError: the encoder cannot be loaded, or its output is not what it should be.
            StoreError: the disk does not take the part.
        """
        with ThreadPoolExecutor(cores()) as threads, ThreadPoolExecutor(1) as writer:
            prepared = self._prepared(threads, plan, ranges)
            writing: Future[Receipt] | None = None
            part = _Part(plan)
            try:
                for batches, items in groupby(prepared, attrgetter("batches")):
                    part.batches = batches
                    while batch := list(islice(items, self._batch_size.size)):
                        self._encode(batch, part)
                    part.end()
                    if writing:
                        yield writing.result()
                    writing, part = writer.submit(part.keep, self.store), _Part(plan)
                if writing:
                    yield writing.result()
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
                if part.made:
                    part.end()
                    part.keep(self.store, whole=False)

    def _encode(self, batch: list[_Prepared], part: _Part) -> None:
        ready = []
        for each in batch:
            if isinstance(each.made, ItemError):
                part.failures.append(Failure(each.item.key.hex(), each.item.listing, each.made.kind, str(each.made)))
                self._gone = self._gone + 1 if str(each.made) == GONE else 0
            else:
                ready.append(each)
                self._gone = 0
        if self._gone >= GONE_IN_A_ROW:
            raise CatalogError(
                f"{self._gone:,} photos in a row are not there any more, the last of them "
                f"{os.fsdecode(each.item.content)}: bring their disk back, then extract again"
            )
        if not ready:
            return
        if not self._loaded:
            started = time.perf_counter()
            with _LOADING:
                self.encoder.load()
            self._loaded = True
            part.started += time.perf_counter() - started  # starting TensorFlow is not encoding
        started = time.perf_counter()
        vectors = _checked(self.encoder, [each.made for each in ready])
        part.made.append(([each.item.key for each in ready], vectors))
        self._batch_size.tell(len(batch), time.perf_counter() - started)

    def _prepared(self, threads: ThreadPoolExecutor, plan: Path, ranges: Iterable[range]) -> Iterator[_Prepared]:
        """Items prepared in threads, in order. While one batch is encoded the next two are prepared."""
        together = TOGETHER[self.encoder.modality]
        for made in _ahead(
            threads,
            partial(_prepare_all, self.encoder),
            ((batches, items) for batches in ranges for items in _cut(read_items(plan, batches), together)),
            lambda: max(2, 3 * self._batch_size.size // together),
        ):
            yield from made


class _Part:
    """Vectors made and not kept yet."""

    def __init__(self, plan: Path) -> None:
        self.plan, self.batches = plan, range(0)
        self.made: list[tuple[list[bytes], np.ndarray]] = []
        self.failures: list[Failure] = []
        self.started = time.perf_counter()
        self.seconds = 0.0

    def end(self) -> None:
        """No more comes into it."""
        self.seconds = time.perf_counter() - self.started

    def keep(self, store: EmbeddingStore, whole: bool = True) -> Receipt:
        """Write it; where it is not `whole`, so that nobody takes the task for done."""
        seconds = round(self.seconds, 4)
        info = {"seconds": seconds, "machine": machine(), "versions": versions(), "created": now()}
        keys = [key for keys, _ in self.made for key in keys]
        vectors = np.concatenate([np.empty((0, store.dim), np.float32), *(vectors for _, vectors in self.made)])
        name = part_name(self.plan, self.batches) if whole else ""
        return store.append(key_rows(keys), vectors, info, self.failures, name)


def _cut(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while some := list(islice(items, size)):
        yield some


def _prepare_all(encoder: Encoder, work: tuple[range, list[Item]]) -> list[_Prepared]:
    batches, items = work
    return [_Prepared(item, batches, _prepare(encoder, item)) for item in items]


def _prepare(encoder: Encoder, item: Item) -> Any:
    """An item's content as the network's input, or the ItemError that says why not."""
    try:
        return encoder.prepare(item.content.decode() if encoder.modality == "text" else _photo(item))
    except ItemError as error:
        return error.with_traceback(None)  # which holds the photo


def _photo(item: Item) -> bytes:
    """A photo file's bytes.

    Raises:
        ItemError: it cannot be read now, has changed since it was planned, or is too large.
        CatalogError: its folder is gone.
    """
    path = os.fsdecode(item.content)
    try:
        there = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(there.st_mode):
            raise ItemError("photo is no file any more", "unreadable")
        if there.st_size > PHOTO_LIMIT:
            raise ItemError(f"photo of {there.st_size >> 20:,} MB, the limit is {PHOTO_LIMIT >> 20}", "too large")
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read(PHOTO_LIMIT + 1)
    except OSError as error:
        if not os.path.isdir(folder := os.path.dirname(path)):  # noqa: PTH112, PTH120
            raise CatalogError(
                f"the photo folder {folder} is gone: bring it back and extract again, what was encoded is kept"
            ) from None
        reason = GONE if isinstance(error, FileNotFoundError) else f"photo cannot be read ({error.strerror})"
        raise ItemError(reason, "unreadable") from None
    if item.key == path_key(path):
        raise ItemError("photo could not be read at first: extract again", "unreadable")
    if item.key != content_key("image", data):
        why = "photo changed while it was being read, or without a new date: touch it, extract again"
        raise ItemError(why, "unreadable")
    return data


def _checked(encoder: Encoder, inputs: list[object]) -> np.ndarray:
    """Encode, and refuse an output of the wrong shape or with values that are not finite."""
    vectors = encoder.encode(inputs)
    if vectors.shape != (len(inputs), encoder.dim) or not np.isfinite(vectors).all():
        raise EncoderError(
            f"{encoder.name} gave {vectors.shape} for {len(inputs)} items of dimension {encoder.dim}, or values that "
            "are not finite: its weights are damaged or it is not an encoder of this modality"
        )
    largest = float(np.abs(vectors).max())
    if 0 < largest < LEAST:
        raise EncoderError(
            f"{encoder.name} gives numbers of at most {largest:.1g}, too small to keep: check its weights"
        )
    return vectors


def _ahead(
    threads: ThreadPoolExecutor, work: Callable[[X], Y], items: Iterable[X], ahead: Callable[[], int]
) -> Iterator[Y]:
    """What `work` makes of the items, in order, at most `ahead()` of them made before they are asked for."""
    waiting: deque[Future[Y]] = deque()
    for item in items:
        waiting.append(threads.submit(work, item))
        if len(waiting) >= ahead():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
