from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blinkered import NAME, Blinkered, listings_of, texts
from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.extract.trunk import split
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.finetune import TuneConfig, Tuning, variables_of
from headstart.heads.nested import Listings
from headstart.heads.splits import Fold

MEMBER = HeadConfig((NAME,))
FULL = TuneConfig("full", learning_rate=0.003, epochs=30, patience=8)


class Given:
    """A network and what it is given, row by row."""

    def __init__(self, network: Any, inputs: np.ndarray) -> None:
        self.network, self.inputs = network, inputs
        self.takes = (None, *inputs.shape[1:]), "float32"
        self.variables = variables_of(network)
        self.initial = [each.numpy() for each in self.variables]

        self.long = np.zeros(len(inputs), int)
        self.asked: list[np.ndarray] = []

    def batch(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(rows)
        return self.inputs[rows]

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        return self.long[rows]


def fold_of(rows: int) -> Fold:
    order = np.random.default_rng(1).permutation(rows)
    return Fold(*(np.sort(part) for part in np.split(order, [rows // 2, rows * 5 // 8])), 0)


class Case:
    """Listings that frozen vectors cannot tell apart, a head that has learnt what it can, and the network."""

    def __init__(self, rows: int = 480, shuffled: bool = False) -> None:
        said, codes = texts(rows)
        self.encoder = Blinkered()
        self.counts = np.array([self.encoder.prepare(text) for text in said])
        if shuffled:
            codes = np.random.default_rng(2).permutation(codes)
        self.listings, self.fold = listings_of(said, codes, self.encoder), fold_of(rows)
        self.head, self.frozen = head_of(self.listings, MEMBER, self.fold)
        self.weights = self.head.get_weights()

    def tuning(self, config: TuneConfig = FULL) -> Tuning:
        self.network = self.encoder.trainable()
        self.head.set_weights(self.weights)  # it is the one that is tuned
        return Tuning(MEMBER, self.head, [Given(self.network, self.counts)], self.listings, config)

    def accuracy(self, said: np.ndarray) -> float:
        return float((said.argmax(axis=1) == self.listings.codes[self.fold.test]).mean())


def head_of(listings: Listings, member: HeadConfig, fold: Fold) -> tuple[Any, np.ndarray]:
    """A head that has learnt from the train rows, and what it says of the test rows."""
    task = HeadTask(member, fold.train, fold.inner, scout=True)
    bank = HeadBank(listings.features, listings.codes, listings.classes, [task]).fit()
    return bank.network(0, logits=True), bank.log_probabilities([fold.test])[0]


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


@pytest.mark.parametrize("depth", ["top", "full"])
def test_what_frozen_vectors_lack_is_learnt(case: Case, depth: str) -> None:
    network, inputs = case.encoder.trainable(), case.counts
    if depth == "top":
        trunk, network = split(network)
        inputs = trunk(case.counts).numpy()
    tuning = Tuning(MEMBER, case.head, [Given(network, inputs)], case.listings, FULL)
    case.head.set_weights(case.weights)
    before = tuning.log_probabilities(case.fold.test)
    np.testing.assert_allclose(before, case.frozen, atol=1e-3)  # it begins as the frozen head
    course = tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,))
    assert case.accuracy(case.frozen) < 0.5 and course.best > 0
    assert case.accuracy(tuning.log_probabilities(case.fold.test)) > 0.85
    assert course.losses[course.best] == min(course.losses) < course.losses[0] and course.share > 0


def test_shuffled_labels_are_at_chance() -> None:
    case = Case(shuffled=True)
    tuning = case.tuning()
    tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,))
    spread = math.sqrt(2 / 9 / len(case.fold.test))
    assert abs(case.accuracy(tuning.log_probabilities(case.fold.test)) - 1 / 3) < 3 * spread


def test_where_nothing_is_better_everything_stays(case: Case) -> None:
    tuning = case.tuning(replace(FULL, learning_rate=30.0, patience=2))
    first = [each.numpy() for each in tuning.variables]
    course = tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,))
    assert (course.best, course.share, course.stop) == (0, 0, "inner rows")
    for variable, value in zip(tuning.variables, first, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_each_fit_begins_anew(case: Case) -> None:
    config = replace(FULL, epochs=4)
    tuning = case.tuning(config)
    first, second = (tuning.fit(case.weights, case.fold.train, case.fold.inner, (5,)) for _ in range(2))
    np.testing.assert_allclose(first.losses, second.losses, rtol=1e-3)
    other = tuning.fit(case.weights, case.fold.train, case.fold.inner, (6,))
    assert other.losses[0] == pytest.approx(first.losses[0]) and other.losses[1:] != pytest.approx(first.losses[1:])


def test_lower_layers_take_shorter_steps(case: Case) -> None:
    # Adam's first steps are as long as the rate, whatever the slope.
    def moved(decay: float) -> float:
        config = replace(FULL, epochs=1, patience=1, decay=decay, learning_rate=1e-3)
        tuning = case.tuning(config)
        tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,))
        fresh = case.encoder.trainable()
        lower, upper = (
            np.abs(case.network.get_layer(name).kernel.numpy() - fresh.get_layer(name).kernel.numpy()).max()
            for name in ("lower", "upper")
        )
        assert upper > 0
        return float(lower / upper)

    assert 0 < moved(0.01) < 0.2 * moved(1.0)


