"""What encoders of photos by a Keras network share: pixels in, one square size, one function that is run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.extract.encoder import Encoder
from headstart.extract.images import decode


class PhotoNetwork(Encoder):
    """An encoder of photos squashed to a square of `size` pixels a side."""

    modality = "image"
    size: int

    @property
    @abstractmethod
    def _run(self) -> Any:
        """uint8 pixels of shape (n, size, size, 3) → float32 vectors of shape (n, dim)."""

    def prepare(self, item: bytes) -> np.ndarray:
        """A photo file's bytes → uint8 pixels of shape (size, size, 3). See `images.decode`."""
        return decode(item, self.size)

    @property
    def takes(self) -> tuple[tuple[int | None, ...], str]:
        return (None, self.size, self.size, 3), "uint8"

    def load(self) -> None:
        """Load the network, and run it once: TensorFlow folds the constants at the first call."""
        self._run(np.zeros((1, self.size, self.size, 3), np.uint8))

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels → vectors of shape (len(batch), dim)."""
        return self.through(self._run, batch, self.dim)
