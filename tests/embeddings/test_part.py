from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keeping import FINGERPRINT as ANOTHER
from keeping import flip, refusal, write_old_store

from headstart.embeddings.index import halves
from headstart.embeddings.part import (
    FORMAT,
    MOST_ROWS,
    Failure,
    Receipt,
    open_part,
    part_problems,
    read_receipt,
    read_record,
    row_checks,
    write_part,
    write_record,
)
from headstart.errors import DamageError, StoreError

FINGERPRINT = "f" * 64
VECTORS = np.arange(12, dtype=np.float16).reshape(4, 3)
KEYS = np.arange(64, dtype=np.uint8).reshape(4, 16)
HEADER_BYTES = 128  # of these files


@pytest.fixture
def receipt(tmp_path: Path) -> Receipt:
    """The receipt of a part of 4 vectors in `tmp_path`."""
    return write_part(tmp_path, KEYS, VECTORS, FINGERPRINT, {"seconds": 1.5, "machine": "x86"})


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_part_is_read_as_it_was_written(data: st.DataObject) -> None:
    rows, dim = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    dtype = np.dtype(data.draw(st.sampled_from(["float16", "float32"])))
    finite = st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
    vectors = data.draw(arrays.arrays(dtype, (rows, dim), elements=finite))
    keys = data.draw(arrays.arrays(np.uint8, (rows, 16)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        receipt = write_part(folder, keys, vectors, FINGERPRINT, {"seconds": 0.1})
        assert read_receipt(folder / f"{receipt.id}.json") == receipt
        part = open_part(folder, receipt)
        assert np.array_equal(part.keys, halves(keys))
        assert np.array_equal(part.vectors, vectors)
        assert part.vectors.dtype == dtype
        assert part.sound().all()
        order = np.array(data.draw(st.lists(st.integers(0, rows - 1))), np.int64)
        assert np.array_equal(part.read(order, halves(keys)[:, order]), vectors[order])
        assert part_problems(folder, receipt) == []
        assert len(list(folder.iterdir())) == 3


def test_slices_and_other_layouts_are_kept_in_order(tmp_path: Path) -> None:
    wide = np.arange(48, dtype=np.float32).reshape(6, 8)
    for vectors in (wide[::2, 1:4], np.asfortranarray(wide[:3, :3]), wide[::-1][:3, ::2]):
        receipt = write_part(tmp_path, KEYS[::-1][:3], vectors, FINGERPRINT, {})
        part = open_part(tmp_path, receipt)
        assert np.array_equal(part.vectors, vectors)
        assert np.array_equal(part.keys, halves(KEYS[::-1][:3]))
        assert part.sound().all()


def test_vectors_are_mapped_not_read(tmp_path: Path, receipt: Receipt) -> None:
    part = open_part(tmp_path, receipt)
    assert not part.keyed.flags.owndata
    assert not part.vectors.flags.owndata
    assert not part.vectors.flags.writeable


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
    assert len(open_part(tmp_path, receipt).vectors) == MOST_ROWS


@pytest.mark.parametrize("ending", [".npy", ".keys.npy"])
def test_a_file_damaged_anywhere_is_listed_and_opens_or_is_refused(
    tmp_path: Path, receipt: Receipt, ending: str
) -> None:
    path = tmp_path / f"{receipt.id}{ending}"
    whole = path.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))] + [whole + b"x"]
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        [problem] = part_problems(tmp_path, receipt)
        assert path.name in problem
        assert "\n" not in problem
        if len(content) != len(whole) or number - len(whole) - 1 < HEADER_BYTES:
            assert path.name in refusal(lambda: open_part(tmp_path, receipt), DamageError)
        else:
            assert np.count_nonzero(~open_part(tmp_path, receipt).sound()) == 1


def test_files_that_are_missing_are_listed_and_refused(tmp_path: Path, receipt: Receipt) -> None:
    vectors, keys = tmp_path / f"{receipt.id}.npy", tmp_path / f"{receipt.id}.keys.npy"
    vectors.unlink()
    keys.unlink()
    problems = part_problems(tmp_path, receipt)
    assert [name in problem for name, problem in zip((vectors.name, keys.name), problems, strict=True)] == [True, True]
    assert "is missing" in refusal(lambda: open_part(tmp_path, receipt), DamageError)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.keys.npy"
    path.unlink()
    path.mkdir()
    for work in (lambda: part_problems(tmp_path, receipt), lambda: open_part(tmp_path, receipt)):
        with pytest.raises(StoreError, match="cannot be read") as caught:
            work()
        assert not isinstance(caught.value, DamageError), "it would be taken out of use, and may be whole"


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
    refusal(lambda: open_part(tmp_path, receipt), DamageError)
    path.write_bytes(bomb.dumps())
    refusal(lambda: open_part(tmp_path, receipt), DamageError)
    assert not mark.exists()
    np.load(path, allow_pickle=True)
    assert mark.exists(), "the bomb works where pickles are loaded"


