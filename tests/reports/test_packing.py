"""What was found of each listing, packed into strings and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.heads.splits import repeated_folds
from headstart.reports.packing import (
    pack_bits,
    pack_numbers,
    packed_listings,
    packed_right,
    unpack_bits,
    unpack_numbers,
    unpacked,
)
from headstart.reports.reading import NotThatError
from headstart.reports.result import BenchmarkResult, JudgedListings


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back(values: list[bool]) -> None:
    packed = pack_bits(np.array(values, bool))
    assert unpack_bits(packed, len(values)).tolist() == values
    with pytest.raises(NotThatError):
        unpack_bits(packed, len(values) + 8)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=70))
def test_numbers_come_back(values: list[int]) -> None:
    packed = pack_numbers(np.array(values, np.int64))
    assert unpack_numbers(packed, len(values)).tolist() == values
    for other in (len(values) + 1, len(values) - 1):
        if other >= 0:
            with pytest.raises(NotThatError):
                unpack_numbers(packed, other)


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40).map(lambda data: data.hex())), st.integers(1, 40))
def test_other_strings_are_refused_or_read_and_nothing_else(text: str, count: int) -> None:
    for unpack in (unpack_bits, unpack_numbers):
        try:
            assert len(unpack(text, count)) == count
        except NotThatError as error:
            assert "\n" not in str(error)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_near_duplicates_come_back_whatever_their_numbers(groups: list[int]) -> None:
    rows = np.arange(len(groups))
    fold = repeated_folds(np.zeros(4, int), np.arange(4), 2, 1)
    back = unpack_numbers(packed_listings(np.array(groups), fold).groups, len(groups))
    first = (rows - back).tolist()
    assert first == [groups.index(group) for group in groups]


def test_numbers_beyond_those_asked_for_are_not_inflated() -> None:
    bomb = pack_numbers(np.zeros(20_000_000, np.int64))
    assert len(bomb) < 200_000
    with pytest.raises(NotThatError, match="does not hold 3 numbers"):
        unpack_numbers(bomb, 3)


def test_twenty_thousand_listings_stay_small() -> None:
    rng = np.random.default_rng(0)
    rows = 20_000
    groups = np.arange(rows)
    twice = rng.random(rows) < 0.1
    groups[twice] = rng.integers(0, rows, twice.sum())
    folds = repeated_folds(np.zeros(rows, int), np.arange(rows), 5, 1)
    packed = packed_listings(groups, folds)
    assert len(packed.groups) < 12_000
    assert [len(each) for each in packed.folds] == [pytest.approx(12_000, rel=0.05)]
    assert [len(each) for each in packed_right(rng.random((2, rows)) < 0.9)] == [3_336] * 2


def test_a_result_holds_what_its_figures_were_made_of(result: BenchmarkResult) -> None:
    judged = unpacked(result)
    rows = result.catalog.judged
    assert np.flatnonzero(judged.groups != np.arange(rows)).tolist() == list(range(1, 100, 2))
    for repeat in range(2):
        tests = [fold.test for fold in judged.folds if fold.repeat == repeat]
        assert len(tests) == 5 and np.array_equal(np.sort(np.concatenate(tests)), np.arange(rows))
    for approach in result.approaches:
        right = judged.right[approach.name]
        assert right.shape == (2, rows)
        assert right.mean() == pytest.approx(approach.accuracy.mean)
        assert [right[fold.repeat, fold.test].mean() for fold in judged.folds] == pytest.approx(approach.folds)


def first(result: BenchmarkResult, **changes: Any) -> BenchmarkResult:
    return replace(result, approaches=(replace(result.approaches[0], **changes), *result.approaches[1:]))


def test_what_does_not_fit_is_told(result: BenchmarkResult) -> None:
    groups, folds = result.listings.groups, result.listings.folds
    right = result.approaches[0].right
    rows = result.catalog.judged
    one = np.zeros(rows, int)
    other = unpack_bits(right[0], rows)
    other[5] ^= True
    for reason, damaged in {
        "listings.groups is no base64": replace(result, listings=JudgedListings("é", folds)),
        "listings.groups cannot be inflated": replace(result, listings=JudgedListings(right[0], folds)),
        "listings.groups names what is no first": replace(
            result, listings=JudgedListings(pack_numbers(one + 1), folds)
        ),
        "listings.folds has 1 values, not 2": replace(result, listings=JudgedListings(groups, folds[:1])),
        "listings.folds[1] has other folds": replace(
            result, listings=JudgedListings(groups, (folds[0], pack_numbers(one)))
        ),
        "approaches[0].right has 1 values, not 2": first(result, right=right[:1]),
        "approaches[0].right has 0 bytes, not 132": first(result, right=("", right[1])),
        "approaches[0].right does not give approaches[0].folds": first(result, right=(pack_bits(other), right[1])),
        "approaches[0].folds has 9 values, not 10": first(result, folds=result.approaches[0].folds[1:]),
        "0 listings": replace(result, catalog=replace(result.catalog, judged=0)),
        "1 folds": replace(result, protocol=replace(result.protocol, folds=1)),
        "does not hold 1000000000000 numbers": replace(result, catalog=replace(result.catalog, judged=10**12)),
    }.items():
        with pytest.raises(NotThatError) as refused:
            unpacked(damaged)
        assert reason in str(refused.value)
