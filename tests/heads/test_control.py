from __future__ import annotations

import numpy as np
import pytest

from headstart.heads.control import Control, control_fold

WORDS = {0: ("lamp", "light", "bulb", "shade"), 1: ("rug", "wool", "woven", "carpet"), 2: ("vase", "glass", "flower")}


def listings(count: int, seed: int = 0) -> tuple[list[str | None], np.ndarray]:
    """Texts of filler with a telling word, and their categories; all categories are there."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(count) % len(WORDS))
    filler = [f"word{number}" for number in range(30)]
    texts: list[str | None] = [
        " ".join(rng.permutation([*rng.choice(filler, 5), rng.choice(WORDS[code])])) for code in codes
    ]
    return texts, codes


def test_telling_words_are_learnt() -> None:
    texts, codes = listings(150)
    new, truth = listings(60, seed=1)
    said = Control().fit(texts, codes).probabilities(new)
    assert said.shape == (60, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)
    assert (said.argmax(axis=1) == truth).mean() > 0.9


def test_the_order_of_two_words_may_tell() -> None:
    texts: list[str | None] = ["red wine not white", "white wine not red"] * 20
    codes = np.arange(40) % 2
    said = Control().fit(texts, codes).probabilities(["not red", "not white"])
    assert said.argmax(axis=1).tolist() == [1, 0]


def test_texts_that_are_empty_or_missing_are_judged_alike_and_by_no_word() -> None:
    texts, codes = listings(150)
    texts[0], texts[1] = None, ""
    said = Control().fit(texts, codes).probabilities([None, "", "zzz unheard-of"])
    assert np.isfinite(said).all()
    np.testing.assert_array_equal(said[0], said[1])
    np.testing.assert_array_equal(said[0], said[2])
    assert said.max() < 0.6


def test_rare_categories_weigh_as_much_as_frequent_ones() -> None:
    texts: list[str | None] = ["lamp shade"] * 100 + ["wool rug"] * 20
    codes = np.array([0] * 90 + [1] * 10 + [1] * 20)
    said = Control().fit(texts, codes).probabilities(["lamp shade"])
    # One lamp in ten is in the second category, where every listing weighs three times as much.
    assert said[0] == pytest.approx([0.75, 0.25], abs=0.05)


def test_a_handful_of_texts_is_enough() -> None:
    texts: list[str | None] = ["lamp", "rug", None, "vase"]
    said = Control().fit(texts, np.array([0, 1, 1, 2])).probabilities(texts)
    assert said.argmax(axis=1)[[0, 1, 3]].tolist() == [0, 1, 2]


def test_a_fold_is_learnt_from_its_train_rows_alone() -> None:
    texts, codes = listings(150)
    train, test = np.arange(100), np.arange(149, 99, -1)
    said = control_fold(texts, codes, train, test)
    alone = Control().fit(texts[:100], codes[:100]).probabilities([texts[row] for row in test])
    np.testing.assert_allclose(said, alone, atol=1e-6)
    spoilt = codes.copy()
    spoilt[test] = 0
    np.testing.assert_allclose(control_fold(texts, spoilt, train, test), said, atol=1e-6)
