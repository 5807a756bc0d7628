"""EmbeddingStore: the vectors of one encoder on disk, looked up by content key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.generations import Generation, in_memory, read_generations, settle
from headstart.embeddings.index import KeyMap, halves
from headstart.embeddings.part import (
    FORMAT,
    Failure,
    Part,
    Receipt,
    all_failures,
    open_part,
    read_receipt,
    read_record,
    write_part,
    write_record,
)
from headstart.errors import DamageError, StoreError
from headstart.files import locked

HEADER = "encoder.json"
LOCK = "lock"
"""In a store, and beside the stores: held by all that write there."""
_PART = re.compile(r"[0-9a-f]{16}(-[0-9a-f]{8})+")
_LOOKS = 20
"""Times that a folder is listed again because something came; with many writers something always does."""
MOST_LETTERS = 60
"""Of an encoder's name in that of its folder, which the fingerprint tells apart; file systems take 255 bytes."""


class EmbeddingStore:
    """One encoder's vectors: a folder with ``encoder.json`` and immutable parts.

    A store shows the parts that had a receipt when it was first looked into; `refresh` shows the new ones. What was
    shown stays readable, also when another process compacts the store. Rows are numbered through the parts in the
    order of their ids.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`.

        Raises:
            StoreError: no store there, or its ``encoder.json`` is damaged or of a newer format.
        """
        try:
            header = read_record(folder / HEADER)
        except DamageError:
            raise DamageError(f"{folder / HEADER} is damaged: 'headstart extract' writes it anew") from None
        self.folder = folder
        self.name: str = header["name"]
        self.modality: str = header["modality"]
        self.dim: int = header["dim"]
        self.dtype = np.dtype(header["dtype"])
        self.fingerprint: str = header["fingerprint"]
        self._opened: dict[str, Part] = {}

    @classmethod
    def create(
        cls,
        root: Path,
        name: str,
        fingerprint: str,
        modality: str,
        dim: int,
        spec: dict[str, Any],
        dtype: str = "float16",
    ) -> EmbeddingStore:
        """Open the store of this encoder under `root`, made if it is not there.

        It is found by the fingerprint: an encoder that has another name now, or lies in another folder, still has its
        vectors. The store goes by the name given. A damaged ``encoder.json`` is written anew.

        Raises:
            StoreError: the folder holds another encoder's vectors or another precision, is of a newer format, or cannot
                be written.
        """
        kept_before = sorted(path.parent for path in root.glob(f"*-{fingerprint[:12]}/{HEADER}"))
        folder = kept_before[0] if kept_before else root / store_folder(name, fingerprint)
        header = {
            "format": FORMAT, "name": name, "modality": modality, "dim": dim, "dtype": str(np.dtype(dtype)),
            "fingerprint": fingerprint, "spec": spec,
        }  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / LOCK):  # or another process that mends would sweep it away half written
                if not _readable(folder / HEADER):
                    write_record(folder / HEADER, header)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written ({error.strerror}): choose another --store") from None
        store = cls(folder)
        kept = f"{store.modality} {store.dtype} (n, {store.dim}) of {store.fingerprint}"
        wanted = f"{modality} {np.dtype(dtype)} (n, {dim}) of {fingerprint}"
        if kept != wanted:
            raise StoreError(f"{folder} holds vectors {kept}, not {wanted}: choose another --store")
        store.name = name
        return store

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All parts, oldest first.

        Raises:
            DamageError: one of them is damaged.
            StoreError: one is of a newer format, or of another encoder.
        """
        looks = 0
        while (parts := self._look(strict=looks < _LOOKS)) is None:
            looks += 1  # another process appends or compacts just now
        self._opened = {part.receipt.id: part for part in parts}
        return parts

    def _look(self, strict: bool) -> tuple[Part, ...] | None:
        paths = self.receipt_paths()
        for path in paths:
            try:
                if path.stem not in self._opened:
                    self._opened[path.stem] = open_part(self.folder, self.read_receipt(path))
            except StoreError:
                if path.exists():
                    raise
                return None
        # Listing a folder takes a while: a merged part may come too late for it, and what it replaces go too early.
        if strict and paths != self.receipt_paths():
            return None
        return tuple(self._opened[path.stem] for path in paths)

    def read_receipt(self, path: Path) -> Receipt:
        """Read a receipt and check that it belongs into this store.

        Raises:
            DamageError: it is damaged.
            StoreError: it is of a newer format, or of another encoder.
        """
        receipt = read_receipt(path)
        if receipt.fingerprint != self.fingerprint or receipt.dim != self.dim or receipt.dtype != str(self.dtype):
            raise StoreError(
                f"{path} is of encoder {receipt.fingerprint[:12]}, the store is of {self.fingerprint[:12]} in "
                f"{self.dtype} (n, {self.dim}): move the part out of this store"
            )
        return receipt

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """The receipts of all parts, oldest first."""
        return tuple(part.receipt for part in self.parts)

    @cached_property
    def _starts(self) -> np.ndarray:
        """The number of each part's first row, and of the row after the last: int64 of shape ``(parts + 1,)``."""
        return np.cumsum([0, *(part.receipt.rows for part in self.parts)])

    @cached_property
    def _index(self) -> list[tuple[Generation, np.ndarray]]:
        """Generations of keys, and where in this store each of their parts starts; −1 for those that are gone."""
        starts = {part.receipt.id: start for part, start in zip(self.parts, self._starts[:-1].tolist(), strict=True)}
        generations = read_generations(self.folder)
        covered = {part for generation in generations for part in generation.parts}
        new = in_memory([part for part in self.parts if part.receipt.id not in covered])
        return [
            (generation, np.array([starts.get(part, -1) for part in generation.parts], np.int64))
            for generation in (*generations, new)
            if generation.parts
        ]

    def __len__(self) -> int:
        """How many vectors are kept."""
        return int(self._starts[-1])

    def refresh(self) -> None:
        """Look again for parts, as another process may have added some."""
        for name in ("parts", "_starts", "_index"):
            self.__dict__.pop(name, None)

    def lookup(self, keys: np.ndarray) -> np.ndarray:
        """Rows of these keys.

        Args:
            keys: halves of content keys, uint64 of shape ``(2, n)``.

        Returns:
            int64 of shape ``(n,)``: the row of each key, −1 where its vector is not kept.
        """
        rows = np.full(keys.shape[1], -1, np.int64)
        for generation, starts in self._index:
            left = np.flatnonzero(rows < 0)
            if len(left):
                rows[left] = generation.find(keys[:, left], starts)
        return rows

    def read(self, rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Vectors of these rows, shape ``(n, dim)``, in the store's precision: each checked to be that of its key.

        Args:
            rows: from `lookup`, none of them −1.
            keys: what was looked up, shape ``(2, n)``.

        Raises:
            DamageError: a vector is not what was kept under its key.
            StoreError: a row that is not there.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise StoreError(f"rows {rows.min()} to {rows.max()} are not all in {self.folder}: it has {len(self)}")
        out = np.empty((len(rows), self.dim), self.dtype)
        number = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(number, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
            if len(chosen):
                part = number[chosen[0]]
                out[chosen] = self.parts[part].read(rows[chosen] - self._starts[part], keys[:, chosen])
        return out

    def append(
        self,
        keys: np.ndarray,
        vectors: np.ndarray,
        info: dict[str, Any],
        failures: Sequence[Failure] = (),
        name: str = "",
    ) -> Receipt:
        """Keep vectors as one new part. See `write_part`; the vectors are rounded to the store's precision.

        Raises:
            StoreError: they do not fit this store, are not finite, or the disk does not take them.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise StoreError(f"vectors of shape {vectors.shape} do not fit a store of dimension {self.dim}")
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused by write_part, with its row
            vectors = vectors.astype(self.dtype)
        try:
            with self.in_use():
                return write_part(self.folder, keys, vectors, self.fingerprint, info, failures, name)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written ({error.strerror}): what was kept before is safe"
            ) from None

    def in_use(self, alone: bool = False) -> AbstractContextManager[bool]:
        """Hold the store against upkeep, or `alone` for upkeep. See `files.locked`."""
        return locked(self.folder / LOCK, alone)

    def failures(self, used: KeyMap | None = None) -> dict[str, Failure]:
        """Contents that could not be encoded, by their key in hex; those that were encoded later are left out.

        Args:
            used: keys; other contents are left out, too.
        """
        found = all_failures(self.receipts)
        keys = halves(np.frombuffer(bytes.fromhex("".join(found)), np.uint8))
        wanted = self.lookup(keys) < 0
        if used is not None:
            wanted &= used.get(keys)[0]
        return {key: failure for (key, failure), it in zip(found.items(), wanted, strict=True) if it}

    def settle(self) -> None:
        """Write the index of what is new to disk, if there is enough of it."""
        with suppress(OSError):  # it only saves time
            settle(self.folder, self.parts)

    def seconds_per_row(self, machine: str | None = None) -> float:
        """Time one vector took when it was made, decoding and encoding together, over all parts; 0 if there are none.

        Args:
            machine: count what was made on this one alone, as receipts name it.
        """
        made = [each for each in self.receipts if machine is None or each.info.get("machine") == machine]
        rows = sum(receipt.rows for receipt in made) if machine else len(self)
        return sum(receipt.info.get("seconds", 0.0) for receipt in made) / rows if rows else 0.0

    def bytes(self) -> int:
        """Size on disk."""
        size = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process has just deleted it
                size += path.stat().st_size
        return size

    def receipt_paths(self) -> list[Path]:
        """The receipts' files, oldest first."""
        paths = self.folder.glob("*.json")
        return sorted(path for path in paths if _PART.fullmatch(path.stem))


def _readable(header: Path) -> bool:
    """There is a header, and it is not damaged."""
    with suppress(DamageError):
        return header.exists() and bool(read_record(header))
    return False


def store_folder(name: str, fingerprint: str) -> str:
    """The folder's name for an encoder: its name made safe for a file system, and its fingerprint's start."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name[:MOST_LETTERS])
    return f"{safe}-{fingerprint[:12]}"


def stores(root: Path) -> Iterator[EmbeddingStore]:
    """Every encoder's store under `root`, by name."""
    for folder in store_folders(root):
        yield EmbeddingStore(folder)


def store_folders(root: Path) -> list[Path]:
    """The folder of every encoder's store under `root`, by name."""
    return sorted(header.parent for header in root.glob(f"*/{HEADER}"))
