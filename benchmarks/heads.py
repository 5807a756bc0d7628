"""Heads of a bank beside heads trained one by one, and a head on a million listings.

    python benchmarks/heads.py [few] [many] [--rows 1000000] [--folder FOLDER]

few: 24 configurations of a linear head in each of 10 folds of 1050 drawn listings, by one `HeadBank`, by a loop of
Keras fits and by a loop of scikit-learn's logistic regressions. Of a loop some fits are timed, and the time of all
240 is worked out from them. Every contender's accuracy on the test folds stands beside its time. scikit-learn has one
BLAS thread: with two it is slower here.

many: a linear head on listings whose vectors are in a memory-mapped file, beside scikit-learn's `SGDClassifier` on the
same rows. Each runs in a process of its own. Its memory is what it allocates (the kernel's RssAnon, looked at
50 times a second): pages of the file, which the kernel takes back when it needs them, do not count. The file needs 1 GB
for a million listings, and is deleted at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from million import fresh
from threadpoolctl import threadpool_limits

from headstart.embeddings.features import Features
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.groups import LOOK
from headstart.heads.sides import LENGTH
from headstart.runtime import keras, machine, tensorflow

LISTINGS, CLASSES, FOLDS, EPOCHS = 1050, 7, 10, 60
DIMS = {"text": 512, "image": 1280}
CONFIGS = [
    HeadConfig(tuple(DIMS), l2=l2, learning_rate=rate, balanced=balanced, absent=0.0)
    for l2, rate, balanced in product((0.5, 2.0, 8.0, 32.0), (0.25, 0.5, 1.0), (True, False))
]
KERAS_FITS = 6
"""Timed of each loop of them; of logistic regressions, one a configuration."""
MANY_DIM, MANY_CLASSES = 512, 50
HELD_OUT, INNER = 10, 8
"""Of a million, one in ten listings is held out, and of the others one in eight says when to stop."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shows", nargs="*", choices=["few", "many"], default=["few", "many"])
    parser.add_argument("--rows", type=int, default=1_000_000, help="listings of `many`")
    parser.add_argument("--folder", type=Path, help="for their vectors; else a temporary one")
    given = parser.parse_args()
    print(machine())
    if "few" in given.shows:
        few()
    if "many" in given.shows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            many(Path(folder), given.rows)


