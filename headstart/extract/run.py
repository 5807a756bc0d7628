"""Read every listing once: plan what is missing, encode it, keep it.

Two passes over the catalogue. The first lists the keys whose vectors are not kept yet; where there are none nothing
else happens and TensorFlow is never imported. The second prepares those items in threads while the network encodes the
ones before, and keeps a part at a time, so that a run that is killed resumes where the last part ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from headstart.catalog import Batch, Catalog
from headstart.embeddings.features import listing_keys
from headstart.embeddings.key import PhotoKeys, content_key, key_rows
from headstart.embeddings.part import MOST_ROWS
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import EncoderError, ItemError
from headstart.extract.batching import MOST, BatchSize
from headstart.extract.encoder import Encoder
from headstart.progress import progress
from headstart.runtime import cores, machine, now, versions

PHOTO_NOTE = "photo-keys.parquet"
LEAST = float(np.finfo(np.float16).tiny)
"""Below it half precision, in which vectors are kept, loses digits."""
PART_ROWS = 4096
"""Vectors a part: about a minute of photos on two cores, which is what a kill can cost."""


KINDS = {"text": "texts", "image": "photos"}
Item = tuple[bytes, str | Path]
"""Content key, and the text or the photo's path."""


@dataclass
class Extraction:
    """What one encoder did with a catalogue."""

    encoder: str
    modality: str
    listings: int = 0
    """Listings that have this modality."""
    distinct: int = 0
    """Distinct contents among them: one content, one vector. A photo that cannot be opened counts as its own."""
    encoded: int = 0
    """Vectors made by this run; the others were kept before."""
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of each listing whose text or photo could not be read."""
    lost: int = 0
    """Distinct contents that could not be read."""


def open_store(root: Path, encoder: Encoder, dtype: str = "float16") -> EmbeddingStore:
    """The store of this encoder under `root`, made if it is not there. See `EmbeddingStore.create`."""
    return EmbeddingStore.create(
        root, encoder.name, encoder.fingerprint, encoder.modality, encoder.dim, encoder.spec(), dtype
    )


def extract(
    catalog: Catalog, encoders: Sequence[Encoder], root: Path, part_rows: int = PART_ROWS
) -> tuple[list[Extraction], list[EmbeddingStore]]:
    """Keep a vector of every listing's text and photo; what is kept already is not encoded again.

    Args:
        catalog: the listings; read in a stream, twice where something is missing.
        encoders: the frozen encoders, of either modality.
        root: the folder of the stores, made if it is not there.
        part_rows: vectors a part, at most 65,536.

    Returns:
        What each encoder did, and its store.

    Raises:
        CatalogError: the catalogue cannot be read.
        StoreError: a store is damaged, of another encoder, or cannot be written; what was kept before is safe.
        EncoderError: an encoder's package is missing, or its output is not finite.
    """
    stores = [open_store(root, encoder) for encoder in encoders]
    photo_keys = PhotoKeys(root / PHOTO_NOTE)
    reports = [Extraction(encoder.name, encoder.modality) for encoder in encoders]
    missing = _plan(catalog, stores, reports, photo_keys)
    photo_keys.save()
    for encoder, store, report, keys in zip(encoders, stores, reports, missing, strict=True):
        if keys:
            started = time.perf_counter()
            with progress(f"{encoder.name}: encoding {len(keys):,} {KINDS[encoder.modality]}", len(keys)) as advance:
                items = _items(catalog, encoder.modality, keys, photo_keys)
                failed = _encode(items, encoder, store, report, part_rows, advance)
            report.lost += len(failed)
            report.failures += _listings_with(failed, catalog, encoder.modality, photo_keys)
            report.seconds = time.perf_counter() - started
    return reports, stores


def _plan(
    catalog: Catalog, stores: list[EmbeddingStore], reports: list[Extraction], photo_keys: PhotoKeys
) -> list[set[bytes]]:
    """For each store, the keys of the catalogue that it does not hold."""
    seen: list[set[bytes]] = [set() for _ in stores]
    missing: list[set[bytes]] = [set() for _ in stores]
    for batch in catalog.batches():
        for number, (store, report) in enumerate(zip(stores, reports, strict=True)):
            listed, keys = listing_keys(store.modality, batch.texts, batch.photos, photo_keys)
            names = [key.tobytes() for key in keys]
            seen[number].update(names)
            missing[number].update(names[place] for place in np.flatnonzero(store.lookup(keys) < 0))
            there = [row for row, content in enumerate(_contents(store.modality, batch)) if content is not None]
            unopened = np.setdiff1d(there, listed)
            report.listings += len(there)
            report.failures += [(batch.ids[row], "photo cannot be opened") for row in unopened]
            report.lost += len(unopened)
    for report, distinct in zip(reports, seen, strict=True):
        report.distinct = len(distinct) + report.lost
    return missing


def _contents(modality: str, batch: Batch) -> Sequence[str | Path | None]:
    return batch.texts if modality == "text" else batch.photos


def _items(catalog: Catalog, modality: str, keys: set[bytes], photo_keys: PhotoKeys) -> Iterator[Item]:
    """The first listing with each of these keys."""
    left = set(keys)
    for batch in catalog.batches():
        listed, found = listing_keys(modality, batch.texts, batch.photos, photo_keys)
        contents = _contents(modality, batch)
        for row, key in zip(listed, found, strict=True):
            name = key.tobytes()
            content = contents[row]
            if name in left and content is not None:
                left.discard(name)
                yield name, content


def _listings_with(
    failed: dict[bytes, str], catalog: Catalog, modality: str, photo_keys: PhotoKeys
) -> Iterator[tuple[str, str]]:
    """Id and reason of every listing with one of these contents: many may share one photo."""
    for batch in catalog.batches() if failed else ():
        listed, found = listing_keys(modality, batch.texts, batch.photos, photo_keys)
        for row, key in zip(listed, found, strict=True):
            if reason := failed.get(key.tobytes()):
                yield batch.ids[row], reason


def _encode(
    items: Iterator[Item],
    encoder: Encoder,
    store: EmbeddingStore,
    report: Extraction,
    part_rows: int,
    advance: Callable[[int], None],
) -> dict[bytes, str]:
    """Prepare items in threads, encode them in batches, keep them in parts.

    Returns:
        The keys of the contents that could not be read, with the reason.
    """
    failed: dict[bytes, str] = {}
    part = _Part(store)
    part_rows = min(part_rows, MOST_ROWS)
    batch_size = BatchSize(encoder.batch, min(part_rows, MOST[encoder.modality]))
    # While one batch is encoded the next two are prepared: the work overlaps and memory stays bounded.
    with ThreadPoolExecutor(cores()) as threads:
        prepared = _ahead(threads, lambda item: _prepare(encoder, item), items, lambda: 3 * batch_size.size)
        try:
            while batch := list(islice(prepared, min(batch_size.size, part_rows - len(part.keys)))):
                failed.update({key: str(made) for (key, _), made in batch if isinstance(made, ItemError)})
                ready = [(key, made) for (key, _), made in batch if not isinstance(made, ItemError)]
                if ready and not report.encoded:
                    loading = time.perf_counter()
                    encoder.load()
                    part.started += time.perf_counter() - loading  # starting TensorFlow is not encoding
                if ready:
                    started = time.perf_counter()
                    part.add([key for key, _ in ready], _checked(encoder, [made for _, made in ready]))
                    batch_size.tell(len(batch), time.perf_counter() - started)
                    report.encoded += len(ready)
                advance(len(batch))
                if len(part.keys) == part_rows:
                    part.keep()
        finally:
            part.keep()  # what is encoded is kept, also when Ctrl-C or an error ends the run
            threads.shutdown(cancel_futures=True)
    return failed


class _Part:
    """Vectors made and not kept yet."""

    def __init__(self, store: EmbeddingStore) -> None:
        self.store = store
        self.keys: list[bytes] = []
        self.vectors: list[np.ndarray] = []
        self.started = time.perf_counter()

    def add(self, keys: list[bytes], vectors: np.ndarray) -> None:
        self.keys += keys
        self.vectors.append(vectors)

    def keep(self) -> None:
        if self.keys:
            seconds = time.perf_counter() - self.started
            info = {"seconds": round(seconds, 4), "machine": machine(), "versions": versions(), "created": now()}
            self.store.append(key_rows(self.keys), np.concatenate(self.vectors), info)
        self.keys, self.vectors, self.started = [], [], time.perf_counter()


def _prepare(encoder: Encoder, item: Item) -> object:
    """An item as the network's input, or the ItemError that says why not."""
    key, content = item
    try:
        if isinstance(content, str):
            return encoder.prepare(content)
        data = content.read_bytes()
        if content_key("image", data) != key:
            return ItemError("photo changed while it was being read, or without a new date: touch it, extract again")
        return encoder.prepare(data)
    except ItemError as error:
        return error
    except OSError as error:
        return ItemError(f"photo cannot be read ({error.strerror})")


