"""Encoders whose frozen vectors leave out what matters, though their lower layer carries it: fine-tuning can learn it.

`Blinkered` counts the letters of a text. Categories are told by which of x, y and z is frequent, and its upper layer
was made blind to just these. `Colourblind` does the same with photos: it sees how bright they are, not their colour.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart.embeddings.features import Features
from headstart.extract import registry
from headstart.extract.encoder import Encoder
from headstart.extract.images import decode
from headstart.heads.nested import Listings
from headstart.runtime import keras

LETTERS = "abcdefghxyz"
TOLD = "xyz"
NAME = "blinkered"
SIZE = 8


class Blinkered(Encoder):
    name = NAME
    modality = "text"
    dim = 12
    batch = 64

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        return (None, len(LETTERS)), "float32"

    def prepare(self, item: Any) -> np.ndarray:
        return np.array([item.count(letter) for letter in LETTERS], np.float32)

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return self.through(lambda x: self._network(x, training=False).numpy(), batch, self.dim)

    def spec(self) -> dict[str, Any]:
        return {"weights": f"drawn from {self.seed}", "network": "letters, 20 units, 12 units"}

    def trainable(self) -> Any:
        layers, rng = keras().layers, np.random.default_rng(self.seed)
        counts = layers.Input((len(LETTERS),))
        hidden = layers.Dense(20, activation="relu", name="lower")
        vector = layers.Dense(self.dim, name="upper")
        model = keras().Model(counts, vector(hidden(counts)))
        lower = np.abs(rng.normal(size=(len(LETTERS), 20)))  # of counts, so that no unit is ever cut off
        upper = rng.normal(size=(20, self.dim))
        seen = lower[[LETTERS.index(letter) for letter in TOLD]]
        upper -= np.linalg.pinv(seen) @ (seen @ upper)
        hidden.set_weights([lower, np.zeros(20)])
        vector.set_weights([upper, np.zeros(self.dim)])
        return model

    @cached_property
    def _network(self) -> Any:
        return self.trainable()


class Colourblind(Blinkered):
    name = "colourblind"
    modality = "image"

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        return (None, SIZE, SIZE, 3), "uint8"

    def prepare(self, item: bytes) -> np.ndarray:
        return decode(item, SIZE)

    def spec(self) -> dict[str, Any]:
        return {"weights": f"drawn from {self.seed}", "network": "pixels, 16 channels, 12 channels, average"}

    def trainable(self) -> Any:
        layers, rng = keras().layers, np.random.default_rng(self.seed)
        pixels = layers.Input((SIZE, SIZE, 3))
        lower = layers.Conv2D(16, 2, 2, use_bias=False, name="lower")
        norm = layers.BatchNormalization(name="norm")
        upper = layers.Conv2D(self.dim, 1, use_bias=False, name="upper")
        x = layers.ReLU()(norm(lower(layers.Rescaling(1 / 255)(pixels))))
        model = keras().Model(pixels, layers.GlobalAveragePooling2D()(upper(x)))
        seen = np.abs(rng.normal(size=(3, 16)))
        lower.set_weights([np.broadcast_to(seen / 4, (2, 2, 3, 16))])
        kernel, differences = rng.normal(size=(16, self.dim)), np.diff(seen, axis=0)
        kernel -= np.linalg.pinv(differences) @ (differences @ kernel)
        upper.set_weights([kernel[None, None]])
        return model


class Unlayered(Blinkered):
    """A network that is called like a Keras model and is none: it has no layers to cut between."""

    name = "unlayered"

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "layers": "hidden"}

    def trainable(self) -> Any:
        model = super().trainable()
        made = type("Plain", (), {"__call__": lambda self, x, training=False: model(x, training=training)})()
        made.trainable_variables = model.trainable_variables
        return made


def texts(rows: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Letters in random order, and the category of each text: which of x, y and z it has most of."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(rows) % len(TOLD))
    made = []
    for code in codes:
        letters = [*rng.choice(list(LETTERS[:-3]), 12), *rng.choice(list(TOLD), 3), *(TOLD[code] * 5)]
        made.append("".join(rng.permutation(letters)))
    return made, codes


def listings_of(said: Sequence[str], codes: np.ndarray, encoder: Encoder) -> Listings:
    """With the encoder's frozen vectors."""
    vectors = encoder.encode([encoder.prepare(text) for text in said])
    features = Features(
        ids=tuple(str(row) for row in range(len(said))),
        labels=tuple(TOLD[code] for code in codes),
        vectors={encoder.name: vectors},
        present={encoder.name: np.ones(len(said), bool)},
        modality={encoder.name: "text"},
        fingerprints={encoder.name: encoder.fingerprint},
    )
    return Listings(features, codes, len(TOLD), np.arange(len(said)), list(said))


def write_catalog(folder: Path, said: Sequence[str], codes: np.ndarray, photos: bool = False) -> Path:
    """A listings.csv with the columns id, text and category, and photos named by id where they are wanted."""
    path = folder / "listings.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("id", "text", "category"))
        out.writerows((row, text, TOLD[code]) for row, (text, code) in enumerate(zip(said, codes, strict=True)))
    if photos:
        paint(folder / "photos", codes)
    return path


def paint(folder: Path, codes: np.ndarray) -> None:
    """Photos in which red, green or blue is strongest by the category, and which are brighter or darker by chance."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for row, code in enumerate(codes):
        pixels = rng.integers(0, 120, (SIZE, SIZE, 3)) + rng.integers(0, 60)
        pixels[:, :, code] += 60
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{row}.png")


@contextmanager
def registered(folder: Path) -> Iterator[None]:
    """The encoders have their names here, as if another package gave them."""
    (package := folder / "blinkered-1.dist-info").mkdir(parents=True, exist_ok=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: blinkered\nVersion: 1\n")
    names = "blinkered = blinkered:Blinkered\ncolourblind = blinkered:Colourblind\n"
    names += "unlayered = blinkered:Unlayered\n"
    (package / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{names}")
    sys.path.insert(0, str(folder))
    registry._names.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        registry._names.cache_clear()


def environment(folder: Path) -> dict[str, str]:
    """For other processes that are to know the encoders registered in that folder."""
    path = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
