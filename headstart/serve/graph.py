"""A classifier and its encoders as one TensorFlow graph: encoded photos and texts in, answers out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.extract.encoder import Encoder, InGraph, variables_of
from headstart.extract.graph_photos import NONE, decoded, kinds
from headstart.extract.graph_texts import cleaned
from headstart.heads.calibration import Rules
from headstart.heads.classifier import Classifier
from headstart.heads.graph_fusion import answers, fused
from headstart.heads.graph_words import Words
from headstart.heads.members import IMAGE, TEXT, members_of, reads
from headstart.runtime import tensorflow

SERVE, EMBED = "serving_default", "embed"
"""The signatures."""


def output_names(names: Sequence[str]) -> dict[str, str]:
    """Encoder → the name of its output: of a handle what stands last in its path, so that no folder is told."""
    found: dict[str, str] = {}
    for name in names:
        handle = name.partition("#")[0].rstrip("/")
        short = re.sub(r"[^\w.-]+", "_", handle.rpartition("/")[2].rpartition(":")[2]) or "encoder"
        same = sum(each.partition("#")[0] == short for each in found.values())
        found[name] = f"{short}#{same + 1}" if same else short
    return found


def serving_module(
    classifier: Classifier, encoders: Sequence[Encoder], rules: Rules | None, folder: Path
) -> tuple[Any, dict[str, Any]]:
    """A module to save, and its signatures by name; both take ``text`` and ``image_bytes``, strings ``(n,)``.

    Args:
        classifier: fitted or loaded.
        encoders: those of `encoders_of`.
        rules: what decides; None where nobody knows how often the classifier errs.
        folder: for files that must be there until the module is saved.

    Raises:
        EncoderError: an encoder cannot be exported.
    """
    tf = tensorflow()
    graphs = {each.name: each.in_graph() for each in encoders}
    encode = _encoding(encoders, graphs)
    classify, tracked = _classifying(classifier, {each.name: each.modality for each in encoders}, rules, folder)
    shown = output_names([each.name for each in encoders])

    def serve(text: Any, image_bytes: Any) -> dict[str, Any]:
        return classify(*encode(text, image_bytes))

    def embed(text: Any, image_bytes: Any) -> dict[str, Any]:
        _, _, vectors = encode(text, image_bytes)
        return {shown[name]: each for name, each in vectors.items()}

    module = tf.Module()
    module.tracked = [*(each.tracked for each in graphs.values()), *tracked]
    takes = [tf.TensorSpec([None], tf.string, name=name) for name in ("text", "image_bytes")]
    signatures = {
        name: tf.function(function, input_signature=takes, autograph=False)
        for name, function in ((SERVE, serve), (EMBED, embed))
    }
    return module, signatures


Seen = tuple[Any, dict[str, Any], dict[str, Any]]
"""Texts as they are read ``(n,)``; modality → whether the listing has it; encoder → vectors ``(n, dim)``."""


def _encoding(encoders: Sequence[Encoder], graphs: Mapping[str, InGraph]) -> Callable[[Any, Any], Seen]:
    """From what is sent to vectors, those of what a listing lacks zeros; rounded as they are kept in a store."""
    tf = tensorflow()
    sizes = list(dict.fromkeys(graph.size for graph in graphs.values() if graph.size))

    def encode(text: Any, image_bytes: Any) -> Seen:
        texts, kind = cleaned(text), kinds(image_bytes, max(sizes, default=1))
        has = {TEXT: tf.strings.length(texts) > 0, IMAGE: kind != NONE}
        vectors: dict[str, Any] = {}
        for each in encoders:
            if each.modality == TEXT:
                vectors[each.name] = _for_those(has[TEXT], (texts,), graphs[each.name].call, each.dim)
        for size in sizes:
            alike = [each for each in encoders if graphs[each.name].size == size]
            joined = _for_those(
                has[IMAGE],
                (image_bytes, kind),
                lambda photos, kind, size=size, alike=alike: _joined(decoded(photos, kind, size), alike, graphs),
                sum(each.dim for each in alike),
            )
            parts = tf.split(joined, [each.dim for each in alike], axis=1)
            vectors.update({each.name: part for each, part in zip(alike, parts, strict=True)})
        return texts, has, {each.name: vectors[each.name] for each in encoders}

    return encode


def _joined(pixels: Any, encoders: Sequence[Encoder], graphs: Mapping[str, InGraph]) -> Any:
    return tensorflow().concat([graphs[each.name].call(pixels) for each in encoders], axis=1)


def _for_those(mask: Any, items: Sequence[Any], call: Callable[..., Any], dim: int) -> Any:
    """Vectors of the rows in the mask, zeros in all others; where there are none, nothing is run."""
    tf = tensorflow()
    rows = tf.where(mask)
    some = [tf.boolean_mask(each, mask) for each in items]
    found = tf.cond(
        tf.size(rows) > 0,
        lambda: tf.ensure_shape(call(*some), (None, dim)),
        lambda: tf.zeros((0, dim)),
    )
    kept = tf.cast(tf.cast(found, tf.float16), tf.float32)
    return tf.scatter_nd(rows, kept, tf.stack([tf.size(mask, tf.int64), dim]))


def _classifying(
    classifier: Classifier, modality: Mapping[str, str], rules: Rules | None, folder: Path
) -> tuple[Callable[..., dict[str, Any]], list[Any]]:
    """From what is seen to answers, and what must be saved with it."""
    tf = tensorflow()
    heads, networks, control = classifier.config_.members(), classifier.networks_, classifier.control_
    words = Words(control, folder) if classifier.config_.words and control is not None else None
    read = frozenset[str]().union(*(reads(member, modality) for member in members_of(classifier.config_)))
    names = [str(label) for label in classifier.classes_.tolist()]

    def classify(texts: Any, has: Mapping[str, Any], vectors: Mapping[str, Any]) -> dict[str, Any]:
        opinions, there = [], []
        for head, network in zip(heads, networks, strict=True):
            present = tf.stack([has[modality[name]] for name in head.encoders], axis=1)
            inputs = [*(vectors[name] for name in head.encoders), tf.cast(present, tf.float32)]
            opinions.append(tf.math.log(tf.maximum(network(inputs, training=False), 1e-30)))
            there.append(tf.reduce_any(present, axis=1))
        if words is not None:
            opinions.append(words.log_probabilities(texts))
            there.append(has[TEXT])
        seen = {kind: has[kind] for kind in sorted(read)}
        return answers(tf.exp(fused(classifier.fusion_, opinions, there, seen)), names, rules, seen)

    return classify, [*map(variables_of, networks), *([words.tracked] if words else [])]
