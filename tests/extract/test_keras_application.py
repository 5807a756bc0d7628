from __future__ import annotations

import importlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extracting import read, reports, write_catalog
from PIL import Image

from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.keras_application import APPLICATIONS, KerasApplication
from headstart.extract.registry import encoder
from headstart.runtime import keras

SIZE = 64


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Caches of its own, and no way to the network; gives Keras's folder of weights."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    return tmp_path / "keras" / "models"


def network(name: str, **options: Any) -> Any:
    """Keras's own, with weights at random, the same at each call."""
    keras().utils.set_random_seed(0)
    build = getattr(keras().applications, name)
    return build(**{"weights": None, "include_top": False, "pooling": "avg", "input_shape": (SIZE, SIZE, 3), **options})


def saved(folder: Path, name: str, file: str = "own.weights.h5", **options: Any) -> str:
    """Its weights in Keras's own format, or in the older one of the files that Keras publishes."""
    built, path = network(name, **options), folder / file
    built.save_weights(path) if file.endswith(".weights.h5") else built.save(path)
    return str(path)


def photos(count: int = 3) -> list[bytes]:
    made = []
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).resize((140, 180)).save(file, "JPEG")
        made.append(file.getvalue())
    return made


def refusal(made: Encoder, what: str = "encode") -> str:
    with pytest.raises(EncoderError) as caught:
        made.encode([made.prepare(photos(1)[0])]) if what == "encode" else made.fingerprint
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_published(name: str, weights: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """Keras's own EfficientNet for ImageNet, which has a layer more than the one for no weights."""
    with monkeypatch.context() as patch:
        patch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(weights))
        application = getattr(keras().applications, name)
        return application(weights="imagenet", include_top=False, pooling="avg", **options)


def test_an_efficientnet_with_its_classifier_is_the_published_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = keras().applications.EfficientNetB0(weights=None)
    whole.save_weights(tmp_path / "top.weights.h5")
    plain = network("EfficientNetB0", input_shape=None)
    plain.set_weights(whole.get_weights()[: len(plain.weights)])
    plain.save_weights(tmp_path / "notop.weights.h5")
    model = as_published("EfficientNetB0", tmp_path / "notop.weights.h5", monkeypatch)
    made = encoder(f"keras:EfficientNetB0#weights={tmp_path / 'top.weights.h5'}")
    pixels = made.prepare(photos(1)[0])[None]
    wanted = np.asarray(model(pixels.astype(np.float32), training=False))
    np.testing.assert_allclose(made.encode(pixels), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["MobileNetV2", "VGG16"])
def test_agrees_with_keras_own_model_and_preprocessing(tmp_path: Path, name: str) -> None:
    """Preprocessing to -1..1 and to BGR less the mean; the EfficientNet below has its own inside the network."""
    model = network(name)
    model.save_weights(tmp_path / "own.weights.h5")
    made = encoder(f"keras:{name}#size={SIZE},weights={tmp_path / 'own.weights.h5'}")
    pixels = np.stack([made.prepare(photo) for photo in photos()])
    family = importlib.import_module(f"keras.applications.{APPLICATIONS[name].family}")
    wanted = np.asarray(model(family.preprocess_input(pixels.astype(np.float32)), training=False))
    vectors = made.encode(list(pixels))
    assert vectors.shape == (3, made.dim) and vectors.dtype == np.float32 and made.modality == "image"
    assert np.ptp(wanted, axis=0).max() > 0
    np.testing.assert_allclose(vectors, wanted, atol=1e-4 * np.abs(wanted).max())


def test_knows_every_application_of_keras() -> None:
    applications = keras().applications
    assert {name for name in dir(applications) if callable(getattr(applications, name))} == set(APPLICATIONS)
    for name, known in APPLICATIONS.items():
        assert getattr(applications, name).__module__.endswith(f".{known.family}")
    assert all(encoder(f"keras:{name}").dim == known.dim for name, known in APPLICATIONS.items())


