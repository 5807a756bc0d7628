from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.extract.batching import BatchSize, alike, padded


def settle(first: int, most: int, rate: Callable[[int], float]) -> list[int]:
    """The sizes taken, batch after batch, on a machine of these rates."""
    batch, taken = BatchSize(first, most), []
    for _ in range(100):
        taken.append(batch.size)
        batch.tell(batch.size, batch.size / rate(batch.size))
    return taken


@pytest.mark.parametrize("best", [1, 4, 8, 16, 32, 64, 256])
def test_it_finds_the_fastest_size(best: int) -> None:
    taken = settle(16, 512, lambda size: 100 / max(size / best, best / size))
    assert taken[-1] == best and len(set(taken[-20:])) == 1


@given(first=st.integers(1, 600), most=st.integers(1, 600), slope=st.floats(-2, 2))
def test_it_stays_within_its_bounds_and_comes_to_rest(first: int, most: int, slope: float) -> None:
    taken = settle(first, most, lambda size: size**slope)
    assert all(1 <= size <= most for size in taken) and len(set(taken[-20:])) == 1


def test_equal_rates_are_not_worth_more_memory() -> None:
    assert settle(16, 512, lambda size: 100.0)[-1] == 16


def test_the_first_batch_of_a_size_is_a_warm_up() -> None:
    batch, seen = BatchSize(16, 512), set()
    for _ in range(100):
        cold = batch.size not in seen
        seen.add(batch.size)
        rate = min(batch.size, 64)
        batch.tell(batch.size, batch.size / rate * (10 if cold else 1))
    assert batch.size == 64


def test_a_last_batch_that_is_smaller_says_nothing() -> None:
    batch = BatchSize(16, 512)
    for _ in range(50):
        batch.tell(5, 1e-6)
    assert batch.size == 16


@given(lengths=st.lists(st.integers(0, 50), max_size=60), budget=st.integers(1, 200))
def test_texts_of_like_length_go_together_each_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(alike(lengths, budget))
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    in_order = [lengths[row] for group in groups for row in group]
    assert in_order == sorted(in_order)
    assert all(len(group) == 1 or len(group) * max(lengths[row] for row in group) <= budget for group in groups)


def test_shorter_texts_are_filled_up() -> None:
    ids = padded([np.array([5], np.int32), np.array([7, 8, 9], np.int32)], -1)
    assert ids.tolist() == [[5, -1, -1], [7, 8, 9]] and ids.dtype == np.int32
