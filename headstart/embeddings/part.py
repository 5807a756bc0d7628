"""One immutable part of a store on disk, and its receipt.

A part is three files: ``<id>.npy`` with the vectors, ``<id>.keys.npy`` with 16 bytes a row, and ``<id>.json``, the
receipt. The receipt is written last and is the commit mark: vectors without one do not exist.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.key import KEY_BYTES
from headstart.errors import StoreError
from headstart.files import file_digest, write_atomically, write_text_atomically

FORMAT = 1
MOST_ROWS = 65_536


@dataclass(frozen=True)
class Receipt:
    """What a part holds, and the digests to prove it.

    `digests` maps a file's ending (``".npy"``, ``".keys.npy"``) to its SHA-256; `info` says how the part came about:
    ``seconds`` it took, ``machine``, ``versions``, ``created``.
    """

    format: int
    id: str
    fingerprint: str
    rows: int
    dim: int
    dtype: str
    digests: dict[str, str]
    info: dict[str, Any]


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write one of the store's JSON files, with a seal over its content so that damage to it shows."""
    write_text_atomically(path, json.dumps({**record, "seal": _seal(record)}, indent=1))


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises:
        StoreError: it is missing or damaged, or of a format this version does not know.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        if record["format"] > FORMAT:
            raise StoreError(
                f"{path} is of store format {record['format']}, this headstart reads up to {FORMAT}: upgrade it"
            )
        if record.pop("seal") != _seal(record):
            raise ValueError
    except FileNotFoundError:
        raise StoreError(f"there is no {path}: run 'headstart extract' first") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise StoreError(f"{path} is damaged: delete it and extract again") from None
    return record


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def write_part(folder: Path, keys: np.ndarray, vectors: np.ndarray, fingerprint: str, info: dict[str, Any]) -> Receipt:
    """Write one part and then its receipt.

    Args:
        folder: the store's folder.
        keys: uint8 of shape ``(n, 16)``, n from 1 to 65,536.
        vectors: shape ``(n, dim)``, in the precision to keep.
        fingerprint: of the encoder that made the vectors.
        info: how they came about; JSON values.

    Raises:
        StoreError: shapes that do not fit, or a vector that is not finite in this precision.
    """
    rows, dim = vectors.shape
    if keys.shape != (rows, KEY_BYTES) or keys.dtype != np.uint8 or not 0 < rows <= MOST_ROWS:
        raise StoreError(
            f"a part takes 1 to {MOST_ROWS} vectors with a key of {KEY_BYTES} bytes each, not {rows} with keys "
            f"{keys.dtype} {keys.shape}"
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise StoreError(f"vector {row} is not finite in {vectors.dtype}: the encoder's output cannot be kept")
    part_id = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
    digests = {}
    for ending, array in ((".npy", vectors), (".keys.npy", keys)):
        path = folder / f"{part_id}{ending}"
        array = np.ascontiguousarray(array)
        write_atomically(path, lambda file, array=array: np.save(file, array, allow_pickle=False))  # type: ignore[misc]
        digests[ending] = file_digest(path)
    receipt = Receipt(FORMAT, part_id, fingerprint, rows, dim, str(vectors.dtype), digests, info)
    write_record(folder / f"{part_id}.json", asdict(receipt))
    return receipt


def read_receipt(path: Path) -> Receipt:
    """Read a receipt. See `read_record`.

    Raises:
        StoreError: it is damaged, of a format this version does not know, or of another part.
    """
    receipt = Receipt(**read_record(path))
    if receipt.id != path.stem:
        raise StoreError(f"{path} is the receipt of part {receipt.id}: give the file its name back, or delete it")
    return receipt


def open_part(folder: Path, receipt: Receipt) -> tuple[np.ndarray, np.ndarray]:
    """Map a part: keys ``(rows, 16)`` and vectors ``(rows, dim)``, read from disk only where touched.

    Raises:
        StoreError: a file is missing, cut short or of another shape than the receipt says.
    """
    arrays = []
    wanted = ((".keys.npy", (receipt.rows, KEY_BYTES), "uint8"), (".npy", (receipt.rows, receipt.dim), receipt.dtype))
    for ending, shape, dtype in wanted:
        path = folder / f"{receipt.id}{ending}"
        remedy = f"delete {receipt.id}.json beside it and extract again"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror or 'no array'}): {remedy}") from None
        except Exception:  # on a damaged header NumPy raises nearly every kind there is
            raise StoreError(f"{path} is damaged: {remedy}") from None
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.dtype(dtype):
            raise StoreError(f"{path} is damaged, it does not hold {dtype} {shape}: {remedy}")
        arrays.append(array)
    return arrays[0], arrays[1]


def part_problems(folder: Path, receipt: Receipt) -> list[str]:
    """Everything wrong with a part's files, read in full: digests, shapes, values that are not finite."""
    problems = []
    for ending, digest in receipt.digests.items():
        path = folder / f"{receipt.id}{ending}"
        try:
            if file_digest(path) != digest:
                problems.append(f"{path} has changed: delete {receipt.id}.json beside it and extract again")
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
            problems.append(f"{path} {reason}: delete {receipt.id}.json beside it and extract again")
    if problems:
        return problems
    try:
        _, vectors = open_part(folder, receipt)
    except StoreError as error:
        return [str(error)]
    if not np.isfinite(vectors).all():
        problems.append(f"{folder / receipt.id}.npy holds values that are not finite")
    return problems
