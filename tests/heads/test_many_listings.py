"""Heads of more listings than coordinates are made for, with vectors in a memory-mapped file."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from headstart.embeddings.features import Features
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.groups import BATCH, JUDGED
from headstart.heads.sides import HELD, SMALL

LISTINGS, DIM, CLASSES = 12_000, 48, 8
CONFIG = HeadConfig(("words",))


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).integers(CLASSES, size=LISTINGS)


@pytest.fixture(scope="module")
def features(codes: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Features:
    return features_of(mapped(tmp_path_factory.mktemp("vectors") / "vectors.npy", clouds(codes)))


def clouds(codes: np.ndarray) -> np.ndarray:
    """Vectors about their category's centre, spread far in some directions and little in others."""
    rng = np.random.default_rng(1)
    spread = np.arange(1, DIM + 1) ** -0.5
    return (0.45 * rng.normal(size=(CLASSES, DIM))[codes] + rng.normal(size=(len(codes), DIM))) * spread + 1


def mapped(path: Path, vectors: np.ndarray) -> np.ndarray:
    np.save(path, vectors.astype(np.float16))
    return np.load(path, mmap_mode="r")


def features_of(vectors: np.ndarray) -> Features:
    rows = len(vectors)
    return Features(
        ids=tuple(map(str, range(rows))),
        labels=(None,) * rows,
        vectors={"words": vectors},
        present={"words": np.ones(rows, bool)},
        modality={"words": "text"},
    )


def split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, inner and test rows: six, two and two of ten."""
    tenth = np.random.default_rng(2).permutation(len(rows)) % 10
    return rows[tenth < 6], rows[(tenth == 6) | (tenth == 7)], rows[tenth > 7]


def fit(features: Features, codes: np.ndarray, *tasks: HeadTask) -> HeadBank:
    return HeadBank(features, codes, CLASSES, tasks).fit()


def share_right(bank: HeadBank, test: np.ndarray) -> float:
    return float((bank.log_probabilities([test])[0].argmax(axis=1) == bank.codes[test]).mean())


def test_a_head_is_as_good_as_a_logistic_regression(features: Features, codes: np.ndarray) -> None:
    from sklearn.linear_model import LogisticRegression

    train, inner, test = split(np.arange(LISTINGS))
    assert len(train) > BATCH, "or a step sees them all"
    bank = fit(features, codes, HeadTask(CONFIG, train, inner))
    learnt, vectors = np.concatenate([train, inner]), features.vectors["words"].astype(np.float32)
    with threadpool_limits(1):
        regression = LogisticRegression(max_iter=500).fit(vectors[learnt], codes[learnt])
    theirs = regression.score(vectors[test], codes[test])
    assert 0.7 < theirs < 0.97, "or the listings are too easy or too hard to tell heads apart"
    assert share_right(bank, test) == pytest.approx(theirs, abs=0.015)


def test_inner_rows_that_say_nothing_stop_it_early(features: Features, codes: np.ndarray) -> None:
    train, inner, _ = split(np.arange(LISTINGS))
    shuffled = codes.copy()
    shuffled[inner] = np.random.default_rng(3).permutation(codes[inner])
    honest, misled = (fit(features, each, HeadTask(CONFIG, train, inner)) for each in (codes, shuffled))
    assert misled.looks[0] < honest.looks[0]
    assert misled.inner_loss[0] > honest.inner_loss[0] + 0.5


def test_some_of_very_many_inner_rows_judge_as_all_would() -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(CLASSES, size=JUDGED + 30_000)
    features = features_of(rng.normal(size=(CLASSES, 4))[codes] + rng.normal(size=(len(codes), 4)))
    rows = np.arange(len(codes))
    bank = fit(features, codes, HeadTask(replace(CONFIG, balanced=False), rows[:5000], rows[5000:], scout=True))
    of_all = -bank.log_probabilities([rows[5000:]])[0][rows[:-5000], codes[5000:]].mean()
    assert 0.5 < of_all < 1.5
    assert bank.inner_loss[0] == pytest.approx(of_all, rel=0.02)
    assert bank.inner_loss[0] != pytest.approx(of_all, rel=1e-6), "all of them took part"


def test_a_catalogue_in_the_order_of_its_categories_is_learnt_as_well(codes: np.ndarray, tmp_path: Path) -> None:
    ordered = np.sort(codes)
    vectors = clouds(codes)[np.argsort(codes, kind="stable")]
    train, inner, test = split(np.arange(LISTINGS))
    in_order = fit(features_of(mapped(tmp_path / "ordered.npy", vectors)), ordered, HeadTask(CONFIG, train, inner))
    places = np.random.default_rng(4).permutation(LISTINGS)  # where each listing of the ordered catalogue goes
    mixed = np.empty_like(vectors)
    mixed[places] = vectors
    mixed_codes = np.empty_like(ordered)
    mixed_codes[places] = ordered
    task = HeadTask(CONFIG, places[train], places[inner])
    at_random = fit(features_of(mapped(tmp_path / "mixed.npy", mixed)), mixed_codes, task)
    assert share_right(in_order, test) == pytest.approx(share_right(at_random, places[test]), abs=0.01)


def test_a_banked_head_is_the_head_trained_alone_on_the_same_rows(features: Features, codes: np.ndarray) -> None:
    train, inner, _ = split(np.arange(LISTINGS))
    configs = (CONFIG, replace(CONFIG, l2=0.5, learning_rate=0.5), replace(CONFIG, hidden=6))
    tasks = [HeadTask(config, train, inner, seed) for seed, config in enumerate(configs)]
    together = fit(features, codes, *tasks)
    for number, task in enumerate(tasks):
        alone = fit(features, codes, task)
        assert alone.looks[0] == together.looks[number]
        kernel, banked = (
            np.asarray(bank.network(head).get_weights()[0]) for bank, head in ((alone, 0), (together, number))
        )
        np.testing.assert_allclose(banked, kernel, rtol=0, atol=1e-3 * np.abs(kernel).max())


def test_a_mapped_file_is_never_read_whole(tmp_path: Path) -> None:
    rows, dim = HELD // 2048 + 40_000, 512
    vectors = np.lib.format.open_memmap(tmp_path / "sparse.npy", "w+", np.float32, (rows, dim))
    chosen = np.sort(np.random.default_rng(5).choice(rows, 3 * SMALL, replace=False))
    codes = np.full(rows, -1)
    codes[chosen] = np.random.default_rng(6).integers(CLASSES, size=len(chosen))
    vectors[chosen, :DIM] = clouds(codes[chosen])  # the rest is zeros, and takes no room on the disk
    vectors.flush()
    train, inner, test = split(chosen)
    features = features_of(np.load(tmp_path / "sparse.npy", mmap_mode="r"))
    tracemalloc.start()
    try:
        bank = fit(features, codes, HeadTask(CONFIG, train, inner))
        right = share_right(bank, test)
        bank.log_probabilities()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert right > 0.7
    assert peak < vectors.nbytes / 3
