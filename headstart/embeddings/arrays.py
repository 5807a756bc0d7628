"""Arrays in .npy files whose shape the reader knows, so that nothing in the file is believed and opening is quick."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from headstart.errors import DamageError, StoreError
from headstart.files import write_atomically

HEADER_BYTES = 128
REMEDY = "'headstart store verify' takes it out of use, then extract again"
UNREADABLE = "try again, and if that does not help delete it, then run 'headstart store verify'"


def write_array(path: Path, array: np.ndarray) -> str:
    """Write an array as NumPy does.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        OSError: the disk does not take it; nothing is left of it.
    """
    array = np.ascontiguousarray(array)
    pieces = (_header(array.shape, array.dtype.str), array.data.cast("B") if array.size else b"")
    write_atomically(path, lambda file: file.writelines(pieces))
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def map_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Map what `write_array` wrote, read-only.

    Args:
        dtype: with its byte order, as in ``np.dtype(…).str``.

    Raises:
        DamageError: the file is missing, cut short, or holds an array of another shape or type.
        StoreError: it cannot be read this time; it may be whole.
    """
    header = _header(shape, dtype)
    size = len(header) + int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        with path.open("rb") as file:
            if path.stat().st_size != size or file.read(len(header)) != header:
                raise DamageError(f"{path} is damaged, it does not hold {np.dtype(dtype)} {shape}: {REMEDY}")
            if size == len(header):
                return np.empty(shape, dtype)
            return np.memmap(file, dtype, "r", len(header), shape)
    except FileNotFoundError:
        raise DamageError(f"{path} is missing: {REMEDY}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): {UNREADABLE}") from None


@cache
def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """What stands before the numbers: version 1.0 of NumPy's format, with the padding that NumPy gives it today."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little") + text.encode()
