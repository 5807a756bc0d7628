from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headstart.embeddings.part import (
    FORMAT,
    MOST_ROWS,
    Receipt,
    open_part,
    part_problems,
    read_receipt,
    read_record,
    write_part,
    write_record,
)
from headstart.errors import StoreError

FINGERPRINT = "f" * 64
VECTORS = np.arange(12, dtype=np.float16).reshape(4, 3)
KEYS = np.arange(64, dtype=np.uint8).reshape(4, 16)


@pytest.fixture
def receipt(tmp_path: Path) -> Receipt:
    """The receipt of a part of 4 vectors in `tmp_path`."""
    return write_part(tmp_path, KEYS, VECTORS, FINGERPRINT, {"seconds": 1.5, "machine": "x86"})


def refusal(work: Callable[[], object]) -> str:
    """The message of the StoreError that the work ends in."""
    with pytest.raises(StoreError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_part_is_read_as_it_was_written(data: st.DataObject) -> None:
    rows, dim = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    dtype = np.dtype(data.draw(st.sampled_from(["float16", "float32"])))
    finite = st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False)  # type: ignore[call-overload]
    vectors = data.draw(arrays.arrays(dtype, (rows, dim), elements=finite))
    keys = data.draw(arrays.arrays(np.uint8, (rows, 16)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        receipt = write_part(folder, keys, vectors, FINGERPRINT, {"seconds": 0.1})
        assert read_receipt(folder / f"{receipt.id}.json") == receipt
        kept_keys, kept = open_part(folder, receipt)
        assert np.array_equal(kept_keys, keys)
        assert np.array_equal(kept, vectors)
        assert kept.dtype == dtype
        assert part_problems(folder, receipt) == []
        assert len(list(folder.iterdir())) == 3


def test_slices_and_other_layouts_are_kept_in_order(tmp_path: Path) -> None:
    wide = np.arange(48, dtype=np.float32).reshape(6, 8)
    for vectors in (wide[::2, 1:4], np.asfortranarray(wide[:3, :3]), wide[::-1][:3, ::2]):
        receipt = write_part(tmp_path, KEYS[::-1][:3], vectors, FINGERPRINT, {})
        keys, kept = open_part(tmp_path, receipt)
        assert np.array_equal(kept, vectors)
        assert np.array_equal(keys, KEYS[::-1][:3])


def test_vectors_are_mapped_not_read(tmp_path: Path, receipt: Receipt) -> None:
    keys, vectors = open_part(tmp_path, receipt)
    assert isinstance(keys, np.memmap)
    assert isinstance(vectors, np.memmap)
    assert not vectors.flags.writeable


def test_parts_written_one_after_the_other_stand_in_that_order(tmp_path: Path) -> None:
    ids = [write_part(tmp_path, KEYS, VECTORS, FINGERPRINT, {}).id for _ in range(5)]
    assert sorted(ids) == ids
    assert len(set(ids)) == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_its_number(tmp_path: Path, value: float) -> None:
    vectors = VECTORS.copy()
    vectors[2, 1] = value
    assert "vector 2 is not finite" in refusal(lambda: write_part(tmp_path, KEYS, vectors, FINGERPRINT, {}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "vectors"),
    [
        (KEYS[:3], VECTORS),
        (KEYS[:, :8], VECTORS),
        (KEYS.astype(np.int64), VECTORS),
        (KEYS[:0], VECTORS[:0]),
        (np.zeros((MOST_ROWS + 1, 16), np.uint8), np.zeros((MOST_ROWS + 1, 1), np.float16)),
    ],
    ids=["fewer keys", "short keys", "keys of another type", "nothing", "too many"],
)
def test_what_is_no_part_is_refused_before_anything_is_written(
    tmp_path: Path, keys: np.ndarray, vectors: np.ndarray
) -> None:
    assert str(MOST_ROWS) in refusal(lambda: write_part(tmp_path, keys, vectors, FINGERPRINT, {}))
    assert list(tmp_path.iterdir()) == []


def test_a_part_may_have_as_many_rows_as_the_format_allows(tmp_path: Path) -> None:
    receipt = write_part(
        tmp_path, np.zeros((MOST_ROWS, 16), np.uint8), np.zeros((MOST_ROWS, 1), np.float16), FINGERPRINT, {}
    )
    assert len(open_part(tmp_path, receipt)[1]) == MOST_ROWS


@pytest.mark.parametrize("ending", [".npy", ".keys.npy"])
def test_a_file_damaged_anywhere_is_listed_and_opens_or_is_refused(
    tmp_path: Path, receipt: Receipt, ending: str
) -> None:
    path = tmp_path / f"{receipt.id}{ending}"
    whole = path.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))] + [whole + b"x"]
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        [problem] = part_problems(tmp_path, receipt)
        assert path.name in problem
        assert "\n" not in problem
        try:
            open_part(tmp_path, receipt)
        except StoreError as error:
            assert path.name in str(error)
            assert "\n" not in str(error)
            refused += 1
    assert refused > len(whole), "every file that is cut short is refused when it is opened"


