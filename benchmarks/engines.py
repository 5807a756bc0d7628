"""The same catalogue through one process, loky, a local Dask cluster and a local Ray.

    python benchmarks/engines.py [--rows N | --flipkart FOLDER] [--workers 2] [--backends loky dask ray]

The listings are N drawn texts through `lexical-hash`, or the real photographs and descriptions, through
`efficientnet-lite0` as well. Each backend extracts them with several workers, into a fresh store that is compared
with that of this process, which is the one worker to be faster than: the keys must be the same, the vectors as good
as the same. Then one of its workers is killed (SIGKILL) in the middle: printed is what was encoded in all, which a
worker notes at each batch. The seconds include the start of the workers, of the cluster and of TensorFlow in each;
encoding alone is what the receipts say, added up, so that two workers that share the cores add up to more.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from million import draw

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.store import EmbeddingStore
from headstart.extract.backends import Workers
from headstart.extract.efficientnet_lite import EfficientNetLite
from headstart.extract.encoder import Encoder
from headstart.extract.lexical_hash import LexicalHash
from headstart.extract.run import Extraction, extract
from headstart.runtime import machine

FLIPKART = Path(__file__).parents[2] / "shared" / "flipkart"
FLIPKART_COLUMNS = Columns(id="uniq_id", text=("product_name", "description"), image="image")


class NotedTexts(LexicalHash):
    """Notes each batch in a file of the process that encodes it."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.notes = notes

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        note(self, len(batch))
        return super().encode(batch)


class NotedPhotos(EfficientNetLite):
    """The same for photos."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.notes = notes

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        note(self, len(batch))
        return super().encode(batch)


def note(made: NotedTexts | NotedPhotos, items: int) -> None:
    """Add a line to this process's file."""
    with (made.notes / f"{made.name}.{os.getpid()}").open("a") as file:
        file.write(f"{items}\n")


@dataclass
class Outcome:
    """Of one extraction."""

    seconds: float
    reports: list[Extraction]
    stores: list[EmbeddingStore]
    encoded: dict[str, int]
    """Items that were encoded, by process and encoder, also those that were lost."""
    said: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="drawn texts; by default the real listings")
    parser.add_argument("--flipkart", type=Path, default=FLIPKART)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--backends", nargs="+", default=["loky", "dask", "ray"])
    parser.add_argument("--part-rows", type=int, default=0)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.rows:
            catalog = read_catalog(draw(folder / "listings.csv", given.rows), Columns(text=("text",)))
        else:
            csv = given.flipkart / "flipkart_com-ecommerce_sample.csv"
            catalog = read_catalog(csv, FLIPKART_COLUMNS, given.flipkart / "images")
        compare(catalog, folder, given.backends, given.workers, given.part_rows or None)


def compare(catalog: Catalog, folder: Path, backends: Sequence[str], count: int, part_rows: int | None) -> None:
    """Run all and print a line for each."""

    def run(name: str, workers: Workers | None, killing: bool = False) -> Outcome:
        return extracted(catalog, folder / name, workers, part_rows, killing)

    run("warm", None)  # loads TensorFlow, so that the single process starts as the others' workers do not
    alone = run("alone", None)
    titles = f"{'seconds':>8} {'of 1 process':>12} {'encoding':>9} {'keys':>9} {'largest gap':>12} {'encoded':>9}"
    print(f"{'':24} {titles}")
    show("this process, started", alone, alone)
    for backend in backends:
        show(f"{backend}, {count} workers", run(f"{backend}-{count}", Workers(count, backend)), alone)
        killed = run(f"{backend}-killed", Workers(count, backend), killing=True)
        show(f"{backend}, one killed", killed, alone)
        print(f"    {killed.said}")


def show(name: str, outcome: Outcome, alone: Outcome) -> None:
    """Print a line."""
    same, largest = differences(outcome.stores, alone.stores)
    speedup = f"{alone.seconds / outcome.seconds:.2f} ×"
    encoding = sum(receipt.info["seconds"] for store in outcome.stores for receipt in store.receipts)
    print(
        f"{name:24} {outcome.seconds:8.1f} {speedup:>12} {encoding:9.1f} {same:>9} "
        f"{largest:12.1e} {sum(outcome.encoded.values()):9,}"
    )


def extracted(catalog: Catalog, folder: Path, workers: Workers | None, part_rows: int | None, killing: bool) -> Outcome:
    """Extract into a fresh store; in a thread, kill a worker when a third of its work is kept."""
    notes = folder / "notes"
    notes.mkdir(parents=True)
    made: list[Encoder] = [NotedTexts(notes)]
    if catalog.images:
        made.append(NotedPhotos(notes))
    said, ended = StringIO(), threading.Event()
    killer = threading.Thread(target=kill_one, args=(folder, made[-1].name, ended, said))
    if killing:
        killer.start()
    started = time.perf_counter()
    with redirect_stderr(said):
        reports, stores, _ = extract(catalog, made, folder / "store", workers=workers, part_rows=part_rows)
    took = time.perf_counter() - started
    ended.set()
    if killing:
        killer.join()
    encoded = {path.name: sum(map(int, path.read_text().split())) for path in notes.iterdir()}
    return Outcome(took, reports, stores, encoded, "; ".join(said.getvalue().split("\n")))


def kill_one(folder: Path, name: str, ended: threading.Event, said: StringIO) -> None:
    """When two parts of the encoder are kept, kill a worker that has just begun another batch."""
    sizes: dict[Path, int] = {}
    while not ended.wait(0.001):
        kept = len([path for path in (folder / "store").glob(f"{name}-*/*.json") if path.stem[0] in "01"])
        for path in (folder / "notes").glob(f"{name}.*"):
            pid, size = int(path.name.rpartition(".")[2]), path.stat().st_size
            if kept >= 2 and pid != os.getpid() and size > sizes.get(path, size):
                os.kill(pid, signal.SIGKILL)
                said.write(f"killed a worker when {kept} parts were kept\n")
                return
            sizes[path] = size


def differences(its: Sequence[EmbeddingStore], alone: Sequence[EmbeddingStore]) -> tuple[str, float]:
    """How the keys of two extractions compare, and the largest difference between their vectors."""
    largest, doubled = 0.0, 0
    for mine, other in zip(its, alone, strict=True):
        keys = np.concatenate([part.keys for part in other.parts], axis=1)
        rows = mine.lookup(keys)
        if len(mine) < len(other) or (rows < 0).any():
            return "LACKING", float("nan")
        doubled += len(mine) - len(other)
        gap = mine.read(rows, keys).astype(np.float32) - other.read(np.arange(len(other)), keys).astype(np.float32)
        largest = max(largest, float(np.abs(gap).max()))
    return f"{doubled} twice" if doubled else "same", largest


if __name__ == "__main__":
    main()
