from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.heads.splits import Fold, repeated_folds
from headstart.reports.compare import compare, compare_all, corrected_t_test, holm, mcnemar
from headstart.reports.metrics import GroupBootstrap, accuracy

ROWS = 800
LABELS = np.arange(ROWS) % 4
LONE = GroupBootstrap(np.arange(ROWS))
FOLDS: list[Fold] = repeated_folds(LABELS, np.arange(ROWS))


def right(share: float, seed: int) -> np.ndarray:
    """Two repeats of a classifier that is right on about this share of the rows, the same ones in both."""
    return np.tile(np.random.default_rng(seed).random(ROWS) < share, (2, 1))


def test_corrected_t_test_agrees_with_the_value_worked_by_hand() -> None:
    # Mean 0.03; s² = (0.01² + 0.01² + 0.03² + 0.03²) / 4 = 0.0005; variance of the mean
    # (1/5 + 1/4) · 0.0005 = 0.000225, so t = 0.03 / 0.015 = 2 with 4 degrees of freedom. Student's
    # distribution with 4 is F(t) = 1/2 + 3/8 · t/√(1 + t²/4) · (1 − t²/(1 + t²/4)/12), so
    # F(2) = 1/2 + 3/8 · √2 · 5/6 = 0.9419417 and p = 2 · (1 − F(2)) = 0.1161165.
    differences = np.array([0.02, 0.04, 0.06, 0.0, 0.03])
    assert corrected_t_test(differences, 1 / 4) == pytest.approx(0.1161165, abs=1e-7)
    assert corrected_t_test(-differences, 1 / 4) == pytest.approx(0.1161165, abs=1e-7)
    # Uncorrected, t = 0.03 / √0.0001 = 3 would have been called significant.
    assert corrected_t_test(differences, 0) < 0.05


def test_corrected_t_test_without_spread() -> None:
    assert corrected_t_test(np.zeros(10), 1 / 4) == 1
    assert corrected_t_test(np.full(10, 0.25), 1 / 4) == 0


