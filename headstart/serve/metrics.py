"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class State:
    """What there is at the moment that it is asked for."""

    version: int | None
    """Which is served; None before any is."""
    listings: int
    """That come, wait or are being classified."""
    ready: int
    """Workers that can answer."""
    memory: int
    """Bytes of all workers."""


class Metrics:
    """Counters and gauges of one server, in a registry of its own."""

    def __init__(self, name: str) -> None:
        """Start all of them at zero; `name` is the model's."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._name = name
        self._requests = Counter(
            "headstart_requests", "Requests to classify, by HTTP status", ["code"], registry=registry
        )
        self._seconds = Histogram(
            "headstart_request_seconds", "From a request's head to its answer, of those answered with 200",
            registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self._listings = Counter(
            "headstart_listings", "Listings classified, by decision and by what was read", ["decision", "read"],
            registry=registry,
        )  # fmt: skip
        self._refused = Counter(
            "headstart_listings_refused", "Listings that could not be read, their photo or a text too long, by kind",
            ["kind"], registry=registry,
        )  # fmt: skip
        self._queue = Gauge("headstart_queue_listings", "Listings that come, wait or are classified", registry=registry)
        self._batch = Histogram("headstart_batch_listings", "Listings in a batch", registry=registry, buckets=ROWS)
        self._batch_seconds = Histogram(
            "headstart_batch_seconds", "Seconds that a worker was at a batch", registry=registry, buckets=SECONDS
        )
        self._restarts = Counter("headstart_worker_restarts", "Workers that died and were replaced", registry=registry)
        self._ready = Gauge("headstart_workers_ready", "Workers that can answer", registry=registry)
        self._model = Gauge("headstart_model_info", "1 for the version served", ["name", "version"], registry=registry)
        self._memory = Gauge("headstart_workers_resident_bytes", "Memory of all workers", registry=registry)

    def requested(self, code: int, seconds: float) -> None:
        """A request to classify was answered."""
        self._requests.labels(code).inc()
        if code == 200:
            self._seconds.observe(seconds)

    def classified(self, answers: Iterable[dict[str, Any]]) -> None:
        """Listings were answered, or could not be read."""
        for answer in answers:
            if "error" in answer:
                self._refused.labels(answer["kind"]).inc()
            else:
                self._listings.labels(answer["decision"], answer["read"]).inc()

    def batched(self, listings: int) -> None:
        """A batch of so many listings was given to a worker."""
        self._batch.observe(listings)

    def answered(self, seconds: float) -> None:
        """A worker was at a batch for so long."""
        self._batch_seconds.observe(seconds)

    def restarted(self) -> None:
        """A worker died."""
        self._restarts.inc()

    def text(self, now: State) -> bytes:
        """In Prometheus's text format."""
        self._queue.set(now.listings)
        self._ready.set(now.ready)
        self._memory.set(now.memory)
        self._model.clear()
        if now.version is not None:
            self._model.labels(self._name, now.version).set(1)
        return generate_latest(self.registry)
