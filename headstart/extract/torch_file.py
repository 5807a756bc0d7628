"""Reads a torch weights file of the old format (before torch 1.6) without torch.

Such a file is four pickles (a magic number, the format's version, the writing machine, the tensors by
name), then a pickled list of storage keys, then each storage in that order: its number of elements in eight
bytes, and its elements, little-endian.

Reading a pickle can run any function that the pickle names. This unpickler gives it three kinds of names
and no more: an ordered dictionary, a function of this file that makes a tuple, and storage types, as plain
strings. With these nothing can be reached that runs code, and a file that names anything else is refused.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from headstart.errors import EncoderError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
}


class Storage(NamedTuple):
    """Elements that tensors view, still to be read."""

    key: str
    dtype: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a torch file of the old format, by name.

    Raises:
        EncoderError: the file is missing, damaged, of another format, or names something other than tensors.
    """
    try:
        with path.open("rb") as file:
            tensors = _header(file)
            storages = {storage.key: storage for storage in (t.storage for t in tensors.values())}
            keys = _Unpickler(file).load()
            if not isinstance(keys, list) or set(keys) != set(storages):
                raise ValueError("its list of storages does not fit its tensors")
            elements = {key: _elements(file, storages[key]) for key in keys}
            return {name: _view(elements[tensor.storage.key], tensor) for name, tensor in tensors.items()}
    except OSError as error:
        reason = error.strerror or error
        raise EncoderError(f"cannot read the weights {path}: {reason}; reinstall their package") from error
    except Exception as error:  # damaged pickles raise almost anything
        raise EncoderError(
            f"{path} is not a torch weights file of the old format: {error}; reinstall its package"
        ) from error


def _header(file: IO[bytes]) -> dict[str, Tensor]:
    """The first four pickles: the tensors by name, their elements not read yet."""
    if _Unpickler(file).load() != MAGIC:
        raise ValueError("it starts with another magic number")
    if (version := _Unpickler(file).load()) != VERSION:
        raise ValueError(f"its version is {version}, not {VERSION}")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("its numbers are big-endian")
    tensors = _Unpickler(file).load()
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError("it holds something other than tensors by name")
    return dict(tensors)


def _elements(file: IO[bytes], storage: Storage) -> np.ndarray:
    """One storage's elements, from where the file stands."""
    dtype = np.dtype(storage.dtype)
    size = int.from_bytes(file.read(8), "little")
    if size != storage.size:
        raise ValueError(f"storage {storage.key} has {size} elements, not {storage.size}")
    data = file.read(size * dtype.itemsize)
    if len(data) != size * dtype.itemsize:
        raise ValueError(f"it ends within storage {storage.key}")
    return np.frombuffer(data, dtype)


def _view(elements: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The tensor's elements in its shape. Strides need not be those of a contiguous array."""
    if len(tensor.shape) != len(tensor.strides) or min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise ValueError("a tensor's shape does not fit its strides")
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * stride for n, stride in steps)
    if 0 not in tensor.shape and last >= elements.size:
        raise ValueError("a tensor reaches beyond its storage")
    strides = [stride * elements.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)  # or a scalar would become a vector


def _rebuild(storage: Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> Tensor:
    """Stands in for torch's own function; gradients and hooks, which follow, do not matter here."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _Unpickler(pickle.Unpickler):
    """Knows ordered dictionaries and tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which holds no weights")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _device, size, view = pid
        if kind != "storage" or dtype not in STORAGES.values() or view is not None:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return Storage(str(key), dtype, int(size))
