"""Open a catalogue, keep its vectors, judge approaches on it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, open_features
from headstart.embeddings.index import KeyMap
from headstart.embeddings.listings import Listings
from headstart.embeddings.store import LOCK, EmbeddingStore
from headstart.errors import CatalogError, EncoderError, ModelError, StoreError
from headstart.extract.backends import Workers
from headstart.extract.encoder import Encoder
from headstart.extract.registry import DEFAULT_IMAGE, DEFAULT_TEXT, encoder
from headstart.extract.run import KINDS, Extraction, extract
from headstart.extract.tuned import TunedEncoder
from headstart.files import locked, write_text_atomically
from headstart.progress import say

if TYPE_CHECKING:
    from headstart.decisions import Decision
    from headstart.reports.result import BenchmarkResult

COLUMNS_NOTE = "columns.json"


@dataclass(frozen=True)
class Source:
    """A catalogue, how to read it, and where its vectors are kept."""

    path: Path
    columns: Columns
    images: Path | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    store: Path = Path("store")
    encoders: tuple[str, ...] = ()
    """Names; without any, the defaults for the texts and photos that there are."""

    def open(self) -> Catalog:
        """The catalogue, of which no row is read yet; CatalogError where it cannot be read so."""
        return read_catalog(self.path, self.columns, self.images, delimiter=self.delimiter, encoding=self.encoding)

    def options(self) -> dict[str, Any]:
        """How the catalogue is read, as JSON values by the names of the command line's options; no defaults."""
        columns = {**asdict(self.columns), "text": list(self.columns.text)}
        images = str(self.images) if self.images else None
        found = {**columns, "images": images, "delimiter": self.delimiter, "encoding": self.encoding}
        return {name: value for name, value in found.items() if value not in (None, [], DEFAULTS.get(name))}

    def names(self) -> tuple[str, ...]:
        """Of the encoders: those given, each once, or the defaults."""
        if self.encoders:
            return tuple(dict.fromkeys(self.encoders))
        photos = self.columns.image is not None or self.images is not None
        return ((DEFAULT_TEXT,) if self.columns.text else ()) + ((DEFAULT_IMAGE,) if photos else ())

    def words(self) -> list[str]:
        """The same as words of a command."""
        return _words(self.options())


