"""Which content each listing of a catalogue has, as last read: an Arrow file that is mapped, not loaded.

``listings/<name>.arrow`` under the store's root has a row a listing: id, label, and the content keys of its text and
photo, null where it has none. It says which vectors belong to which listing without another look at the catalogue, and
which vectors no catalogue needs any more. After Arrow's bytes the file has 32 more, their SHA-256.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from operator import eq
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from headstart.embeddings.index import KeyMap, halves
from headstart.embeddings.key import KEY_BYTES
from headstart.embeddings.part import FORMAT
from headstart.errors import DamageError, StoreError
from headstart.files import Aside, file_digest

FOLDER = "listings"
_DIGEST = 32
_KEY = pa.binary(KEY_BYTES)
_SCHEMA = pa.schema([("id", pa.string()), ("label", pa.string()), ("text", _KEY), ("image", _KEY)])


def listings_path(root: Path, catalog: Path) -> Path:
    """Where the listings of a catalogue are kept: named after it, and told apart by its whole path."""
    whole = str(catalog.resolve())
    name = f"{catalog.stem[:60]}-{hashlib.sha256(whole.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return root / FOLDER / f"{name}.arrow"


class ListingsWriter:
    """Writes the listings of a catalogue as they are read; they are there when it ends without an error."""

    listings: Listings
    """What was written, once that has ended."""

    def __init__(self, root: Path, catalog: Path, unread: Sequence[str] = ()) -> None:
        """Start.

        Args:
            root: folder of the stores.
            catalog: whose listings they are.
            unread: modalities that the catalogue has and that are not looked at this time.
        """
        self._path, self._catalog, self._unread = listings_path(root, catalog), catalog, unread

    def __enter__(self) -> Self:
        self._lasting = True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._aside = Aside(self._path)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            # A store that others may only read still serves them.
            self._lasting, self._aside = False, Aside(Path(tempfile.gettempdir(), self._path.name))
        about = {"format": str(FORMAT), "catalog": str(self._catalog.resolve()), "unread": " ".join(self._unread)}
        self._writer = pa.ipc.new_file(self._aside.file, _SCHEMA.with_metadata(about))
        return self

    def add(self, ids: list[str], labels: list[str | None], keys: dict[str, list[bytes | None]]) -> None:
        """Add listings: ids, labels, and the content keys of each modality that is there."""
        nothing: list[bytes | None] = [None] * len(ids)
        columns = [pa.array(ids, pa.string()), pa.array(labels, pa.string())]
        columns += [pa.array(keys.get(kind, nothing), _KEY) for kind in ("text", "image")]
        self._writer.write_batch(pa.record_batch(columns, names=_SCHEMA.names))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self._writer.close()
                self._aside.file.flush()
                self._aside.file.write(bytes.fromhex(file_digest(self._aside.name)))
                self._aside.file.flush()
                self.listings = Listings(self._aside.name)
                if self._lasting:
                    self._aside.commit()
        finally:
            self._aside.discard()


class Listings:
    """The listings of a catalogue as last read; n of them."""

    def __init__(self, path: Path) -> None:
        """Map them.

        Raises:
            DamageError: the file is not what was written.
            StoreError: it is not there, or is of a newer format.
        """
        try:
            whole = pa.memory_map(str(path)).read_buffer()
            body = whole.slice(0, max(0, len(whole) - _DIGEST))
            if hashlib.sha256(body).digest() != whole.slice(len(body)).to_pybytes():
                raise DamageError(f"{path} has changed since it was written: run 'headstart extract' again")
            self._table = pa.ipc.open_file(body).read_all()
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error}): run 'headstart extract' again") from None
        about = {name.decode(): value.decode() for name, value in self._table.schema.metadata.items()}
        if int(about["format"]) > FORMAT:
            raise StoreError(
                f"{path} is of store format {about['format']}, this headstart reads up to {FORMAT}: upgrade it"
            )
        self.catalog, self.unread = Path(about["catalog"]), about["unread"].split()

    def __len__(self) -> int:
        """How many there are."""
        return int(self._table.num_rows)

    def part(self, start: int, stop: int) -> Listings:
        """The listings from one row up to another, or the last; nothing is copied."""
        part = copy.copy(self)
        part._table = self._table.slice(start, stop - start)
        return part

    @property
    def ids(self) -> Column:
        """Of every listing, n of them."""
        return Column(self._table["id"])

    @property
    def labels(self) -> Column:
        """Of every listing, None where it has none."""
        return Column(self._table["label"])

    def keys(self, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """The content keys of one modality.

        Returns:
            Halves, uint64 of shape ``(2, n)``, 0 where a listing has none, and which have one, bool of shape ``(n,)``.
        """
        chunks = [np.empty((2, 0), np.uint64)], [np.empty(0, bool)]
        for keys, there in self.batches(modality):
            chunks[0].append(keys)
            chunks[1].append(there)
        return np.concatenate(chunks[0], axis=1), np.concatenate(chunks[1])

    def batches(self, modality: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same, some thousands of listings at a time."""
        yield from map(key_array, self._table[modality].chunks)


def key_array(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Content keys in Arrow's form → halves, uint64 of shape ``(2, n)``, and which are not null."""
    raw = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, KEY_BYTES)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return halves(raw[column.offset : column.offset + len(column)]), there


class Column(Sequence[str | None]):
    """A column of strings that stay in Arrow's form until they are looked at."""

    def __init__(self, values: pa.ChunkedArray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self._values[int(place)].as_py()

    def __iter__(self) -> Iterator[str | None]:
        for chunk in self._values.chunks:
            yield from chunk.to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: np.ndarray) -> Column:
        """The values of these rows, in this order."""
        return Column(pa.chunked_array(self._values.take(pa.array(rows))))


def damaged_listings(root: Path) -> list[str]:
    """What is wrong with the listings of any catalogue, a line each; its next extraction writes them anew."""
    problems = []
    for path in sorted((root / FOLDER).glob("*.arrow")):
        try:
            Listings(path)
        except StoreError as error:
            problems.append(str(error))
    return problems


def used_keys(root: Path, modality: str) -> KeyMap:
    """Keys of one modality that some catalogue needs, as last read.

    Raises:
        StoreError: nobody knows: the listings of a catalogue are damaged, it has more than was read the last time, or
            there are none at all.
    """
    used = KeyMap(folder=root)
    paths = sorted((root / FOLDER).glob("*.arrow"))
    if not paths:
        raise StoreError(f"{root / FOLDER} holds no catalogue's listings: run 'headstart extract' first")
    for path in paths:
        listings = Listings(path)
        if modality in listings.unread:
            raise StoreError(
                f"{listings.catalog} was last read without an encoder of its {modality}s, and nobody knows which are "
                "unused: 'headstart extract' it with all its encoders first"
            )
        for keys, there in listings.batches(modality):
            used.add_new(keys[:, there])
    return used