def test_a_receipt_damaged_anywhere_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert path.name in refusal(lambda: read_receipt(path), DamageError), f"byte {place}"
        path.write_bytes(whole[:place])
        assert "extract again" in refusal(lambda: read_receipt(path), DamageError), f"cut at {place}"


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


def test_the_number_of_the_format_damaged_is_damage_and_no_newer_format(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.json"
    content = path.read_text()
    for number in range(10):
        if number != FORMAT:
            path.write_text(content.replace(f'"format": {FORMAT}', f'"format": {number}'))
            assert "damaged" in refusal(lambda: read_receipt(path), DamageError)


def test_a_record_of_something_else_is_no_receipt(tmp_path: Path) -> None:
    for record in ({"name": "letters"}, {"failures": [{"colour": "red"}]}):
        write_record(tmp_path / "x.json", {"format": FORMAT, **record})
        assert "move it out" in refusal(lambda: read_receipt(tmp_path / "x.json"))


def test_a_newer_format_is_refused_whatever_else_it_holds(tmp_path: Path, receipt: Receipt) -> None:
    path = tmp_path / f"{receipt.id}.json"
    write_record(path, {**asdict(receipt), "format": FORMAT + 1, "novelty": []})
    assert f"format {FORMAT + 1}" in refusal(lambda: read_receipt(path))
    path.write_text(json.dumps({"format": FORMAT + 1}))
    assert "upgrade" in refusal(lambda: read_receipt(path))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()))
def test_a_record_is_read_as_it_was_written(record: dict[str, object]) -> None:
    record = {**record, "format": FORMAT}
    record.pop("seal", None)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "record.json"
        write_record(path, record)
        assert read_record(path) == record


def test_failures_are_read_as_they_were_written_also_without_vectors(tmp_path: Path) -> None:
    failures = (
        Failure("ab" * 16, "1", "damaged", "déchiré\n\udc80"),
        Failure("cd" * 16, "", "unreadable", "", attempts=3),
    )
    for keys, vectors in ((KEYS, VECTORS), (KEYS[:0], VECTORS[:0])):
        receipt = write_part(tmp_path, keys, vectors, FINGERPRINT, {}, failures)
        assert read_receipt(tmp_path / f"{receipt.id}.json").failures == failures
        assert part_problems(tmp_path, receipt) == []
        assert len(open_part(tmp_path, receipt).vectors) == len(keys)


