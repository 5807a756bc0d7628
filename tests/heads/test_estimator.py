"""The Classifier in scikit-learn's hands: its own checks, cloning, searches, pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from headstart.errors import ModelError
from headstart.heads.classifier import Classifier
from headstart.heads.config import HeadConfig

LAST_BIT = {"check_methods_sample_order_invariance": "in float32 a row's last bit may change with its place in a batch"}


@parametrize_with_checks([Classifier(fusion="concat")], expected_failed_checks=lambda estimator: LAST_BIT)
def test_it_keeps_scikit_learn_s_rules(estimator: Classifier, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Listings of three categories, a cloud of vectors each."""
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    means = rng.normal(size=(3, 6))
    return 5 + means[codes] + 0.7 * rng.normal(size=(90, 6)), np.array(["bags", "lamps", "rugs"])[codes]


def test_the_order_of_the_listings_changes_no_more_than_the_last_bit(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    classifier, order = Classifier(fusion="concat").fit(*clouds), np.random.default_rng(2).permutation(90)
    said, again = classifier.predict_proba(clouds[0]), classifier.predict_proba(clouds[0][order])
    np.testing.assert_allclose(again, said[order], rtol=1e-5, atol=1e-6)
    assert (classifier.predict(clouds[0][order]) == classifier.predict(clouds[0])[order]).all()


def test_its_parameters_are_those_of_a_head() -> None:
    config = HeadConfig(
        ("a", "b"), "gated", hidden=8, dropout=0.1, l2=2.0, learning_rate=0.5, balanced=False, absent=0.3
    )
    made = Classifier.of(config, seed=5)
    assert made.get_params() == {**vars(config), "seed": 5}
    assert clone(made).get_params() == made.get_params()
    assert clone(made).set_params(l2=1.0, fusion="late").get_params()["l2"] == 1.0
    default, fresh = HeadConfig(("a",), fusion="late"), Classifier().get_params()
    assert {**vars(default), "encoders": None, "seed": 0} == fresh, "the defaults are HeadConfig's, but for late fusion"


@pytest.mark.parametrize("given", [{"fusion": "early"}, {"fusion": "concat", "words": True}])
def test_only_the_fit_looks_at_its_parameters(given: dict[str, Any], clouds: tuple[np.ndarray, np.ndarray]) -> None:
    made = Classifier(**given)
    with pytest.raises(ModelError, match="fusion"):
        made.fit(*clouds)


def test_cross_validation(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    assert cross_val_score(Classifier(), *clouds, cv=3, error_score="raise").mean() > 0.85


def test_a_grid_search_finds_the_better_penalty(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    search = GridSearchCV(Classifier(), {"l2": [1.0, 1e7]}, cv=2, scoring="neg_log_loss", error_score="raise").fit(
        *clouds
    )
    assert search.best_params_ == {"l2": 1.0}
    assert search.predict(clouds[0]).tolist()[:1] == clouds[1].tolist()[:1]


def test_a_pipeline(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    pipeline = make_pipeline(StandardScaler(), Classifier(fusion="concat", hidden=8))
    assert pipeline.fit(*clouds).score(*clouds) > 0.9
    assert pipeline.set_params(classifier__l2=1.0).get_params()["classifier__l2"] == 1.0


def test_groups_of_an_array_stay_together(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    block, labels = (np.repeat(each[:30], 4, axis=0) for each in clouds)
    rng = np.random.default_rng(1)
    chance = rng.permutation(np.unique(labels)[np.arange(30) % 3]).repeat(4)  # nothing to learn but by heart
    block = np.concatenate([block, rng.normal(size=(30, 60)).repeat(4, axis=0)], axis=1)
    codes = np.searchsorted(np.unique(chance), chance)
    apart, together = (
        np.mean(Classifier().fit(block, chance, groups).out_of_fold_.argmax(axis=1) == codes)
        for groups in (None, np.arange(30).repeat(4))
    )
    assert apart > 0.9
    assert together < 0.6