@pytest.mark.parametrize("rate", [1e30, math.inf])
def test_a_loss_that_is_not_finite_stops_in_one_line(case: Case, rate: float) -> None:
    with pytest.raises(ModelError, match=r"^fine-tuning blinkered: the loss is not finite in epoch \d+, step \d+: "):
        case.tuning(replace(FULL, learning_rate=rate, clip=1e30)).fit(
            case.weights, case.fold.train, case.fold.inner, (0,)
        )


def test_inputs_that_are_not_finite_stop_it_before_the_first_step(case: Case) -> None:
    counts = case.counts.copy()
    counts[case.fold.inner[0]] = np.inf
    tuning = Tuning(MEMBER, case.head, [Given(case.encoder.trainable(), counts)], case.listings, FULL)
    with pytest.raises(ModelError, match="not finite in epoch 0"):
        tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,))


def test_without_listings_to_stop_by_it_does_not_begin(case: Case) -> None:
    with pytest.raises(ModelError, match="no listings to stop by"):
        case.tuning().fit(case.weights, case.fold.train, np.arange(0), (0,))


def test_the_time_is_kept_and_the_best_so_far_is_left(case: Case) -> None:
    tuning = case.tuning(replace(FULL, epochs=10**6, patience=10**6, learning_rate=0.01))
    course = tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,), deadline=time.perf_counter())
    assert (course.best, course.stop) == (0, "budget")

    class Enough(Exception):
        pass

    def enough(epoch: int) -> None:
        raise Enough

    with pytest.raises(Enough):  # TensorFlow has traced a step now, however long that takes here
        tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,), better=enough)
    told: list[int] = []
    end = time.perf_counter() + 3
    course = tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,), deadline=end, better=told.append)
    assert time.perf_counter() < end + 30, "a busy machine may be late"
    assert course.stop == "budget" and max(told, default=0) == course.best
    assert len(course.losses) < 10 or case.accuracy(tuning.log_probabilities(case.fold.test)) > 0.9


def test_progress_is_told_in_rows(case: Case) -> None:
    learnt: list[int] = []
    case.tuning(replace(FULL, epochs=2)).fit(
        case.weights, case.fold.train, case.fold.inner, (0,), advance=learnt.append
    )
    assert sum(learnt) == 2 * len(case.fold.train)


