"""What is missing: one pass over the catalogue, and a file with all that is to be encoded.

The file is Arrow, in small record batches, so that any process that sees the store's folder can map it and work on a
range of them; it is a copy, so that a catalogue edited meanwhile changes nothing. Memory goes with the batch: the keys
met so far lie on disk once they are many.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from headstart.catalog import Batch, Catalog
from headstart.embeddings.index import KeyMap, halves
from headstart.embeddings.key import KEY_BYTES, PhotoKeys, path_key, text_keys
from headstart.embeddings.listings import Listings, ListingsWriter, key_array
from headstart.embeddings.store import EmbeddingStore
from headstart.embeddings.upkeep import PLAN_ENDING
from headstart.errors import StoreError
from headstart.progress import progress

BATCH_ROWS = 64
_SCHEMA = pa.schema([("key", pa.binary(KEY_BYTES)), ("content", pa.large_binary()), ("listing", pa.string())])


class Item(NamedTuple):
    """A text or a photo to encode."""

    key: bytes
    content: bytes
    """The text's UTF-8, or the photo's path."""
    listing: str
    """Id of the first listing that has it."""


class Plan:
    """The items that a store lacks, in a file beside its parts."""

    def __init__(self, store: EmbeddingStore, batch_rows: int = BATCH_ROWS) -> None:
        """Start an empty one; the file is made with the first item.

        Args:
            batch_rows: items in a record batch, the smallest thing that a task can be made of.
        """
        self.id = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
        self.path = store.folder / f"{self.id}{PLAN_ENDING}"
        self.rows = 0
        self._batch_rows = batch_rows
        self._waiting: list[Item] = []
        self._writer: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.path.unlink(missing_ok=True)

    def add(self, items: Sequence[Item]) -> None:
        """Plan these items, too."""
        self._waiting += items
        self.rows += len(items)
        whole = len(self._waiting) - len(self._waiting) % self._batch_rows
        self._write(self._waiting[:whole])
        del self._waiting[:whole]

    def close(self) -> None:
        """All is planned."""
        self._write(self._waiting)
        self._waiting = []
        if self._writer is not None:
            self._writer.close()

    def _write(self, items: list[Item]) -> None:
        for start in range(0, len(items), self._batch_rows):
            columns = zip(*items[start : start + self._batch_rows], strict=True)
            if self._writer is None:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writer = pa.ipc.new_file(str(self.path), _SCHEMA, options=options)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))

    def ranges(self, rows: int) -> list[range]:
        """The record batches, as many at a time as hold `rows` items."""
        batches, step = -(-self.rows // self._batch_rows), max(1, rows // self._batch_rows)
        return [range(start, min(start + step, batches)) for start in range(0, batches, step)]


def read_items(path: Path, batches: range) -> Iterator[Item]:
    """The items of some record batches of a plan.

    Raises:
        StoreError: the plan is not there any more.
    """
    try:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            for number in batches:
                yield from map(Item, *(column.to_pylist() for column in reader.get_batch(number).columns))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"the plan {path} cannot be read ({error}): extract again") from None


@dataclass
class Seen:
    """What the pass over a catalogue found of one modality."""

    listings: int = 0
    distinct: int = 0


def make_plans(
    catalog: Catalog, stores: Sequence[EmbeddingStore], plans: Sequence[Plan], photo_keys: PhotoKeys, root: Path,
    retry_failed: bool = False, also: Sequence[str] = (),
) -> tuple[dict[str, Seen], Listings]:  # fmt: skip
    """Read the catalogue, note each listing's keys, and plan what the stores lack.

    Args:
        catalog: the listings, read once, in a stream.
        stores: to look the keys up in.
        plans: one for each store, filled.
        photo_keys: so that photos that have not changed are not read.
        root: folder of the stores, for `embeddings/listings.py`.
        retry_failed: plan also the contents that could not be encoded before. Those whose file could not be read are
            always planned again.
        also: modalities whose keys are noted beside those of the stores.

    Returns:
        Of each modality, what there is, and the listings with their keys.

    Raises:
        CatalogError: the catalogue cannot be read.
        StoreError: a store is damaged, or the disk does not take the plan.
    """
    known = {modality: KeyMap(folder=root) for modality in [*(store.modality for store in stores), *also]}
    seen = {modality: Seen() for modality in known}
    hopeless = [_hopeless(store) if not retry_failed else KeyMap() for store in stores]
    has = {"text": bool(catalog.columns.text), "image": catalog.images is not None}
    unread = [modality for modality, there in has.items() if there and modality not in known]
    try:
        with ListingsWriter(root, catalog.path, unread) as writer, progress(f"reading {catalog.path.name}") as advance:
            for batch in catalog.batches():
                keys = {modality: _keys(modality, batch, photo_keys) for modality in known}
                writer.add(batch.ids, batch.labels, keys)
                first = {}
                for modality, its in keys.items():
                    columns, there = key_array(pa.array(its, pa.binary(KEY_BYTES)))
                    rows = np.flatnonzero(there)
                    rows = rows[known[modality].add_new(columns[:, rows])]
                    first[modality] = rows, columns[:, rows]
                    seen[modality].listings += int(there.sum())
                    seen[modality].distinct += len(rows)
                for store, plan, failed in zip(stores, plans, hopeless, strict=True):
                    rows, columns = first[store.modality]
                    lacking = (store.lookup(columns) < 0) & ~failed.get(columns)[0]
                    plan.add(_items(batch, keys[store.modality], rows[lacking], store.modality))
                advance(len(batch.ids))
        for plan in plans:
            plan.close()
    except OSError as error:
        raise StoreError(
            f"{root} cannot be written ({os.strerror(error.errno) if error.errno else error}): make room or choose "
            "another --store; what was kept before is safe"
        ) from None
    return seen, writer.listings


def _hopeless(store: EmbeddingStore) -> KeyMap:
    """Keys of contents that will fail again."""
    keys = [bytes.fromhex(key) for key, failure in store.failures().items() if failure.kind != "unreadable"]
    found = KeyMap()
    found.add(halves(np.frombuffer(b"".join(keys), np.uint8)))
    return found


def _keys(modality: str, batch: Batch, photo_keys: PhotoKeys) -> list[bytes | None]:
    """A key for each listing that has the modality; a photo that cannot be read goes by its path."""
    if modality == "text":
        return text_keys(batch.texts)
    keys = photo_keys.keys(batch.photos, batch.photo_stats)
    return [
        path_key(photo) if key is None and photo is not None else key
        for key, photo in zip(keys, batch.photos, strict=True)
    ]


def _items(batch: Batch, keys: list[bytes | None], rows: np.ndarray, modality: str) -> list[Item]:
    contents = batch.texts if modality == "text" else batch.photos
    encoded = str.encode if modality == "text" else os.fsencode
    return [Item(keys[row], encoded(contents[row]), batch.ids[row]) for row in rows.tolist()]
