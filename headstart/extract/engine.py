"""Tasks on workers, through joblib: processes, threads, or the machines of a Dask or Ray cluster.

A task's outcome is a receipt on disk, so that nothing depends on what a backend brings back: progress is read from the
receipts, and where a worker dies, the tasks without a receipt are given out again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from headstart.embeddings.part import Receipt
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import EncoderError, HeadstartError, StoreError
from headstart.extract.backends import Workers, running
from headstart.extract.encoder import Encoder
from headstart.extract.plan import Plan
from headstart.extract.work import Task, Worker, encode_part, part_name
from headstart.progress import say

DEATHS = 3
"""Times in a row that workers may die without a single part done."""
_LOOK = 0.5
"""Seconds between two looks at the receipts."""


def encode(
    encoder: Encoder,
    store: EmbeddingStore,
    plan: Plan,
    ranges: Sequence[range],
    workers: Workers,
    advance: Callable[[int], None],
) -> None:
    """Encode ranges of a plan, a part each.

    Args:
        advance: called with the number of items just done.

    Raises:
        HeadstartError: as `Worker.run`; what was encoded is kept.
    """
    if workers == Workers():
        for receipt in Worker(encoder, store).run(plan.path, ranges):
            advance(receipt.rows + len(receipt.failures))
        return
    left, deaths = list(ranges), 0
    with running(workers) as (parallel, died), _watched(store, plan, advance):
        while left:
            try:
                # Whole paths: a worker may have begun in another folder.
                folder, path = store.folder.absolute(), plan.path.absolute()
                _give_out([Task(encoder, encoder.fingerprint, folder, path, each) for each in left], parallel)
                return
            except HeadstartError:
                raise
            except Exception as error:
                if not isinstance(error, died):
                    raise
            store.refresh()
            done = {receipt.id.rpartition("-")[0] for receipt in receipts_of(store, plan)}
            before, left = len(left), [each for each in left if part_name(plan.path, each) not in done]
            deaths = deaths + 1 if len(left) == before else 0
            if deaths == DEATHS:
                raise EncoderError(
                    f"workers of {encoder.name} died {deaths} times without ending a part, for want of memory perhaps: "
                    "try fewer --workers"
                )
            say(f"a worker died: {len(left):,} parts without a receipt are given out again")


def receipts_of(store: EmbeddingStore, plan: Plan) -> list[Receipt]:
    """The receipts of the parts that were made by a plan."""
    return [receipt for receipt in store.receipts if receipt.id.startswith(plan.id)]


def _give_out(tasks: list[Task], parallel: dict[str, Any]) -> None:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(**parallel):
        Parallel(batch_size=1, pre_dispatch="2*n_jobs")(delayed(encode_part)(task) for task in tasks)


@contextmanager
def _watched(store: EmbeddingStore, plan: Plan, advance: Callable[[int], None]) -> Iterator[None]:
    """Tell the progress of a plan by the receipts that come, until this ends."""
    known = set(store.folder.glob(f"{plan.id}-*.json"))
    ended = threading.Event()

    def watch() -> None:
        pause = _LOOK
        while not ended.wait(pause):
            started = time.perf_counter()
            look()
            pause = max(_LOOK, 20 * (time.perf_counter() - started))  # in a folder of many files it takes a while

    def look() -> None:
        for path in set(store.folder.glob(f"{plan.id}-*.json")) - known:
            known.add(path)
            with suppress(StoreError):  # it tells no progress; who opens the store is told
                receipt = store.read_receipt(path)
                advance(receipt.rows + len(receipt.failures))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        look()
