"""Two honest encoders that need no weights, and a program that extracts with the one for texts.

    python small_encoders.py CATALOG STORE PART_ROWS SECONDS

reads the column "text", says "ready" when all is planned and the first batch is about to be encoded, waits for a line
on stdin, then takes that many seconds for each batch of four and says "batch" before each.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.catalog import Columns, read_catalog
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.images import decode
from headstart.extract.run import extract


class Letters(Encoder):
    """Where in a text its letters stand: whole numbers, which half precision keeps exactly in short texts."""

    name = "letters"
    modality = "text"
    dim = 16
    batch = 4

    def __init__(self) -> None:
        self.read: list[str] = []
        """Everything encoded, in order."""

    def prepare(self, item: str) -> Any:
        return item

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        self.read += batch
        vectors = np.zeros((len(batch), self.dim), np.float32)
        for vector, text in zip(vectors, batch, strict=True):
            for place, letter in enumerate(text, 1):
                vector[ord(letter) % self.dim] += place
        return vectors

    def spec(self) -> dict[str, Any]:
        return {"weights": "none", "network": "sum of the places of each letter modulo 16"}

    def trainable(self) -> Any:
        raise EncoderError("letters has nothing to train: choose another encoder")


class Pixels(Letters):
    """A photo squashed to 4 × 4 pixels."""

    name = "pixels"
    modality = "image"
    dim = 48

    def prepare(self, item: bytes) -> Any:
        return decode(item, 4).ravel()

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        self.read += batch
        return np.stack(batch).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        return {"weights": "none", "network": "4 × 4 pixels"}


class SlowLetters(Letters):
    """Letters, for a parent process that wants to disturb it. What it says and waits for changes no vector."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        if not self.read:
            print("ready", flush=True)
            sys.stdin.readline()
        print("batch", flush=True)
        time.sleep(self.seconds)
        return super().encode(batch)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to Ctrl-C
    listings = read_catalog(Path(sys.argv[1]), Columns(text=("text",)))
    extract(listings, [SlowLetters(float(sys.argv[4]))], Path(sys.argv[2]), part_rows=int(sys.argv[3]))
