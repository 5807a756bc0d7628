from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.classifier import Classifier
from headstart.heads.config import HeadConfig

Draw = Callable[..., Features]
FUSED = HeadConfig(("words", "pixels"))
KINDS = {"bags": "leather strap zip", "lamps": "bulb light shade", "rugs": "wool woven carpet"}


def texts_of(features: Features, seed: int = 0) -> list[str | None]:
    """Of each listing three words, half of them telling."""
    rng = np.random.default_rng(seed)
    filler = [f"word{number}" for number in range(9)]
    return [" ".join(rng.choice([*KINDS[str(label)].split(), *filler[:3]], 3)) for label in features.labels]


@pytest.fixture(scope="module")
def features(drawn: Draw) -> Features:
    return drawn()


@pytest.fixture(scope="module")
def fitted(features: Features) -> Classifier:
    return Classifier.of(FUSED, seed=3).fit(features)


def right(classifier: Classifier, features: Features, texts: list[str | None] | None = None) -> float:
    return float(np.mean(classifier.predict(features, texts) == np.array(features.labels)))


def test_a_fitted_classifier_names_the_category_of_new_listings(drawn: Draw) -> None:
    listings = drawn((60, 60, 60), noise=0.7)
    rows = np.arange(len(listings))
    seen, new = listings.take(rows[rows % 2 == 0]), listings.take(rows[rows % 2 == 1])
    classifier = Classifier().fit(seen)
    assert classifier.config_ == HeadConfig(("words", "pixels"), fusion="late")
    assert classifier.classes_.tolist() == ["bags", "lamps", "rugs"]
    assert classifier.seconds_ > 0
    said = classifier.predict_proba(new)
    assert said.shape == (len(new), 3)
    assert said.dtype == np.float32
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    assert classifier.predict(new).tolist() == classifier.classes_[said.argmax(axis=1)].tolist()
    assert right(classifier, new) > 0.9


def test_labels_given_apart_replace_those_of_the_features(features: Features, fitted: Classifier) -> None:
    renamed = [f"{label}, renamed" for label in features.labels]
    classifier = Classifier.of(FUSED, seed=3).fit(features, renamed)
    assert classifier.classes_.tolist() == ["bags, renamed", "lamps, renamed", "rugs, renamed"]
    np.testing.assert_allclose(classifier.predict_proba(features), fitted.predict_proba(features), atol=1e-4)


def test_the_order_of_the_encoders_is_the_config_s(features: Features, fitted: Classifier) -> None:
    turned = Classifier.of(HeadConfig(("pixels", "words")), seed=3).fit(features)
    np.testing.assert_allclose(turned.predict_proba(features), fitted.predict_proba(features), atol=1e-3)


def test_listings_without_a_label_teach_nothing_and_are_judged(drawn: Draw) -> None:
    listings = drawn((60, 60, 60), noise=0.7)
    known = np.arange(len(listings)) % 2 == 0
    labels = [label if kept else None for label, kept in zip(listings.labels, known, strict=True)]
    spoilt = {name: np.where(known[:, None], block, 3 * block) for name, block in listings.vectors.items()}
    groups, texts = np.arange(len(listings)), texts_of(listings)
    late = Classifier(words=True)
    classifier = late.fit(replace(listings, labels=tuple(labels), vectors=spoilt), groups=groups, texts=texts)
    rows = np.flatnonzero(known)
    only = Classifier(words=True).fit(listings.take(rows), groups=groups[rows], texts=[texts[row] for row in rows])
    said, expected = classifier.predict_proba(listings, texts), only.predict_proba(listings, texts)
    np.testing.assert_allclose(said, expected, atol=1e-4)
    assert (classifier.predict(listings, texts) == np.array(listings.labels))[~known].mean() > 0.9
    assert np.isnan(classifier.out_of_fold_).all(axis=1).tolist() == (~known).tolist()
    np.testing.assert_allclose(classifier.out_of_fold_[known], only.out_of_fold_, atol=1e-4)


