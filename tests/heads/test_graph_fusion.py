"""Fusion, decisions and ranking in a TensorFlow graph say what a classifier says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.heads.calibration import Conformal, Rules
from headstart.heads.classifier import Classifier
from headstart.heads.fusion import Fusion, normalised
from headstart.heads.graph_fusion import answers, fused
from headstart.predictions import predictions
from headstart.runtime import tensorflow

TEXT, IMAGE = frozenset({"text"}), frozenset({"image"})


def test_fusion_of_members_that_are_there_or_not() -> None:
    rng = np.random.default_rng(0)
    opinions = np.stack([normalised(rng.normal(scale=30, size=(64, 4))) for _ in range(3)]).astype(np.float32)
    has = {"text": rng.random(64) < 0.6, "image": rng.random(64) < 0.6}
    there = np.stack([has["text"], has["image"], has["text"] & (rng.random(64) < 0.5)])
    opinions[~there] = np.nan  # nobody looks at it
    weights = {pattern: rng.random(4) for pattern in (TEXT, IMAGE, TEXT | IMAGE)}
    weights[TEXT][[0, 2]] = 0
    fusion = Fusion((TEXT, IMAGE, TEXT), weights, np.log(np.array([0.4, 0.3, 0.2, 0.1])))
    wanted = fusion.log_probabilities(opinions, there, has)
    tf = tensorflow()
    found = fused(
        fusion, [*tf.constant(opinions)], [*tf.constant(there)], {name: tf.constant(mask) for name, mask in has.items()}
    )
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("calibrated", [True, False])
def test_answers_are_what_predict_writes(calibrated: bool, drawn: Callable[..., Features]) -> None:
    features = drawn(sizes=(70, 70, 70, 70), noise=2.0, missing=0.3)
    lacks = np.arange(len(features)) % 20 == 3
    features = replace(features, present={name: mask & ~lacks for name, mask in features.present.items()})
    classifier = Classifier().fit(features, groups=np.arange(len(features)))
    rules = classifier.rules(0.1, 0.9) if calibrated else None
    (rows,) = predictions(classifier, [features], rules)
    has = {"text": features.present["words"], "image": features.present["pixels"]}
    tf = tensorflow()
    probabilities = classifier.predict_proba(features)
    names = classifier.classes_.tolist()
    found = answers(tf.constant(probabilities), names, rules, {name: tf.constant(mask) for name, mask in has.items()})
    found = {name: value.numpy() for name, value in found.items()}
    strings = {name: np.vectorize(bytes.decode)(found[name]).tolist() for name in ("category", "suggested", "read")}
    wanted = rows.to_pydict()
    assert strings["category"] == wanted["category"]
    assert strings["read"] == wanted["read"]
    assert set(strings["read"]) == {"text", "image", "text+image", "nothing"}
    np.testing.assert_allclose(found["top_probability"], -np.sort(-probabilities)[:, :3])
    decided = [each.decode() for each in found["decision"]]
    if rules is None:
        assert (set(decided), set(strings["suggested"]), set(found["candidates"])) == ({"person"}, {""}, {-1})
    else:
        assert decided == wanted["decision"]
        assert strings["suggested"] == wanted["suggested"]
        assert set(decided) == {"accept", "suggest", "person"}
        np.testing.assert_array_equal(found["candidates"], rules.conformal.sets(probabilities).sum(axis=1))


def test_a_set_holds_the_most_probable_category_though_its_own_threshold_is_higher() -> None:
    rules = Rules(None, Conformal(np.array([0.9, 0.1, 0.5]), np.array(["own"] * 3)), 3)
    tf = tensorflow()
    shares = tf.constant([[0.6, 0.3, 0.1], [0.95, 0.03, 0.02], [0.5, 0.09, 0.41]])
    has = {"text": tf.constant([True, True, True])}
    found = answers(shares, ["a", "b", "c"], rules, has)
    assert found["suggested"].numpy().tolist() == [b"a | b", b"a", b""]
    assert found["candidates"].numpy().tolist() == [2, 1, 0]
    assert found["decision"].numpy().tolist() == [b"suggest", b"suggest", b"person"]
