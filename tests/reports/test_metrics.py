from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from headstart.errors import HeadstartError
from headstart.heads.splits import Fold, repeated_folds
from headstart.reports.metrics import (
    GroupBootstrap,
    accuracy,
    effective_count,
    figures,
    hits,
    macro_f1,
    ratio,
    wilson,
)
from headstart.reports.result import Interval


def guesses(rows: int, classes: int, skill: float, repeats: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities ``(repeats, rows, classes)`` of a classifier that is right at times."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, classes, rows)
    probabilities = rng.dirichlet(np.ones(classes), (repeats, rows))
    probabilities[:, np.arange(rows), labels] += skill
    return labels, probabilities / probabilities.sum(axis=2, keepdims=True)


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_figures_agree_with_scikit_learn() -> None:
    from sklearn import metrics as reference

    labels, probabilities = guesses(400, 5, skill=0.3)
    classes = [f"c{i}" for i in range(5)]
    folds = repeated_folds(labels, np.arange(400))
    found = figures(labels, probabilities, classes, folds, GroupBootstrap(np.arange(400)))
    predicted = probabilities.argmax(axis=2)

    def over_repeats(score: Any, **settings: str) -> Any:
        return np.mean([score(labels, guess, **settings) for guess in predicted], axis=0)

    assert found.accuracy.mean == pytest.approx(over_repeats(reference.accuracy_score))
    assert found.macro_f1.mean == pytest.approx(over_repeats(reference.f1_score, average="macro"))
    top3 = [reference.top_k_accuracy_score(labels, each, k=3) for each in probabilities]
    assert found.top3.mean == pytest.approx(np.mean(top3))
    confusion = np.zeros((5, 5))
    for true, given, listings in found.confusion:
        confusion[true, given] = listings
    assert np.allclose(confusion, over_repeats(reference.confusion_matrix))
    columns = over_repeats(lambda true, said: np.array(reference.precision_recall_fscore_support(true, said)))
    mine = [[one.precision, one.recall.mean, one.f1, one.rows] for one in found.per_class]
    assert np.allclose(np.transpose(mine), columns)
    assert [one.label for one in found.per_class] == classes
    per_fold = [reference.accuracy_score(labels[f.test], predicted[f.repeat, f.test]) for f in folds]
    assert found.folds == pytest.approx(per_fold)


def test_accuracy_of_lone_listings_varies_as_a_binomial_and_of_pairs_by_root_two_more() -> None:
    right = np.random.default_rng(0).random(1000) < 0.8
    lone = accuracy(right[None], GroupBootstrap(np.arange(1000)))
    assert lone.mean == right.mean()
    assert width(lone) == pytest.approx(2 * 1.96 * math.sqrt(lone.mean * (1 - lone.mean) / 1000), rel=0.06)
    pairs = accuracy(np.repeat(right, 2)[None], GroupBootstrap(np.repeat(np.arange(1000), 2)))
    blind = accuracy(np.repeat(right, 2)[None], GroupBootstrap(np.arange(2000)))
    assert pairs.mean == lone.mean
    assert width(pairs) / width(blind) == pytest.approx(math.sqrt(2), rel=0.08)


def test_macro_f1_varies_as_when_resampled_one_by_one() -> None:
    from sklearn.metrics import f1_score

    labels, probabilities = guesses(300, 4, skill=0.3, repeats=1)
    groups = np.arange(300) // 2
    predicted = probabilities.argmax(axis=2)
    found = macro_f1(labels, predicted, 4, GroupBootstrap(groups))
    rng = np.random.default_rng(1)
    plain = []
    for _ in range(600):
        rows = np.concatenate([2 * (drawn := rng.integers(0, 150, 150)), 2 * drawn + 1])
        plain.append(f1_score(labels[rows], predicted[0, rows], average="macro"))
    assert width(found) == pytest.approx(np.ptp(np.quantile(plain, [0.025, 0.975])), rel=0.12)


def test_a_rare_category_missing_from_resamples_does_not_pull_macro_f1_down() -> None:
    labels = np.array([0] * 50 + [1])
    found = macro_f1(labels, labels[None], 2, GroupBootstrap(np.arange(51)))
    assert found.mean == 1
    assert found.low > 0.9


def test_shuffled_labels_give_chance_within_the_interval() -> None:
    labels, probabilities = guesses(840, 7, skill=0.5)
    found = accuracy(hits(np.random.default_rng(3).permutation(labels), probabilities), GroupBootstrap(np.arange(840)))
    assert found.low < 1 / 7 < found.high
    assert width(found) < 0.06


def test_resamples_are_whole_groups_the_same_at_every_use() -> None:
    groups = np.array([5, 5, 5, 9, 9, 2] + [2] * 4)
    bootstrap = GroupBootstrap(groups, resamples=300, seed=4)
    first_of_group = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0, 0])
    values = np.stack([first_of_group, groups == 5, np.arange(10) == 0], axis=1).astype(float)
    sums = bootstrap.draws(values, lambda sums: sums)
    assert (sums[:, 0] == 3).all()  # as many groups as there are
    assert (sums[:, 1] == 3 * sums[:, 2]).all()  # all rows of a group or none
    assert set(sums[:, 2]) == {0, 1, 2, 3}
    assert np.array_equal(sums, bootstrap.draws(values, lambda sums: sums))
    other = GroupBootstrap(groups, resamples=300, seed=5).draws(values, lambda sums: sums)
    assert not np.array_equal(sums, other)


