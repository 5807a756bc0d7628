"""The words of the control, found and weighed in a TensorFlow graph as scikit-learn finds and weighs them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.heads.control import NGRAMS, Control
from headstart.heads.graph_words import Words, ngrams
from headstart.runtime import tensorflow

LETTERS = st.sampled_from("aA1_éÉßſİıΣσΆﬁǅ²Ⅷ一の한\u0301\u200d'-. \t\n\0")


def same_words(texts: list[str]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    analyse = TfidfVectorizer(ngram_range=NGRAMS).build_analyzer()
    found = ngrams(tensorflow().constant([text.encode() for text in texts])).to_list()
    for text, words in zip(texts, found, strict=True):
        assert Counter(word.decode() for word in words) == Counter(analyse(text)), repr(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(LETTERS, max_size=20), min_size=1, max_size=6))
def test_words_and_pairs_are_those_of_scikit_learn(texts: list[str]) -> None:
    same_words(texts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=20), min_size=1, max_size=6))
def test_words_in_any_script_are_those_of_scikit_learn(texts: list[str]) -> None:
    same_words(texts)


@pytest.mark.parametrize("texts", [["red scarf", "Blue LAMP red", "red red lamp"], ["a b", "c", "d"]])
def test_log_probabilities_are_those_of_the_control(texts: list[str], tmp_path: Path) -> None:
    codes = np.arange(60) % len(texts)
    control = Control().fit([texts[code] for code in codes], codes, classes=len(texts) + 1)
    assert bool(control.words) == (texts[0] != "a b")
    asked = [*texts, "", "lamp RED lamp red-scarf unknown", "unknown"]
    found = Words(control, tmp_path).log_probabilities(tensorflow().constant([text.encode() for text in asked]))
    np.testing.assert_allclose(found.numpy(), control.log_probabilities(asked), rtol=0, atol=1e-4)
    assert Words(control, tmp_path).log_probabilities(tensorflow().constant([], tensorflow().string)).shape[0] == 0
