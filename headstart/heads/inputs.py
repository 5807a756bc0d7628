"""What the networks under a head are given while they are fine-tuned: kept activations, contents, or kept vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import ItemError, StoreError
from headstart.extract.encoder import Encoder
from headstart.extract.trunk import Trunk, split
from headstart.heads.finetune import variables_of
from headstart.runtime import cores

IN_MEMORY = 2**30
"""Bytes of kept vectors that are read once; more are read from the store batch by batch."""


class KeptVectors:
    """Vectors of an encoder that stays frozen."""

    network: Any = None
    variables: Sequence[Any] = ()
    initial: Sequence[np.ndarray] = ()

    def __init__(self, features: Features, name: str) -> None:
        matrix = features.take(np.arange(min(1, len(features)))).vectors[name]
        self.takes: tuple[tuple[int | None, ...], str] = (None, matrix.shape[1]), "float32"
        self._features, self._name = features, name
        whole = matrix.nbytes * len(features) <= IN_MEMORY
        self._matrix = features.vectors[name] if whole else None

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Float32 of these rows, zeros where there is nothing."""
        kept = self._features.take(rows).vectors[self._name] if self._matrix is None else self._matrix[rows]
        return np.asarray(kept, np.float32).reshape(-1, *(size for size in self.takes[0] if size is not None))


class Activations(KeptVectors):
    """Kept activations of a trunk, and the layers above it to be trained."""

    def __init__(self, features: Features, trunk: Trunk) -> None:
        """Build the network.

        Args:
            features: with the vectors of `trunk`.
            trunk: the encoder of the lower layers.
        """
        super().__init__(features, trunk.name)
        self.takes = (None, *trunk.shape), "float32"
        self.whole = trunk.base.trainable()
        """The whole network, which shares the variables of its upper part."""
        _, self.network = split(self.whole, trunk.base.name)
        self.variables = variables_of(self.network)
        self.initial = [each.numpy() for each in self.variables]


class Contents:
    """Texts or photos as the whole network takes them. Each is prepared once; photos are then kept on disk."""

    def __init__(self, encoder: Encoder, contents: Sequence[str | None], folder: Path | None = None) -> None:
        """Load the network.

        Args:
            encoder: whose network is to be trained.
            contents: texts, or paths of photos; None where a listing has none.
            folder: for a file without a name that holds the photos that were looked at; the temporary folder if None.
        """
        self.network = self.whole = encoder.trainable()
        self.variables = variables_of(self.network)
        self.initial = [each.numpy() for each in self.variables]
        self.takes = encoder.takes
        self._encoder, self._contents = encoder, contents
        self._threads = ThreadPoolExecutor(cores())
        self._texts: dict[int, Any] = {}
        self._photos: np.ndarray | None = None
        if encoder.modality == "image":
            shape = (len(contents), *(size or 1 for size in encoder.takes[0][1:]))
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it is gone when nobody holds it any more)
            self._file.truncate(prod(shape))  # blocks that are never written take no space
            self._photos = np.memmap(self._file, np.uint8, "r+", shape=shape)
            self._looked = np.zeros(len(contents), bool)

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Prepared and put together; what cannot be read is empty or black."""
        if self._photos is None:
            return self._encoder.collate([self._text(row) for row in rows.tolist()])
        new = [row for row in dict.fromkeys(rows.tolist()) if not self._looked[row]]
        try:
            for row, pixels in zip(new, self._threads.map(self._pixels, new), strict=True):
                if pixels is not None:
                    self._photos[row] = pixels
                self._looked[row] = True
        except OSError as error:
            raise StoreError(f"no space to keep prepared photos ({error.strerror}): fine-tune the top alone") from None
        return np.asarray(self._photos[rows])

    def _text(self, row: int) -> Any:
        if row not in self._texts:
            self._texts[row] = self._encoder.prepare(self._contents[row] or "")
        return self._texts[row]

    def _pixels(self, row: int) -> np.ndarray | None:
        path = self._contents[row]
        if path is None:
            return None
        try:
            return np.asarray(self._encoder.prepare(Path(path).read_bytes()))
        except (ItemError, OSError):  # extraction has counted it: its vector is absent, too
            return None
