from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.errors import ModelError
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


@pytest.mark.parametrize("kinds", [2, 3])
def test_what_it_learnt_comes_back_from_arrays_as_it_was(tmp_path: Path, kinds: int) -> None:
    texts, codes = listings(150)
    texts = [*texts, "élégant œuf", "élégant œuf"]
    codes = np.append(codes % kinds, [0, 1])
    control = Control().fit(texts, codes)
    np.savez(tmp_path / "words.npz", **control.arrays())  # type: ignore[arg-type]
    with np.load(tmp_path / "words.npz", allow_pickle=False) as arrays:
        back = Control.from_arrays(arrays)
    new = [*listings(60, seed=1)[0], None, "œuf élégant"]
    np.testing.assert_allclose(back.probabilities(new), control.probabilities(new), atol=1e-6)
    assert back.words == control.words
    assert "élégant œuf" in back.words


@pytest.mark.parametrize("kinds", [2, 3])
def test_it_is_scikit_learn_s_pipeline(kinds: int) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, codes = listings(150)
    codes = codes % kinds
    counts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    pipeline = make_pipeline(counts, LogisticRegression(C=30.0, class_weight="balanced", max_iter=1000))
    new, _ = listings(60, seed=1)
    expected = pipeline.fit(texts, codes).predict_proba(new)
    np.testing.assert_allclose(Control().fit(texts, codes).probabilities(new), expected, atol=1e-6)


def test_a_category_that_is_not_there_is_next_to_impossible() -> None:
    said = Control().fit(["lamp", "rug", "lamp", "rug"], np.array([0, 2, 0, 2]), classes=4).probabilities(["rug", None])
    assert said.shape == (2, 4)
    assert said[:, [1, 3]].max() < 1e-9
    assert said[0].argmax() == 2
    assert Control().fit(["lamp", "rug"], np.array([1, 1]), classes=2).probabilities(["rug"])[0, 1] > 0.999


def test_without_a_single_word_the_frequencies_are_left_and_come_back() -> None:
    control = Control().fit([None, "", "?", "!"], np.array([0, 0, 0, 1]))
    for each in (control, Control.from_arrays(control.arrays())):
        np.testing.assert_allclose(each.probabilities(["rug", None]), [[0.75, 0.25]] * 2)


def test_a_second_fit_forgets_the_first() -> None:
    texts, codes = listings(150)
    control = Control().fit(["rug", "lamp", "rug", "lamp"], np.array([0, 1, 0, 1]))
    control.probabilities(["rug"])
    alone = Control().fit(texts, codes)
    np.testing.assert_array_equal(control.fit(texts, codes).probabilities(texts), alone.probabilities(texts))


@pytest.mark.parametrize("damage", [{"idf": np.zeros(3)}, {"intercept": np.zeros(9)}, {"words": None}])
def test_arrays_that_do_not_fit_together_are_refused(damage: dict[str, np.ndarray | None]) -> None:
    arrays = {**Control().fit(*listings(50)).arrays(), **damage}
    with pytest.raises(ModelError, match=r"the words are damaged \(.+\): train the classifier again$"):
        Control.from_arrays({name: value for name, value in arrays.items() if value is not None})