def test_knows_size_and_dimension_of_an_application() -> None:
    name = "MobileNet"
    whole = getattr(keras().applications, name)(weights=None, classes=2)
    assert whole.input_shape[1] == APPLICATIONS[name].size
    assert network(name).output_shape[1] == APPLICATIONS[name].dim


@pytest.mark.parametrize("file", ["top.h5", "top.weights.h5"])
def test_takes_a_file_with_the_classifier_in_it(tmp_path: Path, file: str) -> None:
    top = saved(tmp_path, "MobileNet", file, include_top=True, pooling=None, input_shape=None)
    plain = saved(tmp_path, "MobileNet", file.replace("top", "notop"))
    with_top, without = (KerasApplication("MobileNet", size=SIZE, weights=path).trainable() for path in (top, plain))
    assert len(with_top.weights) == len(without.weights) > 100
    for one, other in zip(with_top.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_extraction_reads_back(tmp_path: Path) -> None:
    model = network("MobileNetV2")
    for layer in model.layers:
        if hasattr(layer, "gamma"):  # at random they make the signal fade from layer to layer
            layer.gamma.assign(4 * layer.gamma)
    model.save_weights(tmp_path / "own.weights.h5")
    made = encoder(f"keras:MobileNetV2#size={SIZE},weights={tmp_path / 'own.weights.h5'}")
    names = [f"{number}.jpg" for number in range(3)]
    for name, photo in zip(names, photos(), strict=True):
        (tmp_path / name).write_bytes(photo)
    catalog = write_catalog(tmp_path, [(name, "", name) for name in names] + [("none", "a text", "")])
    (report,) = reports(catalog, [made], tmp_path / "store")
    assert (report.encoded, report.failures) == (3, [])
    features = read(catalog, tmp_path / "store", [made])
    (vectors,) = features.vectors.values()
    wanted = made.encode([made.prepare(photo) for photo in photos()])
    np.testing.assert_allclose(vectors[:3], wanted, rtol=2e-3, atol=1e-3 * np.abs(wanted).max())
    assert np.ptp(wanted, axis=0).max() > 1e-2
    assert not vectors[3].any()


def test_the_model_trains(tmp_path: Path) -> None:
    made = KerasApplication("VGG16", size=SIZE, weights=saved(tmp_path, "VGG16"))
    pixels = [made.prepare(photo) for photo in photos(2)]
    model = made.trainable()
    np.testing.assert_allclose(model.predict(np.stack(pixels), verbose=0), made.encode(pixels), atol=1e-5)
    assert len(model.trainable_variables) == 26
    model.compile(keras().optimizers.SGD(0.01), "mse")
    first, second = (model.train_on_batch(np.stack(pixels), np.eye(2, made.dim)) for _ in range(2))
    assert second < first


def test_pull_keeps_a_file_where_keras_does_not_take_it_for_its_own(
    tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    # The published file of MobileNetV2 at 96 pixels, of which Keras knows no digest
    weights = saved(tmp_path, "MobileNetV2", "elsewhere.h5", input_shape=(96, 96, 3))
    made = encoder("keras:MobileNetV2#size=96")
    assert not made.here()
    made.pull(Path(weights))
    assert made.here()
    assert not list(offline.glob("*"))
    assert list(tmp_path.glob("cache/**/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"))
    own = KerasApplication("MobileNetV2", size=96, weights=weights)
    for one, other in zip(made.trainable().get_weights(), own.trainable().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert made.fingerprint == own.fingerprint, "of the weights, not of where they lie"
    # A second run starts no network.
    script = (
        "import sys; from headstart.extract.registry import encoder; made = encoder('keras:MobileNetV2#size=96'); "
        "print(made.dim, made.here(), made.fingerprint); "
        "heavy = {'tensorflow', 'keras'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1280", "True", made.fingerprint]


def test_what_changes_the_fingerprint(tmp_path: Path) -> None:
    model = network("MobileNet")
    files = [tmp_path / name for name in ("a.weights.h5", "b.weights.h5", "c.weights.h5")]
    model.save_weights(files[0])
    files[1].write_bytes(files[0].read_bytes())
    kernel = model.weights[0]
    kernel.assign(kernel + np.eye(*kernel.shape[:2])[:, :, None, None] * 1e-3)
    model.save_weights(files[2])
    first, copy, changed = (KerasApplication("MobileNet", size=SIZE, weights=str(file)).fingerprint for file in files)
    assert first == copy != changed
    others = [{"size": 96}, {"precision": "bfloat16"}]
    made = [KerasApplication("MobileNet", weights=str(files[0]), **{"size": SIZE, **each}) for each in others]
    assert len({first, changed, *(each.fingerprint for each in made)}) == 4


def test_refuses_in_one_line(tmp_path: Path, offline: Path) -> None:
    with pytest.raises(EncoderError, match=r"^Keras Applications has no 'InceptionV4'; did you mean InceptionV3"):
        encoder("keras:InceptionV4")
    with pytest.raises(EncoderError, match=r"^size=0 is no whole number from 1 to 1024, in pixels a side$"):
        encoder("keras:InceptionV3#size=0")
    with pytest.raises(EncoderError, match=r"^no precision is called 'half'; choose one of: float32, bfloat16$"):
        encoder("keras:InceptionV3#precision=half")
    missing = encoder(f"keras:MobileNetV2#weights={tmp_path / 'no.h5'}")
    assert not missing.here()
    assert refusal(missing, "fingerprint").endswith(f"there is no file of weights {tmp_path / 'no.h5'}")
    small = KerasApplication("MobileNetV2", size=8, weights=saved(tmp_path, "MobileNetV2"))
    assert "photos of 8 pixels" in refusal(small) and "at least 32x32" in refusal(small)


def test_refuses_what_does_not_fit(tmp_path: Path, offline: Path) -> None:
    other = saved(tmp_path, "MobileNetV3Small")
    assert f"the weights in {other} into it" in refusal(KerasApplication("MobileNet", size=SIZE, weights=other))
    torn = tmp_path / "torn.h5"
    torn.write_bytes(Path(saved(tmp_path, "MobileNet", "whole.h5")).read_bytes()[:50_000])
    assert f"the weights in {torn} into it" in refusal(KerasApplication("MobileNet", size=SIZE, weights=str(torn)))
    with pytest.raises(EncoderError, match=r"torn\.h5 .*: give the whole \.h5"):
        KerasApplication("MobileNet", size=96).pull(torn)
    with pytest.raises(
        EncoderError, match=r"is not the weights_mobilenet_v3_small.*that Keras publishes; give weights of"
    ):
        KerasApplication("MobileNetV3Small").pull(Path(other))
    with pytest.raises(EncoderError, match=r"copy .*other\.h5 there$"):
        KerasApplication("MobileNet", weights=other).pull(tmp_path / "other.h5")
    assert not offline.exists(), "nothing was put where Keras looks"


def test_offline_names_the_ways(offline: Path) -> None:
    made = encoder("keras:MobileNetV3Small")
    assert not made.here()
    message = refusal(made, "fingerprint")
    assert "run once online" in message and "keras:MobileNetV3Small#weights=FILE" in message
    assert "`headstart encoders pull keras:MobileNetV3Small --from FILE`" in message


def test_half_a_download_is_not_taken_for_the_weights(offline: Path) -> None:
    refusal(encoder("keras:MobileNetV3Small"), "fingerprint")
    (offline / "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5").write_bytes(b"half a file")
    assert not encoder("keras:MobileNetV3Small").here()
    assert "could not be fetched" in refusal(encoder("keras:MobileNetV3Small"), "fingerprint")