def holdout(a_only: int, b_only: int, both: int = 50, neither: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Which listings two classifiers got right, in random order."""
    counts = [a_only, b_only, both, neither]
    order = np.random.default_rng(0).permutation(sum(counts))
    a, b = (np.repeat(right, counts)[order] for right in ([True, False, True, False], [False, True, True, False]))
    return a, b


@pytest.mark.parametrize(
    ("a_only", "b_only", "p_value"),
    [
        # 12 fair coins: 2 · (1 + 12 + 66) / 2¹² = 158 / 4096.
        (10, 2, 0.03857421875),
        # 2 · (1 + 6) / 2⁶; then 2 / 2⁶: six of six is where 0.05 is first crossed.
        (5, 1, 0.21875),
        (6, 0, 0.03125),
        (5, 0, 0.0625),
        # Twice the lower half, middle included, is more than 1.
        (4, 4, 1),
        (1, 0, 1),
        (0, 0, 1),
    ],
)
def test_mcnemar_agrees_with_the_values_worked_by_hand(a_only: int, b_only: int, p_value: float) -> None:
    assert mcnemar(*holdout(a_only, b_only)) == (a_only, b_only, pytest.approx(p_value, abs=1e-12))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 20))
def test_mcnemar_knows_no_first_and_minds_only_where_they_differ(a_only: int, b_only: int, both: int) -> None:
    a, b = holdout(a_only, b_only, both)
    p_value = mcnemar(a, b)[2]
    assert 0 < p_value <= 1
    assert mcnemar(b, a) == (b_only, a_only, p_value)
    assert mcnemar(*holdout(a_only, b_only, both + 7, 0))[2] == p_value
    # The same total further apart is less likely.
    if min(a_only, b_only) > 0:
        further = holdout(max(a_only, b_only) + 1, min(a_only, b_only) - 1)
        assert mcnemar(*further)[2] <= p_value


def test_mcnemar_calls_equals_different_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    p_values = np.array([mcnemar(*(rng.random((2, 200)) < 0.9))[2] for _ in range(600)])
    # At most 5 %, give or take three times √(0.05 · 0.95 / 600); and it does call some different.
    assert 0 < (p_values < 0.05).mean() < 0.05 + 3 * 0.0089


def test_holm_agrees_with_the_textbook() -> None:
    # 0.005·4, 0.01·3, 0.03·2, and 0.04·1 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_a_clear_difference_is_better_one_way_and_worse_the_other() -> None:
    good, poor = right(0.95, 1), right(0.80, 2)
    found = compare("good", "poor", good, poor, LONE, FOLDS)
    assert (found.a, found.b, found.verdict) == ("good", "poor", "better")
    assert found.difference.mean == pytest.approx(good.mean() - poor.mean())
    assert 0 < found.difference.low < found.difference.mean < found.difference.high
    assert found.p_value < 0.05
    turned = compare("poor", "good", poor, good, LONE, FOLDS)
    assert turned.verdict == "worse"
    assert turned.p_value == found.p_value
    assert turned.difference.high == pytest.approx(-found.difference.low)


def test_identical_predictions_are_not_distinguishable() -> None:
    found = compare("a", "b", right(0.9, 1), right(0.9, 1), LONE, FOLDS)
    assert found.verdict == "not distinguishable"
    assert (found.difference.mean, found.difference.low, found.difference.high, found.p_value) == (0, 0, 0, 1)


def test_the_interval_of_the_difference_is_that_of_paired_listings() -> None:
    a = right(0.9, 1)
    b = a.copy()
    b[:, :8] = False
    found = compare("a", "b", a, b, LONE, FOLDS).difference
    lost = (a & ~b)[0].mean()
    # Only the rows that differ vary: a Poisson-like spread, far below that of either accuracy.
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(lost * (1 - lost) / ROWS), rel=0.15)
    alone = accuracy(a, LONE)
    assert found.high - found.low < 0.5 * (alone.high - alone.low)


def test_near_duplicates_widen_the_interval_by_root_two() -> None:
    a, b = (np.repeat(right(0.9, seed)[:, : ROWS // 2], 2, axis=1) for seed in (1, 2))
    pairs = GroupBootstrap(np.arange(ROWS) // 2)
    wide, narrow = (compare("a", "b", a, b, each, FOLDS).difference for each in (pairs, LONE))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(math.sqrt(2), rel=0.1)


def test_an_interval_without_zero_is_not_enough() -> None:
    # `a` wins 30 rows that all lie in one fold of each repeat: steady over listings, not over folds.
    a, b = np.ones((2, ROWS), dtype=bool), np.ones((2, ROWS), dtype=bool)
    for fold in (FOLDS[0], FOLDS[5]):
        b[fold.repeat, fold.test[:30]] = False
    found = compare("a", "b", a, b, LONE, FOLDS)
    assert found.difference.low > 0
    assert found.p_value > 0.05
    assert found.verdict == "not distinguishable"


def test_steady_folds_are_not_enough_where_one_group_makes_the_difference() -> None:
    # Four listings, each posted many times, hold every row that differs: other listings may turn it round.
    a, b = np.ones((2, ROWS), dtype=bool), np.ones((2, ROWS), dtype=bool)
    groups = np.arange(ROWS)
    first, second = (np.concatenate([f.test[at : at + 10] for f in FOLDS[:5]]) for at in (0, 10))
    b[:, first] = False
    a[:, second[::5]] = False
    groups[first] = ROWS
    found = compare("a", "b", a, b, GroupBootstrap(groups), FOLDS[:5])
    assert found.p_value < 0.05
    assert found.difference.low < 0 < found.difference.mean
    assert found.verdict == "not distinguishable"


def test_several_comparisons_are_adjusted_for_their_number() -> None:
    correct = {"best": right(0.97, 1), "good": right(0.92, 2), "poor": right(0.70, 3)}
    pairs = [("best", "good"), ("best", "poor"), ("good", "poor")]
    together = compare_all(correct, pairs, LONE, FOLDS)
    alone = [compare(a, b, correct[a], correct[b], LONE, FOLDS) for a, b in pairs]
    assert [(one.a, one.b) for one in together] == pairs
    assert [one.p_value for one in together] == holm([one.p_value for one in alone])
    assert [one.difference for one in together] == [one.difference for one in alone]


def test_a_verdict_may_fall_when_others_are_asked_at_once() -> None:
    correct = {"a": right(0.95, 1), "b": right(0.89, 2), "c": right(0.95, 1)}
    alone = compare("a", "b", correct["a"], correct["b"], LONE, FOLDS)
    many = compare_all(correct, [("a", "b"), *[("a", "c")] * 30], LONE, FOLDS)
    assert alone.verdict == "better"
    assert many[0].verdict == "not distinguishable"
