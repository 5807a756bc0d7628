"""Nearest neighbours of a large catalogue: which library finds them, and what headstart's own search takes.

    python benchmarks/neighbours.py libraries [--rows 100000]   # needs faiss-cpu, hnswlib, pynndescent
    python benchmarks/neighbours.py headstart [--rows 1000000]

The vectors are those of drawn_vectors.py, in a memory map of float16 that is deleted at the end. Every search runs in a
process of its own, whose peak memory is the kernel's (the pages of the memory map among it). Recall is the share of the
10 exact neighbours of 1,000 listings, drawn anew with seed 1, that a search finds; the exact ones are found in the same
run.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drawn_vectors import DIM, draw_vectors
from headstart.runtime import cores, machine

K = 10
ASKED = 1000
AT_MOST = 100_000
"""Up to as many listings, headstart's exact ways are measured beside those by an index."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["libraries", "headstart"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", default=list(SEARCHES), choices=list(SEARCHES), help="of the libraries")
    parser.add_argument("--folder", type=Path, help="for the vectors (1 GB for a million); else a temporary one")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        file = Path(name) / "vectors.npy"
        draw_vectors(file, given.rows)
        if given.what == "libraries":
            asked, true = in_process(exact, file)[0]
            for search in given.only:
                measure(search, file, asked, true)
        else:
            measure_headstart(file, [False, True] if given.rows <= AT_MOST else [False])