def test_a_category_seen_once_is_learnt(drawn: Draw) -> None:
    listings = drawn((40, 1, 40), noise=0.3, missing=0.0)
    once = list(listings.labels).index("lamps")
    classifier = Classifier.of(FUSED).fit(listings, groups=np.arange(81))
    assert classifier.classes_.tolist() == ["bags", "lamps", "rugs"]
    assert classifier.predict(listings)[once] == "lamps"
    assert classifier.calibrated_, "one rare category does not take the others' decisions away"
    assert np.flatnonzero(np.isnan(classifier.out_of_fold_[:, 0])).tolist() == [once]


def test_two_listings_of_two_categories_are_enough_to_classify_but_not_to_decide(drawn: Draw) -> None:
    listings = drawn((1, 1), missing=0.0)
    classifier = Classifier().fit(listings)
    assert classifier.predict(listings).tolist() == list(listings.labels)
    assert not classifier.calibrated_
    assert np.isnan(classifier.out_of_fold_).all()
    # Both members say as much: their mean.
    alone = [Classifier((name,)).fit(listings).predict_proba(listings) for name in ("words", "pixels")]
    mean = np.sqrt(alone[0] * alone[1])
    np.testing.assert_allclose(classifier.predict_proba(listings), mean / mean.sum(axis=1, keepdims=True), atol=1e-4)
    with pytest.raises(
        ModelError, match=r"errs \(fewer than two categories have two distinct listings\): let it learn"
    ):
        classifier.decide(listings)


