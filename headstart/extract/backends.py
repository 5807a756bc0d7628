"""Who encodes: backends of joblib, which run tasks in processes, in threads, or on a Dask or Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from headstart.errors import EncoderError, one_line
from headstart.extract.work import WorkerStopped, follow
from headstart.runtime import cores

BACKENDS = ("loky", "threading", "dask", "ray")
Running = tuple[dict[str, Any], tuple[type[BaseException], ...]]
"""What joblib is told, and what it raises when a worker dies."""
_PATIENCE = 5
"""Seconds that a cluster's scheduler has to take a connection."""


@dataclass(frozen=True)
class Workers:
    """Who encodes.

    Attributes:
        count: workers at a time. One without a scheduler is this process, with all its cores.
        backend: of joblib, one of `BACKENDS` or any that was registered with it; ``dask`` and ``ray`` need the extra of
            that name.
        scheduler: address of a running cluster of Dask or Ray, whose workers must see the store and the photos under
            the same paths; without one, a cluster of this machine is started.
    """

    count: int = 1
    backend: str = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            EncoderError: no such backend, no workers, or a scheduler for a backend that has none.
        """
        if self.backend not in BACKENDS and self.backend not in _registered():
            raise EncoderError(f"no backend {self.backend!r}; choose one of: {', '.join(BACKENDS)}, or register it")
        if self.count < 1:
            raise EncoderError(f"{self.count} workers encode nothing; give 1 or more")
        if self.scheduler and self.backend not in ("dask", "ray"):
            raise EncoderError(f"{self.backend} has no scheduler; choose --backend dask or ray, or leave it out")


def _registered() -> Collection[str]:
    from joblib.parallel import BACKENDS as known

    return set(known)


def running(workers: Workers) -> AbstractContextManager[Running]:
    """The backend, started where it is ours to start.

    Raises:
        EncoderError: its package is missing, or its scheduler does not answer.
    """
    return {"loky": _loky, "dask": _dask, "ray": _ray}.get(workers.backend, _other)(workers)


@contextmanager
def _other(workers: Workers) -> Iterator[Running]:
    yield {"backend": workers.backend, "n_jobs": workers.count}, (BrokenExecutor, WorkerStopped)


@contextmanager
def _loky(workers: Workers) -> Iterator[Running]:
    # A worker whose parent was killed would wait five minutes for a task, with the network in its memory.
    start = {"initializer": follow, "initargs": (os.getpid(),)}
    yield {"backend": "loky", "n_jobs": workers.count, **start}, (BrokenExecutor, WorkerStopped)


@contextmanager
def _dask(workers: Workers) -> Iterator[Running]:
    distributed = _extra("distributed", "dask")
    own = {"n_workers": workers.count, "threads_per_worker": 1, "env": _share(workers)}
    with _connecting(workers):
        where = {"address": workers.scheduler} if workers.scheduler else own
        client = distributed.Client(**where, set_as_default=False)
    with client:
        _need_two(workers, sum(client.ncores().values()))
        yield {"backend": "dask", "client": client, "n_jobs": -1}, (distributed.KilledWorker, WorkerStopped)


@contextmanager
def _ray(workers: Workers) -> Iterator[Running]:
    ray, register = _extra("ray", "ray"), _extra("ray.util.joblib", "ray")
    own = {"num_cpus": workers.count, "runtime_env": {"env_vars": _share(workers)}}
    with _connecting(workers):
        ray.init(
            workers.scheduler or "local",  # or else it takes a cluster that it happens to find here
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if workers.scheduler else own),
        )
    try:
        register.register_ray()
        slots = int(ray.cluster_resources().get("CPU", 0)) if workers.scheduler else workers.count
        _need_two(workers, slots)
        yield {"backend": "ray", "n_jobs": slots}, (ray.exceptions.RayError, WorkerStopped)
    finally:
        results = _extra("ray.util.multiprocessing.pool", "ray").ResultThread
        for thread in threading.enumerate():  # one that still waits for its task would start Ray anew by itself
            if isinstance(thread, results):
                thread.join(_PATIENCE)
        ray.shutdown()


def _need_two(workers: Workers, slots: int) -> None:
    if slots < 2:
        raise EncoderError(
            f"{workers.backend} has room for {slots} worker, and joblib would rather use this process: give it room "
            "for two, or leave --backend out"
        )


def _share(workers: Workers) -> dict[str, str]:
    """Each worker's part of this machine's cores, as `runtime.cores` reads it; a cluster would give each one core."""
    return {"OMP_NUM_THREADS": str(max(1, cores() // workers.count))}


@contextmanager
def _connecting(workers: Workers) -> Iterator[None]:
    """One line for a cluster that does not answer; Ray alone would try for minutes, and print at length."""
    host, _, port = (workers.scheduler or "").rpartition("/")[2].rpartition(":")
    try:
        if workers.scheduler and workers.backend == "dask" and not port.isdigit():
            raise ValueError("no port in it")
        if port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
        yield
    except (OSError, ValueError) as error:
        where = f"{workers.backend} at {workers.scheduler}" if workers.scheduler else f"a local {workers.backend}"
        raise EncoderError(
            f"{where} cannot be reached ({one_line(error)}): is it running, is --scheduler its address?"
        ) from None


def _extra(module: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise EncoderError(f"--backend {extra} needs another package: pip install 'headstart[{extra}]'") from None
