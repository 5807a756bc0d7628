from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError, ModelError
from headstart.heads.fusion import normalised
from headstart.heads.nested import Listings, cut
from headstart.heads.opinions import FUSED, Opinions, ask, families, opinions, side_apart
from headstart.heads.splits import Fold

Draw = Callable[..., Features]


def listings_of(features: Features) -> Listings:
    """The first forty are near-duplicates in pairs; of the last category there is one listing."""
    codes = np.unique([str(label) for label in features.labels], return_inverse=True)[1]
    groups = np.arange(len(codes))
    groups[:40] = groups[:40] // 2 * 2
    texts = [f"kind{code} thing{row % 7}" for row, code in enumerate(codes.tolist())]
    return Listings(features, codes, int(codes.max()) + 1, np.unique(groups, return_inverse=True)[1], texts)


@pytest.fixture(scope="module")
def listings(drawn: Draw) -> Listings:
    return listings_of(drawn((30, 30, 30, 1), seed=3))


@pytest.fixture(scope="module")
def said(listings: Listings) -> Opinions:
    return opinions(listings, families(listings.features, words=False), folds=3, seed=1)


def test_each_family_says_probabilities_of_every_listing_that_can_be_judged(listings: Listings, said: Opinions) -> None:
    assert list(said.log_probabilities) == [FUSED, "text", "image"]
    lonely = np.bincount(listings.codes)[listings.codes] == 1
    assert np.array_equal(said.judged, ~lonely)
    for family in said.log_probabilities.values():
        assert family.shape == (91, 4)
        np.testing.assert_allclose(np.exp(family).sum(axis=1), 1, rtol=1e-4)
    right = said.log_probabilities[FUSED].argmax(axis=1) == listings.codes
    assert right[said.judged].mean() > 0.8  # 0.33 by chance


def test_a_family_knows_what_it_could_read(listings: Listings, said: Opinions) -> None:
    present = listings.features.present
    assert np.array_equal(said.there["text"], present["words"])
    assert np.array_equal(said.there["image"], present["pixels"])
    assert said.there[FUSED].all()


def test_no_listing_has_a_say_in_what_it_or_its_copy_is(drawn: Draw) -> None:
    """With labels dealt at random nothing can be known, whatever copies of a listing say of it."""
    listings = listings_of(drawn((60, 60), seed=4))
    codes = np.random.default_rng(0).integers(0, 2, 120)
    codes[:40] = np.repeat(codes[:40:2], 2)  # copies agree with each other
    found = opinions(replace(listings, codes=codes), families(listings.features, words=True), folds=3)
    right = found.log_probabilities[FUSED].argmax(axis=1) == codes
    assert 0.3 < right.mean() < 0.7


def test_nothing_is_learnt_from_listings_set_apart(listings: Listings) -> None:
    """On the same cuts, what a holdout is filed under moves no opinion on any listing, not in its last bit."""
    apart = np.zeros(91, bool)
    apart[40:75] = True
    rows, chosen = np.arange(91), families(listings.features, words=True)
    whole = Fold(rows, rows[:0], rows[:0], 0)
    sides = [side_apart(cut(listings, whole, (1,), 3), apart)]
    one = ask(listings, chosen, sides)
    codes = listings.codes.copy()
    codes[apart] = np.random.default_rng(0).permutation(codes[apart])
    other = ask(replace(listings, codes=codes), chosen, sides)
    for name, family in one.log_probabilities.items():
        assert np.array_equal(family, other.log_probabilities[name])
    assert one.judged[apart].sum() > 30
    with pytest.raises(HeadstartError, match="the holdout leaves too few listings"):
        opinions(listings, chosen, folds=3, apart=np.ones(91, bool))


def test_a_category_that_only_the_holdout_has_is_not_judged(drawn: Draw) -> None:
    listings = listings_of(drawn((30, 30, 12), seed=5))
    apart = listings.codes == 2
    apart[np.flatnonzero(apart)[0]] = False  # one distinct listing of it is learnt from: it vouches for the others
    said = opinions(listings, families(listings.features, words=False), folds=3, apart=apart)
    assert said.judged[listings.codes < 2].all()
    assert said.judged[apart].all()
    assert not said.judged[(listings.codes == 2) & ~apart].any()
    said = opinions(listings, families(listings.features, words=False), folds=3, apart=listings.codes == 2)
    assert not said.judged[listings.codes == 2].any()


def test_listings_of_which_nothing_can_be_read_are_not_judged(drawn: Draw) -> None:
    listings = listings_of(drawn((30, 30), seed=6))
    present = {name: mask.copy() for name, mask in listings.features.present.items()}
    for mask in present.values():
        mask[:5] = False
    bare = replace(listings, features=replace(listings.features, present=present))
    said = opinions(bare, families(bare.features, words=False), folds=3)
    assert np.array_equal(said.judged, np.arange(60) >= 5)


def test_families_are_those_that_the_listings_allow(drawn: Draw) -> None:
    features = drawn((10, 10))
    chosen = families(features, words=True)
    assert [len(chosen[name]) for name in (FUSED, "text", "image")] == [3, 2, 1]
    texts = replace(features, present={**features.present, "pixels": np.zeros(20, bool)})
    assert list(families(texts, words=False)) == [FUSED, "text"]
    nothing = replace(texts, present={name: np.zeros(20, bool) for name in features.present})
    with pytest.raises(ModelError, match="no listing has a vector"):
        families(nothing, words=True)


def test_scores_become_log_probabilities() -> None:
    found = normalised(np.array([[0.0, 0.0], [1000.0, 0.0]], np.float32))
    np.testing.assert_allclose(np.exp(found), [[0.5, 0.5], [1.0, 0.0]], atol=1e-6)
