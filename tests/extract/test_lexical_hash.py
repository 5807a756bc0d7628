from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from extracting import read, reports, write_catalog
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import EncoderError
from headstart.extract.lexical_hash import LexicalHash

ENCODER = LexicalHash()
TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["montre", "acier", "42", "L'été", "ÉTÉ", "手机", "हिन्दी"])
).map(" ".join)


def vectors(*texts: str) -> np.ndarray:
    return ENCODER.encode([ENCODER.prepare(text) for text in texts])


def grams(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return Counter([*zip(words), *itertools.pairwise(words)])


def by_hand(text: str) -> np.ndarray:
    """The vector in whole numbers and loops, from the hashes of the prepared words on."""
    words = [int(word) for word in ENCODER.prepare(text)]
    counts = Counter([*words, *((first << 32) + second for first, second in itertools.pairwise(words))])
    length = math.sqrt(sum((1 + math.log(count)) ** 2 for count in counts.values()))
    vector = np.zeros(2048)
    for gram, count in counts.items():
        x = (gram + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        x ^= x >> 31
        for quarter in range(4):
            bits = x >> 10 * quarter
            sign = -1 if bits % 2 else 1
            vector[512 * quarter + (bits >> 1) % 512] += sign * (1 + math.log(count)) / length / 2
    return vector


def test_the_vectors_are_the_same_for_all_time() -> None:
    assert ENCODER.prepare("Montre").tolist() == [3055195044] == [crc32(b"montre")]
    (vector,) = vectors("Montre")
    assert {int(place): float(vector[place]) for place in np.flatnonzero(vector)} == {
        145: -0.5,
        621: -0.5,
        1090: 0.5,
        1657: -0.5,
    }
    (vector,) = vectors("Théière en grès, 1,5 l")
    assert np.count_nonzero(vector) == 42
    assert np.flatnonzero(vector)[:7].tolist() == [24, 80, 133, 191, 207, 213, 233]
    assert vector[[24, 191]] == pytest.approx([-0.150756, 0.150756], abs=1e-6)
    assert ENCODER.fingerprint == "78251fad746762ae5fc5e5befd2b9b0f7e0b9e8617ce51b0f156fb72ec81af9b"


@given(st.lists(TEXTS, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_it_is_what_counting_by_hand_gives(texts: list[str]) -> None:
    np.testing.assert_allclose(vectors(*texts), [by_hand(text) for text in texts], atol=1e-6)


@given(st.lists(TEXTS, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_vector_depends_on_its_own_text_only(texts: list[str], random: object) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    together = vectors(*texts)
    assert np.array_equal(vectors(*(texts[row] for row in order)), together[order])
    assert all(np.array_equal(vectors(text)[0], vector) for text, vector in zip(texts, together, strict=True))


def test_many_texts_at_once_and_one_by_one_are_the_same() -> None:
    texts = [f"montre {number} acier" for number in range(300)]
    assert np.array_equal(vectors(*texts), np.concatenate([vectors(text) for text in texts]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L’Étoile-du-Nord (NOIRE)", ["l", "étoile", "du", "nord", "noire"]),
        ("T-shirt 100% coton, taille_XL 3.5", ["t", "shirt", "100", "coton", "taille_xl", "3", "5"]),
        ("मोबाइल फ़ोन", ["मोबाइल", "फ़ोन"]),
        ("智能手机 Pro", ["智", "能", "手", "机", "pro"]),
        ("Ёлка ёлка", ["ёлка", "ёлка"]),
        ("a\ud800b", ["a", "b"]),
        ("… !?", []),
        ("", []),
    ],
)
def test_what_a_word_is(text: str, words: list[str]) -> None:
    assert ENCODER.prepare(text).tolist() == [crc32(word.encode()) for word in words]


@given(st.lists(st.sampled_from(["montre", "acier", "quartz", "étanche", "42", "mm"]), min_size=1))
def test_case_and_punctuation_change_nothing(words: list[str]) -> None:
    plain, dressed = vectors(" ".join(words), "«" + " – ".join(words).upper() + "!»")
    assert np.array_equal(plain, dressed)


def test_texts_that_share_words_are_near() -> None:
    watch, other_order, other_watch, towel = vectors(
        "montre homme bracelet acier inoxydable cadran noir quartz étanche",
        "étanche quartz noir cadran inoxydable acier bracelet homme montre",
        "montre femme bracelet acier inoxydable cadran blanc quartz étanche",
        "serviette de bain en coton éponge double face très douce",
    )
    assert watch @ other_watch > 0.5 > watch @ towel + 0.3
    assert 0.3 < watch @ other_order < 0.7, "the same words, but no pair of them"


def test_inner_products_are_those_of_the_bags_of_words() -> None:
    rng = np.random.default_rng(5)
    lexicon = np.array([f"mot{number}" for number in range(2000)])
    often = 1 / np.arange(1, 2001)
    texts = [" ".join(rng.choice(lexicon, rng.integers(5, 120), p=often / often.sum())) for _ in range(200)]
    bags = [grams(text) for text in texts]
    column = {gram: number for number, gram in enumerate(set().union(*bags))}
    exact = np.zeros((len(texts), len(column)))
    for row, bag in zip(exact, bags, strict=True):
        for gram, count in bag.items():
            row[column[gram]] = 1 + math.log(count)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    projected = vectors(*texts)
    error = projected @ projected.T - exact @ exact.T
    pairs = error[np.triu_indices(len(texts), 1)]
    assert pairs.std() < 1.2 / math.sqrt(2048)
    assert abs(pairs.mean()) < 0.2 / math.sqrt(2048)
    assert abs(pairs).max() < 7 / math.sqrt(2048)
    assert abs(np.linalg.norm(projected, axis=1) - 1).max() < 0.2


@given(TEXTS)
def test_half_precision_holds_it(text: str) -> None:
    (vector,) = vectors(text)
    assert vector.dtype == np.float32 and np.isfinite(vector).all()
    assert np.linalg.norm(vector.astype(np.float16) - vector) < 1e-3


def test_a_text_without_words_is_zeros_and_kept(tmp_path: Path) -> None:
    assert not vectors("", "?!").any() and ENCODER.encode([]).shape == (0, 2048)
    catalog = write_catalog(tmp_path, [("1", "montre acier", ""), ("2", "!!!", ""), ("3", "", "")])
    (report,) = reports(catalog, [ENCODER], tmp_path / "store")
    assert (report.encoded, report.failures) == (2, [])
    features = read(catalog, tmp_path / "store", [ENCODER])
    assert features.present["lexical-hash"].tolist() == [True, True, False]
    assert features.vectors["lexical-hash"].any(axis=1).tolist() == [True, False, False]


def test_there_is_nothing_to_fine_tune() -> None:
    with pytest.raises(EncoderError, match="lexical-hash has no weights to fine-tune: choose another"):
        ENCODER.trainable()
