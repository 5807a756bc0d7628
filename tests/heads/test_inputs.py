"""What networks are given while they are fine-tuned, and what they multiply in."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blinkered import SIZE, Blinkered, Colourblind, listings_of, paint, texts
from headstart.embeddings.features import Features
from headstart.errors import StoreError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.trunk import Trunk
from headstart.heads import inputs
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.finetune import TuneConfig, Tuning
from headstart.heads.inputs import Activations, Contents, KeptVectors
from headstart.runtime import dtype_policy, keras, policy_for, tuning_policy

ROWS = 12


def features_of(name: str, vectors: np.ndarray) -> Features:
    there = np.ones(len(vectors), bool)
    return Features(tuple(map(str, range(len(vectors)))), (None,) * len(vectors), {name: vectors}, {name: there}, {})


@pytest.mark.parametrize("limit", [2**30, 0])
def test_kept_vectors_are_read_at_once_or_bit_by_bit(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "IN_MEMORY", limit)
    matrix = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float16)
    kept = KeptVectors(features_of("kept", matrix), "kept")
    assert kept.takes == ((None, 5), "float32") and kept.network is None and not kept.variables
    for rows in (np.array([3, 0, 3]), np.arange(0)):
        given = kept.batch(rows)
        assert given.dtype == np.float32
        np.testing.assert_array_equal(given, matrix[rows].astype(np.float32))


def test_activations_have_the_shape_of_their_layer() -> None:
    trunk = Trunk(Colourblind())
    flat = np.random.default_rng(0).normal(size=(ROWS, trunk.dim)).astype(np.float16)
    kept = Activations(features_of(trunk.name, flat), trunk)
    assert kept.batch(np.array([4, 1])).shape == (2, 4, 4, 16)
    assert kept.takes == ((None, 4, 4, 16), "float32")
    assert [each.shape for each in kept.variables] == [(16,), (16,), (1, 1, 16, 12)]
    assert {id(each) for each in kept.variables} < {id(each.value) for each in kept.whole.trainable_variables}


@pytest.fixture
def photos(tmp_path: Path) -> list[str | None]:
    """Some with a photo, one with none, one with a file that is no photo, one whose file is gone."""
    paint(tmp_path / "photos", np.arange(ROWS) % 3)
    (tmp_path / "photos" / "2.png").write_bytes(b"no photo")
    (tmp_path / "photos" / "3.png").unlink()
    return [None, *(str(tmp_path / "photos" / f"{row}.png") for row in range(1, ROWS))]


def test_photos_are_prepared_once_and_then_kept(photos: list[str | None], tmp_path: Path) -> None:
    made = Colourblind()
    wanted = np.zeros((ROWS, SIZE, SIZE, 3), np.uint8)
    for row in (1, *range(4, ROWS)):
        wanted[row] = made.prepare(Path(str(photos[row])).read_bytes())
    contents = Contents(made, photos, tmp_path)
    rows = np.array([5, 0, 2, 5, 3, 1])
    np.testing.assert_array_equal(contents.batch(rows), wanted[rows])
    for path in photos[1:]:
        Path(str(path)).unlink(missing_ok=True)
    np.testing.assert_array_equal(contents.batch(rows[::-1]), wanted[rows[::-1]])
    assert not contents.batch(np.array([8])).any(), "it was not looked at in time"
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}, "the file of photos has no name"


def test_texts_are_put_together_and_those_that_are_not_there_are_empty() -> None:
    contents = Contents(Blinkered(), ["aab", None, "xyz"])
    given = contents.batch(np.array([2, 1, 0]))
    np.testing.assert_array_equal(given[1], np.zeros(11))
    assert given[0][-3:].tolist() == [1, 1, 1] and given[2][:2].tolist() == [2, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_without_room_for_photos_one_line_says_so(photos: list[str | None], tmp_path: Path) -> None:
    contents = Contents(Colourblind(), photos, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * SIZE * SIZE * 3, hard))
    try:
        with pytest.raises(StoreError, match=r"^prepared photos cannot be kept \([^\n]*\): make room, or [^\n]*$"):
            contents.batch(np.arange(ROWS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(StoreError, match="prepared photos cannot be kept"):
        Contents(Colourblind(), photos, tmp_path / "nowhere")


# ---- mixed precision


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [
        ([], "float32"),
        ([(7, 5)], "float32"),
        ([None], "float32"),
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(9, 0), (7, 0)], "float32"),
    ],
)
def test_bfloat16_is_for_gpus_that_have_it(capabilities: list[tuple[int, int] | None], policy: str) -> None:
    assert policy_for(capabilities) == policy


def test_the_policy_is_as_before_whatever_happens() -> None:
    config = keras().config
    assert tuning_policy() in ("float32", "mixed_bfloat16")
    before = config.dtype_policy()
    with pytest.raises(ZeroDivisionError), dtype_policy("mixed_bfloat16"):
        assert config.dtype_policy().name == "mixed_bfloat16"
        _ = 1 // 0
    assert config.dtype_policy() == before


@pytest.mark.parametrize("name", ["efficientnet-lite0#size=64", "use-multilingual-v3", "blinkered", "colourblind"])
def test_networks_multiply_in_bfloat16_and_keep_float32_variables(name: str) -> None:
    own: dict[str, Encoder] = {"blinkered": Blinkered(), "colourblind": Colourblind()}
    made = own.get(name) or encoder(name)
    given: list[Any] = ["abcxyz" * n for n in range(1, 5)]
    if made.modality == "image":
        side = made.takes[0][1]
        given = list(np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8))
    else:
        given = [made.prepare(text) for text in given]
    half = Contents(made, [None], policy="mixed_bfloat16")
    layers = [layer for layer in half.network.layers if layer.trainable_variables]
    assert {str(each.dtype) for each in half.network.weights} <= {"float32", "uint8"}
    assert {each.dtype.name for each in half.variables} == {"float32"}
    assert layers and {layer.compute_dtype for layer in layers} == {"bfloat16"}
    vectors = np.asarray(half.network(made.collate(given), training=False), np.float32)
    wanted = made.encode(given)
    errors = np.linalg.norm(vectors - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert 0 < errors.max() < 0.1


def test_in_bfloat16_it_learns_as_well() -> None:
    said, codes = texts(240)
    made, member = Blinkered(), HeadConfig(("blinkered",))
    listings = listings_of(said, codes, made)
    train, inner = np.arange(160), np.arange(160, 240)
    task = HeadTask(member, train, inner, scout=True)
    head = HeadBank(listings.features, codes, 3, [task]).fit().network(0, logits=True)
    source = Contents(made, said, policy="mixed_bfloat16")
    config = TuneConfig("full", learning_rate=0.01, epochs=10, patience=10)
    course = Tuning(member, head, [source], listings, config).fit(head.get_weights(), train, inner, (0,))
    assert course.losses[course.best] < 0.5 * course.losses[0]
    assert {each.dtype.name for each in source.variables} == {"float32"}