def test_files_that_are_missing_or_no_files_are_listed_and_refused(tmp_path: Path, receipt: Receipt) -> None:
    vectors, keys = tmp_path / f"{receipt.id}.npy", tmp_path / f"{receipt.id}.keys.npy"
    vectors.unlink()
    keys.unlink()
    keys.mkdir()
    problems = part_problems(tmp_path, receipt)
    assert [name in problem for name, problem in zip((vectors.name, keys.name), problems, strict=True)] == [True, True]
    assert f"delete {receipt.id}.json" in refusal(lambda: open_part(tmp_path, receipt))


def test_another_array_in_the_place_of_the_vectors_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.npy"
    for other in (VECTORS[:3], VECTORS.astype(np.float32), VECTORS.astype(">f2"), VECTORS.ravel()):
        np.save(path, other)
        assert "float16 (4, 3)" in refusal(lambda: open_part(tmp_path, receipt))
    with path.open("wb") as file:
        np.savez(file, VECTORS)
    refusal(lambda: open_part(tmp_path, receipt))


class Bomb:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("ending", [".npy", ".keys.npy"])
def test_no_pickle_is_ever_loaded(tmp_path: Path, receipt: Receipt, ending: str) -> None:
    path, mark = tmp_path / f"{receipt.id}{ending}", tmp_path / "mark"
    bomb = np.array([Bomb(mark)], dtype=object)
    np.save(path, bomb, allow_pickle=True)
    sealed = replace(receipt, dtype="object", rows=1)
    for claimed in (receipt, sealed):
        refusal(lambda claimed=claimed: open_part(tmp_path, claimed))  # type: ignore[misc]
    path.write_bytes(bomb.dumps())
    refusal(lambda: open_part(tmp_path, receipt))
    assert not mark.exists()
    np.load(path, allow_pickle=True)
    assert mark.exists(), "the bomb works where pickles are loaded"


def test_a_receipt_damaged_anywhere_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert path.name in refusal(lambda: read_receipt(path)), f"byte {place}"
        path.write_bytes(whole[:place])
        assert "delete it and extract again" in refusal(lambda: read_receipt(path)), f"cut at {place}"


@pytest.mark.parametrize("content", ["[]", "null", "{}", "3", '{"format": "1"}', '{"format": null}', "[" * 100_000])
def test_json_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert "damaged" in refusal(lambda: read_receipt(path))


def test_a_receipt_that_says_something_else_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "rows": 3}))
    assert "damaged" in refusal(lambda: read_receipt(path))
    path.unlink()
    assert str(path) in refusal(lambda: read_receipt(path))
    path.mkdir()
    assert "cannot be read" in refusal(lambda: read_receipt(path))


def test_a_receipt_of_another_part_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    (tmp_path / f"{receipt.id}.json").rename(tmp_path / "other.json")
    assert receipt.id in refusal(lambda: read_receipt(tmp_path / "other.json"))


def test_a_newer_format_is_refused_whatever_else_it_holds(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.json"
    write_record(path, {**asdict(receipt), "format": FORMAT + 1, "novelty": []})
    assert f"format {FORMAT + 1}" in refusal(lambda: read_receipt(path))
    path.write_text(json.dumps({"format": FORMAT + 1}))
    assert "upgrade" in refusal(lambda: read_receipt(path))


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()))
def test_a_record_is_read_as_it_was_written(record: dict[str, object]) -> None:
    record = {**record, "format": FORMAT}
    record.pop("seal", None)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "record.json"
        write_record(path, record)
        assert read_record(path) == record
