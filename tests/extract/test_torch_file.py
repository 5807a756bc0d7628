from __future__ import annotations

import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.errors import EncoderError
from headstart.extract.torch_file import MAGIC, VERSION, read_legacy


class FloatStorage:
    """Named as torch names it; what the writer points to as the type of a storage."""


def _rebuild_tensor_v2(*_: Any) -> None:
    """Named as torch names it; only its name is written."""


FloatStorage.__module__ = "torch"
_rebuild_tensor_v2.__module__ = "torch._utils"


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names to write under, for as long as a test writes. torch itself is not needed."""
    package, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    package.FloatStorage = FloatStorage  # type: ignore[attr-defined]
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", package)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Pointer:
    """A tensor in a file: a storage, an offset, a shape and strides."""

    def __init__(self, key: str, size: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.storage = ("storage", FloatStorage, key, "cpu", size, None)
        self.view = (offset, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tensor_v2, (Persistent(self.storage), *self.view, False, OrderedDict())


class Persistent:
    def __init__(self, pid: tuple[Any, ...]):
        self.pid = pid


class Writer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, Persistent) else None


def write(path: Path, state: Any, storages: dict[str, list[float]], magic: int = MAGIC, little: bool = True) -> Path:
    with path.open("wb") as file:
        pickle.dump(magic, file, protocol=2)
        pickle.dump(VERSION, file, protocol=2)
        pickle.dump({"little_endian": little}, file, protocol=2)
        Writer(file, protocol=2).dump(state)
        pickle.dump(list(storages), file, protocol=2)
        for values in storages.values():
            file.write(struct.pack("<q", len(values)) + np.asarray(values, "<f4").tobytes())
    return path


def test_tensors_share_storages_and_have_strides(tmp_path: Path, torch: None) -> None:
    state = OrderedDict(
        plain=Pointer("b", 6, 0, (2, 3), (3, 1)),
        turned=Pointer("b", 6, 0, (3, 2), (1, 3)),
        part=Pointer("b", 6, 4, (2,), (1,)),
        scalar=Pointer("a", 1, 0, (), ()),
        nothing=Pointer("a", 1, 0, (0, 5), (5, 1)),
    )
    tensors = read_legacy(write(tmp_path / "w.pth", state, {"a": [7], "b": [0, 1, 2, 3, 4, 5]}))
    assert list(tensors) == list(state)
    assert tensors["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["part"].tolist() == [4, 5]
    assert tensors["scalar"].shape == () and tensors["scalar"] == 7
    assert tensors["nothing"].shape == (0, 5)
    assert tensors["plain"].dtype == np.float32


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import pathlib; pathlib.Path('harm').touch()",)


@pytest.mark.parametrize("place", ["state", "first"])
def test_code_in_the_file_never_runs(tmp_path: Path, torch: None, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    if place == "state":
        write(path, OrderedDict(weight=Evil()), {})
    else:
        path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(EncoderError, match=r"exec, which holds no weights"):
        read_legacy(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("shape, strides", [((7,), (1,)), ((2, 4), (3, 1)), ((2,), (-1,)), ((2, 2), (1,))])
def test_a_tensor_beyond_its_storage(
    tmp_path: Path, torch: None, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    path = write(tmp_path / "w.pth", {"w": Pointer("a", 6, 0, shape, strides)}, {"a": [0.0] * 6})
    with pytest.raises(EncoderError, match="a tensor"):
        read_legacy(path)


def test_cut_short_anywhere(tmp_path: Path, torch: None) -> None:
    whole = write(tmp_path / "w.pth", {"w": Pointer("a", 6, 0, (6,), (1,))}, {"a": [0.0] * 6}).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "w.pth").write_bytes(whole[:length])
        with pytest.raises(EncoderError, match="old format"):
            read_legacy(tmp_path / "w.pth")


def test_other_files(tmp_path: Path, torch: None) -> None:
    six = {"w": Pointer("a", 6, 0, (6,), (1,))}
    cases = {
        "magic": (write(tmp_path / "magic", {}, {}, magic=1), "another magic number"),
        "order": (write(tmp_path / "order", {}, {}, little=False), "big-endian"),
        "state": (write(tmp_path / "state", {"w": 1}, {}), "something other than tensors"),
        "sizes": (write(tmp_path / "sizes", six, {"a": [0.0]}), "1 elements"),
        "keys": (write(tmp_path / "keys", {}, {"a": [0.0]}), "list of storages"),
        "missing": (tmp_path / "no-such-file", "No such file"),
    }
    for path, reason in cases.values():
        with pytest.raises(EncoderError, match=reason) as caught:
            read_legacy(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
