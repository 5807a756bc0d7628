from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.config import HeadConfig
from headstart.heads.control import control_fold
from headstart.heads.fusion import fit_fusion
from headstart.heads.members import evidence, members_of, reads
from headstart.heads.nested import INNER_FOLDS, Listings, Panel, Side, cut
from headstart.heads.splits import Fold, repeated_folds

Draw = Callable[..., Features]
TEXT, IMAGE, BOTH = frozenset({"text"}), frozenset({"image"}), frozenset({"text", "image"})
LATE = HeadConfig(("words", "pixels"), fusion="late", words=True)
CONCAT = HeadConfig(("words", "pixels"))
KINDS = {"words": "text", "pixels": "image"}


def codes_of(features: Features) -> np.ndarray:
    return np.unique([str(label) for label in features.labels], return_inverse=True)[1]


def texts_of(codes: np.ndarray, seed: int = 0) -> list[str | None]:
    rng = np.random.default_rng(seed)
    return [" ".join([*rng.choice(["red", "blue", "big", "small"], 3), f"kind{code}"]) for code in codes]


def listings_of(features: Features, groups: np.ndarray | None = None) -> Listings:
    codes = codes_of(features)
    groups = np.arange(len(features)) if groups is None else groups
    return Listings(features, codes, int(codes.max()) + 1, groups, texts_of(codes))


def outer(listings: Listings, folds: int = 3) -> list[Side]:
    found = repeated_folds(listings.codes, listings.groups, folds, 1, 7)
    return [cut(listings, fold, (7, number)) for number, fold in enumerate(found)]


def whole(listings: Listings) -> Fold:
    rows = np.arange(len(listings.codes))
    return Fold(rows, rows[:0], rows[:0], 0)


def side_of(codes: list[int], groups: list[int]) -> Side:
    empty = Features((), (), {}, {}, {})
    listings = Listings(empty, np.array(codes), max(codes) + 1, np.array(groups))
    return cut(listings, whole(listings), (0,))


def test_what_the_members_of_a_head_read() -> None:
    assert [reads(member, KINDS) for member in members_of(LATE)] == [TEXT, IMAGE, TEXT]
    assert [reads(member, KINDS) for member in members_of(CONCAT)] == [BOTH]
    assert members_of(None) == (None,)


def test_what_there_is_to_read_of_a_listing(drawn: Draw) -> None:
    features = drawn((4, 4), missing=0.0)
    nothing = np.arange(8) < 2
    features = replace(features, present={"words": ~nothing, "pixels": np.arange(8) % 2 == 0})
    texts = ["a text", "", None, *["more"] * 5]
    there, has = evidence(features, members_of(LATE), texts)
    assert there.tolist() == [(~nothing).tolist(), [True, False] * 4, [True, False, False, *[True] * 5]]
    assert has["text"].tolist() == [True, False, *[True] * 6]  # its words, or its vector
    assert has["image"].tolist() == [True, False] * 4
    assert set(evidence(features, members_of(HeadConfig(("words",))))[1]) == {"text"}


def test_inner_folds_judge_each_row_of_the_side_once_and_keep_groups_whole() -> None:
    groups = np.random.default_rng(0).integers(40, size=120)
    listings = Listings(Features((), (), {}, {}, {}), groups % 3, 3, groups)
    fold = repeated_folds(listings.codes, groups, 3, 1, 0)[0]
    side = cut(listings, fold, (1,))
    assert len(side.inner) == INNER_FOLDS
    assert sorted(np.concatenate([each.test for each in side.inner]).tolist()) == side.fold.side.tolist()
    for each in side.inner:
        parts = [each.train, each.inner, each.test]
        assert sorted(np.concatenate(parts).tolist()) == side.fold.side.tolist()
        assert sum(len(set(groups[part])) for part in parts) == len(set(groups[side.fold.side]))


