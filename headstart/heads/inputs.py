"""What the networks under a head are given while they are fine-tuned: kept activations, contents, or kept vectors."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import ItemError, StoreError
from headstart.extract.encoder import Encoder
from headstart.extract.trunk import Trunk, split
from headstart.heads.finetune import variables_of
from headstart.runtime import cores, dtype_policy, tuning_policy

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

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """All of them are alike."""
        return np.zeros(len(rows), int)


class Activations(KeptVectors):
    """Kept activations of a trunk, and the layers above it to be trained."""

    def __init__(self, features: Features, trunk: Trunk, policy: str | None = None) -> None:
        """Build the network.

        Args:
            features: with the vectors of `trunk`.
            trunk: the encoder of the lower layers.
            policy: Keras's dtype policy of the network; `runtime.tuning_policy` if None.
        """
        super().__init__(features, trunk.name)
        self.takes = (None, *trunk.shape), "float32"
        with dtype_policy(policy or tuning_policy()):
            self.whole = trunk.base.trainable()
        """The whole network, which shares the variables of its upper part."""
        _, self.network = split(self.whole, trunk.base.name)
        self.variables = variables_of(self.network)
        self.initial = [each.numpy() for each in self.variables]


class Contents:
    """Texts or photos as the whole network takes them. Each is prepared once; photos are then kept on disk."""

    def __init__(
        self,
        encoder: Encoder,
        contents: Sequence[str | None],
        folder: Path | None = None,
        policy: str | None = None,
    ) -> None:
        """Load the network.

        Args:
            encoder: whose network is to be trained.
            contents: texts, or paths of photos; None where a listing has none.
            folder: for a file without a name that holds the photos that were looked at; the temporary folder if None.
            policy: Keras's dtype policy of the network; `runtime.tuning_policy` if None.

        Raises:
            EncoderError: the encoder cannot be fine-tuned.
            StoreError: the folder cannot be written.
        """
        with dtype_policy(policy or tuning_policy()):
            self.network = self.whole = encoder.trainable()
        self.variables = variables_of(self.network)
        self.initial = [each.numpy() for each in self.variables]
        self.takes = encoder.takes
        self._encoder, self._contents = encoder, contents
        self._threads = ThreadPoolExecutor(cores())
        self._texts: dict[int, Any] = {}
        self._file: IO[bytes] | None = None
        if encoder.modality == "image":
            self._shape = tuple(size or 1 for size in encoder.takes[0][1:])
            self._looked = np.zeros(len(contents), bool)
            with _no_space():  # unbuffered: what is written is on disk, or said not to be
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Prepared and put together; what cannot be read is empty or black. One thread at a time.

        Raises:
            StoreError: prepared photos cannot be kept.
        """
        if self._file is None:
            return self._encoder.collate([self._text(row) for row in rows.tolist()])
        found = np.zeros((len(rows), *self._shape), np.uint8)
        new = [row for row in dict.fromkeys(rows.tolist()) if not self._looked[row]]
        with _no_space():
            for row, pixels in zip(new, self._threads.map(self._pixels, new), strict=True):
                self._file.seek(row * found[0].nbytes)
                blank = np.zeros(self._shape, np.uint8)
                if self._file.write((blank if pixels is None else pixels).tobytes()) != blank.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._looked[row] = True
            for row, photo in zip(rows.tolist(), found, strict=True):
                self._file.seek(row * photo.nbytes)
                self._file.readinto(photo)  # type: ignore[attr-defined]
        return found

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Of prepared texts; photos are all alike."""
        if self._file is not None:
            return np.zeros(len(rows), int)
        return np.array([len(self._text(row)) for row in rows.tolist()])

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


@contextmanager
def _no_space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"prepared photos cannot be kept ({error.strerror}): make room, or fine-tune the top alone"
        ) from None
