"""What the commands do: open a catalogue, keep its vectors, train, judge, predict."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, read_features
from headstart.embeddings.key import PhotoKeys
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import CatalogError, ModelError, StoreError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import DEFAULT_IMAGE, DEFAULT_TEXT, encoder
from headstart.extract.run import PHOTO_NOTE, Extraction, extract
from headstart.files import write_text_atomically
from headstart.progress import say

if TYPE_CHECKING:
    from headstart.heads.classifier import Classifier
    from headstart.reports.metrics import Figures
    from headstart.reports.result import BenchmarkResult

COLUMNS_NOTE = "columns.json"
KINDS = {"text": "texts", "image": "photos"}


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

    @property
    def named(self) -> bool:
        """Whether the columns were named, and need not be remembered."""
        return bool(self.columns.text or self.columns.image or self.columns.label or self.images)


@dataclass(frozen=True, eq=False)
class Read:
    """A catalogue whose listings have been read once: their vectors are kept and lined up."""

    catalog: Catalog
    extractions: list[Extraction]
    stores: list[EmbeddingStore]
    features: Features


def read_once(source: Source, encoders: Sequence[Encoder] | None = None, features: bool = True) -> Read:
    """Open the catalogue, encode what is not kept yet, line the vectors up; say what was found.

    The columns are remembered in the store for the next command on the same catalogue.

    Raises:
        HeadstartError: whatever cannot be read or kept, in one line.
    """
    source = recalled(source)
    catalog = read_catalog(
        source.path, source.columns, source.images, delimiter=source.delimiter, encoding=source.encoding
    )
    chosen = list(encoders) if encoders is not None else [encoder(name) for name in _names(source)]
    for each in chosen:
        if each.modality == "text" and not source.columns.text:
            raise CatalogError(f"{each.name} reads texts, and no column holds any: name one with --text")
        if each.modality == "image" and catalog.images is None:
            raise CatalogError(f"{each.name} reads photos, and there are none: name them with --image or --images")
    _remember(source)
    extractions, stores = extract(catalog, chosen, source.store)
    _say_counts(catalog, extractions)
    photo_keys = PhotoKeys(source.store / PHOTO_NOTE)
    empty = Features((), (), {}, {}, {})
    return Read(catalog, extractions, stores, read_features(catalog, stores, photo_keys) if features else empty)


def _names(source: Source) -> tuple[str, ...]:
    if source.encoders:
        return source.encoders
    photos = source.columns.image is not None or source.images is not None
    return ((DEFAULT_TEXT,) if source.columns.text else ()) + ((DEFAULT_IMAGE,) if photos else ())


def recalled(source: Source) -> Source:
    """The source with the columns of the last command on this catalogue, where none are named."""
    if source.named:
        return source
    try:
        note = json.loads((source.store / COLUMNS_NOTE).read_bytes())[str(source.path.resolve())]
        columns = Columns(**{**note["columns"], "text": tuple(note["columns"]["text"])})
    except (OSError, ValueError, KeyError, TypeError):
        return source
    texts = " ".join(f"--text {name}" for name in columns.text)
    say(f"columns as last time: --id {columns.id} {texts} --image {columns.image} --label {columns.label}")
    return replace(
        source,
        columns=columns,
        images=Path(note["images"]) if note["images"] else None,
        delimiter=note["delimiter"],
        encoding=note["encoding"],
    )


def _remember(source: Source) -> None:
    path = source.store / COLUMNS_NOTE
    try:
        notes = json.loads(path.read_bytes())
    except (OSError, ValueError):
        notes = {}
    note = {
        "columns": {**asdict(source.columns), "text": list(source.columns.text)},
        "images": str(source.images.resolve()) if source.images else None,
        "delimiter": source.delimiter,
        "encoding": source.encoding,
    }
    if notes.get(str(source.path.resolve())) != note:
        notes[str(source.path.resolve())] = note
        try:
            source.store.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, json.dumps(notes, indent=1, ensure_ascii=False))
        except OSError as error:
            raise StoreError(f"{source.store} cannot be written ({error.strerror}): choose another --store") from None


def _say_counts(catalog: Catalog, extractions: Sequence[Extraction]) -> None:
    counts = catalog.counts
    say(
        f"{counts.rows:,} listings: {counts.with_text:,} with a text, {counts.with_image:,} with a photo, "
        f"{counts.with_label:,} with a category"
    )
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
            kept = extraction.distinct - len(extraction.failures)
            say(f"{extraction.encoder}: nothing new, nothing encoded ({kept:,} kept before)")


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

    heads = head_encoders(read.features)
    head = head or list(heads)[-1]
    if head not in heads:
        raise ModelError(f"no head {head!r} for these listings; choose one of: {', '.join(heads)}")
    config = HeadConfig(encoders=heads[head], **settings)

    labelled = np.flatnonzero([label is not None for label in read.features.labels])
    features = read.features.take(labelled)
    groups = near_duplicate_groups([(features.vectors[name], features.present[name]) for name in features.vectors])
    _, rare = judgeable(features.labels, groups, 2)
    codes = np.unique([str(label) for label in features.labels], return_inverse=True)[1]
    seen, held = holdout(codes, groups, share, seed)
    if len(held) == 0:
        raise ModelError(
            f"a holdout of {share} leaves no listing to judge: give more listings, near-duplicates count as one"
        )
    classifier = Classifier(config, seed).fit(features.take(seen))
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
        final = Classifier(config, seed).fit(features)
        final.columns = asdict(read.catalog.columns)
        final.save(save)
    return Training(head, len(seen), len(held), found, classifier.seconds_, predicted, rare)


def predict(classifier: Classifier, source: Source, out: Path | None) -> int:
    """Classify a catalogue's listings with a saved classifier; see `headstart.predictions` for what is written.

    Returns:
        How many listings were classified.
    """
    from headstart.predictions import write_predictions

    source = recalled(source)
    if not (source.columns.text or source.columns.image):
        saved = {**classifier.columns, "text": tuple(classifier.columns["text"]), "label": None, "label_level": None}
        source = replace(source, columns=Columns(**saved))
    encoders = [encoder(name) for name in classifier.config.encoders]
    for each in encoders:
        if each.fingerprint != classifier.fingerprints_[each.name]:
            raise ModelError(
                f"the classifier learnt from {each.name} {classifier.fingerprints_[each.name][:12]}, here it is "
                f"{each.fingerprint[:12]}: train it again with this version"
            )
    features = read_once(source, encoders).features
    write_predictions(classifier, features, out)
    return len(features)


def judge(read: Read, settings: Any, out: Path, *, title: str, command: str, drawn: bool = False) -> BenchmarkResult:
    """Run the benchmark and write its report into `out`."""
    from headstart.reports.benchmark import benchmark
    from headstart.reports.render import write_report

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
