"""Texts prepared in a TensorFlow graph are those that Python prepares."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.extract.graph_texts import cleaned, in_groups, truncated
from headstart.extract.use_multilingual import CHARACTERS, PADDING, UseMultilingual, ids_in_graph
from headstart.runtime import tensorflow
from headstart.texts import join_fields

ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))
"""Of a letter that this Python's Unicode does not know, nobody here can say what it is in composed form."""
TEXTS = st.lists(st.text(ASSIGNED, max_size=40), min_size=1, max_size=8)


@cache
def ids() -> Callable[[Any], Any]:
    tf, tokenizer = tensorflow(), UseMultilingual().tokenizer_in_graph()
    spec = [tf.TensorSpec([None], tf.string)]
    return tf.function(lambda texts: ids_in_graph(tokenizer, texts), input_signature=spec, autograph=False)


def strings(texts: list[str]) -> object:
    return tensorflow().constant([text.encode() for text in texts], tensorflow().string)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_texts_are_stripped_and_composed_as_in_a_catalogue(texts: list[str]) -> None:
    found = [text.decode() for text in cleaned(strings(texts)).numpy()]
    assert found == [join_fields([text]) or "" for text in texts]


def test_every_character_alone_is_stripped_and_composed() -> None:
    known = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    found = cleaned(strings([f"{each}a{each}" for each in known])).numpy()
    assert [text.decode() for text in found] == [join_fields([f"{each}a{each}"]) for each in known]


def test_what_is_no_utf_8_is_replaced() -> None:
    tf = tensorflow()
    assert cleaned(tf.constant([b"caf\xe9 noir", b" \xff\xfe "])).numpy().tolist() == [
        "caf\ufffd noir".encode(),
        "\ufffd\ufffd".encode(),
    ]


def test_texts_are_cut_at_characters_not_at_bytes() -> None:
    assert truncated(strings(["", "é€a😀b"]), 4).numpy().tolist() == [b"", "é€a😀".encode()]


@settings(max_examples=40, deadline=None)
@given(TEXTS)
def test_sentencepiece_gives_the_ids_that_python_gives(texts: list[str]) -> None:
    encoder = UseMultilingual()
    found = ids()(strings(texts)).numpy()
    np.testing.assert_array_equal(found, encoder.collate([encoder.prepare(text) for text in texts]))


def test_long_and_empty_texts_have_the_ids_that_python_gives_them() -> None:
    encoder = UseMultilingual()
    texts = ["", " ", "montre " * 5_000, "été, " * CHARACTERS]
    found = ids()(strings(texts)).numpy()
    np.testing.assert_array_equal(found, encoder.collate([encoder.prepare(text) for text in texts]))
    assert (found[0] != PADDING).sum() == 3


def test_grouping_texts_by_length_changes_no_row() -> None:
    tf = tensorflow()
    lengths = np.random.default_rng(0).integers(1, 9, 20)
    ids = np.array([[*range(1, n + 1), *[PADDING] * (8 - n)] for n in lengths])
    seen: list[tuple[int, int]] = []

    def network(some: object) -> object:
        seen.append(tuple(some.shape))  # type: ignore[attr-defined]
        real = tf.cast(tf.where(some == PADDING, 0, some), tf.float32)
        return tf.stack([tf.reduce_sum(real, 1), tf.reduce_max(real, 1)], 1)

    found = in_groups(network, tf.constant(ids, tf.int32), PADDING, 16, 2).numpy()
    np.testing.assert_array_equal(found, np.stack([lengths * (lengths + 1) / 2, lengths], 1))
    assert sum(rows for rows, _ in seen) == 20
    assert all(rows * time <= 16 for rows, time in seen)
