"""Extraction by workers: real processes of joblib, of a local Dask cluster and of a local Ray."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.embeddings.key import text_keys
from headstart.embeddings.store import EmbeddingStore
from headstart.embeddings.upkeep import verify
from headstart.errors import EncoderError, ItemError
from headstart.extract.backends import Workers
from headstart.extract.encoder import Encoder
from headstart.extract.engine import encode, receipts_of
from headstart.extract.lexical_hash import LexicalHash
from headstart.extract.plan import BATCH_ROWS, Item, Plan
from headstart.extract.registry import encoder
from headstart.extract.run import open_store
from headstart.extract.work import Task, encode_part, part_name
from headstart.runtime import cores

PART = 2 * BATCH_ROWS
TEXTS = [f"montre à quartz {number} bracelet acier {number % 7}" for number in range(5 * PART + 3)]
NEEDS = {"dask": "distributed", "ray": "ray"}
EVERY = ("loky", "threading", "dask", "ray")


class Noting(LexicalHash):
    """Notes in a folder what each process encodes, and cannot take empty texts."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def prepare(self, item: str) -> np.ndarray:
        if item.startswith("bad"):
            raise ItemError("a bad text")
        return super().prepare(item)

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        if len(batch):
            with (self.notes / str(os.getpid())).open("a") as file:
                file.write(f"{len(batch)}\n")
        return super().encode(batch)

    @property
    def encoded(self) -> int:
        """Items by all processes."""
        return sum(int(line) for path in self.notes.iterdir() for line in path.read_text().split())


class Dying(Noting):
    """Once kills the process that encodes, when that has kept a part."""

    def __init__(self, notes: Path, mark: Path) -> None:
        super().__init__(notes)
        self.mark = mark

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        vectors = super().encode(batch)
        mine = (self.notes / str(os.getpid())).read_text().split()
        if sum(map(int, mine)) > PART and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return vectors


class Elsewhere(LexicalHash):
    """Has other weights in every process."""

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "process": os.getpid()}


@pytest.fixture(scope="module", autouse=True)
def _workers_see_this_module() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        yield


@pytest.fixture(scope="module")
def clusters() -> Iterator[Callable[[str], Workers]]:
    """Two workers of a backend; of Dask and Ray, those of a cluster that runs already and serves all tests here."""
    running: dict[str, tuple[str, Callable[[], Any]]] = {}

    def workers(backend: str) -> Workers:
        installed(backend)
        if backend not in NEEDS:
            return Workers(2, backend)
        if backend not in running:
            running[backend] = start(backend)
        return Workers(2, backend, running[backend][0])

    yield workers
    for _, stop in running.values():
        stop()


def start(backend: str) -> tuple[str, Callable[[], Any]]:
    """A local cluster's address, and what ends it."""
    if backend == "dask":
        from distributed import LocalCluster

        dask = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        return dask.scheduler_address, dask.close
    from ray.cluster_utils import Cluster

    ray = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    return ray.address, ray.shutdown


def installed(backend: str) -> None:
    if backend in NEEDS and not importlib.util.find_spec(NEEDS[backend]):
        pytest.skip(f"{NEEDS[backend]} is not installed")


@contextmanager
def planned(made: Encoder, root: Path, texts: Sequence[str] = TEXTS) -> Iterator[tuple[EmbeddingStore, Plan]]:
    """A store and a plan of these texts."""
    store = open_store(root, made)
    with Plan(store) as plan:
        keys = text_keys(list(texts))
        plan.add([Item(key, text.encode(), text) for key, text in zip(keys, texts, strict=True)])  # type: ignore[arg-type]
        plan.close()
        yield store, plan


def run(made: Encoder, root: Path, workers: Workers, texts: Sequence[str] = TEXTS) -> tuple[EmbeddingStore, list[int]]:
    """Encode texts into a fresh store; what progress was told."""
    told: list[int] = []
    with planned(made, root, texts) as (store, plan):
        encode(made, store, plan, plan.ranges(PART), workers, told.append)
        store.refresh()
        parts = {receipt.id.rpartition("-")[0] for receipt in receipts_of(store, plan)}
        assert parts == {part_name(plan.path, each) for each in plan.ranges(PART)}
    assert verify(store) == []
    return store, told


def test_a_part_that_was_broken_off_does_not_pass_for_its_task(tmp_path: Path) -> None:
    class Breaking(LexicalHash):
        batch = 16

        def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
            if store.receipts or seen:
                raise EncoderError("broke")
            seen.append(len(batch))
            return super().encode(batch)

    seen: list[int] = []
    with planned(Breaking(), tmp_path) as (store, plan):
        with pytest.raises(EncoderError, match="broke"):
            encode(Breaking(), store, plan, plan.ranges(PART), Workers(), seen.append)
        store.refresh()
        assert len(store) == 16 and receipts_of(store, plan) == []


def vectors(store: EmbeddingStore) -> np.ndarray:
    """Those of `TEXTS`, in order."""
    keys = np.frombuffer(b"".join(key for key in text_keys(TEXTS) if key), "<u8").reshape(-1, 2).T
    return store.read(store.lookup(keys), keys)


@pytest.mark.parametrize("backend", EVERY)
def test_workers_keep_what_one_process_keeps(backend: str, tmp_path: Path) -> None:
    installed(backend)
    alone, _ = run(LexicalHash(), tmp_path / "alone", Workers())
    store, told = run(LexicalHash(), tmp_path / "workers", Workers(2, backend))
    assert len(store) == len(alone) == len(TEXTS) == sum(told)
    np.testing.assert_array_equal(vectors(store), vectors(alone))


