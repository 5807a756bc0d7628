"""Encoders saved as graphs and loaded as TensorFlow Serving does: in a session that has nothing of this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saved_models as kinds
from PIL import Image

import catalogs
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.tuned import TunedEncoder, save_tuned
from headstart.runtime import tensorflow

TEXTS = ("montre quartz acier", "", "hochet", "drap coton housse, couette", "puzzle " * 30)


def photos(size: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    colours = [rng.integers(0, 256, (4, 4, 3), np.uint8) for _ in range(3)]
    return [np.asarray(Image.fromarray(each).resize((size, size))) for each in colours]


def served(made: Encoder, folder: Path, items: Sequence[Any]) -> np.ndarray:
    """What the encoder's graph gives, saved and loaded anew."""
    tf = tensorflow()
    graph = made.in_graph()
    shape, kind = ([None], tf.string) if graph.size is None else ([None, graph.size, graph.size, 3], tf.uint8)
    module = tf.Module()
    module.tracked = graph.tracked
    call = tf.function(lambda x: {"vectors": graph.call(x)}, input_signature=[tf.TensorSpec(shape, kind, "x")])
    tf.saved_model.save(module, str(folder / "saved"), signatures=call)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder / "saved"))
        signature = loaded.signature_def["serving_default"]
        given = {signature.inputs["x"].name: np.array(items, kind.as_numpy_dtype)}
        return np.asarray(session.run(signature.outputs["vectors"].name, given))


def vectors(made: Encoder, items: Sequence[Any]) -> np.ndarray:
    return made.encode([made.prepare(each) for each in items])


@pytest.mark.parametrize("builder", [kinds.text, kinds.vocabulary, kinds.tokenizer, kinds.tunable_text, kinds.tf1_text])
def test_texts_of_a_module(builder: kinds.Builder, tmp_path: Path) -> None:
    made = encoder(f"hub:{builder(tmp_path / 'module')}")
    found = served(made, tmp_path, [text.encode() for text in TEXTS])
    np.testing.assert_allclose(found, vectors(made, TEXTS), rtol=1e-5, atol=1e-5)
    assert len(np.unique(found, axis=0)) > 1


@pytest.mark.parametrize(
    ("builder", "options"),
    [
        (kinds.image, "range=-1..1"),
        (kinds.tunable_image, "range=0..1"),
        (kinds.tf1_image, f"size={kinds.SIZE}"),
    ],
)
def test_photos_of_a_module(builder: kinds.Builder, options: str, tmp_path: Path) -> None:
    made = encoder(f"hub:{builder(tmp_path / 'module')}#{options}")
    pixels = photos(kinds.SIZE)
    np.testing.assert_allclose(served(made, tmp_path, pixels), made.encode(pixels), rtol=1e-4, atol=1e-4)


def test_use_multilingual(tmp_path: Path) -> None:
    made = encoder("use-multilingual-v3")
    texts = [*TEXTS, *(words for words in catalogs.WORDS.values()), "montre " * 5_000]
    found = served(made, tmp_path, [text.encode() for text in texts])
    np.testing.assert_allclose(found, vectors(made, texts), rtol=0, atol=1e-5)


def test_efficientnet_lite_and_one_that_was_fine_tuned(tmp_path: Path) -> None:
    base = encoder("efficientnet-lite0#size=64")
    pixels = photos(64)
    np.testing.assert_allclose(served(base, tmp_path / "base", pixels), base.encode(pixels), rtol=0, atol=1e-3)
    variables = [variable.numpy() * 1.01 for variable in base.trainable().trainable_variables]
    save_tuned(tmp_path / "tuned", base, variables, np.zeros((2, 0), np.uint64), {})
    tuned = TunedEncoder(str(tmp_path / "tuned"))
    found = served(tuned, tmp_path, pixels)
    np.testing.assert_allclose(found, tuned.encode(pixels), rtol=0, atol=1e-3)
    assert np.abs(found - base.encode(pixels)).max() > 0.01


def test_a_fine_tuned_module(tmp_path: Path) -> None:
    base = encoder(f"hub:{kinds.tunable_text(tmp_path / 'module')}")
    variables = [variable.numpy() + 1 for variable in base.trainable().trainable_variables]
    save_tuned(tmp_path / "tuned", base, variables, np.zeros((2, 0), np.uint64), {})
    tuned = TunedEncoder(str(tmp_path / "tuned"))
    found = served(tuned, tmp_path, [text.encode() for text in TEXTS])
    np.testing.assert_allclose(found, vectors(tuned, TEXTS), rtol=1e-5, atol=1e-5)
    assert np.abs(found - vectors(base, TEXTS)).max() > 0.5


def test_a_network_of_keras_applications(tmp_path: Path) -> None:
    from headstart.runtime import keras

    keras().utils.set_random_seed(0)
    whole = keras().applications.MobileNet(include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3))
    whole.save_weights(tmp_path / "mobile.weights.h5")
    made = encoder(f"keras:MobileNet#size=32,weights={tmp_path / 'mobile.weights.h5'}")
    pixels = photos(32)
    np.testing.assert_allclose(served(made, tmp_path, pixels), made.encode(pixels), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("handle", "why"),
    [
        ("lexical-hash", "hashes words in Python"),
        ("minilm-l6", "tokenizer does not run in TensorFlow"),
        ("use-multilingual-v3#precision=bfloat16", "precision=bfloat16 is a setting of this process"),
    ],
)
def test_what_cannot_be_exported_says_why_and_what_to_choose(handle: str, why: str) -> None:
    with pytest.raises(EncoderError, match=f"{handle} cannot be exported, .*{why}: .+") as caught:
        encoder(handle).in_graph()
    assert "\n" not in str(caught.value)