def few() -> None:
    """240 linear heads: the bank, and the loops beside it."""
    features, codes = drawn_listings()
    folds = np.random.default_rng(1).permutation(LISTINGS) % FOLDS
    train, test = ([np.flatnonzero((folds == fold) ^ other) for fold in range(FOLDS)] for other in (True, False))
    tasks = [HeadTask(config, rows, rows[:0]) for rows in train for config in CONFIGS]
    tests = [rows for rows in test for _ in CONFIGS]
    joined = np.concatenate([features.vectors[name] for name in DIMS], axis=1)
    print(f"\n{len(tasks)} linear heads, {FOLDS} folds × {len(CONFIGS)} configurations, {LISTINGS} × {joined.shape[1]}")
    tensorflow()

    def bank_of(some: Sequence[HeadTask]) -> HeadBank:
        return HeadBank(features, codes, CLASSES, some).fit(looks=EPOCHS // LOOK, stop_early=False)

    started = time.perf_counter()
    bank = bank_of(tasks)
    said = bank.log_probabilities(tests)
    ours = time.perf_counter() - started
    right = np.mean([(each.argmax(axis=1) == codes[rows]).mean() for each, rows in zip(said, tests, strict=True)])
    print(f"  {f'HeadBank, {EPOCHS} epochs':44} {ours:7.1f} s{'':17}accuracy {right:.4f}")

    # Every configuration's turn comes in another fold, so that those timed are a sample of all.
    order = [place + len(CONFIGS) * (place % FOLDS) for place in range(len(CONFIGS))]
    spread = [order[place] for place in np.linspace(0, len(order) - 1, KERAS_FITS).round().astype(int)]
    batches = (("batches of 32, its default", 32), ("one batch of all", LISTINGS))
    loops: list[tuple[str, Sequence[int], Callable[[HeadTask], Callable[[np.ndarray], np.ndarray]]]] = [
        (f"Keras fits, {EPOCHS} epochs, {name}", spread, lambda task, size=size: keras_fit(joined, codes, task, size))
        for name, size in batches
    ]
    loops.append(("scikit-learn's LogisticRegression", order, lambda task: logistic_fit(joined, codes, task)))
    for name, chosen, fit in loops:
        fit(tasks[0])  # what is imported and compiled once for all
        took, rights, same = 0.0, [], []
        for task in chosen:
            started = time.perf_counter()
            classify = fit(tasks[task])
            codes_said = classify(joined[tests[task]])
            took += time.perf_counter() - started
            rights.append((codes_said == codes[tests[task]]).mean())
            same.append((said[task].argmax(axis=1) == codes[tests[task]]).mean())
        took *= len(tasks) / len(chosen)
        print(
            f"  {name:44} {took:7.1f} s from {len(chosen):2}: {took / ours:5.1f} ×  accuracy {np.mean(rights):.4f}, "
            f"the bank's of these {np.mean(same):.4f}"
        )
    difference = max(apart(bank, head, bank_of([tasks[head]])) for head in spread)
    print(f"  weights of a banked head and of the same head trained alone differ by at most {difference:.1e}")


def drawn_listings() -> tuple[Features, np.ndarray]:
    """Clouds, one a category, in the vectors of an encoder of texts and of one of photos."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(LISTINGS) % CLASSES)
    vectors = {}
    for name, dim in DIMS.items():
        spread = np.arange(1, dim + 1) ** -0.5  # a few wide directions and many narrow ones, as encoders have them
        means = 0.14 * spread * rng.normal(size=(CLASSES, dim))
        block = means[codes] + spread * rng.normal(size=(LISTINGS, dim))
        block *= LENGTH / np.sqrt((block**2).sum(axis=1).mean())  # as a bank scales them: a penalty is the same for all
        vectors[name] = block.astype(np.float32)
    return features_of(vectors, codes), codes


def features_of(vectors: dict[str, np.ndarray], codes: np.ndarray) -> Features:
    """Features whose listings lack nothing."""
    return Features(
        ids=range(len(codes)),  # type: ignore[arg-type]
        labels=codes,  # type: ignore[arg-type]
        vectors=vectors,
        present={name: np.ones(len(codes), bool) for name in vectors},
        modality={name: "image" if name == "image" else "text" for name in vectors},
    )


def keras_fit(vectors: np.ndarray, codes: np.ndarray, task: HeadTask, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """What a user of Keras writes for one head; its learning rates are shares of the default."""
    layers, config = keras().layers, task.config
    decay = keras().regularizers.L2(config.l2 / len(task.train))
    model = keras().Sequential(
        [keras().Input((vectors.shape[1],)), layers.Dense(CLASSES, activation="softmax", kernel_regularizer=decay)]
    )
    model.compile(keras().optimizers.Adam(1e-3 * config.learning_rate), "sparse_categorical_crossentropy")
    counts = np.bincount(codes[task.train], minlength=CLASSES)
    balance = dict(enumerate(len(task.train) / CLASSES / counts)) if config.balanced else None
    model.fit(vectors[task.train], codes[task.train], size, EPOCHS, class_weight=balance, verbose=0)
    return lambda some: np.asarray(model(some)).argmax(axis=1)


def logistic_fit(vectors: np.ndarray, codes: np.ndarray, task: HeadTask) -> Callable[[np.ndarray], np.ndarray]:
    """scikit-learn's logistic regression with its defaults, its strength by the penalty."""
    from sklearn.linear_model import LogisticRegression

    balance = "balanced" if task.config.balanced else None
    model = LogisticRegression(C=0.5 / task.config.l2, max_iter=1000, class_weight=balance)
    with threadpool_limits(1, "blas"):
        model.fit(vectors[task.train], codes[task.train])
    found: Callable[[np.ndarray], np.ndarray] = model.predict
    return found


def apart(bank: HeadBank, head: int, alone: HeadBank) -> float:
    """The largest difference of two heads' kernels, by the largest weight."""
    one, other = (np.asarray(each.get_weights()[0]) for each in (bank.network(head), alone.network(0)))
    return float(np.abs(one - other).max() / np.abs(one).max())


@dataclass(frozen=True)
class Side:
    """What a contender of `many` did."""

    seconds: float
    accuracy: float
    memory: float
    """GB."""
    note: str


def many(folder: Path, rows: int) -> None:
    """A head on many listings, beside scikit-learn's."""
    fresh(draw_many, folder, rows)
    print(f"\na linear head on {rows:,} × {MANY_DIM}, {MANY_CLASSES} categories, one listing in {HELD_OUT} held out")
    ours, theirs = fresh(bank_many, folder), fresh(sgd_many, folder)
    for name, side in (("HeadBank", ours), ("scikit-learn's SGDClassifier", theirs)):
        print(
            f"  {name:30} {side.seconds:7.1f} s   accuracy {side.accuracy:.4f}   {side.memory:5.2f} GB allocated at "
            f"most   {side.note}"
        )
    print(
        f"  headstart takes {ours.seconds / theirs.seconds:.2f} of the time and is "
        f"{100 * (ours.accuracy - theirs.accuracy):+.2f} points apart"
    )


def draw_many(folder: Path, rows: int) -> None:
    """Draw the vectors (float16) and the categories into files, 65,536 listings at a time."""
    rng, at_once = np.random.default_rng(0), 65_536
    spread = np.arange(1, MANY_DIM + 1, dtype=np.float32) ** -0.5
    turn = np.linalg.qr(rng.normal(size=(MANY_DIM, MANY_DIM)))[0].astype(np.float32) * spread[:, None]
    means = 0.18 * rng.standard_normal((MANY_CLASSES, MANY_DIM), np.float32) @ turn
    codes = rng.integers(MANY_CLASSES, size=rows)
    out = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (rows, MANY_DIM))
    for start in range(0, rows, at_once):
        some = codes[start : start + at_once]
        out[start : start + at_once] = means[some] + rng.standard_normal((len(some), MANY_DIM), np.float32) @ turn
    np.save(folder / "codes.npy", codes)


