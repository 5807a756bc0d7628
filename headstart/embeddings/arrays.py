"""Arrays in .npy files whose shape the reader knows, so that nothing in the file is believed and opening is quick."""

from __future__ import annotations

import hashlib
import stat
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from headstart.errors import DamageError, StoreError, one_line
from headstart.files import write_atomically

HEADER_BYTES = 128
REMEDY = "'headstart store verify' takes it out of use, then extract again"
UNREADABLE = "try again, or bring its disk back"


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
        # Arrow's map, unlike Python's, keeps no file open: a store may have more parts than a process may have files.
        whole = pa.py_buffer(b"")
        there = path.stat()
        if there.st_size == size or not stat.S_ISREG(there.st_mode):
            with pa.memory_map(str(path)) as file:
                whole = file.read_buffer()
        if len(whole) != size or whole.slice(0, len(header)) != pa.py_buffer(header):
            raise DamageError(f"{path} is damaged, it does not hold {np.dtype(dtype)} {shape}: {REMEDY}")
        return (
            np.frombuffer(whole, dtype, offset=len(header)).reshape(shape)
            if size > len(header)
            else np.empty(shape, dtype)
        )
    except FileNotFoundError:
        raise DamageError(f"{path} is missing: {REMEDY}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror or one_line(error)}): {UNREADABLE}") from None


@cache
def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """What stands before the numbers: version 1.0 of NumPy's format, with the padding that NumPy gives it today."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little") + text.encode()
