"""One immutable part of a store on disk, and its receipt.

A part is three files: ``<id>.npy`` with the vectors, ``<id>.keys.npy`` with 24 bytes a row (16 of the content key, 8 of
the row's check), and ``<id>.json``, the receipt. The receipt is written last and is the commit mark: vectors without
one do not exist. It also tells which contents could not be encoded, so a part may have failures and no vectors.

Format 1 had no checks: such a part is read in full, against its digests, before the first vector of it is given out.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.arrays import REMEDY, UNREADABLE, map_array, write_array
from headstart.embeddings.index import halves
from headstart.embeddings.key import KEY_BYTES
from headstart.errors import DamageError, StoreError
from headstart.files import file_digest, write_text_atomically

FORMAT = 2
MOST_ROWS = 65_536


@dataclass(frozen=True)
class Failure:
    """A content that could not be encoded."""

    key: str
    """In hex."""
    listing: str
    """Id of the first listing that has it."""
    kind: str
    """As in `ItemError`."""
    reason: str
    attempts: int = 1


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
    failures: tuple[Failure, ...] = ()


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write one of the store's JSON files, with a seal over its content so that damage to it shows."""
    write_text_atomically(path, json.dumps({**record, "seal": _seal(record)}, indent=1))


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises:
        DamageError: it is damaged.
        StoreError: it is missing, or of a format this version does not know.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        seal = record.pop("seal", None)
        newer = record["format"] > FORMAT
        # The number itself may be what is damaged: then the seal fits with another one.
        if newer and seal not in [_seal({**record, "format": known}) for known in range(1, FORMAT + 1)]:
            raise StoreError(
                f"{path} is of store format {record['format']}, this headstart reads up to {FORMAT}: upgrade it"
            )
        if newer or seal != _seal(record):
            raise ValueError
    except FileNotFoundError:
        raise StoreError(f"there is no {path}: run 'headstart extract' first") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DamageError(f"{path} is damaged: {REMEDY}") from None
    return record


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def row_checks(keys: np.ndarray, vectors: np.ndarray, fingerprint: str) -> np.ndarray:
    """A check of each row: that this vector is this encoder's of this key.

    Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", arXiv 1202.4961): each 32-bit
    word of key and vector times an odd number of its own, added up modulo 2^64, and one more such number, so that a row
    of zeros, as a disk leaves them, does not check itself. Any change within one word shows for certain, any other but
    for one in 2^32; and it is as fast as memory.

    Args:
        keys: halves, uint64 of shape ``(2, n)``.
        vectors: shape ``(n, dim)``, as kept.
        fingerprint: of the encoder.

    Returns:
        uint64 of shape ``(n,)``.
    """
    lacking = -vectors.shape[1] * vectors.itemsize % 8 // vectors.itemsize
    if lacking:
        vectors = np.pad(vectors, ((0, 0), (0, lacking)))
    words = np.ascontiguousarray(vectors).view("<u8")
    weights = _weights(words.shape[1] + 3, fingerprint)
    checks = _sums(keys.T, weights[:, :2]) + weights[0, 2]
    step = max(1, (1 << 20) // max(1, 8 * words.shape[1]))  # a block stays in the processor's cache
    for start in range(0, len(words), step):
        checks[start : start + step] += _sums(words[start : start + step], weights[:, 3:])
    return checks


def _sums(words: np.ndarray, weights: np.ndarray) -> np.ndarray:
    low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    sums: np.ndarray = np.einsum("ij,j->i", low, weights[0]) + np.einsum("ij,j->i", high, weights[1])
    return sums


@cache
def _weights(words: int, fingerprint: str) -> np.ndarray:
    """Odd numbers of shape ``(2, words)``, the same for all time: SHA-256 of the fingerprint in counter mode."""
    seed = fingerprint.encode()
    blocks = (hashlib.sha256(seed + number.to_bytes(8, "little")).digest() for number in range(-(-words // 2)))
    return np.frombuffer(b"".join(blocks), "<u8")[: 2 * words].reshape(words, 2).T | np.uint64(1)


def write_part(
    folder: Path,
    keys: np.ndarray,
    vectors: np.ndarray,
    fingerprint: str,
    info: dict[str, Any],
    failures: Sequence[Failure] = (),
    name: str = "",
) -> Receipt:
    """Write one part and then its receipt.

    Args:
        folder: the store's folder.
        keys: uint8 of shape ``(n, 16)``, n at most 65,536, and at least 1 where there are no failures.
        vectors: shape ``(n, dim)``, in the precision to keep.
        fingerprint: of the encoder that made the vectors.
        info: how they came about; JSON values.
        failures: the contents that could not be encoded.
        name: what its id starts with; parts stand in the order of their ids. The time, if it is not given.

    Raises:
        StoreError: shapes that do not fit, or a vector that is not finite in this precision.
    """
    rows, dim = vectors.shape
    if keys.shape != (rows, KEY_BYTES) or keys.dtype != np.uint8 or not (not failures) <= rows <= MOST_ROWS:
        raise StoreError(
            f"a part takes 1 to {MOST_ROWS} vectors with a key of {KEY_BYTES} bytes each, not {rows} with keys "
            f"{keys.dtype} {keys.shape}"
        )
    if not _finite(vectors):
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise StoreError(f"vector {row} is not finite in {vectors.dtype}: the encoder's output cannot be kept")
    vectors = np.ascontiguousarray(vectors)
    checks = row_checks(halves(keys), vectors, fingerprint)
    keyed = np.concatenate([halves(keys), checks[None]]).T
    part_id = f"{name or f'{time.time_ns():016x}'}-{secrets.token_hex(4)}"
    digests = {
        ".npy": write_array(folder / f"{part_id}.npy", vectors),
        ".keys.npy": write_array(folder / f"{part_id}.keys.npy", keyed),
    }
    receipt = Receipt(FORMAT, part_id, fingerprint, rows, dim, str(vectors.dtype), digests, info, tuple(failures))
    write_record(folder / f"{part_id}.json", asdict(receipt))
    return receipt


def _finite(vectors: np.ndarray) -> bool:
    """Are all numbers finite? Of half precision NumPy would ask it at a sixth of the speed."""
    if vectors.dtype != np.float16:
        return bool(np.isfinite(vectors).all())
    exponent = np.uint16(0x7C00)
    return not ((np.ascontiguousarray(vectors).view(np.uint16) & exponent) == exponent).any()


def read_receipt(path: Path) -> Receipt:
    """Read a receipt. See `read_record`.

    Raises:
        DamageError: it is damaged.
        StoreError: it is of a format this version does not know, of another part, or no receipt.
    """
    record = read_record(path)
    try:
        failures = tuple(Failure(**failure) for failure in record.pop("failures", ()))
        receipt = Receipt(**record, failures=failures)
    except TypeError:
        raise StoreError(f"{path} is not the receipt of a part: move it out of the store") from None
    if receipt.id != path.stem:
        raise StoreError(f"{path} is the receipt of part {receipt.id}: give the file its name back, or delete it")
    return receipt


def all_failures(receipts: Iterable[Receipt]) -> dict[str, Failure]:
    """The contents that could not be encoded, by key, each as told last and with the attempts of all receipts."""
    found: dict[str, Failure] = {}
    for receipt in receipts:
        for failure in receipt.failures:
            before = found.get(failure.key)
            found[failure.key] = replace(failure, attempts=failure.attempts + (before.attempts if before else 0))
    return found


@dataclass(frozen=True)
class Part:
    """A part, memory-mapped: read from disk only where touched."""

    folder: Path
    receipt: Receipt
    vectors: np.ndarray
    """Shape ``(rows, dim)``."""
    keyed: np.ndarray
    """uint64 of shape ``(rows, 3)``: the halves of each key, and the row's check; without the check in format 1."""

    @property
    def keys(self) -> np.ndarray:
        """Halves of the keys, uint64 of shape ``(2, rows)``."""
        return self.keyed[:, :2].T

    @cached_property
    def checks(self) -> np.ndarray:
        """Each row's check, uint64 of shape ``(rows,)``.

        Raises:
            DamageError: a part of format 1, without checks, does not fit its digests.
        """
        if self.receipt.format > 1:
            return self.keyed[:, 2]
        if problems := part_problems(self.folder, self.receipt):
            raise DamageError(problems[0])
        return row_checks(self.keys, self.vectors, self.receipt.fingerprint)

    def read(self, rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Vectors of these rows, and proof that they are those of these keys, halves of shape ``(2, n)``.

        Raises:
            DamageError: they are not.
        """
        vectors = self.vectors[rows]
        wrong = self.checks[rows] != row_checks(keys, vectors, self.receipt.fingerprint)
        if wrong.any():
            raise DamageError(
                f"{self.folder / self.receipt.id}.npy or what belongs to it is damaged, at row "
                f"{rows[np.argmax(wrong)]}: {REMEDY}"
            )
        return vectors

    def sound(self) -> np.ndarray:
        """Which rows fit their checks, bool of shape ``(rows,)``."""
        fits: np.ndarray = self.checks == row_checks(self.keys, self.vectors, self.receipt.fingerprint)
        return fits


def open_part(folder: Path, receipt: Receipt) -> Part:
    """Map a part.

    Raises:
        DamageError: a file is missing, cut short or of another shape than the receipt says.
        StoreError: a file cannot be read this time.
    """
    keyed = ((receipt.rows, 3), "<u8") if receipt.format > 1 else ((receipt.rows, KEY_BYTES), "|u1")
    vectors = map_array(folder / f"{receipt.id}.npy", (receipt.rows, receipt.dim), np.dtype(receipt.dtype).str)
    keys = map_array(folder / f"{receipt.id}.keys.npy", *keyed)
    return Part(folder, receipt, vectors, keys if receipt.format > 1 else halves(keys).T)


def part_problems(folder: Path, receipt: Receipt) -> list[str]:
    """Everything wrong with a part's files, read in full: digests, shapes, values that are not finite.

    Raises:
        StoreError: a file is there but cannot be read, so that nobody knows.
    """
    problems = []
    for ending, digest in receipt.digests.items():
        path = folder / f"{receipt.id}{ending}"
        try:
            if file_digest(path) != digest:
                problems.append(f"{path} has changed since it was written")
        except FileNotFoundError:
            problems.append(f"{path} is missing")
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}): {UNREADABLE}") from None
    if problems:
        return problems
    try:
        part = open_part(folder, receipt)
    except DamageError as error:
        return [str(error)]
    if receipt.format > 1 and not part.sound().all():
        problems.append(f"{folder / receipt.id}.npy and .keys.npy do not belong together")
    if not _finite(part.vectors):
        problems.append(f"{folder / receipt.id}.npy holds values that are not finite")
    return problems
