"""Extraction of photos from end to end, beside what decoding and encoding alone allow and beside a plain loop.

    python benchmarks/extract.py [--images FOLDER] [--items N] [--rounds 3]

The photographs are read into memory once, those of equal content once. Then contenders take turns in one process:

- headstart: `extract` into a fresh store, from a CSV of names to parts synced to disk, with the default photo encoder;
- decoding alone: `images.decode` of the bytes in memory, for every number of threads up to that of cores;
- encoding alone: `encode` of the pixels in memory, in batches of several sizes;
- a plain loop: PIL opens, converts and resizes 32 photos, then Keras `predict` on the same weights.

The bound is 1 / (best decoding + best encoding) for a photo. Networks are loaded before: what that takes is told apart.
Noise of the machine falls on all alike: ratios hold where absolute rates drift, of the medians and of the best.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart.catalog import Columns, read_catalog
from headstart.errors import ItemError
from headstart.extract.encoder import Encoder
from headstart.extract.images import decode
from headstart.extract.registry import DEFAULT_IMAGE, encoder
from headstart.extract.run import extract
from headstart.runtime import cores, machine

PHOTOS = Path(__file__).parents[2] / "shared" / "flipkart" / "images"
BATCHES = (4, 8, 16, 32, 64)
"""Sizes of batches that encoding alone may choose from."""
PLAIN_BATCH = 32
Times = dict[str, list[float]]
OURS, PLAIN = "headstart, end to end", "plain loop, PIL and Keras predict"
PLAINEST = "plain loop, a photo at a time"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=PHOTOS, help="a folder of photographs")
    parser.add_argument("--items", type=int, help="photos to encode; by default all")
    parser.add_argument("--encoder", default=DEFAULT_IMAGE, help="EfficientNet-Lite0, with options")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # the plain loop would warn of large photos
    paths, contents = photographs(given.images, given.items)
    print(f"{machine()}: {len(paths)} photographs, {sum(map(len, contents)) / len(paths) / 1e3:.0f} kB on average")

    made = encoder(given.encoder)
    loading = seconds(made.load)
    started = time.perf_counter()
    model = made.trainable()
    model.predict(np.zeros((PLAIN_BATCH, 224, 224, 3), np.uint8), verbose=0)
    print(
        f"starting TensorFlow and the network: {loading:.1f} s; Keras's once more {time.perf_counter() - started:.1f} s"
    )

    pixels = list(map(made.prepare, contents))
    phases: list[float] = []
    decoding = {f"decoding, {n} threads": partial(decode_all, contents, n) for n in range(1, cores() + 1)}
    encoding = {f"encoding, batches of {n}": partial(encode_all, made, pixels, n) for n in BATCHES}
    contenders: dict[str, Callable[[], Any]] = {
        OURS: partial(extract_all, made, paths, phases),
        **decoding,
        **encoding,
        PLAIN: partial(plain_loop, model, paths, PLAIN_BATCH),
        PLAINEST: partial(plain_loop, model, paths, 1),
    }
    times, processor = contest(contenders, given.rounds)

    print(f"\n{'photos/s':36} {'median':>8} {'best':>8} {'processor, ms a photo':>24}")
    for name, its in times.items():
        rates = f"{len(paths) / statistics.median(its):8.1f} {len(paths) / min(its):8.1f}"
        print(f"{name:36} {rates} {min(processor[name]) / len(paths) * 1e3:24.1f}")
    ratios = []
    for of in (statistics.median, min):
        took = {name: of(its) for name, its in times.items()}
        bound = min(took[name] for name in decoding) + min(took[name] for name in encoding)
        plain = took[PLAIN] / took[OURS], took[PLAINEST] / took[OURS]
        ratios.append((len(paths) / bound, bound / took[OURS], *plain))
    told = ("the bound", "headstart, of the bound", "headstart, plain loops", "headstart, loops of one photo")
    for name, *each in zip(told, *ratios, strict=True):
        print(f"{name:36} {each[0]:8.2f} {each[1]:8.2f}")
    ours = statistics.median(times[OURS])
    print(f"with the start of TensorFlow: headstart {len(paths) / (ours + loading):.1f} photos/s")
    print(f"of headstart's {ours:.2f} s, {statistics.median(phases):.2f} before the first photo is decoded (planning)")


def photographs(folder: Path, most: int | None) -> tuple[list[Path], list[bytes]]:
    """Photos that can be decoded, of different content: their paths and bytes."""
    found: dict[bytes, tuple[Path, bytes]] = {}
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        content = path.read_bytes()
        try:
            decode(content, 8)
        except ItemError:
            continue
        found.setdefault(sha256(content).digest(), (path, content))
        if len(found) == most:
            break
    if not found:
        raise SystemExit(f"no photos in {folder}; give a folder of photographs with --images")
    paths, contents = zip(*found.values(), strict=True)
    return list(paths), list(contents)


def extract_all(made: Encoder, paths: Sequence[Path], phases: list[float]) -> None:
    """`extract` into a fresh store; notes the seconds that were not spent on decoding and encoding."""
    with tempfile.TemporaryDirectory() as folder:
        listings = Path(folder) / "listings.csv"
        with listings.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "photo"), *((f"p{n}", path.name) for n, path in enumerate(paths))])
        catalog = read_catalog(listings, Columns(image="photo"), paths[0].parent)
        started = time.perf_counter()
        [report], _, _ = extract(catalog, [made], Path(folder) / "store")
        phases.append(time.perf_counter() - started - report.seconds)
        if report.encoded != len(paths):
            raise SystemExit(f"{report.encoded} of {len(paths)} photos were encoded")


def decode_all(contents: Sequence[bytes], threads: int) -> None:
    """Every photo's pixels, each thrown away."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda content: decode(content, 224).shape, contents):
            pass


def encode_all(made: Encoder, pixels: Sequence[np.ndarray], batch: int) -> None:
    """Every photo's vector."""
    for start in range(0, len(pixels), batch):
        made.encode(pixels[start : start + batch])


def plain_loop(model: Any, paths: Sequence[Path], size: int) -> None:
    """What a notebook does."""
    for start in range(0, len(paths), size):
        batch = []
        for path in paths[start : start + size]:
            with Image.open(path) as photo:
                batch.append(np.asarray(photo.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)))
        model.predict(np.stack(batch), batch_size=size, verbose=0)


def contest(contenders: dict[str, Callable[[], Any]], rounds: int) -> tuple[Times, Times]:
    """Seconds of each contender, and those of the processor, all taking turns; a first round is not counted."""
    times: Times = {name: [] for name in contenders}
    processor: Times = {name: [] for name in contenders}
    for counted in [False, *[True] * rounds]:
        for name, work in contenders.items():
            started = time.process_time()
            took = seconds(work)
            if counted:
                times[name].append(took)
                processor[name].append(time.process_time() - started)
    return times, processor


def seconds(work: Callable[[], Any]) -> float:
    """What a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
