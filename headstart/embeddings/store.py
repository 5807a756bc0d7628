"""EmbeddingStore: the vectors of one encoder on disk, looked up by content key."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.part import (
    FORMAT,
    Receipt,
    open_part,
    part_problems,
    read_receipt,
    read_record,
    write_part,
    write_record,
)
from headstart.errors import StoreError

_HEADER = "encoder.json"
MOST_LETTERS = 60
"""Of an encoder's name in that of its folder, which the fingerprint tells apart; file systems take 255 bytes."""


class EmbeddingStore:
    """One encoder's vectors: a folder with ``encoder.json`` and immutable parts.

    A store opened while another process appends shows the parts that had a receipt at that moment; `refresh` shows
    the new ones. Rows are numbered through the parts in the order of their ids.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`.

        Raises:
            StoreError: no store there, or its ``encoder.json`` is damaged or of a newer format.
        """
        header = read_record(folder / _HEADER)
        self.folder = folder
        self.name: str = header["name"]
        self.modality: str = header["modality"]
        self.dim: int = header["dim"]
        self.dtype = np.dtype(header["dtype"])
        self.fingerprint: str = header["fingerprint"]

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
        vectors. The store goes by the name given.

        Raises:
            StoreError: the folder holds another encoder's vectors or another precision, is damaged, or cannot be
                written.
        """
        kept_before = sorted(path.parent for path in root.glob(f"*-{fingerprint[:12]}/{_HEADER}"))
        folder = kept_before[0] if kept_before else root / store_folder(name, fingerprint)
        header = {
            "format": FORMAT, "name": name, "modality": modality, "dim": dim, "dtype": str(np.dtype(dtype)),
            "fingerprint": fingerprint, "spec": spec,
        }  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / _HEADER).exists():
                write_record(folder / _HEADER, header)
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
    def receipts(self) -> tuple[Receipt, ...]:
        """The receipts of all parts, oldest first.

        Raises:
            StoreError: a receipt is damaged, or is of another encoder.
        """
        receipts = tuple(read_receipt(path) for path in self._receipt_paths())
        for receipt in receipts:
            if receipt.fingerprint != self.fingerprint or receipt.dim != self.dim:
                raise StoreError(
                    f"{self.folder / receipt.id}.json is of encoder {receipt.fingerprint[:12]}, the store is of "
                    f"{self.fingerprint[:12]}: move the part out of this store"
                )
        return receipts

    @cached_property
    def _parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [open_part(self.folder, receipt) for receipt in self.receipts]

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All keys sorted, as two halves of 8 bytes, and the row each belongs to."""
        keys = [np.ascontiguousarray(keys).view(np.uint64) for keys, _ in self._parts]
        halves = np.concatenate(keys) if keys else np.empty((0, 2), np.uint64)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        return halves[order, 0], halves[order, 1], order

    def __len__(self) -> int:
        """How many vectors are kept."""
        return sum(receipt.rows for receipt in self.receipts)

    def refresh(self) -> None:
        """Look again for parts, as another process may have added some."""
        for name in ("receipts", "_parts", "_index"):
            self.__dict__.pop(name, None)

    def lookup(self, keys: np.ndarray) -> np.ndarray:
        """Rows of these keys.

        Args:
            keys: uint8 of shape ``(n, 16)``.

        Returns:
            int64 of shape ``(n,)``: the row of each key, −1 where its vector is not kept.
        """
        first, second, order = self._index
        wanted = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)
        rows = np.full(len(wanted), -1, np.int64)
        if not len(first):
            return rows
        place = np.searchsorted(first, wanted[:, 0])
        open_ = np.arange(len(wanted))
        # Keys that share their first half stand side by side: step on until the second half fits or the first differs.
        while len(open_):
            at = place[open_]
            inside = at < len(first)
            at, open_ = at[inside], open_[inside]
            same_first = first[at] == wanted[open_, 0]
            found = same_first & (second[at] == wanted[open_, 1])
            rows[open_[found]] = order[at[found]]
            open_ = open_[same_first & ~found]
            place[open_] += 1
        return rows

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Vectors of these rows, shape ``(len(rows), dim)``, in the store's precision.

        Raises:
            StoreError: a row that is not there (−1 included), or a part's file is damaged.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise StoreError(f"rows {rows.min()} to {rows.max()} are not all in {self.folder}: it has {len(self)}")
        out = np.empty((len(rows), self.dim), self.dtype)
        ends = np.cumsum([receipt.rows for receipt in self.receipts])
        part = np.searchsorted(ends, rows, side="right")
        for number in np.unique(part):
            chosen = part == number
            start = ends[number] - self.receipts[number].rows
            out[chosen] = self._parts[number][1][rows[chosen] - start]
        return out

    def append(self, keys: np.ndarray, vectors: np.ndarray, info: dict[str, Any]) -> Receipt:
        """Keep vectors as one new part. See `write_part`; the vectors are rounded to the store's precision.

        Raises:
            StoreError: they do not fit this store, are not finite, or the disk does not take them.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise StoreError(f"vectors of shape {vectors.shape} do not fit a store of dimension {self.dim}")
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused by write_part, with its row
            vectors = vectors.astype(self.dtype)
        try:
            receipt = write_part(self.folder, keys, vectors, self.fingerprint, info)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written ({error.strerror}): what was kept before is safe"
            ) from None
        self.refresh()
        return receipt

    def seconds_per_row(self) -> float:
        """Time one vector took when it was made, decoding and encoding together, over all parts."""
        rows = len(self)
        return sum(receipt.info.get("seconds", 0.0) for receipt in self.receipts) / rows if rows else 0.0

    def verify(self) -> list[str]:
        """Read everything and list what is wrong, a line each; empty when all is well."""
        problems = []
        for path in self._receipt_paths():
            try:
                receipt = read_receipt(path)
            except StoreError as error:
                problems.append(str(error))
                continue
            if receipt.fingerprint != self.fingerprint or receipt.dim != self.dim:
                problems.append(f"{path} is of encoder {receipt.fingerprint[:12]}, not {self.fingerprint[:12]}")
            problems += part_problems(self.folder, receipt)
        return problems

    def bytes(self) -> int:
        """Size on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def _receipt_paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.json") if path.name != _HEADER)


def store_folder(name: str, fingerprint: str) -> str:
    """The folder's name for an encoder: its name made safe for a file system, and its fingerprint's start."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name[:MOST_LETTERS])
    return f"{safe}-{fingerprint[:12]}"


def stores(root: Path) -> Iterator[EmbeddingStore]:
    """Every encoder's store under `root`, by name."""
    for folder in _folders(root):
        yield EmbeddingStore(folder)


def verify(root: Path) -> dict[str, list[str]]:
    """`EmbeddingStore.verify` for every store under `root`, by folder; a damaged ``encoder.json`` is a problem too."""
    found: dict[str, list[str]] = {}
    for folder in _folders(root):
        try:
            found[folder.name] = EmbeddingStore(folder).verify()
        except StoreError as error:
            found[folder.name] = [str(error)]
    return found


def _folders(root: Path) -> list[Path]:
    return sorted(header.parent for header in root.glob(f"*/{_HEADER}"))