def read_many(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The mapped vectors, the categories, the rows to learn from and those held out."""
    codes = np.load(folder / "codes.npy")
    rows = np.arange(len(codes))
    held_out = rows % HELD_OUT == 0
    return np.load(folder / "vectors.npy", mmap_mode="r"), codes, rows[~held_out], rows[held_out]


def bank_many(folder: Path) -> Side:
    """A head of a bank."""
    vectors, codes, train, test = read_many(folder)
    inner = np.arange(len(train)) % INNER == 0
    task = HeadTask(HeadConfig(("text",)), train[~inner], train[inner])
    tensorflow()
    with most_memory() as memory:
        started = time.perf_counter()
        bank = HeadBank(features_of({"text": vectors}, codes), codes, MANY_CLASSES, [task]).fit()
        took = time.perf_counter() - started
        started = time.perf_counter()
        right = (bank.log_probabilities([test])[0].argmax(axis=1) == codes[test]).mean()
    classified = len(test) / (time.perf_counter() - started)
    note = f"{bank.looks[0]} looks, loss on inner rows {bank.inner_loss[0]:.4f}, then {classified:,.0f} classified/s"
    return Side(took, float(right), max(memory), note)


def sgd_many(folder: Path) -> Side:
    """scikit-learn's head, on the training rows in memory as float32, which it does not copy."""
    from sklearn.linear_model import SGDClassifier

    vectors, codes, train, test = read_many(folder)
    with most_memory() as memory, threadpool_limits(1, "blas"):
        started = time.perf_counter()
        block = np.empty((len(train), vectors.shape[1]), np.float32)
        for start in range(0, len(train), 65_536):
            block[start : start + 65_536] = vectors[train[start : start + 65_536]]
        model = SGDClassifier(loss="log_loss", n_jobs=2, random_state=0).fit(block, codes[train])
        took = time.perf_counter() - started
    right = (model.predict(vectors[test].astype(np.float32)) == codes[test]).mean()
    return Side(took, float(right), max(memory), f"{model.n_iter_} epochs at most")


@contextmanager
def most_memory() -> Iterator[list[float]]:
    """Gigabytes that this process had allocated, looked at again and again."""
    seen, done = [anonymous()], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            seen.append(anonymous())

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield seen
    finally:
        done.set()
        watch.join()


def anonymous() -> float:
    """Gigabytes in memory of this process that are no pages of a file, on Linux."""
    lines: Any = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e9


if __name__ == "__main__":
    main()
