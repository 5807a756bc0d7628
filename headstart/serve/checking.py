"""Whether a SavedModel answers as `headstart predict` does, listing by listing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.errors import HeadstartError, one_line
from headstart.heads.classifier import Classifier
from headstart.heads.members import IMAGE, TEXT, members_of, reads
from headstart.progress import progress, say
from headstart.runtime import tensorflow
from headstart.serve.graph import SERVE

if TYPE_CHECKING:
    from headstart.workflow import Read, Request

BATCH = 32
ALIKE, APART = 0.999, 0.005
"""The least share of listings with the same category, and the largest difference of a probability, that pass."""


@dataclass(frozen=True)
class Comparison:
    """A SavedModel beside the classifier that it was made of, on n listings."""

    listings: int
    same: int
    """With the same most probable category."""
    apart: float
    """Largest difference of the probability of it."""
    unread: tuple[str, ...] = ()
    """Listings whose photo the classifier read, and the SavedModel did not: a kind that TensorFlow does not know."""


def check(model: Path, version: Path, request: Request) -> str:
    """Answer every listing of a catalogue both ways.

    Args:
        model: folder of the classifier.
        version: folder of the SavedModel.
        request: for the catalogue.

    Returns:
        What was found, in a line.

    Raises:
        HeadstartError: they differ, or one of them cannot be read.
    """
    from headstart.modelling import read_new

    classifier = Classifier.load(model)
    served = loaded(version).signatures[SERVE]
    read = read_new(classifier, request)
    found = compare(classifier, served, read)
    told = (
        f"{found.same:,} of {found.listings:,} listings get the same category as from 'headstart predict' "
        f"({found.same / found.listings:.2%}), their probabilities differ by {found.apart:.5f} at most"
    )
    if found.unread:
        say(
            f"{len(found.unread):,} photos are of a kind that TensorFlow does not decode, and count as missing there "
            f"(first: id {found.unread[0]!r}): make them JPEG, PNG or WebP"
        )
    if found.same < ALIKE * found.listings or found.apart > APART:
        raise HeadstartError(
            f"{version} is not the classifier in {model}: {told}; wanted are {ALIKE:.1%} and {APART:g}: export it again"
        )
    return told


def loaded(version: Path) -> Any:
    """The SavedModel in a folder.

    Raises:
        HeadstartError: there is none that TensorFlow can load.
    """
    from headstart.extract.graph_texts import text_operations

    text_operations()
    try:
        return tensorflow().saved_model.load(str(version))
    except Exception as error:  # on damaged files TensorFlow raises nearly every kind there is
        raise HeadstartError(f"{version} cannot be loaded as a SavedModel ({one_line(error)}): export again") from None


def compare(classifier: Classifier, served: Any, read: Read) -> Comparison:
    """Both ways of answering, on the listings read.

    Args:
        classifier: loaded.
        served: the SavedModel's signature.
        read: of `modelling.read_new`.
    """
    tf = tensorflow()
    features = read.features
    texts = list(read.texts()) if read.source.columns.text else [None] * len(features)
    wanted = classifier.predict_proba(features, texts)
    kinds = frozenset[str]().union(*(reads(each, features.modality) for each in members_of(classifier.config_)))
    same, apart, unread = 0, 0.0, list[str]()
    numbers = {str(label): code for code, label in enumerate(classifier.classes_.tolist())}
    photos = _photos(read) if IMAGE in kinds else iter([b""] * len(features))
    with progress("checking", len(features)) as advance:
        for start in range(0, len(features), BATCH):
            rows = range(start, min(start + BATCH, len(features)))
            said = [(texts[row] or "").encode("utf-8", "replace") if TEXT in kinds else b"" for row in rows]
            seen = [next(photos) for _ in rows]
            try:
                found = served(text=tf.constant(said, tf.string), image_bytes=tf.constant(seen, tf.string))
            except Exception as error:  # a photo that Pillow reads and TensorFlow does not
                raise HeadstartError(
                    f"the SavedModel fails on listings {features.ids[rows[0]]!r} to {features.ids[rows[-1]]!r} "
                    f"({one_line(error)}): find the photo among them, and save it anew"
                ) from None
            codes = np.array([numbers.get(each.decode(), -1) for each in found["category"].numpy()])
            same += int((wanted[rows.start : rows.stop].argmax(axis=1) == codes).sum())
            difference = np.abs(wanted[list(rows), codes] - found["probability"].numpy())
            difference[codes < 0] = 1  # a category that the classifier does not know
            apart = max(apart, float(difference.max()))
            lacking = zip(rows, seen, found["read"].numpy(), strict=True)
            unread += [str(features.ids[row]) for row, photo, read in lacking if photo and b"image" not in read]
            advance(len(rows))
    return Comparison(len(features), same, apart, tuple(unread))


def _photos(read: Read) -> Iterator[bytes]:
    """The photo of each listing; nothing where it has none that an encoder could read, as extraction has told."""
    features = read.features
    there = np.any([features.present[name] for name in features.encoders(IMAGE)], axis=0)
    for path, readable in zip(read.catalog.contents(IMAGE, features.ids), there.tolist(), strict=True):
        try:
            yield Path(path).read_bytes() if path and readable else b""
        except OSError as error:
            raise HeadstartError(
                f"{path} cannot be read ({error.strerror}), and could when its vector was made: allow it, or run "
                "'headstart extract --retry-failed'"
            ) from None
