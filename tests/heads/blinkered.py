"""An encoder whose frozen vectors leave out what matters, though its lower layer carries it: fine-tuning can learn it.

It counts the letters of a text. Categories are told by which of x, y and z is frequent, and its upper layer was made
blind to just these.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.extract.encoder import Encoder
from headstart.heads.nested import Listings
from headstart.runtime import keras

LETTERS = "abcdefghxyz"
TOLD = "xyz"
NAME = "blinkered"


class Blinkered(Encoder):
    name = NAME
    modality = "text"
    dim = 12
    batch = 64

    def __init__(self, seed: int = 0) -> None:
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


def write_catalog(folder: Path, said: Sequence[str], codes: np.ndarray) -> Path:
    path = folder / "listings.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("id", "text", "category"))
        out.writerows((row, text, TOLD[code]) for row, (text, code) in enumerate(zip(said, codes, strict=True)))
    return path