@pytest.mark.parametrize(("dim", "dtype"), [(1, "float16"), (3, "float16"), (8, "float16"), (3, "float32")])
def test_every_flipped_bit_of_a_row_is_found_when_it_is_read(tmp_path: Path, dim: int, dtype: str) -> None:
    vectors = np.random.default_rng(dim).standard_normal((3, dim)).astype(dtype)
    receipt = write_part(tmp_path, KEYS[:3], vectors, FINGERPRINT, {})
    keys = halves(KEYS[:3])
    for ending, row_bytes in ((".npy", vectors[0].nbytes), (".keys.npy", 24)):
        path = tmp_path / f"{receipt.id}{ending}"
        for place in range(HEADER_BYTES + row_bytes, HEADER_BYTES + 2 * row_bytes):
            for bit in range(8):
                flip(path, place, bit)
                part = open_part(tmp_path, receipt)
                assert part.sound().tolist() == [True, False, True]
                assert np.array_equal(part.read(np.array([0, 2]), keys[:, [0, 2]]), vectors[[0, 2]])
                if ending == ".npy" or place >= HEADER_BYTES + row_bytes + 16:
                    assert "at row 1" in refusal(lambda: part.read(np.array([2, 1]), keys[:, [2, 1]]), DamageError)  # noqa: B023
                else:  # the key in the file is not what is trusted: the one that was asked for is
                    assert np.array_equal(part.read(np.array([1]), keys[:, [1]]), vectors[[1]])
                    refusal(lambda: part.read(np.array([1]), part.keys[:, [1]]), DamageError)  # noqa: B023
                flip(path, place, bit)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_two_bits_flipped_in_different_words_are_found(data: st.DataObject) -> None:
    dim = 32
    words = np.random.default_rng(0).integers(0, 1 << 32, 4 + dim // 2, np.uint64).astype("<u4")
    one, other = data.draw(st.lists(st.integers(0, len(words) - 1), min_size=2, max_size=2, unique=True))
    bit = data.draw(st.sampled_from([31, 31, 31, 30, 15, 0]))
    damaged = words.copy()
    damaged[[one, other]] ^= np.uint32(1 << bit)
    assert check_of(damaged) != check_of(words)


def check_of(words: np.ndarray) -> int:
    """The check of a row given as 32-bit words, four of the key and then the vector."""
    keys = words[:4].view("<u8")[:, None]
    return int(row_checks(keys, words[None, 4:].view("<f2"), FINGERPRINT)[0])


def test_a_vector_of_another_key_or_another_encoder_is_refused(tmp_path: Path, receipt: Receipt) -> None:
    part = open_part(tmp_path, receipt)
    refusal(lambda: part.read(np.array([0, 1]), part.keys[:, [1, 0]]), DamageError)
    other = write_part(tmp_path, KEYS, VECTORS, ANOTHER, {})
    alike = open_part(tmp_path, replace(other, fingerprint=FINGERPRINT))
    assert not alike.sound().any()
    refusal(lambda: alike.read(np.array([0]), alike.keys[:, [0]]), DamageError)


def test_what_a_disk_filled_with_zeros_is_not_sound(tmp_path: Path, receipt: Receipt) -> None:
    for ending, row_bytes in ((".npy", 6), (".keys.npy", 24)):
        path = tmp_path / f"{receipt.id}{ending}"
        content = path.read_bytes()
        path.write_bytes(content[: HEADER_BYTES + row_bytes] + bytes(3 * row_bytes))
    assert open_part(tmp_path, receipt).sound().tolist() == [True, False, False, False]


def test_the_checks_of_today_are_those_of_tomorrow() -> None:
    keys = np.arange(4, dtype=np.uint64).reshape(2, 2)
    checks = row_checks(keys, np.array([[0, 1, 2], [3, 4, 5]], np.float16), FINGERPRINT)
    seed = FINGERPRINT.encode()
    blocks = b"".join(hashlib.sha256(seed + number.to_bytes(8, "little")).digest() for number in range(2))
    weights = [int.from_bytes(blocks[8 * at : 8 * at + 8], "little") | 1 for at in range(8)]
    for row, check in enumerate(checks.tolist()):
        vector = int.from_bytes(np.array([[0, 1, 2], [3, 4, 5]][row], "<f2").tobytes(), "little")
        words = [row, 2 + row, None, vector]  # the key's halves, the one that is always there, the vector padded
        total = weights[4]
        for word, low, high in zip(words, weights[::2], weights[1::2], strict=True):
            total += 0 if word is None else word % (1 << 32) * low + (word >> 32) * high
        assert check == total % (1 << 64)
    many = np.random.default_rng(0).standard_normal((5000, 5)).astype(np.float32)
    alone = [row_checks(keys[:, :1], row[None], FINGERPRINT)[0] for row in many[-3:]]
    assert row_checks(np.repeat(keys[:, :1], 5000, axis=1), many, FINGERPRINT)[-3:].tolist() == alone


def test_a_part_of_format_1_is_read_and_refused_at_the_first_read_when_damaged(tmp_path: Path) -> None:
    folder = write_old_store(tmp_path, ["a", "b"])
    [path] = (path for path in folder.glob("*.json") if path.name != "encoder.json")
    receipt = read_receipt(path)
    assert (receipt.format, receipt.failures) == (1, ())
    part = open_part(folder, receipt)
    assert part.sound().all()
    assert np.array_equal(part.read(np.array([1]), part.keys[:, [1]]), part.vectors[[1]])
    refusal(lambda: part.read(np.array([1]), part.keys[:, [0]]), DamageError)
    for ending, place in ((".npy", HEADER_BYTES), (".keys.npy", HEADER_BYTES + 17)):
        damaged = path.with_name(f"{receipt.id}{ending}")
        flip(damaged, place, 3)
        part = open_part(folder, receipt)
        assert damaged.name in refusal(lambda: part.read(np.array([0]), part.keys[:, [0]]), DamageError)  # noqa: B023
        flip(damaged, place, 3)
