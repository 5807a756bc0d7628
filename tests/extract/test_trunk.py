"""Networks cut in two, and their lower parts as encoders of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extracting import read, reports, write_catalog
from hypothesis import given, settings
from hypothesis import strategies as st

from blinkered import Blinkered, Colourblind, environment, paint, registered
from headstart.catalog import Columns, read_catalog
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.trunk import Trunk, split
from headstart.runtime import keras

LITE0, USE = "efficientnet-lite0#size=64", "use-multilingual-v3"


def values(variables: list[Any]) -> set[int]:
    return {id(variable) for variable in variables}


def check_split(model: Any, x: np.ndarray) -> tuple[Any, Any]:
    """The halves of a network, having checked what holds for every one; twice, as the first cut leaves traces."""
    for _ in range(2):
        lower, upper = split(model)
        np.testing.assert_allclose(upper(lower(x, training=False), training=False), model(x, training=False), rtol=1e-5)
        below, above = values(lower.trainable_variables), values(upper.trainable_variables)
        assert below and above and not below & above, "what learns above changes nothing below"
        assert below | above == values(model.trainable_variables)
    return lower, upper


@pytest.mark.parametrize(("name", "shape"), [(LITE0, (2, 2, 192)), (USE, (512,))])
def test_the_embedded_encoders_are_cut(name: str, shape: tuple[int, ...]) -> None:
    made = encoder(name)
    x = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    if name == USE:
        x = made.collate([made.prepare(text) for text in ("théière émaillée", "a")])
    lower, _ = check_split(made.trainable(), x)
    assert lower.output.shape[1:] == shape


def pictures() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype(np.float32)


def residual() -> Any:
    """The narrowest tensor, of 2 channels, lies beside a shortcut."""
    layers = keras().layers
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, 2, padding="same", name="stem")(x)
    narrow = layers.Conv2D(2, 1, name="narrow")(x)
    x = layers.Add(name="sum")([x, layers.Conv2D(6, 1)(narrow)])
    x = layers.Conv2D(5, 1, name="head")(x)
    return keras().Model(inputs, layers.GlobalAveragePooling2D()(x))


def test_the_cut_is_never_beside_a_shortcut() -> None:
    lower, upper = check_split(residual(), pictures())
    assert lower.output.shape == (None, 4, 4, 6)
    assert [layer.name for layer in lower.layers if layer.weights] == ["stem"]
    assert {layer.name for layer in upper.layers} >= {"narrow", "sum", "head"}


def test_a_network_inside_another_is_cut() -> None:
    pixels = keras().layers.Input((8, 8, 3))
    model = keras().Model(pixels, residual()(keras().ops.flip(pixels, axis=-1) / 2))
    lower, _ = check_split(model, pictures())
    assert lower.output.shape == (None, 4, 4, 6)


@pytest.mark.parametrize("again", ["at once", "later"])
def test_layers_that_are_used_twice_stay_on_one_side(again: str) -> None:
    layers = keras().layers
    inputs, twice = layers.Input((6,)), layers.Dense(6, activation="tanh")
    x = twice(inputs)
    x = twice(x) if again == "at once" else twice(layers.Dense(6)(x))
    x = layers.Dense(4, name="above")(layers.Dense(5)(x))
    _, upper = check_split(keras().Model(inputs, x), pictures()[:, 0, :2].reshape(3, 6))
    assert "above" in {layer.name for layer in upper.layers}


def test_what_an_operation_gives_and_nobody_reads_does_not_hinder() -> None:
    layers = keras().layers
    inputs = layers.Input((6,))
    x, _ = keras().ops.split(layers.Dense(6)(inputs), 2, axis=-1)
    check_split(keras().Model(inputs, layers.Dense(3)(layers.Dense(5)(x))), pictures()[:, 0, :2].reshape(3, 6))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(["conv", "block", "branch", "pool"]), max_size=5))
def test_any_network_is_cut_so_that_nothing_is_lost(parts: list[str]) -> None:
    layers = keras().layers
    x = inputs = layers.Input((8, 8, 3))
    for kind in parts:
        if kind == "conv":
            x = layers.Conv2D(2, 3, padding="same")(x)
        elif kind == "block":
            x = layers.Add()([x, layers.Conv2D(x.shape[-1], 3, padding="same")(x)])
        elif kind == "branch":
            x = layers.Concatenate()([layers.Conv2D(2, 1)(x), layers.Conv2D(3, 3, padding="same")(x)])
        elif x.shape[1] > 1:
            x = layers.AveragePooling2D(2)(x)
    model = keras().Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    if {*parts} - {"pool"}:
        check_split(model, pictures())
    else:
        with pytest.raises(EncoderError, match="no layer that all of it passes through"):
            split(model)


def uncuttable() -> dict[str, Any]:
    k = keras()
    layers = k.layers
    ids, pair = layers.Input((None,), dtype="int32"), layers.Input((6,))
    two = k.ops.concatenate([layers.Dense(2)(pair), layers.Dense(3)(pair)], axis=-1)

    class Own(k.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    return {
        "one layer": k.Model(pair, layers.Dense(2)(pair)),
        "words up to the last layer": k.Model(ids, layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(ids))),
        "two ways": k.Model(pair, two),
        "a class of its own": Own(),
        "no Keras": object(),
    }


def test_a_network_without_such_a_tensor_is_refused_in_one_line() -> None:
    for name, model in uncuttable().items():
        with pytest.raises(EncoderError, match=rf"^{name} [^\n]*: fine-tune it in full$"):
            split(model, name)


# ---- the lower part as an encoder


@pytest.mark.parametrize("base", [Blinkered(), Colourblind()])
def test_a_trunk_is_an_encoder(base: Encoder, tmp_path: Path) -> None:
    """Kept in a store, its activations go on to the vectors of the encoder that it is a part of."""
    trunk = Trunk(base)
    shape = (20,) if base.modality == "text" else (4, 4, 16)
    assert (trunk.name, trunk.modality, trunk.shape, trunk.dim) == (
        f"trunk:{base.name}", base.modality, shape, int(np.prod(shape)),
    )  # fmt: skip
    assert trunk.fingerprint not in (base.fingerprint, Trunk(type(base)(seed=1)).fingerprint)
    assert Trunk(type(base)()).fingerprint == trunk.fingerprint
    paint(tmp_path / "photos", np.arange(6) % 3)
    write_catalog(tmp_path, [(f"{row}", "ab" * row + "xyz", f"{row}.png") for row in range(6)])
    catalog = read_catalog(tmp_path / "listings.csv", Columns(text=("text",), image="photo"), tmp_path / "photos")
    encoded = reports(catalog, [base, trunk], tmp_path / "store")
    assert [each.encoded for each in encoded] == [6, 6]
    vectors = read(catalog, tmp_path / "store", [base, trunk]).vectors
    _, upper = split(base.trainable())
    kept = vectors[trunk.name].reshape(-1, *shape).astype(np.float32)
    np.testing.assert_allclose(upper(kept), vectors[base.name], rtol=5e-3, atol=5e-3 * np.abs(kept).max())


def test_its_shape_is_learnt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    with registered(tmp_path):
        made = encoder("trunk:colourblind")
        assert made.dim == 4 * 4 * 16
        script = (
            "import sys; from headstart.extract.registry import encoder; made = encoder('trunk:colourblind'); "
            "print(made.dim, made.here(), made.modality, made.fingerprint)\n"
            "assert not {'tensorflow', 'keras'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(tmp_path))
    assert done.stdout.split() == ["256", "True", "image", made.fingerprint], done.stderr


def test_what_cannot_be_cut_has_no_trunk() -> None:
    for name in ("lexical-hash", "trunk:lexical-hash"):
        with pytest.raises(EncoderError, match="lexical-hash") as caught:
            _ = encoder(f"trunk:{name}").dim
        assert "\n" not in str(caught.value)
    with pytest.raises(EncoderError, match="stays frozen: fine-tune blinkered"):
        Trunk(Blinkered()).trainable()