def test_many_groups_are_resampled_piece_by_piece_to_the_number_asked() -> None:
    values = np.stack([np.arange(3000) % 2, np.ones(3000)], axis=1)
    draws = GroupBootstrap(np.arange(3000), resamples=1500).draws(values, ratio)
    assert draws.shape == (1500,)
    assert len(np.unique(draws)) > 100
    assert draws.mean() == pytest.approx(0.5, abs=0.002)
    assert draws.std() == pytest.approx(0.5 / math.sqrt(3000), rel=0.08)


def test_a_perfect_score_has_an_interval_that_narrows_with_groups_not_rows() -> None:
    right = np.ones((2, 200), dtype=bool)
    lone = accuracy(right, GroupBootstrap(np.arange(200)))
    tens = accuracy(right, GroupBootstrap(np.arange(200) // 10))
    single = accuracy(right, GroupBootstrap(np.zeros(200, dtype=int)))
    assert (lone.mean, lone.high) == (1, 1)
    # Wilson at 1: n / (n + z²)
    expected = [200 / 203.8415, 20 / 23.8415, 1 / 4.8415]
    assert [one.low for one in (lone, tens, single)] == pytest.approx(expected, abs=1e-5)
    assert accuracy(~right, GroupBootstrap(np.arange(200))).high == pytest.approx(3.8415 / 203.8415, abs=1e-5)


def test_recall_of_a_small_category_is_uncertain_even_when_all_right() -> None:
    labels = np.array([0] * 6 + [1] * 100)
    probabilities = np.eye(2)[labels][None]
    groups = np.arange(106)
    folds = repeated_folds(labels, groups, repeats=1)
    lone = figures(labels, probabilities, ["few", "many"], folds, GroupBootstrap(groups)).per_class
    assert (lone[0].recall.mean, lone[0].recall.high) == (1, 1)
    assert lone[0].recall.low == pytest.approx(6 / 9.8415, abs=1e-5)
    groups[:6] //= 3  # the six are two listings, each posted three times
    pair = figures(labels, probabilities, ["few", "many"], folds, GroupBootstrap(groups)).per_class
    assert pair[0].recall.low == pytest.approx(2 / 5.8415, abs=1e-5)
    assert pair[1].recall == lone[1].recall


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 15 of 148, 95 %.
    for seen, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        found = wilson(seen / of, of)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_effective_count_of_equal_and_unequal_groups() -> None:
    assert effective_count(np.arange(10)) == pytest.approx(10)
    assert effective_count(np.repeat(np.arange(5), 4)) == pytest.approx(5)
    assert effective_count(np.array([0, 0, 0, 1])) == pytest.approx(16 / 10)


def test_ties_go_to_the_lower_category_number() -> None:
    flat = np.full((1, 4, 4), 0.25)
    labels = np.arange(4)
    assert hits(labels, flat).tolist() == [[True, False, False, False]]
    assert hits(labels, flat, top=3).tolist() == [[True, True, True, False]]
    assert np.array_equal(hits(labels, flat), flat.argmax(axis=2) == labels)


def test_top3_of_three_categories_is_certain() -> None:
    labels, probabilities = guesses(60, 3, skill=0.0)
    folds = repeated_folds(labels, np.arange(60))
    found = figures(labels, probabilities, ["a", "b", "c"], folds, GroupBootstrap(np.arange(60)))
    assert (found.top3.mean, found.top3.low, found.top3.high) == (1, 1, 1)


def test_a_category_never_predicted_has_no_precision_and_no_f1() -> None:
    labels = np.array([0, 1] * 10)
    probabilities = np.tile([0.9, 0.1], (1, 20, 1))
    folds = repeated_folds(labels, np.arange(20), repeats=1)
    never = figures(labels, probabilities, ["a", "b"], folds, GroupBootstrap(np.arange(20))).per_class[1]
    assert (never.precision, never.recall.mean, never.f1) == (0, 0, 0)


def test_a_row_that_was_not_predicted_is_refused() -> None:
    labels, probabilities = guesses(10, 3, skill=0.1)
    probabilities[1, 4] = np.nan
    with pytest.raises(HeadstartError, match="not finite"):
        hits(labels, probabilities)


def test_a_category_without_a_listing_to_judge_has_an_unknown_recall() -> None:
    labels, probabilities = np.zeros(4, int), np.tile([0.9, 0.1], (1, 4, 1))
    fold = Fold(np.arange(0), np.arange(0), np.arange(4), 0)
    found = figures(labels, probabilities, ["seen", "unseen"], [fold], GroupBootstrap(np.arange(4)))
    assert found.per_class[1].rows == 0
    assert found.per_class[1].recall == Interval(0.0, 0.0, 1.0)
