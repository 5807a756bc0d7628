from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headstart.errors import HeadstartError
from headstart.heads.splits import holdout, judgeable, repeated_folds


@st.composite
def listings(draw: st.DrawFn, strays: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels, near-duplicate groups and a number of folds; `strays` differ from their group's category."""
    folds = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(4, 120))
    classes = draw(st.integers(1, 8))
    groups = rng.integers(0, draw(st.integers(2, 2 * rows)), size=rows)
    labels = (groups + (rng.random(rows) < strays)) % classes
    can, _ = judgeable([str(label) for label in labels], groups, folds)
    assume(can.any())
    return labels[can], groups[can], folds


@settings(max_examples=80, deadline=None)
@given(listings(strays=0), st.integers(0, 1000))
def test_folds_keep_their_promises(drawn: tuple[np.ndarray, np.ndarray, int], seed: int) -> None:
    check_promises(*drawn, seed)


@settings(max_examples=80, deadline=None)
@given(listings(strays=0.2), st.integers(0, 1000))
def test_folds_of_mixed_groups_keep_their_promises_or_say_that_they_cannot(
    drawn: tuple[np.ndarray, np.ndarray, int], seed: int
) -> None:
    try:
        check_promises(*drawn, seed)
    except HeadstartError as error:
        assert "use more folds" in str(error)


def check_promises(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> None:
    made = repeated_folds(labels, groups, folds, repeats=2, seed=seed)
    assert [fold.repeat for fold in made] == [0] * folds + [1] * folds
    everyone = np.arange(len(labels))
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in made if fold.repeat == repeat])
        assert np.array_equal(np.sort(tested), everyone)
    for fold in made:
        sides = (fold.train, fold.inner, fold.test)
        assert np.array_equal(np.sort(np.concatenate(sides)), everyone)
        assert sum(len(np.unique(groups[side])) for side in sides) == len(np.unique(groups))
        assert set(labels[fold.train]) == set(labels)
        assert len(fold.test)
        assert all((np.diff(side) > 0).all() for side in sides)
    again = repeated_folds(labels, groups, folds, repeats=2, seed=seed)
    for one, other in zip(made, again, strict=True):
        for side in ("train", "inner", "test"):
            assert np.array_equal(getattr(one, side), getattr(other, side))


def test_folds_of_a_realistic_catalogue_are_balanced_in_every_category() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 120)
    groups = np.arange(840)
    for start in range(0, 840, 120):  # a fifth of each category repeats another listing of it
        groups[start + 96 : start + 120] = start + rng.integers(0, 60, 24)
    for fold in repeated_folds(labels, groups, seed=3):
        assert np.ptp(np.bincount(labels[fold.test])) <= 1
        assert abs(len(fold.test) - 168) <= 2
        assert abs(len(fold.inner) - 84) <= 7
        assert np.ptp(np.bincount(labels[fold.inner])) <= 2


def test_a_group_larger_than_a_fold_stays_whole_and_the_others_share_the_rest() -> None:
    labels = np.repeat([0, 1], 100)
    groups = np.arange(200)
    groups[:40] = 0
    sizes = [np.bincount(labels[f.test]).tolist() for f in repeated_folds(labels, groups, repeats=1)]
    assert sorted(size[0] for size in sizes) == [15, 15, 15, 15, 40]
    assert sum(size[1] for size in sizes) == 100


def test_repeats_and_seeds_draw_other_folds_and_leave_earlier_repeats_alone() -> None:
    labels, groups = np.arange(100) % 4, np.arange(100)

    def tests(**settings: int) -> list[list[int]]:
        return [fold.test.tolist() for fold in repeated_folds(labels, groups, **settings)]

    two = tests(repeats=2, seed=1)
    assert two[:5] != two[5:]
    assert two[:5] != tests(repeats=1, seed=2)
    assert two == tests(repeats=3, seed=1)[:10]


def test_a_category_in_two_mixed_groups_is_still_in_every_training_side() -> None:
    # Balance alone would put the 50 rows of category 1 with category 2's other row.
    contents = {0: [1] * 60, 1: [2] + [0] * 50, 2: [2] + [1] * 50, 3: [0], 4: [1]}
    labels = np.concatenate([np.array(rows) for rows in contents.values()])
    groups = np.repeat(list(contents), [len(rows) for rows in contents.values()])
    for fold in repeated_folds(labels, groups, folds=2, repeats=3):
        assert set(labels[fold.train]) == {0, 1, 2}


def test_a_category_of_one_group_is_refused_by_name() -> None:
    labels, groups = np.array([0, 1, 0, 1, 7, 7]), np.array([0, 1, 2, 3, 4, 4])
    with pytest.raises(HeadstartError, match="category 7"):
        repeated_folds(labels, groups, folds=2)


def test_impossible_numbers_are_refused() -> None:
    labels, groups = np.array([0, 1, 0, 1]), np.arange(4)
    with pytest.raises(HeadstartError, match="5 folds"):
        repeated_folds(labels, groups, folds=5)
    with pytest.raises(HeadstartError, match="1 folds"):
        repeated_folds(labels, groups, folds=1)
    with pytest.raises(HeadstartError, match="0 repeats"):
        repeated_folds(labels, groups, folds=2, repeats=0)
    with pytest.raises(HeadstartError, match="share 1"):
        holdout(labels, groups, 1.0, seed=0)


def test_holdout_takes_its_share_of_every_category_with_groups_whole() -> None:
    labels = np.repeat([0, 1, 2], [300, 90, 30])
    groups = np.arange(420) // 3
    train, test = holdout(labels, groups, 0.2, seed=5)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(420))
    assert not set(groups[train]) & set(groups[test])
    assert np.bincount(labels[test]).tolist() == [60, 18, 6]
    assert test.tolist() == holdout(labels, groups, 0.2, seed=5)[1].tolist()
    assert test.tolist() != holdout(labels, groups, 0.2, seed=6)[1].tolist()


def test_holdout_leaves_every_category_something_to_learn_from() -> None:
    labels = np.array([0] * 50 + [1, 1, 1, 2])
    groups = np.array([*range(50), 60, 60, 60, 61])
    for seed in range(5):
        train, test = holdout(labels, groups, 0.9, seed=seed)
        assert set(labels[train]) == {0, 1, 2}
        assert len(test) == 45


def test_judgeable_counts_groups_and_not_listings() -> None:
    labels = ["vase", "vase", "vase", "lampe", "lampe", "lampe", None, "seul"]
    groups = np.array([0, 1, 1, 2, 3, 4, 5, 6])
    can, rare = judgeable(labels, groups, folds=3)
    assert can.tolist() == [False, False, False, True, True, True, False, False]
    assert rare == {"vase": 3, "seul": 1}