def _checked(encoder: Encoder, inputs: list[object]) -> np.ndarray:
    """Encode, and refuse an output of the wrong shape or with values that are not finite."""
    vectors = encoder.encode(inputs)
    if vectors.shape != (len(inputs), encoder.dim) or not np.isfinite(vectors).all():
        raise EncoderError(
            f"{encoder.name} gave {vectors.shape} for {len(inputs)} items of dimension {encoder.dim}, or values that "
            "are not finite: its weights are damaged or it is not an encoder of this modality"
        )
    largest = float(np.abs(vectors).max())
    if 0 < largest < LEAST:
        raise EncoderError(
            f"{encoder.name} gives numbers of at most {largest:.1g}, too small to keep: check its weights"
        )
    return vectors


def _ahead(
    threads: ThreadPoolExecutor, work: Callable[[Item], object], items: Iterable[Item], ahead: Callable[[], int]
) -> Iterator[tuple[Item, object]]:
    """Items with what `work` made of them, in order, at most `ahead()` of them made before they are asked for."""
    waiting: deque[tuple[Item, Future[object]]] = deque()
    for item in items:
        waiting.append((item, threads.submit(work, item)))
        if len(waiting) >= ahead():
            item, made = waiting.popleft()
            yield item, made.result()
    for item, made in waiting:
        yield item, made.result()
