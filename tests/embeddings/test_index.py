from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.embeddings import index
from headstart.embeddings.index import KeyMap, find, halves, merged, sorted_run

# Few first halves and few second halves, so that keys meet in one half, in the other, and in both.
some_half = st.sampled_from([0, 1, 2, 1 << 63, (1 << 64) - 1])
some_keys = st.lists(st.tuples(some_half, some_half), max_size=12)
thresholds = st.sampled_from([(1 << 20, 1 << 23), (2, 1 << 23), (1, 6), (1 << 20, 1), (4, 9)])


def columns(keys: list[tuple[int, int]], *numbers: list[int]) -> np.ndarray:
    rows = [*zip(*keys, strict=True)] if keys else [(), ()]
    return np.array([*rows, *numbers], np.uint64).reshape(2 + len(numbers), len(keys))


@settings(max_examples=150, deadline=None)
@given(added=st.lists(some_keys, max_size=8), wanted=some_keys, values=st.integers(0, 2), limits=thresholds)
def test_a_key_map_is_a_dict_in_which_the_first_counts(
    added: list[list[tuple[int, int]]], wanted: list[tuple[int, int]], values: int, limits: tuple[int, int]
) -> None:
    expected: dict[tuple[int, int], list[int]] = {}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_SPILLED", limits[0])
        patch.setattr(index, "MOST_MERGED", limits[1])
        found = KeyMap(values=values, folder=Path(folder))
        count = 0
        for keys in added:
            numbers = [[10 * (count + row) + value for row in range(len(keys))] for value in range(values)]
            found.add(columns(keys, *numbers))
            for row, key in enumerate(keys):
                expected.setdefault(key, [number[row] for number in numbers])
            count += len(keys)
            assert len(found) == count
            there, mapped = found.get(columns(wanted))
            assert there.tolist() == [key in expected for key in wanted]
            assert mapped.T.tolist() == [expected.get(key, [0] * values) for key in wanted]
        assert list(Path(folder).iterdir()) == [], "what is put on disk has no name there"
        if limits[0] == 1:
            assert all(isinstance(run, np.memmap) for run in found.runs)


@settings(max_examples=100, deadline=None)
@given(added=st.lists(some_keys, max_size=8), limits=thresholds)
def test_new_keys_are_those_that_a_set_lacks(added: list[list[tuple[int, int]]], limits: tuple[int, int]) -> None:
    seen: set[tuple[int, int]] = set()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_SPILLED", limits[0])
        patch.setattr(index, "MOST_MERGED", limits[1])
        found = KeyMap(folder=Path(folder))
        for keys in added:
            new = []
            for key in keys:
                new.append(key not in seen)
                seen.add(key)
            assert found.add_new(columns(keys)).tolist() == new
            assert len(found) == len(seen)


def test_many_keys_in_small_additions_stay_in_few_runs() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 1 << 64, (2, 3_000), np.uint64, endpoint=False)
    found = KeyMap(values=1)
    for row in range(3_000):
        found.add(np.concatenate([keys[:, row : row + 1], [[np.uint64(row)]]]))
    assert len(found.runs) <= 13
    order = rng.permutation(3_000)
    there, [numbers] = found.get(keys[:, order])
    assert there.all()
    assert np.array_equal(numbers, order)
    assert not found.get(keys + np.uint64(1))[0].any()


def test_runs_on_disk_are_looked_up_where_they_lie(tmp_path: Path) -> None:
    keys = np.arange(20, dtype=np.uint64).reshape(2, 10)
    np.save(tmp_path / "run.npy", np.concatenate([keys, [np.arange(10, dtype=np.uint64)]]))
    found = KeyMap([np.load(tmp_path / "run.npy", mmap_mode="r")], values=1)
    assert found.get(keys[:, ::-1])[1].tolist() == [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]


@settings(deadline=None)
@given(keys=some_keys, wanted=some_keys)
def test_every_place_of_a_key_is_found_one_after_the_other(
    keys: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    run = sorted_run(columns(keys, [*range(len(keys))]))
    for key in wanted:
        places, since = [], None
        while (place := int(find(run, columns([key]), since)[0])) >= 0:
            places.append(int(run[2, place]))
            since = np.array([place + 1])
        assert places == [row for row, each in enumerate(keys) if each == key]


@settings(deadline=None)
@given(one=some_keys, other=some_keys)
def test_merging_sorts_and_keeps_the_order_of_what_is_alike(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    first = sorted_run(columns(one, [*range(len(one))]))
    second = sorted_run(columns(other, [*range(len(one), len(one) + len(other))]))
    expected = sorted(enumerate([*one, *other]), key=lambda pair: pair[1][0])
    assert merged([first, second])[2].tolist() == [number for number, _ in expected]


@settings(deadline=None)
@given(keys=st.lists(st.binary(min_size=16, max_size=16), max_size=5))
def test_halves_of_keys_are_their_bytes(keys: list[bytes]) -> None:
    rows = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
    found = halves(rows)
    assert found.shape == (2, len(keys))
    assert [np.ascontiguousarray(column).tobytes() for column in found.T] == keys
