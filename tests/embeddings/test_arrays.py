from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keeping import refusal

from headstart.embeddings.arrays import map_array, write_array
from headstart.errors import DamageError, StoreError

SOME = np.arange(12, dtype="<f4").reshape(3, 4)


@settings(max_examples=40, deadline=None)
@given(
    array=st.sampled_from(["<f2", "<f4", "<u8", "|u1"]).flatmap(
        lambda dtype: arrays.arrays(np.dtype(dtype), arrays.array_shapes(max_dims=2, min_side=0, max_side=5))
    )
)
def test_an_array_is_mapped_as_it_was_written_and_numpy_reads_it_too(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.npy"
        assert write_array(path, array) == hashlib.sha256(path.read_bytes()).hexdigest()
        mapped = map_array(path, array.shape, array.dtype.str)
        assert mapped.tobytes() == array.tobytes() == np.load(path).tobytes()
        assert (mapped.shape, mapped.dtype) == (array.shape, array.dtype)
        if array.size:
            assert not mapped.flags.owndata and not mapped.flags.writeable


def test_what_numpy_saved_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SOME)
    assert np.array_equal(map_array(tmp_path / "a.npy", (3, 4), "<f4"), SOME)


def test_a_header_damaged_anywhere_and_another_length_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_array(path, SOME)
    whole = path.read_bytes()
    for place in range(len(whole) - SOME.nbytes):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert "float32 (3, 4)" in refusal(lambda: map_array(path, (3, 4), "<f4"), DamageError), f"byte {place}"
    for content in [*(whole[:end] for end in range(len(whole))), whole + b"x"]:
        path.write_bytes(content)
        refusal(lambda: map_array(path, (3, 4), "<f4"), DamageError)


def test_an_array_of_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for other in (SOME[:2], SOME.T, SOME.astype("<f8"), SOME.astype(">f4"), SOME.view("<u4"), SOME.ravel()):
        write_array(path, other)
        refusal(lambda: map_array(path, (3, 4), "<f4"), DamageError)


def test_a_file_that_is_missing_is_damage_and_one_that_cannot_be_read_may_be_whole(tmp_path: Path) -> None:
    assert "is missing" in refusal(lambda: map_array(tmp_path / "a.npy", (3, 4), "<f4"), DamageError)
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(StoreError, match="cannot be read") as caught:
        map_array(tmp_path / "a.npy", (3, 4), "<f4")
    assert not isinstance(caught.value, DamageError)