def test_listings_of_like_length_go_together_and_each_is_learnt_from_once(case: Case) -> None:
    source = Given(case.encoder.trainable(), case.counts)
    source.long = np.random.default_rng(4).geometric(0.02, len(case.counts))
    tuning = Tuning(MEMBER, case.head, [source], case.listings, replace(FULL, epochs=1))
    tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,), better=lambda epoch: None)
    asked = [rows for rows in source.asked if np.isin(rows, case.fold.train).all()]
    np.testing.assert_array_equal(np.sort(np.concatenate(asked)), case.fold.train)
    padded = sum(len(rows) * source.long[rows].max() for rows in asked)
    usual = np.array_split(np.random.default_rng(5).permutation(case.fold.train), len(asked))
    assert padded < 0.7 * sum(len(rows) * source.long[rows].max() for rows in usual)
    some = case.fold.test[::-1]  # in whatever order they are asked for, the answers are theirs
    np.testing.assert_allclose(
        tuning.log_probabilities(some), tuning.log_probabilities(case.fold.test)[::-1], atol=1e-5
    )


class Two:
    """Texts and photos, both by blinkered networks; each tells half of what there is to tell."""

    def __init__(self) -> None:
        said, codes = texts(480)
        encoder = Blinkered()
        rng = np.random.default_rng(3)
        self.names = ("a", "b")
        counts = np.array([encoder.prepare(text) for text in said])
        noise = np.array([encoder.prepare(text) for text in texts(480, seed=9)[0]])
        half = rng.random(len(codes)) < 0.5
        self.inputs = {"a": np.where(half[:, None], counts, noise), "b": np.where(half[:, None], noise, counts)}
        self.present = {"a": rng.random(len(codes)) < 0.9, "b": np.ones(len(codes), bool)}
        self.networks = {name: encoder.trainable() for name in self.names}
        vectors = {
            name: np.where(self.present[name][:, None], self.networks[name](self.inputs[name]).numpy(), 0)
            for name in self.names
        }
        features = Features(
            tuple(map(str, range(len(codes)))), (None,) * len(codes), vectors, self.present, {"a": "text", "b": "image"}
        )
        self.listings = Listings(features, codes, 3, np.arange(len(codes)))
        self.fold = fold_of(len(codes))


def test_two_encoders_learn_under_one_head() -> None:
    two = Two()
    member = HeadConfig(two.names)
    head, frozen = head_of(two.listings, member, two.fold)
    sources = [Given(two.networks[name], two.inputs[name]) for name in two.names]
    tuning = Tuning(member, head, sources, two.listings, FULL)
    test, codes = two.fold.test, two.listings.codes
    np.testing.assert_allclose(tuning.log_probabilities(test), frozen, atol=1e-3)
    tuning.fit(head.get_weights(), two.fold.train, two.fold.inner, (0,))
    said = tuning.log_probabilities(test)
    assert (said.argmax(axis=1) == codes[test]).mean() > (frozen.argmax(axis=1) == codes[test]).mean() + 0.2

    # What a network would make of a text that is not there has no part in the answer.
    lacking = test[~two.present["a"][test]]
    sources[0].inputs[lacking] += 100
    again, without = tuning.log_probabilities(lacking), tuning.log_probabilities(lacking, frozenset({"text"}))
    np.testing.assert_allclose(again, said[np.isin(test, lacking)], atol=1e-6)
    np.testing.assert_allclose(again, without, atol=1e-6)
    both = test[two.present["a"][test]]
    assert not np.allclose(tuning.log_probabilities(both), tuning.log_probabilities(both, frozenset({"text"})))


def test_listings_with_nothing_to_read_are_not_learnt_from(case: Case) -> None:
    present = np.ones(len(case.counts), bool)
    gone = case.fold.train[:40]
    present[gone] = False
    features = replace(case.listings.features, present={NAME: present})
    listings = replace(case.listings, features=features)
    learnt: list[int] = []
    tuning = Tuning(
        MEMBER, case.head, [Given(case.encoder.trainable(), case.counts)], listings, replace(FULL, epochs=1)
    )
    tuning.fit(case.weights, case.fold.train, case.fold.inner, (0,), advance=learnt.append)
    assert sum(learnt) == len(case.fold.train) - len(gone)