@pytest.mark.parametrize("backend", EVERY)
def test_an_error_in_a_worker_arrives_as_its_one_line(
    backend: str, tmp_path: Path, clusters: Callable[[str], Workers]
) -> None:
    made, workers = Noting(tmp_path), clusters(backend)
    with planned(made, tmp_path / "store") as (store, plan):
        plan.path.unlink()
        with pytest.raises(Exception, match=r"^the plan .* cannot be read .*: extract again$") as caught:
            encode(made, store, plan, plan.ranges(PART), workers, lambda items: None)
    assert type(caught.value).__name__ == "StoreError"
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("backend", ["loky", "dask", "ray"])
def test_a_worker_with_other_weights_refuses(backend: str, tmp_path: Path, clusters: Callable[[str], Workers]) -> None:
    with planned(made := Elsewhere(), tmp_path) as (store, plan):
        with pytest.raises(EncoderError, match=f"not {made.fingerprint[:12]}: install the same version there"):
            encode(made, store, plan, plan.ranges(PART), clusters(backend), lambda items: None)
        store.refresh()
        assert len(store) == 0


@pytest.mark.parametrize("backend", ["loky", "dask", "ray"])
def test_a_killed_worker_costs_its_part(
    backend: str, tmp_path: Path, clusters: Callable[[str], Workers], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").mkdir()
    made = Dying(tmp_path / "notes", tmp_path / "killed")
    store, told = run(made, tmp_path / "store", clusters(backend))
    assert made.mark.exists(), "no worker was killed"
    assert len(set(map(bytes, np.concatenate([part.keys.T for part in store.parts])))) == len(TEXTS)
    assert len(TEXTS) < made.encoded <= len(TEXTS) + 2 * PART, "of each worker one part at most is encoded again"
    assert len(TEXTS) <= sum(told) == len(store) <= made.encoded
    if backend != "dask":  # which gives out again itself what a lost worker had
        assert "a worker died" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [Workers(), Workers(2), Workers(2, "threading")])
def test_progress_counts_failures_and_goes_on_after_a_restart(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    made = Noting(tmp_path / "notes")
    texts = [*TEXTS[:PART], *(f"bad {number}" for number in range(PART + 1)), *TEXTS[PART : 2 * PART]]
    told: list[int] = []
    with planned(made, tmp_path / "store", texts) as (store, plan):
        ranges = plan.ranges(PART)
        encode(made, store, plan, ranges[:2], workers, told.append)
        assert sum(told) == 2 * PART
        told.clear()
        encode(made, store, plan, ranges[2:], workers, told.append)
        assert sum(told) == plan.rows - 2 * PART
    assert made.encoded == 2 * PART
    store.refresh()
    assert len(store.failures()) == PART + 1
    assert len(store) == 2 * PART


def test_a_task_of_other_weights_is_refused_in_this_process(tmp_path: Path) -> None:
    with planned(made := LexicalHash(), tmp_path) as (store, plan):
        task = Task(made, "0" * 64, store.folder, plan.path, range(1))
        with pytest.raises(EncoderError, match=r"lexical-hash is [0-9a-f]{12} on the worker .*, not 0{12}: install"):
            encode_part(task)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((2, "spark?"), r"no backend 'spark\?'; choose one of: loky, threading, dask, ray"),
        ((0,), "0 workers encode nothing; give 1 or more"),
        ((-2, "dask"), "-2 workers encode nothing"),
        ((2, "loky", "tcp://here:8786"), "loky has no scheduler; choose --backend dask or ray"),
        ((2, "threading", "here:6379"), "threading has no scheduler"),
    ],
)
def test_workers_that_cannot_be(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(EncoderError, match=says):
        Workers(*arguments)


@pytest.mark.parametrize("backend", ["dask", "ray"])
@pytest.mark.parametrize("scheme", ["", "tcp://"])
def test_a_scheduler_that_nobody_answers_for(backend: str, scheme: str, tmp_path: Path) -> None:
    installed(backend)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"  # bound, and nobody listens
        refuses(Workers(2, backend, address), tmp_path)


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_scheduler_that_is_no_address(backend: str, tmp_path: Path) -> None:
    installed(backend)
    refuses(Workers(2, backend, "nonsense"), tmp_path)


def refuses(workers: Workers, folder: Path) -> None:
    """Says so in one line, before any minutes go by."""
    with planned(made := LexicalHash(), folder) as (store, plan):
        started = time.monotonic()
        with pytest.raises(EncoderError) as caught:
            encode(made, store, plan, plan.ranges(PART), workers, lambda items: None)
    assert str(caught.value).startswith(f"{workers.backend} at {workers.scheduler} cannot be reached (")
    assert len(str(caught.value).splitlines()) == 1
    assert time.monotonic() - started < 30  # a hang is what is looked for, not a speed


@pytest.mark.parametrize(
    ("name", "item"),
    [("lexical-hash", "montre à quartz"), ("use-multilingual-v3", "montre à quartz"), ("efficientnet-lite0", None)],
)
def test_a_loaded_encoder_travels_as_its_recipe(name: str, item: str | None) -> None:
    made = encoder(name)
    made.load()
    prepared = np.zeros((224, 224, 3), np.uint8) if item is None else made.prepare(item)
    sent = pickle.dumps(made)
    assert len(sent) < 2000
    arrived = pickle.loads(sent)
    assert (arrived.name, arrived.fingerprint) == (made.name, made.fingerprint)
    np.testing.assert_allclose(arrived.encode([prepared]), made.encode([prepared]), atol=1e-6)


@pytest.mark.parametrize(("given", "found"), [("1", 1), ("100000", None), ("", None), ("two", None), ("0", 1)])
def test_cores_are_those_that_a_worker_is_given(given: str, found: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    there = cores()
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert cores() == (there if found is None else found)
