from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import HeadstartError
from headstart.reports.confidence import (
    acceptance,
    calibration_error,
    chance_error,
    reliability,
    risk_coverage,
    set_figures,
)
from headstart.reports.metrics import GroupBootstrap, hits
from headstart.reports.result import Interval


def draw(rows: int, classes: int = 4, repeats: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Categories drawn from the probabilities ``(repeats, rows, classes)``, the same ones in each repeat."""
    rng = np.random.default_rng(seed)
    scores = np.exp(2.5 * rng.normal(size=(rows, classes)))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    labels = (rng.random((rows, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return labels, np.tile(probabilities, (repeats, 1, 1))


def binary(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Two categories; one repeat that says the first one with the confidence given."""
    sure = np.array(confidence)
    return np.where(right, 0, 1), np.stack([sure, 1 - sure], axis=1)[None]


def lone(rows: int, resamples: int = 500) -> GroupBootstrap:
    return GroupBootstrap(np.arange(rows), resamples)


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_the_calibration_error_worked_by_hand() -> None:
    # Two bins of four: confidence 0.6 with 1 of 4 right, confidence 0.9 with all right; (0.35 + 0.1) / 2.
    labels, probabilities = binary([0.9, 0.6] * 4, [True, False, True, False, True, False, True, True])
    assert calibration_error(labels, probabilities, lone(8), bins=2).mean == pytest.approx(0.225)
    # A bin hides errors that cancel: 0.75 on average, 5 of 8 right.
    assert calibration_error(labels, probabilities, lone(8), bins=1).mean == pytest.approx(0.125)


def test_the_calibration_error_is_averaged_over_the_repeats() -> None:
    labels, first = binary([0.9, 0.6] * 4, [True, False, True, False, True, False, True, True])
    _, second = binary([0.8] * 8, [True] * 8)  # 0.8 said, 5 of 8 right: 0.175, in one bin as all are tied
    both = np.concatenate([first, second])
    assert calibration_error(labels, both, lone(8), bins=2).mean == pytest.approx((0.225 + 0.175) / 2)


def test_calibrated_probabilities_have_next_to_no_calibration_error() -> None:
    labels, probabilities = draw(60_000)
    found = calibration_error(labels, probabilities, lone(60_000, 100))
    assert found.mean < 0.006
    assert found.low < 0.004


def test_too_much_confidence_is_the_calibration_error_and_lies_in_its_interval() -> None:
    held = 0
    for seed in range(40):
        labels, probabilities = draw(800, seed=seed)
        sure = probabilities**3 / (probabilities**3).sum(axis=2, keepdims=True)
        # The true error: confidence claimed less that deserved, which is the probability of the category said.
        deserved = np.take_along_axis(probabilities, sure.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
        truth = (sure.max(axis=2) - deserved).mean()
        found = calibration_error(labels, sure, lone(800, 200))
        assert found.low < found.mean < found.high
        held += found.low <= truth <= found.high
    assert held >= 34  # 95 % of 40 are 38


def test_few_listings_show_the_calibration_error_of_chance_that_the_docstring_names() -> None:
    rng = np.random.default_rng(0)
    found, right = [], []
    for _ in range(40):
        # One noisy sight of each listing; the softmax of it is what an ideal judge would say.
        labels = rng.integers(7, size=840)
        scores = 3.2 * rng.normal(size=(840, 7)) + 3.2**2 * (labels[:, None] == np.arange(7))
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = (scores / scores.sum(axis=1, keepdims=True))[None]
        found.append(calibration_error(labels, probabilities, lone(840, 20)).mean)
        right.append(hits(labels, probabilities).mean())
    assert np.mean(right) == pytest.approx(0.95, abs=0.01)
    assert np.mean(found) == pytest.approx(0.013, abs=0.002)


def test_near_duplicates_widen_the_interval() -> None:
    labels, probabilities = draw(400)
    sure = probabilities**3 / (probabilities**3).sum(axis=2, keepdims=True)
    twice, sure_twice = np.repeat(labels, 2), np.repeat(sure, 2, axis=1)
    pairs = calibration_error(twice, sure_twice, GroupBootstrap(np.arange(800) // 2, 500))
    blind = calibration_error(twice, sure_twice, lone(800))
    assert pairs.mean == blind.mean
    assert width(pairs) / width(blind) == pytest.approx(math.sqrt(2), rel=0.15)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 80), classes=st.integers(2, 5), bins=st.integers(1, 15))
def test_the_order_of_listings_and_categories_does_not_matter(seed: int, rows: int, classes: int, bins: int) -> None:
    labels, probabilities = draw(rows, classes, repeats=2, seed=seed)
    probabilities = np.round(probabilities, 1) + 0.01  # with ties
    found = calibration_error(labels, probabilities, lone(rows, 5), bins)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    rows_order = np.random.default_rng(seed).permutation(rows)
    moved = calibration_error(labels[rows_order], probabilities[:, rows_order], lone(rows, 5), bins)
    assert moved.mean == pytest.approx(found.mean)
    table = reliability(labels, probabilities, lone(rows, 5), bins)
    assert sum(one.rows for one in table) == pytest.approx(rows)
    assert all(a.confidence < b.confidence for a, b in pairwise(table))
    right = sum(one.rows * one.accuracy.mean for one in table) / rows
    assert right == pytest.approx(hits(labels, probabilities).mean())


def test_the_reliability_table_worked_by_hand() -> None:
    labels, probabilities = binary([0.9, 0.6] * 4, [True, False, True, False, True, False, True, True])
    low, high = reliability(labels, probabilities, lone(8), bins=2)
    assert (low.rows, low.confidence, low.accuracy.mean) == (4, pytest.approx(0.6), 0.25)
    assert (high.rows, high.confidence, high.accuracy.mean) == (4, pytest.approx(0.9), 1)
    # All right, but only four listings: Wilson's interval for 4 of 4 begins at 4 / (4 + 1.96²).
    assert high.accuracy.low == pytest.approx(4 / (4 + 1.959964**2))


def test_the_reliability_table_shares_its_bins_between_the_repeats() -> None:
    labels, first = binary([0.9, 0.6], [True, False])
    _, second = binary([0.6, 0.9], [True, False])
    low, high = reliability(labels, np.concatenate([first, second]), lone(2), bins=2)
    assert (low.rows, low.accuracy.mean) == (1, 0.5)
    assert (high.rows, high.accuracy.mean) == (1, 0.5)


def test_accepting_worked_by_hand() -> None:
    correct = np.array([[True, True, False, False], [True, False, True, False]])
    accepted = np.array([[True, True, True, False], [True, True, False, False]])
    found = acceptance(correct, accepted, lone(4))
    assert found.share.mean == pytest.approx(5 / 8)
    assert found.error.mean == pytest.approx(2 / 5)


def test_accepting_nothing_tells_nothing() -> None:
    found = acceptance(np.ones((2, 50), dtype=bool), np.zeros((2, 50), dtype=bool), lone(50))
    assert found.share.mean == 0
    assert found.share.high < 0.1
    assert (found.error.mean, found.error.low, found.error.high) == (0, 0, 1)


def test_no_error_among_few_accepted_is_not_taken_for_none_among_many() -> None:
    correct = np.ones((1, 1000), dtype=bool)
    found = acceptance(correct, (np.arange(1000) < 10)[None], lone(1000))
    assert found.error.mean == 0
    assert found.error.high == pytest.approx(1.959964**2 / (10 + 1.959964**2))


def test_the_error_among_the_accepted_varies_as_their_number_says() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((1, 4000)) < 0.9
    found = acceptance(correct, (np.arange(4000) < 1000)[None], lone(4000))
    error = found.error.mean
    assert width(found.error) == pytest.approx(2 * 1.96 * math.sqrt(error * (1 - error) / 1000), rel=0.1)


def test_the_most_confident_share_is_accepted() -> None:
    confidence = [0.6, 0.95, 0.7, 0.8, 0.9, 0.85, 0.75, 0.65, 0.55, 0.99]
    right = [False, True, False, True, True, True, True, True, False, True]
    labels, probabilities = binary(confidence, right)
    found = risk_coverage(labels, probabilities, [0.5, 0.7, 1], lone(10))
    assert [one.share.mean for one in found] == pytest.approx([0.5, 0.7, 1])
    assert [one.error.mean for one in found] == pytest.approx([0, 1 / 7, 0.3])


def test_accepting_fewer_of_calibrated_listings_leaves_fewer_errors() -> None:
    labels, probabilities = draw(5000, repeats=2)
    errors = [one.error.mean for one in risk_coverage(labels, probabilities, [0.3, 0.6, 0.9, 1], lone(5000, 50))]
    assert errors == sorted(errors)
    assert errors[0] < 0.2 * errors[-1]


def test_sets_worked_by_hand() -> None:
    labels = np.array([0, 1, 2])
    sets = np.array(
        [
            [[True, False, False], [True, False, True], [True, True, True]],  # held, missed, held
            [[False, False, False], [False, True, False], [False, False, True]],  # missed, held, held
        ]
    )
    found = set_figures(labels, sets, lone(3))
    assert found.coverage.mean == pytest.approx(4 / 6)
    assert found.size.mean == pytest.approx(8 / 6)
    assert found.size.low <= found.size.mean <= found.size.high


def test_the_size_of_sets_varies_as_a_mean_does() -> None:
    rng = np.random.default_rng(0)
    sets = rng.random((1, 2000, 5)) < [0.9, 0.5, 0.1, 0.1, 0.1]
    found = set_figures(np.zeros(2000, dtype=int), sets, lone(2000, 2000))
    spread = sets.sum(axis=2).std() / math.sqrt(2000)
    assert width(found.size) == pytest.approx(2 * 1.96 * spread, rel=0.08)
    assert found.coverage.mean == sets[0, :, 0].mean()


def test_a_row_never_predicted_is_refused() -> None:
    labels, probabilities = draw(20)
    probabilities[0, 3] = np.nan
    for figure in (calibration_error, reliability):
        with pytest.raises(HeadstartError, match="not finite"):
            figure(labels, probabilities, lone(20))
    with pytest.raises(HeadstartError, match="not finite"):
        risk_coverage(labels, probabilities, [0.9], lone(20))


def test_by_chance_alone_is_what_exact_probabilities_show_on_average() -> None:
    _, probabilities = draw(300)
    found = [
        calibration_error(draw(300, seed=seed)[0], draw(300, seed=seed)[1], lone(300, 20)).mean for seed in range(60)
    ]
    assert chance_error(probabilities, np.arange(300)) == pytest.approx(np.mean(found), rel=0.1)


def test_copies_part_confidence_and_accuracy_further_by_chance() -> None:
    _, probabilities = draw(300)
    copies = np.repeat(probabilities, 4, axis=1)
    apart = chance_error(copies, np.arange(1200))
    assert chance_error(copies, np.repeat(np.arange(300), 4)) == pytest.approx(2 * apart, rel=0.15)
