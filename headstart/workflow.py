"""What the commands do: open a catalogue, keep its vectors, train, judge, predict."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, open_features
from headstart.embeddings.store import LOCK, EmbeddingStore
from headstart.errors import CatalogError, EncoderError, ModelError, StoreError
from headstart.extract.backends import Workers
from headstart.extract.encoder import Encoder
from headstart.extract.registry import DEFAULT_IMAGE, DEFAULT_TEXT, encoder
from headstart.extract.run import KINDS, Extraction, extract
from headstart.files import locked, write_text_atomically
from headstart.progress import say
from headstart.tables import Table

if TYPE_CHECKING:
    from headstart.heads.classifier import Classifier
    from headstart.reports.metrics import Figures
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

    def options(self) -> dict[str, Any]:
        """How the catalogue is read, as JSON values by the names of the command line's options; no defaults."""
        columns = {**asdict(self.columns), "text": list(self.columns.text)}
        images = str(self.images) if self.images else None
        found = {**columns, "images": images, "delimiter": self.delimiter, "encoding": self.encoding}
        return {name: value for name, value in found.items() if value not in (None, [], DEFAULTS.get(name))}

    def words(self) -> list[str]:
        """The same as words of a command."""
        words = []
        for name, value in self.options().items():
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
        if set(known) - set(self.given):
            say(f"{'as last time' if remembered else 'as the classifier learnt'}: {shlex.join(source.words())}")
        return source


@dataclass(frozen=True, eq=False)
class Read:
    """A catalogue whose listings have been read once: their vectors are kept and lined up."""

    source: Source
    catalog: Catalog
    extractions: list[Extraction]
    stores: list[EmbeddingStore]
    features: Features


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
    catalog = read_catalog(
        source.path, source.columns, source.images, delimiter=source.delimiter, encoding=source.encoding
    )
    chosen = list(encoders) if encoders is not None else [encoder(name) for name in _names(source)]
    for each in chosen if encoders is None else ():
        if each.modality == "text" and not source.columns.text:
            raise CatalogError(f"{each.name} reads texts, and no column holds any: name one with --text")
        if each.modality == "image" and catalog.images is None:
            raise CatalogError(f"{each.name} reads photos, and there are none: name them with --image or --images")
    _distinct(chosen)
    _remember(source)
    extractions, stores, listings = extract(catalog, chosen, source.store, workers=workers, retry_failed=retry_failed)
    _say_counts(catalog, extractions)
    return Read(source, catalog, extractions, stores, open_features(listings, stores))


def _distinct(encoders: Sequence[Encoder]) -> None:
    """Refuse one encoder under two names: a head would see the same vectors twice."""
    known: dict[str, str] = {}
    for each in encoders:
        other = known.setdefault(each.fingerprint, each.name)
        if other != each.name:
            raise EncoderError(f"{other} and {each.name} are the same encoder: name it once")


def _names(source: Source) -> tuple[str, ...]:
    if source.encoders:
        return tuple(dict.fromkeys(source.encoders))
    photos = source.columns.image is not None or source.images is not None
    return ((DEFAULT_TEXT,) if source.columns.text else ()) + ((DEFAULT_IMAGE,) if photos else ())


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


def _what_it_reads(options: dict[str, Any], features: Features, encoders: Sequence[str]) -> dict[str, Any]:
    """Of how a catalogue was read, what matters to a classifier: no labels, no folder, no texts for an image head."""
    kinds = {features.modality[name] for name in encoders}
    wanted = {"id", "delimiter", "encoding", *kinds}
    return {name: value for name, value in options.items() if name in wanted}


def _need_labels(read: Read) -> None:
    if read.source.columns.label is None:
        raise CatalogError(f"no categories of {read.source.path} to learn from: name their column with --label")


@dataclass
class Training:
    """What `train` found: the head's figures on listings it had not seen."""

    head: str
    train_rows: int
    test_rows: int
    figures: Figures
    fit_seconds: float
    predict_seconds: float
    rare: dict[str, int] = field(default_factory=dict)
    """Categories with one distinct listing: learnt, but not judged."""


