"""Whether a SavedModel answers as `headstart predict` does, listing by listing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.answers import answer
from headstart.errors import HeadstartError, one_line
from headstart.heads.calibration import Rules
from headstart.heads.classifier import Classifier
from headstart.heads.members import IMAGE, TEXT, members_of, reads
from headstart.progress import progress, say
from headstart.runtime import tensorflow
from headstart.serve.export import PROVENANCE, if_stopped
from headstart.serve.graph import SERVE

if TYPE_CHECKING:
    from headstart.workflow import Read, Request

BATCH = 32
ALIKE, APART = 0.999, 0.005
"""The least share of listings with the same category and decision, and the largest difference of a probability, that
pass."""
SAME = CATEGORY, DECISION, *_ = "category", "decision", "suggested", "candidates", "read"
"""What is compared, but for the probability."""


@dataclass(frozen=True)
class Comparison:
    """A SavedModel beside the classifier that it was made of, on n listings."""

    listings: int
    same: Mapping[str, int]
    """How many listings get the same, of each of `SAME`."""
    apart: float
    """Largest difference of the most probable category's probability."""
    unread: tuple[str, ...] = ()
    """Listings whose photo the classifier read, and the SavedModel did not: a kind that TensorFlow does not know."""

    def __str__(self) -> str:
        """In a line."""
        alike, n = self.same, f"{self.listings:,}"
        others = ", ".join(f"{name} of {alike[name]:,}" for name in SAME[1:])
        return (
            f"{alike[CATEGORY]:,} of {n} listings get the same category as from 'headstart predict' "
            f"({alike[CATEGORY] / self.listings:.2%}), the same {others}; their probabilities differ by "
            f"{self.apart:.5f} at most"
        )


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

    with if_stopped(lambda: f"{version} is whole, and was not checked to the end: --version {version.name} does that"):
        classifier = Classifier.load(model)
        served = loaded(version).signatures[SERVE]
        rules = _rules(classifier, version)
        read = read_new(classifier, request)
        found = compare(classifier, served, read, rules)
    if found.unread:
        say(
            f"{len(found.unread):,} photos are of a kind that TensorFlow does not decode, and count as missing there "
            f"(first: id {found.unread[0]!r}): make them JPEG, PNG or WebP"
        )
    if min(found.same[name] for name in (CATEGORY, DECISION)) < ALIKE * found.listings or found.apart > APART:
        raise HeadstartError(
            f"{version} is not the classifier in {model}: {found}; wanted are the same category and decision of "
            f"{ALIKE:.1%}, and {APART:g}: export it again"
        )
    return str(found)


def _rules(classifier: Classifier, version: Path) -> Rules | None:
    """What `headstart predict` decides by where it is asked for what the version was exported with."""
    try:
        decided = json.loads((version / PROVENANCE).read_text())["decisions"]
        asked = {name: float(decided[name]) for name in ("error_rate", "coverage") if decided}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HeadstartError(f"{version / PROVENANCE} cannot be read ({one_line(error)}): export it again") from None
    return classifier.rules(**asked) if classifier.calibrated_ else None


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


def compare(classifier: Classifier, served: Any, read: Read, rules: Rules | None) -> Comparison:
    """Both ways of answering, on the listings read.

    Args:
        classifier: loaded.
        served: the SavedModel's signature.
        read: of `modelling.read_new`.
        rules: what decides; None where the classifier is not calibrated.
    """
    tf = tensorflow()
    features = read.features
    texts = list(read.texts()) if read.source.columns.text else [None] * len(features)
    wanted = answer(classifier, features, rules, texts).rows()
    kinds = frozenset[str]().union(*(reads(each, features.modality) for each in members_of(classifier.config_)))
    same, apart, unread = Counter(dict.fromkeys(SAME, 0)), 0.0, list[str]()
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
            columns = [tf.strings.as_string(found[name]).numpy().tolist() for name in SAME]
            for row, photo, *told in zip(rows, seen, *columns, strict=True):
                given = dict(zip(SAME, (each.decode() for each in told), strict=True))
                same.update(name for name in SAME if given[name] == str(wanted[row][name]))
                if photo and IMAGE not in given["read"]:
                    unread.append(str(features.ids[row]))
            probability = np.array([wanted[row]["probability"] for row in rows])
            apart = max(apart, float(np.abs(probability - found["probability"].numpy()).max()))
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