def _words(options: dict[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(each)]
    return words


DEFAULTS = {"id": "id", "label_separator": ">>", "delimiter": ",", "encoding": "utf-8"}


@dataclass(frozen=True)
class Request:
    """A catalogue as a command names it: what is not given is as it was last time."""

    path: Path
    store: Path
    given: dict[str, Any]
    """Options by name; those left out are not in it."""
    encoders: tuple[str, ...] = ()

    def resolve(self, base: dict[str, Any] | None = None) -> Source:
        """Fill in what is not given: from the last command on this catalogue, else from `base`."""
        remembered = _notes(self.store).get(str(self.path.resolve())) or {}
        known = {**(base or {}), **remembered}
        if "label" in self.given:  # another column's level and separator say nothing about this one
            known = {name: value for name, value in known.items() if not name.startswith("label_")}
        options = {**DEFAULTS, **known, **self.given}
        source = Source(
            self.path,
            Columns(
                options["id"],
                tuple(options.get("text", ())),
                options.get("image"),
                options.get("label"),
                options.get("label_level"),
                options["label_separator"],
            ),
            Path(options["images"]) if options.get("images") else None,
            options["delimiter"],
            options["encoding"],
            self.store,
            self.encoders,
        )
        kept = known.keys() - self.given.keys()
        if words := _words({name: value for name, value in source.options().items() if name in kept}):
            say(f"{'as last time' if remembered else 'as the classifier learnt'}: {shlex.join(words)}")
        return source


@dataclass(frozen=True, eq=False)
class Read:
    """A catalogue whose listings have been read once: their vectors are kept and lined up."""

    source: Source
    catalog: Catalog
    extractions: list[Extraction]
    stores: list[EmbeddingStore]
    features: Features
    keys: Listings
    """Of each listing's contents."""
    tuned: tuple[TunedEncoder, ...] = ()
    """The encoders among them that were fine-tuned."""

    @cached_property
    def alike(self) -> Features:
        """By whose vectors near-duplicates are told: in place of a fine-tuned encoder's, which has learnt to see each
        category as one, those of the encoder that it was made of in the beginning."""
        if not self.tuned:
            return self.features
        others = [store for store in self.stores if store.name not in {each.name for each in self.tuned}]
        bases = {each.origin.fingerprint: each.origin for each in self.tuned}
        lacking = [base for print, base in bases.items() if print not in {store.fingerprint for store in others}]
        kinds = [store.modality for store in self.stores]
        stores = extract(self.catalog, lacking, self.source.store, also=kinds)[1] if lacking else []
        return open_features(self.keys, [*others, *stores])

    @cached_property
    def learnt(self) -> np.ndarray:
        """Listings that some fine-tuned encoder has learnt from ``(n,)`` bool: no judges of it."""
        found = np.zeros(len(self.keys), bool)
        for each in self.tuned:
            known = KeyMap()
            known.add_new(each.learnt)
            keys, there = self.keys.keys(each.modality)
            found |= known.get(keys)[0] & there
        return found

    def parts(self, rows: int) -> Iterator[Features]:
        """The features, `rows` listings at a time: what a part looked up is forgotten with it."""
        for start in range(0, len(self.keys), rows):
            yield open_features(self.keys.part(start, start + rows), self.stores)

    def texts(self) -> Iterator[str | None]:
        """The text of each listing, read from the catalogue once more; CatalogError where other listings are there."""
        return self.catalog.texts(self.features.ids)


def read_once(
    source: Source,
    encoders: Sequence[Encoder] | None = None,
    workers: Workers | None = None,
    retry_failed: bool = False,
) -> Read:
    """Open the catalogue, encode what is not kept yet, line the vectors up; say what was found.

    The columns are remembered in the store for the next command on the same catalogue.

    Raises:
        HeadstartError: whatever cannot be read or kept, in one line.
    """
    catalog = source.open()
    chosen = list(encoders) if encoders is not None else [encoder(name) for name in source.names()]
    for each in chosen if encoders is None else ():
        if each.modality == "text" and not source.columns.text:
            raise CatalogError(f"{each.name} reads texts, and no column holds any: name one with --text")
        if each.modality == "image" and catalog.images is None:
            raise CatalogError(f"{each.name} reads photos, and there are none: name them with --image or --images")
    _distinct(chosen)
    _remember(source)
    extractions, stores, keys = extract(catalog, chosen, source.store, workers=workers, retry_failed=retry_failed)
    _say_counts(catalog, extractions)
    tuned = tuple(each for each in chosen if isinstance(each, TunedEncoder))
    return Read(source, catalog, extractions, stores, open_features(keys, stores), keys, tuned)


def _distinct(encoders: Sequence[Encoder]) -> None:
    """Refuse one encoder under two names: a head would see the same vectors twice."""
    known: dict[str, str] = {}
    for each in encoders:
        other = known.setdefault(each.fingerprint, each.name)
        if other != each.name:
            raise EncoderError(f"{other} and {each.name} are the same encoder: name it once")


def _notes(store: Path) -> dict[str, dict[str, Any]]:
    """How each catalogue was read last, by its path."""
    try:
        notes = json.loads((store / COLUMNS_NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _remember(source: Source) -> None:
    key, note = str(source.path.resolve()), source.options()
    if source.images:
        note["images"] = str(source.images.resolve())
    if _notes(source.store).get(key) == note:
        return
    try:
        source.store.mkdir(parents=True, exist_ok=True)
        path = source.store / COLUMNS_NOTE
        # One at a time, so that no note of another command is lost; and nobody sweeps while it is half written.
        with locked(path.with_suffix(".lock"), exclusive=True, wait=True), locked(source.store / LOCK):
            write_text_atomically(path, json.dumps({**_notes(source.store), key: note}, indent=1))
    except OSError as error:
        raise StoreError(f"{source.store} cannot be written ({error.strerror}): choose another --store") from None


def _say_counts(catalog: Catalog, extractions: Sequence[Extraction]) -> None:
    counts = catalog.counts
    say(
        f"{counts.rows:,} listings: {counts.with_text:,} with a text, {counts.with_image:,} with a photo, "
        f"{counts.with_label:,} with a category" + (f" ({counts.categories:,} categories)" if counts.with_label else "")
    )
    if counts.with_image == 0 and counts.problems.get("photo not found"):
        say(f"  not one photo is in {catalog.images}: name their folder with --images")
    for reason, rows in sorted(counts.problems.items()):
        say(f"  {rows:,} × {reason} (first: {counts.examples[reason]})")
    for extraction in extractions:
        unreadable: dict[str, list[str]] = {}
        for listing, reason in extraction.failures:
            unreadable.setdefault(reason, []).append(listing)
        for reason, listings in sorted(unreadable.items()):
            say(f"  {len(listings):,} × {reason} (first: id {listings[0]!r})")
        if extraction.encoded:
            rate = extraction.encoded / extraction.seconds
            say(
                f"{extraction.encoder}: {extraction.encoded:,} of {extraction.distinct:,} distinct "
                f"{KINDS[extraction.modality]} encoded in {extraction.seconds:.1f} s ({rate:,.0f}/s, starting included)"
            )
        else:
            kept = extraction.distinct - extraction.lost
            found = (
                f"{extraction.failed:,} tried, none of them could be" if extraction.failed else "nothing new, nothing"
            )
            say(f"{extraction.encoder}: {found} encoded ({kept:,} kept before)")
        if extraction.passed_over:
            say(f"  {extraction.passed_over:,} of them failed before and were not tried again: --retry-failed does")


def need_labels(read: Read) -> None:
    """Raise CatalogError where no column of categories is named."""
    if read.source.columns.label is None:
        raise CatalogError(f"no categories of {read.source.path} to learn from: name their column with --label")


def refuse_learnt(read: Read) -> None:
    """Raise ModelError where an encoder was fine-tuned on some of the listings that folds would judge it on."""
    if read.learnt.any():
        raise ModelError(
            f"a fine-tuned encoder learnt from {read.learnt.sum():,} of these listings and would be praised for it: "
            "judge it with 'headstart train', or name the encoder it was made of in 'headstart benchmark --fine-tune'"
        )


def judge(
    read: Read,
    settings: Any,
    out: Path,
    *,
    title: str,
    command: str,
    drawn: bool = False,
    decisions: Sequence[Decision] = (),
) -> BenchmarkResult:
    """Run the benchmark and write its report into `out`."""
    from headstart.reports.benchmark import benchmark
    from headstart.reports.render import writable, write_report

    need_labels(read)
    refuse_learnt(read)
    writable(out)

    result = benchmark(
        read.catalog,
        read.features,
        read.extractions,
        read.stores,
        settings,
        title=title,
        command=command,
        drawn=drawn,
        alike=read.alike,
        decisions=decisions,
    )
    write_report(result, out)
    return result