def units(file: Path) -> np.ndarray:
    """All the vectors, centred and of length 1, as float32."""
    vectors = np.load(file).astype(np.float32)
    vectors -= vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def reduced(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Their first principal directions, learnt on 20,000."""
    sample = vectors[np.random.default_rng(2).choice(len(vectors), min(20_000, len(vectors)), replace=False)]
    return vectors @ np.linalg.eigh(sample.T @ sample)[1][:, -dim:]


def exact(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Some listings, and the K nearest of each (itself among them, as of everyone)."""
    vectors = units(file)
    asked = np.random.default_rng(1).choice(len(vectors), ASKED, replace=False)
    cosines = vectors[asked] @ vectors.T
    return asked, np.sort(np.partition(cosines, -K - 1, axis=1)[:, -K - 1 :], axis=1)


def ivf(data: np.ndarray, k: int, probes: int, coder: str = "Flat") -> np.ndarray:
    """faiss: cells of k-means, the nearest few of them looked into."""
    import faiss

    cells = int(2 * len(data) ** 0.5)
    index = faiss.index_factory(data.shape[1], f"IVF{cells},{coder}", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 5, 40
    index.train(data[np.random.default_rng(3).choice(len(data), min(len(data), 40 * cells), replace=False)])
    index.add(data)
    index.nprobe = probes
    return index.search(data, k)[1]


def faiss_hnsw(data: np.ndarray, k: int) -> np.ndarray:
    """faiss: a navigable small world."""
    import faiss

    index = faiss.IndexHNSWFlat(data.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 60, 64
    index.add(data)
    return index.search(data, k)[1]


def hnsw(data: np.ndarray, k: int) -> np.ndarray:
    """hnswlib: a navigable small world."""
    import hnswlib

    index = hnswlib.Index("ip", data.shape[1])
    index.init_index(len(data), M=16, ef_construction=60)
    index.set_num_threads(cores())
    index.add_items(data)
    index.set_ef(64)
    return index.knn_query(data, k)[0]


def descent(data: np.ndarray, k: int) -> np.ndarray:
    """pynndescent: neighbours of neighbours."""
    from pynndescent import NNDescent

    return NNDescent(data, "cosine", n_neighbors=max(k, 15), random_state=4, n_jobs=cores()).neighbor_graph[0][:, :k]


SEARCHES: dict[str, tuple[int, int, Callable[[np.ndarray, int], np.ndarray]]] = {
    # name: dimensions searched in, candidates ranked again by the whole vectors (0: none), search
    "faiss ivf 8": (DIM, 0, functools.partial(ivf, probes=8)),
    "faiss ivf sq8 8": (DIM, 0, functools.partial(ivf, probes=8, coder="SQ8")),
    "faiss ivf sq8 8, 20 again": (DIM, 20, functools.partial(ivf, probes=8, coder="SQ8")),
    "faiss ivf fp16 8": (DIM, 0, functools.partial(ivf, probes=8, coder="SQfp16")),
    "faiss hnsw": (DIM, 0, faiss_hnsw),
    "hnswlib": (DIM, 0, hnsw),
    "pynndescent": (DIM, 0, descent),
    "faiss ivf 8, 128 dims": (128, 0, functools.partial(ivf, probes=8)),
    "faiss ivf 8, 64 dims, 50 again": (64, 50, functools.partial(ivf, probes=8)),
    "faiss ivf 8, 128 dims, 30 again": (128, 30, functools.partial(ivf, probes=8)),
    "faiss ivf 16, 128 dims, 50 again": (128, 50, functools.partial(ivf, probes=16)),
    "faiss hnsw, 128 dims, 50 again": (128, 50, faiss_hnsw),
    "hnswlib, 128 dims, 50 again": (128, 50, hnsw),
}


def library(search: str, file: Path, asked: np.ndarray) -> tuple[float, np.ndarray]:
    """Neighbours of all by one search: how long it took, and the cosines found for those asked."""
    dim, again, find = SEARCHES[search]
    if search.startswith("faiss"):
        import faiss

        faiss.omp_set_num_threads(cores())
    vectors = units(file)
    started = time.perf_counter()
    found = find(reduced(vectors, dim) if dim < DIM else vectors, again or K + 1)
    if again:
        best = np.empty((len(vectors), K + 1), found.dtype)
        for start in range(0, len(vectors), 2000):
            tile = found[start : start + 2000]
            cosines = np.matmul(vectors[tile], vectors[start : start + 2000, :, None])[:, :, 0]
            best[start : start + 2000] = np.take_along_axis(tile, np.argpartition(-cosines, K, axis=1)[:, : K + 1], 1)
        found = best
    took = time.perf_counter() - started
    return took, np.where(found[asked] < 0, -1, np.matmul(vectors[found[asked]], vectors[asked, :, None])[:, :, 0])


def measure(search: str, file: Path, asked: np.ndarray, true: np.ndarray) -> None:
    """Print a library's time, peak memory and recall: a copy as near as the one missed is as good."""
    (took, found), peak = in_process(library, search, file, asked)
    recall = np.mean(found >= true[:, :1] - 1e-5)
    print(f"{search:34} {took:7.1f} s  {peak:6,.0f} MB  recall@{K + 1} {recall:.4f}", flush=True)


def measure_headstart(file: Path, ways: list[bool]) -> None:
    """Print what groups and neighbours take, by an index and exactly, and how much of the exact answer is found."""
    for exactly in ways:
        how = "exact" if exactly else "index"
        (took, groups), peak = in_process(grouped, file, exactly)
        found, links = in_process(links_kept, file, groups)[0]
        print(
            f"groups, {how}      {took:7.1f} s  {peak:6,.0f} MB  {groups.max() + 1:,} groups, largest "
            f"{np.bincount(groups).max():,}; {found / links:.4f} of {links:,} links of {ASKED:,} listings in one group",
            flush=True,
        )
        (took, (rows, cosines)), peak = in_process(neighbours, file, groups, exactly)
        recall = in_process(neighbours_found, file, groups, rows, cosines)[0]
        print(f"neighbours, {how}  {took:7.1f} s  {peak:6,.0f} MB  recall@{K} {recall:.4f}", flush=True)


def grouped(file: Path, exactly: bool) -> tuple[float, np.ndarray]:
    """How long the groups take, and they."""
    from headstart.embeddings import duplicates

    duplicates.EXACT = 10**9 if exactly else 0
    vectors = np.load(file, mmap_mode="r")
    started = time.perf_counter()
    groups = duplicates.near_duplicate_groups([(vectors, np.ones(len(vectors), bool))])
    return time.perf_counter() - started, groups


def neighbours(file: Path, groups: np.ndarray, exactly: bool) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """How long the neighbours take, and they."""
    from headstart.embeddings import neighbours as searched

    searched.EXACT = 10**9 if exactly else 0
    vectors = np.load(file, mmap_mode="r")
    started = time.perf_counter()
    found = searched.nearest([(vectors, np.ones(len(vectors), bool))], groups, K)
    return time.perf_counter() - started, (found.rows, found.cosines)


def links_kept(file: Path, groups: np.ndarray) -> tuple[int, int]:
    """How many of the exact links of some listings lie within a group, and how many there are."""
    vectors = np.load(file, mmap_mode="r")
    asked = np.random.default_rng(1).choice(len(vectors), ASKED, replace=False)
    mine = vectors[asked].astype(np.float32)
    mine /= np.linalg.norm(mine, axis=1, keepdims=True)
    found = links = 0
    for start in range(0, len(vectors), 50_000):
        block = vectors[start : start + 50_000].astype(np.float32)
        cosines = mine @ (block / np.linalg.norm(block, axis=1, keepdims=True)).T
        left, right = np.nonzero(cosines >= 0.95)
        other = right + start != asked[left]
        links += other.sum()
        found += (groups[asked[left]] == groups[right + start])[other].sum()
    return int(found), int(links)


def neighbours_found(file: Path, groups: np.ndarray, rows: np.ndarray, cosines: np.ndarray) -> float:
    """The share of the exact neighbours of some listings that were found; one as near as the one missed is as good."""
    vectors = units(file)
    asked = np.random.default_rng(1).choice(len(vectors), ASKED, replace=False)
    voices = np.unique(groups, return_index=True)[1]
    best = np.full((ASKED, K), -np.inf, np.float32)
    for start in range(0, len(voices), 50_000):
        others = voices[start : start + 50_000]
        true = vectors[asked] @ vectors[others].T
        true[groups[asked, None] == groups[others]] = -np.inf
        both = np.concatenate([best, true], axis=1)
        best = np.partition(both, -K, axis=1)[:, -K:]
    assert not (groups[rows] == groups[:, None]).any()
    return float(np.mean(cosines[asked] >= best.min(axis=1, keepdims=True) - 1e-4))


def in_process(work: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    """The result of the work, done in a fresh process, and the peak memory of that process in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (work, *given))


def _peak(work: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    result = work(*given)
    status = Path("/proc/self/status").read_text()
    return result, int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