def train(
    read: Read, head: str | None, settings: dict[str, Any], share: float, seed: int, save: Path | None
) -> Training:
    """Train one head, judge it on a holdout, and save it, trained again on everything, where asked.

    Args:
        read: from `read_once`.
        head: ``"text"``, ``"image"`` or ``"fused"``; None for all that there is.
        settings: of the HeadConfig, without its encoders.
        share: of the listings to hold out, near-duplicates kept whole.
        seed: of the holdout, the inner split and the initial weights.
        save: folder for the Classifier, or None.
    """
    import numpy as np

    from headstart.embeddings.duplicates import near_duplicate_groups
    from headstart.heads.classifier import Classifier
    from headstart.heads.config import HeadConfig, head_encoders
    from headstart.heads.splits import Fold, holdout, judgeable
    from headstart.reports.metrics import GroupBootstrap, figures
    from headstart.reports.render import writable

    _need_labels(read)
    if save is not None:
        writable(save)
    heads = head_encoders(read.features)
    head = head or list(heads)[-1]
    if head not in heads:
        raise ModelError(f"no head {head!r} for these listings; choose one of: {', '.join(heads)}")
    config = HeadConfig(encoders=heads[head], **settings)

    labels = list(read.features.labels)
    labelled = np.flatnonzero([label is not None for label in labels])
    if len(set(labels) - {None}) < 2:
        raise ModelError(
            f"two or more categories are needed, {read.source.columns.label!r} holds "
            f"{sorted({str(labels[row]) for row in labelled}) or 'none'}: check --label and --label-level"
        )
    features = read.features.take(labelled)
    groups = near_duplicate_groups(features.blocks())
    if (largest := int(np.bincount(groups).max())) > 0.3 * len(groups):
        say(
            f"{largest:,} of {len(groups):,} listings look alike to {' or '.join(features.vectors)} and stay on one "
            "side: the figures may mislead; leave out an encoder that tells nothing apart"
        )
    _, rare = judgeable(features.labels, groups, 2)
    codes = np.unique([str(label) for label in features.labels], return_inverse=True)[1]
    seen, held = holdout(codes, groups, share, seed)
    if len(held) == 0:
        raise ModelError(
            f"a holdout of {share} leaves no listing to judge: give more listings; near-duplicates count as one, and "
            f"the largest group has {np.bincount(groups).max()} of {len(groups)}"
        )
    classifier = Classifier(config, seed).fit(features.take(seen), groups=groups[seen])
    test = features.take(held)
    started = time.perf_counter()
    probabilities = classifier.predict_proba(test)
    predicted = time.perf_counter() - started
    number = {label: code for code, label in enumerate(classifier.classes_)}
    fold = Fold(np.arange(0), np.arange(0), np.arange(len(held)), 0)
    found = figures(
        np.array([number[str(label)] for label in test.labels]),
        probabilities[None],
        classifier.classes_,
        [fold],
        GroupBootstrap(groups[held], seed=seed),
    )
    if save is not None:
        final = Classifier(config, seed).fit(features, groups=groups)
        final.columns = _what_it_reads(read.source.options(), read.features, config.encoders)
        final.save(save)
    return Training(head, len(seen), len(held), found, classifier.seconds_, predicted, rare)


def predict(classifier: Classifier, request: Request, out: Path | None) -> int:
    """Classify a catalogue's listings with a saved classifier; see `headstart.predictions` for what is written.

    Returns:
        How many listings were classified.
    """
    from headstart.predictions import write_predictions

    encoders = [encoder(name) for name in classifier.config.encoders]
    for each in encoders:
        if each.fingerprint != classifier.fingerprints_[each.name]:
            raise ModelError(
                f"the classifier learnt from {each.name} {classifier.fingerprints_[each.name][:12]}, here it is "
                f"{each.fingerprint[:12]}: train it again with this version"
            )
    features = read_once(_without_absent(request.resolve(classifier.columns), request), encoders).features
    write_predictions(classifier, features, out)
    return len(features)


def _without_absent(source: Source, request: Request) -> Source:
    """A classifier's columns of texts or photos that new listings do not have are read as missing, and told."""
    if not source.path.is_file():
        return source  # read_catalog says so
    there = Table(source.path, source.delimiter, source.encoding).names()
    columns = source.columns
    wanted = [*(columns.text if "text" not in request.given else ()), columns.image or ""]
    absent = {name for name in wanted if name and name not in there and request.given.get("image") != name}
    if not absent or absent >= {*columns.text, *([columns.image] if columns.image else [])}:
        return source
    say(f"{source.path} has no column {', '.join(map(repr, sorted(absent)))}: its listings are read without")
    text = tuple(name for name in columns.text if name not in absent)
    image = None if columns.image in absent else columns.image
    return replace(source, columns=replace(columns, text=text, image=image))


def judge(read: Read, settings: Any, out: Path, *, title: str, command: str, drawn: bool = False) -> BenchmarkResult:
    """Run the benchmark and write its report into `out`."""
    from headstart.reports.benchmark import benchmark
    from headstart.reports.render import writable, write_report

    _need_labels(read)
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
    )
    write_report(result, out)
    return result