@pytest.mark.parametrize(("labels", "found"), [("bags", "only 'bags'"), (None, "none")])
def test_fewer_than_two_categories_are_refused(features: Features, labels: str | None, found: str) -> None:
    given = [labels, None] * (len(features) // 2)
    with pytest.raises(ModelError, match=f"two or more categories apart, there is {found}: check --label$"):
        Classifier().fit(features, given)


def test_categories_of_several_types_are_refused(features: Features) -> None:
    with pytest.raises(ModelError, match="categories of several types, int and str: make them all of one"):
        Classifier().fit(features, [1, "bags"] * (len(features) // 2))


@pytest.mark.parametrize(
    ("given", "what"), [({"y": ["a", "b"]}, "categories"), ({"texts": ["a"]}, "texts"), ({"groups": [1]}, "groups")]
)
def test_one_of_each_for_each_listing(features: Features, given: dict[str, list[str]], what: str) -> None:
    with pytest.raises(ModelError, match=rf"^\d {what} for {len(features)} listings: give one"):
        Classifier().fit(features, **given)  # type: ignore[arg-type]


def test_an_encoder_without_vectors_is_refused(features: Features, fitted: Classifier) -> None:
    with pytest.raises(ModelError, match="no vectors of sounds; there are those of: words, pixels"):
        Classifier(("sounds",)).fit(features)
    texts = replace(features, vectors={"words": features.vectors["words"]})
    with pytest.raises(ModelError, match=r"the classifier reads pixels, there are vectors of: words$"):
        fitted.predict_proba(texts)


def test_vectors_of_another_encoder_are_refused(features: Features, fitted: Classifier) -> None:
    other = replace(features, fingerprints={**features.fingerprints, "pixels": "c3" * 32})
    with pytest.raises(ModelError, match=f"pixels {'b2' * 6}, these vectors are of {'c3' * 6}: train it again$"):
        fitted.predict_proba(other)


def test_an_array_is_refused_by_what_learnt_from_features(features: Features, fitted: Classifier) -> None:
    with pytest.raises(ModelError, match="learnt from vectors of words, pixels: give Features, not an array"):
        fitted.predict(features.vectors["words"])


def test_words_are_a_member_that_pays(drawn: Draw) -> None:
    listings = drawn((80, 80, 80), noise=3.0)
    rows = np.arange(len(listings))
    seen, new = listings.take(rows[rows % 2 == 0]), listings.take(rows[rows % 2 == 1])
    texts, new_texts = texts_of(seen), texts_of(new, seed=1)
    without = Classifier().fit(seen)
    classifier = Classifier(words=True).fit(seen, texts=texts)
    assert right(classifier, new, new_texts) > right(without, new) + 0.05
    none: list[str | None] = [None] * len(new)
    assert right(classifier, new, none) == pytest.approx(right(without, new), abs=0.06)
    with pytest.raises(ModelError, match=r"reads words as well: give the texts of the listings$"):
        classifier.predict(new)
    with pytest.raises(ModelError, match=r"^1 texts for 120 listings"):
        classifier.predict(new, ["one"])
    with pytest.raises(ModelError, match=r"no texts to learn them from: give texts$"):
        Classifier(words=True).fit(seen)


@pytest.fixture(scope="module")
def halves(drawn: Draw) -> tuple[Features, Features]:
    """Listings to learn from, and new ones; some lack a text or a photo."""
    listings = drawn((60, 60, 60), noise=1.5, missing=0.2)
    rows = np.arange(len(listings))
    return listings.take(rows[rows % 2 == 0]), listings.take(rows[rows % 2 == 1])


@pytest.fixture(scope="module")
def alone(halves: tuple[Features, Features]) -> dict[str, Classifier]:
    """What is to be had of each encoder by itself."""
    return {name: Classifier((name,)).fit(halves[0]) for name in ("words", "pixels")}


@pytest.mark.parametrize("fusion", ["late", "concat", "gated"])
def test_a_listing_that_lacks_a_modality_is_judged_by_the_other(
    halves: tuple[Features, Features], alone: dict[str, Classifier], fusion: str
) -> None:
    seen, new = halves
    classifier = Classifier(fusion=fusion).fit(seen)
    for kept, lost in (("words", "pixels"), ("pixels", "words")):
        vectors = {**new.vectors, lost: np.zeros_like(new.vectors[lost])}
        bare = replace(new, vectors=vectors, present={**new.present, lost: np.zeros(len(new), bool)})
        there = np.flatnonzero(new.present[kept])
        assert right(classifier, bare.take(there)) > right(alone[kept], bare.take(there)) - 0.12
    nothing = replace(new, present=dict.fromkeys(new.present, np.zeros(len(new), bool)))
    said = classifier.predict_proba(nothing)
    np.testing.assert_allclose(said, np.broadcast_to(np.exp(classifier.fusion_.prior), said.shape), atol=1e-5)
    assert set(classifier.decide(nothing).action) == {"person"}


def test_what_it_says_out_of_fold_is_what_it_says_of_new_listings(drawn: Draw) -> None:
    listings = drawn((300, 300, 300), noise=4.0)
    rows = np.arange(len(listings))
    seen, new = listings.take(rows[rows % 2 == 0]), listings.take(rows[rows % 2 == 1])
    classifier = Classifier().fit(seen)
    codes = np.searchsorted(classifier.classes_, np.array(seen.labels))
    believed = classifier.out_of_fold_.argmax(axis=1) == codes
    assert 0.6 < believed.mean() < 0.95
    assert right(classifier, new) == pytest.approx(believed.mean(), abs=0.06)
    said = classifier.predict_proba(new).max(axis=1)
    assert said.mean() == pytest.approx(right(classifier, new), abs=0.05), "probabilities are frequencies"


def test_decisions_keep_what_is_asked(drawn: Draw) -> None:
    listings = drawn((300, 300, 300), noise=2.0)
    rows = np.arange(len(listings))
    seen, new = listings.take(rows[rows % 2 == 0]), listings.take(rows[rows % 2 == 1])
    classifier = Classifier().fit(seen)
    truth = np.searchsorted(classifier.classes_, np.array(new.labels))
    wrong = classifier.predict_proba(new).argmax(axis=1) != truth
    found = classifier.decide(new, error_rate=0.05, coverage=0.9)
    accepted = found.action == "accept"
    assert 0.3 < accepted.mean() < 1
    assert wrong[accepted].mean() < 0.1 < wrong[~accepted].mean()
    assert found.sets[np.arange(len(new)), truth].mean() == pytest.approx(0.9, abs=0.05)
    assert (classifier.decide(new, error_rate=0.02).action == "accept").sum() < accepted.sum()


def test_many_listings_are_read_in_batches_and_stay_where_they_are(drawn: Draw, fitted: Classifier) -> None:
    listings = drawn((3, 3, 3), seed=1)
    many = listings.take(np.arange(20_000) % 9)
    said = fitted.predict_proba(many)
    np.testing.assert_allclose(said, fitted.predict_proba(listings)[np.arange(20_000) % 9], atol=1e-5)
