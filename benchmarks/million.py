"""A million listings: what extraction, recognition, opening, look-up and verification take, and how they scale.

    python benchmarks/million.py [--rows 10000 100000 1000000] [--folder FOLDER]

Draws catalogues of French product texts (the same ones every time, each text once), and extracts them with
`lexical-hash` into fresh stores. The folder needs 6 GB for a million rows; all is deleted at the end. Every step runs
in a process of its own, whose peak memory is the kernel's (VmHWM) and whose clock starts after a thousand rows:
the cost of a row is the time of the whole call of `extract`, from the catalogue to the synced parts, over the rows.
Catalogues of under 200,000 rows are extracted three times, and the best counts. The files are in the system's page
cache.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart.catalog import Columns, read_catalog
from headstart.embeddings.features import open_features
from headstart.embeddings.listings import Listings, listings_path
from headstart.embeddings.store import EmbeddingStore, store_folders
from headstart.embeddings.upkeep import compact, verify
from headstart.extract.registry import encoder
from headstart.extract.run import extract
from headstart.runtime import machine

X = TypeVar("X")
ENCODER = "lexical-hash"
FEW = 200_000
WORDS = """
montre acier quartz drap coton housse couette serviette puzzle peluche bébé cadran étanche bracelet rouge bleu vert lot
de avec pour femme homme enfant lin brodé table basse chêne massif tapis laine rideau occultant coussin
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="for catalogues and stores; else a temporary one")
    given = parser.parse_args()
    print(machine())
    costs: dict[int, float] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        for rows in given.rows:
            costs[rows] = measure_extraction(rows, folder)
        middle = statistics.median(costs.values())
        for rows, cost in costs.items():
            print(f"cost of a row at {rows:9,}: {cost * 1e6:6.1f} µs, {cost / middle:.2f} of the median")
        catalog, root = catalog_path(folder, rows), folder / f"store-{rows}"
        measure_recognition(catalog, root, rows)
        measure_reading(catalog, root)
        before, after, took = fresh(compaction, root)
        print(f"compacted in {took:.1f} s: {before} parts, then {after}")
        measure_reading(catalog, root)


def measure_extraction(rows: int, folder: Path) -> float:
    """Draw a catalogue and extract it; print, and return the seconds a row takes."""
    catalog, root = draw(catalog_path(folder, rows), rows), folder / f"store-{rows}"
    runs = []
    for _ in range(3 if rows < FEW else 1):
        shutil.rmtree(root, ignore_errors=True)
        runs.append(fresh(extraction, catalog, root))
    took, encoding, _ = min(runs)
    print(
        f"{rows:,} rows: {took:.1f} s, {rows / took:,.0f} rows/s ({encoding:.1f} s of it encoding), peak memory "
        f"{max(peak for *_, peak in runs):,.0f} MB, {size(root) / rows:,.0f} bytes a row on disk"
    )
    return took / rows


def measure_recognition(catalog: Path, root: Path, rows: int) -> None:
    """The same catalogue again, by the library and by the command."""
    took, _, peak = min(fresh(extraction, catalog, root) for _ in range(3))
    print(f"unchanged, recognised: {took:.2f} s, {rows / took:,.0f} rows/s, peak memory {peak:,.0f} MB")
    command = [sys.executable, "-m", "headstart", "extract", str(catalog), "--text", "text", "--label", "label"]
    started = time.perf_counter()
    subprocess.run([*command, "--encoder", ENCODER, "--store", str(root)], check=True, capture_output=True)
    took = time.perf_counter() - started
    print(f"unchanged, the whole command: {took:.2f} s, {rows / took:,.0f} rows/s")


def measure_reading(catalog: Path, root: Path) -> None:
    """Opening, look-up, verification."""
    opened, first, again, matrix = min(fresh(reading, catalog, root) for _ in range(3))
    print(f"features opened in {opened * 1e3:.0f} ms, of the listings {first[0]:,} have a vector")
    print(f"keys looked up: {first[1]:.2f} s the first time, {again:.2f} s in random order after that")
    print(f"10,000 random listings' vectors: {matrix * 1e3:.0f} ms")
    took, problems = min(fresh(verification, root) for _ in range(2))
    print(f"verified in {took:.1f} s, {size(root) / took / 1e9:.2f} GB/s, {problems} problems")


def fresh(work: Callable[..., X], *arguments: Any) -> X:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def extraction(path: Path, root: Path) -> tuple[float, float, float]:
    """Seconds of an extraction, those of them spent encoding, and the process's peak memory in MB."""
    columns, made = Columns(text=("text",), label="label"), encoder(ENCODER)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # what is imported on the way is imported here
        warm = draw(Path(folder, "warm.csv"), 1000)
        extract(read_catalog(warm, columns), [made], Path(folder, "store"))
    catalog = read_catalog(path, columns)
    started = time.perf_counter()
    [report], _, _ = extract(catalog, [made], root)
    return time.perf_counter() - started, report.seconds, peak_memory()


def reading(catalog: Path, root: Path) -> tuple[float, tuple[int, float], float, float]:
    """Seconds to open features; vectors there, and seconds to look all keys up, first and again; to gather some."""
    started = time.perf_counter()
    store, listings = EmbeddingStore(store_folders(root)[0]), Listings(listings_path(root, catalog))
    features = open_features(listings, [store])
    opened = time.perf_counter() - started
    started = time.perf_counter()
    there = int(features.present[ENCODER].sum())
    first = time.perf_counter() - started
    order = np.random.default_rng(0).permutation(len(listings))
    keys = np.ascontiguousarray(listings.keys("text")[0][:, order])
    started = time.perf_counter()
    store.lookup(keys)
    again = time.perf_counter() - started
    started = time.perf_counter()
    features.take(order[:10_000]).vectors[ENCODER].sum()
    return opened, (there, first), again, time.perf_counter() - started


def compaction(root: Path) -> tuple[int, int, float]:
    """Parts before and after, and seconds."""
    store = EmbeddingStore(store_folders(root)[0])
    before, started = len(store.parts), time.perf_counter()
    compact(store)
    return before, len(store.parts), time.perf_counter() - started


def verification(root: Path) -> tuple[float, int]:
    """Seconds, and how many problems."""
    store, started = EmbeddingStore(store_folders(root)[0]), time.perf_counter()
    problems = verify(store)
    return time.perf_counter() - started, len(problems)


def draw(path: Path, rows: int) -> Path:
    """A catalogue of that many different texts of about 200 letters, each of them numbered."""
    draws, words = random.Random(1), WORDS.split()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        writer.writerows(
            (f"s{row}", f"{' '.join(draws.choices(words, k=30))} {row}", f"rayon {row % 50}") for row in range(rows)
        )
    return path


def catalog_path(folder: Path, rows: int) -> Path:
    """Where the catalogue of that many rows is."""
    return folder / f"listings-{rows}.csv"


def size(root: Path) -> int:
    """Bytes of everything in a folder."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def peak_memory() -> float:
    """The most memory that this process had at any time, in MB."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