def test_a_category_with_one_group_is_learnt_in_every_fold_that_does_not_test_its_group() -> None:
    codes = [0] * 8 + [1] * 8 + [2, 2, 3]
    side = side_of(codes, [*range(8), *range(10, 18), 30, 30, 10])  # the last is a near-duplicate of listing 8
    assert sorted(np.concatenate([fold.test for fold in side.inner]).tolist()) == list(range(16))
    for fold in side.inner:
        assert {16, 17} <= set(fold.train)
        assert (18 in fold.train) == (8 not in fold.test)


@pytest.mark.parametrize(
    ("codes", "groups"),
    [([0, 1, 2, 2], [0, 1, 2, 2]), ([0, 0, 1, 1], [0, 0, 1, 1]), ([0, 0, 1, 1], [0] * 4), ([0, 0, 1], [0, 1, 2])],
)
def test_too_few_groups_make_no_folds_and_say_why(codes: list[int], groups: list[int]) -> None:
    side = side_of(codes, groups)
    assert side.inner == ()
    assert side.why == "fewer than two categories have two distinct listings"


@pytest.mark.parametrize("config", [LATE, CONCAT, replace(CONCAT, fusion="gated"), replace(CONCAT, hidden=8), None])
def test_nothing_of_a_fold_s_test_rows_reaches_what_is_said_of_them(drawn: Draw, config: HeadConfig | None) -> None:
    features = drawn((30, 30, 30), noise=2.0)
    listings = listings_of(features)
    sides = outer(listings)
    members = members_of(config)
    honest = [Panel(listings, sides, members).fuse(members, 0)]
    test = sides[0].fold.test
    # Every label of the fold, and the vectors and texts of half of it, are others: the other half is judged as before.
    codes, texts = listings.codes.copy(), list(listings.texts or ())
    codes[test] = (codes[test] + 1) % 3
    spoilt = {name: block.copy() for name, block in features.vectors.items()}
    for row in test[1::2]:
        texts[row] = "other words kind1"
        for block in spoilt.values():
            block[row] *= -3
    misled = replace(listings, features=replace(features, vectors=spoilt), codes=codes, texts=texts)
    panel = Panel(misled, sides, members)
    again = panel.fuse(members, 0)
    np.testing.assert_allclose(np.exp(honest[0].test()[::2]), np.exp(again.test()[::2]), atol=1e-3)
    np.testing.assert_allclose(honest[0].log_probabilities, again.log_probabilities, atol=1e-2)
    other = panel.fuse(members, 1)
    before = Panel(listings, sides, members).fuse(members, 1)
    moved = np.abs(np.exp(before.test()) - np.exp(other.test())).max()
    assert moved > 0.05, "the other folds learn from the spoilt rows, or this test shows nothing"


@pytest.mark.parametrize("config", [LATE, CONCAT])
def test_labels_of_an_inner_fold_do_not_reach_what_is_said_of_it(drawn: Draw, config: HeadConfig) -> None:
    listings = listings_of(drawn((30, 30, 30), noise=2.0))
    side = cut(listings, whole(listings), (0,))
    codes = listings.codes.copy()
    test = side.inner[0].test
    codes[test] = (codes[test] + 1) % 3
    honest, misled = (Panel(each, [side], members_of(config)) for each in (listings, replace(listings, codes=codes)))
    for member in members_of(config):
        said, again = (panel.opinions(member, 0, 0) for panel in (honest, misled))
        np.testing.assert_allclose(np.exp(said), np.exp(again), atol=1e-4)
        assert np.abs(np.exp(honest.opinions(member, 0, 1)) - np.exp(misled.opinions(member, 0, 1))).max() > 0.05


