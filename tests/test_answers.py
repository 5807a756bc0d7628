"""Answers: what is said of each listing, in the words of every door that it is asked at."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from catalogs import NAMES, draw_features, texts_of
from headstart.answers import answer
from headstart.errors import ModelError
from headstart.heads.classifier import Classifier

KEYS = ["category", "probability", "top", "top_probability", "decision", "suggested", "candidates", "read"]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    features = draw_features(400)
    return Classifier(words=True).fit(features, groups=np.arange(400), texts=texts_of(features))


def test_a_row_says_what_the_classifier_and_its_rules_say(classifier: Classifier) -> None:
    features = draw_features(200, seed=1)
    nothing = np.arange(200) == 7
    features = replace(features, present={name: mask & ~nothing for name, mask in features.present.items()})
    texts = texts_of(features)
    texts[7] = None
    rules = classifier.rules(0.05, 0.9)
    rows = answer(classifier, features, rules, texts).rows()
    said = classifier.predict_proba(features, texts)
    found = classifier.decide(features, 0.05, 0.9, texts)
    assert {"accept", "suggest", "person"} == set(found.action)
    for number, row in enumerate(rows):
        assert list(row) == KEYS
        order = np.argsort(-said[number], kind="stable")
        assert row["top"] == [NAMES[code] for code in order[:3]]
        assert row["top_probability"] == said[number, order[:3]].tolist(), "not rounded"
        assert (row["category"], row["probability"]) == (row["top"][0], row["top_probability"][0])
        assert row["decision"] == found.action[number]
        held = [NAMES[code] for code in order if found.sets[number, code]]
        assert row["candidates"] == len(held)
        assert row["suggested"] == (" | ".join(held) if row["decision"] == "suggest" else "")
    assert (rows[7]["decision"], rows[7]["read"], rows[7]["suggested"]) == ("person", "nothing", "")
    assert {row["read"] for row in rows} == {"text+image", "text", "image", "nothing"}
    assert json.loads(json.dumps(rows)) == rows, "plain values"


def test_without_rules_a_person_decides(classifier: Classifier) -> None:
    features = draw_features(9, seed=2)
    found = answer(classifier, features, None, texts_of(features))
    assert found.decision is None
    assert {(row["decision"], row["suggested"], row["candidates"]) for row in found.rows()} == {("person", "", -1)}


def test_of_two_categories_both_are_named() -> None:
    features = draw_features(100)
    classifier = Classifier().fit(features, np.array([label == "Montres" for label in features.labels]))
    [row, *_] = answer(classifier, features).rows()
    assert sorted(row["top"]) == ["False", "True"]
    assert sum(row["top_probability"]) == pytest.approx(1)


def test_no_listing_no_answer(classifier: Classifier) -> None:
    none = draw_features(5).take(np.arange(0))
    assert answer(classifier, none, classifier.rules(), []).rows() == []


def test_words_that_are_missing_are_asked_for(classifier: Classifier) -> None:
    with pytest.raises(ModelError, match="reads words as well"):
        answer(classifier, draw_features(5))
