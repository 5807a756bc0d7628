"""Listings as they come in → answers: the same preparation, encoders and classifier as `headstart predict`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from headstart.answers import answer
from headstart.embeddings.features import Features
from headstart.errors import ItemError
from headstart.extract.encoder import Encoder
from headstart.extract.images import upright_size
from headstart.heads.classifier import Classifier
from headstart.modelling import encoders_of
from headstart.runtime import versions
from headstart.serve.warm_up import drawn_photo
from headstart.texts import join_fields

JPEG_2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
SLOW_PIXELS = 12_000_000
"""Of a JPEG 2000, which is decoded whole at seconds for 50 million pixels, in a file of some hundred kilobytes."""
PHONE = 1024
"""Pixels a side of a photo to warm up with, as phones send them."""
WARM = (1, 2, 4, 8)
"""Listings at once that are tried before the first real one: TensorFlow prepares for each new size."""
TIMED = 3
"""Times that the last of them is repeated to see what a listing costs."""


@dataclass(frozen=True)
class Listing:
    """What somebody sent."""

    text: str | None = None
    photo: bytes = b""
    """The photo's file; empty where there is none."""


@dataclass(frozen=True)
class Prepared:
    """A listing as its encoders take it."""

    text: str | None
    inputs: dict[str, Any] = field(default_factory=dict)
    """Encoder name → what its `prepare` made; without those of which the listing has nothing."""


class Pipeline:
    """A classifier and its encoders, from a listing to its answer.

    Args:
        classifier: loaded.
        encoders: those it reads, as `encoders_of` gives them.
        error_rate, coverage: see `Classifier.rules`.
    """

    def __init__(
        self, classifier: Classifier, encoders: Sequence[Encoder], error_rate: float = 0.02, coverage: float = 0.95
    ) -> None:
        self._classifier, self._encoders = classifier, tuple(encoders)
        self._rules = classifier.rules(error_rate, coverage) if classifier.calibrated_ else None

    @classmethod
    def load(cls, folder: Path, error_rate: float = 0.02, coverage: float = 0.95) -> Self:
        """Of the classifier in a folder.

        Raises:
            ModelError: there is none, or it learnt from other encoders than are here.
            EncoderError: an encoder's weights are not here.
        """
        classifier = Classifier.load(folder)
        return cls(classifier, encoders_of(classifier), error_rate, coverage)

    def prepare(self, listing: Listing) -> Prepared:
        """Check a listing and make it the encoders' input. Threads may prepare side by side.

        Raises:
            ItemError: its photo cannot be read.
        """
        text = join_fields([listing.text])
        if listing.photo:
            _refuse_slow(listing.photo)
        given: dict[str, Any] = {"text": text, "image": listing.photo or None}
        inputs = {
            each.name: each.prepare(given[each.modality]) for each in self._encoders if given[each.modality] is not None
        }
        return Prepared(text, inputs)

    def answer(self, batch: Sequence[Prepared]) -> list[dict[str, Any]]:
        """The answer to each listing, as `Answers.rows` gives it."""
        nothing = (None,) * len(batch)
        vectors, present = {}, {}
        for each in self._encoders:
            there = np.array([each.name in listing.inputs for listing in batch], bool)
            # Half precision, as vectors are kept for `headstart predict`: a listing gets the same answer from both.
            vectors[each.name] = np.zeros((len(batch), each.dim), np.float16)
            if there.any():
                vectors[each.name][there] = each.encode(
                    [batch[row].inputs[each.name] for row in np.flatnonzero(there).tolist()]
                )
            present[each.name] = there
        features = Features(
            ("",) * len(batch),
            nothing,
            vectors,
            present,
            {each.name: each.modality for each in self._encoders},
            {each.name: each.fingerprint for each in self._encoders},
        )
        return answer(self._classifier, features, self._rules, [listing.text for listing in batch]).rows()

    def warm(self) -> dict[str, float]:
        """Run everything once at several sizes; seconds that one more listing takes, by the dearest thing it has."""
        seconds = {}
        for kind, listing in (
            ("text", Listing("une tasse en porcelaine blanche " * 8)),
            ("image", Listing("", drawn_photo(PHONE))),
        ):
            for size in WARM:
                self._took(listing, size)
            seconds[kind] = min(self._took(listing, WARM[-1]) for _ in range(TIMED)) / WARM[-1]
        return seconds

    def _took(self, listing: Listing, size: int) -> float:
        started = time.perf_counter()
        self.answer([self.prepare(listing) for _ in range(size)])
        return time.perf_counter() - started

    def about(self) -> dict[str, Any]:
        """What is served: for metrics, and for whoever asks."""
        return {
            "categories": len(self._classifier.classes_),
            "encoders": [each.name for each in self._encoders],
            "calibrated": self._rules is not None,
            "versions": versions(),
        }


def _refuse_slow(photo: bytes) -> None:
    """Raise ItemError for a photo that would hold up all others for seconds, whatever its size in bytes."""
    if photo.startswith(JPEG_2000):
        width, height = upright_size(photo)
        if width * height > SLOW_PIXELS:
            reason = (
                f"JPEG 2000 photo of {width * height / 1e6:.1f} million pixels, the limit is {SLOW_PIXELS / 1e6:.0f}"
            )
            raise ItemError(reason, "too large")