def test_an_inner_fold_is_fused_with_weights_of_the_others(drawn: Draw) -> None:
    listings = listings_of(drawn((30, 30, 30), noise=2.0, missing=0.0))
    side = cut(listings, whole(listings), (0,))
    members = members_of(LATE)
    panel = Panel(listings, [side], members)
    said = [np.stack([panel.opinions(member, 0, place) for member in members]) for place in range(len(side.inner))]
    others = np.concatenate(said[1:], axis=1)
    there = np.ones(others.shape[:2], bool)
    codes = np.concatenate([listings.codes[fold.test] for fold in side.inner[1:]])
    kinds = [reads(member, KINDS) for member in members]
    fusion = fit_fusion({BOTH: others}, there, dict.fromkeys(BOTH, there[0]), codes, kinds)
    weights = fusion.weights[BOTH][:-1]
    fused = panel.fuse(members, 0)
    here = np.isin(fused.rows, side.inner[0].test)
    got, expected = fused.log_probabilities[here], np.tensordot(weights, said[0], 1)  # all frequencies are about alike
    np.testing.assert_allclose(got - got[:, :1], expected - expected[:, :1], atol=0.05)
    assert not np.allclose(weights, fused.fusion.weights[BOTH][:-1], atol=1e-3), "all weights alike show nothing"


def test_the_words_are_judged_out_of_fold_too(drawn: Draw) -> None:
    listings = listings_of(drawn((30, 30, 30)))
    side = cut(listings, whole(listings), (0,))
    panel = Panel(listings, [side], members_of(LATE))
    for place, fold in enumerate(side.inner):
        learnt = np.concatenate([fold.train, fold.inner])
        said = control_fold(listings.texts or [], listings.codes, learnt, fold.test, 3)
        np.testing.assert_allclose(np.exp(panel.opinions(None, 0, place)), said, atol=1e-5)


def test_a_head_of_both_modalities_says_what_it_would_of_one_alone(drawn: Draw) -> None:
    listings = listings_of(drawn((30, 30, 30), missing=0.0))
    side = cut(listings, whole(listings), (0,))
    text, image = (HeadConfig((name,)) for name in CONCAT.encoders)
    panel = Panel(listings, [side], [CONCAT, text, image])
    complete, no_photo, no_text = (panel.opinions(CONCAT, 0, 0, lost) for lost in (frozenset(), IMAGE, TEXT))
    assert min(np.abs(complete - no_photo).max(), np.abs(complete - no_text).max()) > 0.1
    assert panel.opinions(text, 0, 0, IMAGE) is panel.opinions(text, 0, 0), "a head of texts says the same"


def test_a_listing_that_lost_its_photo_is_judged_by_the_members_that_are_left(drawn: Draw) -> None:
    listings = listings_of(drawn((30, 30, 30), missing=0.0))
    sides = outer(listings)
    config = replace(LATE, words=False)
    panel = Panel(listings, sides, members_of(config))
    fused, text = panel.fuse(members_of(config), 0), panel.fuse((HeadConfig(("words",)),), 0)
    np.testing.assert_array_equal(fused.test(IMAGE).argmax(axis=1), text.test().argmax(axis=1))
    nothing = fused.test(BOTH)
    np.testing.assert_allclose(nothing, np.broadcast_to(nothing[0], nothing.shape), atol=1e-6)
    np.testing.assert_allclose(np.exp(nothing[0]), 1 / 3, atol=0.02)


def test_scouts_compare_as_heads_do(drawn: Draw) -> None:
    listings = listings_of(drawn((60, 60, 60), noise=2.5))
    side = cut(listings, whole(listings), (0,))
    members = [HeadConfig(("words",), l2=l2) for l2 in (0.1, 8.0, 3000.0)]
    heads, scouts = (Panel(listings, [side], members, scouts=scouts) for scouts in (False, True))
    losses = [[panel.fuse((member,), 0).losses().mean() for member in members] for panel in (heads, scouts)]
    assert np.argmin(losses[0]) == np.argmin(losses[1])
    np.testing.assert_allclose(*losses, atol=0.08)


def test_words_without_texts_are_refused(drawn: Draw) -> None:
    listings = replace(listings_of(drawn()), texts=None)
    with pytest.raises(ModelError, match="there are no texts to learn them from"):
        Panel(listings, outer(listings), members_of(LATE))
