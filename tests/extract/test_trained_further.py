"""Networks of every family learn under a head: SavedModels, and those of Keras Applications, whole or their tops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saved_models as kinds

from headstart.embeddings.features import Features
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.trunk import Trunk
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.finetune import TuneConfig, Tuning
from headstart.heads.inputs import Activations, Contents
from headstart.heads.nested import Listings
from headstart.runtime import keras

ROWS, SIZE = 36, 32
CODES = np.arange(ROWS) % 3
TRAIN, INNER = np.arange(24), np.arange(24, ROWS)


def items(made: Encoder) -> list[Any]:
    """Prepared texts of other words, or photos of another colour, for each category."""
    if made.modality == "text":
        return [made.prepare(" ".join(kinds.WORDS[6 * code : 6 * code + 3])) for code in CODES]
    side, rng = made.takes[0][1] or 1, np.random.default_rng(0)
    photos = rng.integers(0, 60, (ROWS, side, side, 3))
    photos[np.arange(ROWS), :, :, CODES] += 150
    return list(photos.astype(np.uint8))


class Prepared(Contents):
    """Items that are prepared already."""

    def __init__(self, made: Encoder, ready: list[Any]) -> None:
        super().__init__(made, [None] * len(ready), policy="float32")
        self._ready = ready

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self._encoder.collate([self._ready[row] for row in rows.tolist()])


def features_of(made: Encoder, vectors: np.ndarray) -> Features:
    there, modality = np.ones(ROWS, bool), {made.name: made.modality}
    return Features(tuple(map(str, range(ROWS))), (None,) * ROWS, {made.name: vectors}, {made.name: there}, modality)


def learn(made: Encoder, source: Any, rate: float = 0.01) -> list[np.ndarray]:
    """Tune a head that knows nothing yet with the network under it; how far each variable has moved."""
    features = features_of(made, np.random.default_rng(0).normal(size=(ROWS, made.dim)))  # which it does not read
    member, listings = HeadConfig((made.name,)), Listings(features, CODES, 3, np.arange(ROWS))
    head = HeadBank(features, CODES, 3, [HeadTask(member, TRAIN, INNER, scout=True)]).network(0, logits=True)
    config = TuneConfig("full", learning_rate=rate, epochs=4, patience=4, batch=8)
    nothing = [np.zeros_like(each) for each in head.get_weights()]
    tuning = Tuning(member, head, [source], listings, config)
    course = tuning.fit(nothing, TRAIN, INNER, (0,))
    assert course.losses[0] == pytest.approx(np.log(3), abs=1e-3) and course.best > 0
    assert np.isfinite(course.losses).all() and course.losses[course.best] < course.losses[0]
    return [np.abs(now.numpy() - then).max() for now, then in zip(source.variables, source.initial, strict=True)]


@pytest.mark.parametrize("kind", [kinds.tunable_text, kinds.tunable_image])
def test_a_saved_model_learns_in_its_own_types(kind: kinds.Builder, tmp_path_factory: pytest.TempPathFactory) -> None:
    module = kinds.ready(tmp_path_factory.getbasetemp(), kind)
    made = encoder(f"hub:{module}" + ("#range=0..1" if kind is kinds.tunable_image else ""))
    source = Prepared(made, items(made))
    wanted = "float64" if kind is kinds.tunable_image else "float32"
    assert [each.dtype.name for each in source.variables] == [wanted], "what nothing depends on is left out"
    assert min(learn(made, source)) > 0


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """MobileNet for small photos, its weights at random."""
    keras().utils.set_random_seed(0)
    path: Path = tmp_path_factory.mktemp("mobile") / "own.weights.h5"
    build = keras().applications.MobileNet
    model = build(weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3))
    for layer in model.layers:
        if hasattr(layer, "gamma"):  # at random they make the signal fade from layer to layer
            layer.gamma.assign(4 * layer.gamma)
    model.save_weights(path)
    return encoder(f"keras:MobileNet#size={SIZE},weights={path}")


@pytest.mark.parametrize("depth", ["top", "full"])
def test_an_application_of_keras_learns(mobile: Encoder, depth: str) -> None:
    ready = items(mobile)
    source: Any = Prepared(mobile, ready)
    if depth == "top":
        trunk = Trunk(mobile)
        source = Activations(features_of(trunk, trunk.encode(ready)), trunk, "float32")
        assert 0 < len(source.variables) < len(source.whole.trainable_variables) / 2
    still = [each.numpy() for each in source.whole.non_trainable_variables]
    moved = learn(mobile, source, rate=1e-4)
    assert np.mean(np.array(moved) > 0) > 0.5, "where the signal fades they stay"
    for before, now in zip(still, source.whole.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, now.numpy(), "batch normalisation keeps its statistics")
