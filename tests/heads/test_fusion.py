from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import HeadstartError, ModelError
from headstart.heads.fusion import Fusion, Pattern, fit_fusion

TEXT, IMAGE, BOTH = frozenset({"text"}), frozenset({"image"}), frozenset({"text", "image"})


def normalised(scores: np.ndarray) -> np.ndarray:
    """Log-probabilities, float32 as the bank's."""
    top = scores.max(axis=-1, keepdims=True)
    result = scores - top - np.log(np.exp(scores - top).sum(axis=-1, keepdims=True))
    return np.asarray(result, np.float32)


def opinion(codes: np.ndarray, classes: int, rng: np.random.Generator, spread: float = 1.5) -> np.ndarray:
    """What an ideal judge of one noisy sight of each listing says, knowing all categories equally frequent.

    The sight is a normal vector around ``spread²`` in the category's direction, of variance ``spread²``: its
    log-likelihood ratios are its coordinates.
    """
    sight = spread * rng.normal(size=(len(codes), classes))
    sight[np.arange(len(codes)), codes] += spread**2
    return normalised(sight)


def fit_text(opinions: list[np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Weights of members that all read the text of every listing, then of the prior."""
    there = np.ones((len(opinions), len(codes)), dtype=bool)
    fusion = fit_fusion({TEXT: np.stack(opinions)}, there, {"text": there[0]}, codes, [TEXT] * len(opinions))
    return fusion.weights[TEXT]


def cross_entropy(log_probabilities: np.ndarray, codes: np.ndarray) -> float:
    return float(-log_probabilities[np.arange(len(codes)), codes].mean())


def catalogue(rows: int = 3000, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Codes, opinions of a text and of a photo member, where they are there, and what listings have."""
    rng = np.random.default_rng(3)
    codes = rng.integers(classes, size=rows)
    opinions = np.stack([opinion(codes, classes, rng, spread) for spread in (2.0, 1.0)])
    lacks = rng.choice(["", "text", "image", "all"], rows, p=[0.5, 0.2, 0.2, 0.1])
    has = {name: ~np.isin(lacks, [name, "all"]) for name in ("text", "image")}
    return codes, opinions, np.stack([has["text"], has["image"]]), has


def fit_two() -> tuple[Fusion, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    codes, opinions, there, has = catalogue()
    fusion = fit_fusion(dict.fromkeys((TEXT, IMAGE, BOTH), opinions), there, has, codes, [TEXT, IMAGE])
    return fusion, codes, opinions, there, has


def test_an_ideal_judge_is_taken_at_its_word() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(5000) % 5
    weight, prior = fit_text([opinion(codes, 5, rng)], codes)
    assert weight == pytest.approx(1, abs=0.06)
    assert prior == 0  # all equally frequent: their frequencies say nothing


def test_three_times_too_sure_gets_a_third_of_the_weight() -> None:
    rng = np.random.default_rng(1)
    codes = np.arange(5000) % 5
    said = normalised(3 * opinion(codes, 5, rng))
    weight, _ = fit_text([said], codes)
    assert weight == pytest.approx(1 / 3, abs=0.02)


def test_two_independent_judges_are_added_and_one_that_guesses_is_not_heard() -> None:
    rng = np.random.default_rng(2)
    codes = np.arange(6000) % 4
    guess = normalised(rng.normal(size=(6000, 4)))
    first, second, useless, _ = fit_text([opinion(codes, 4, rng), opinion(codes, 4, rng, 1.0), guess], codes)
    assert first == pytest.approx(1, abs=0.08)
    assert second == pytest.approx(1, abs=0.08)
    assert useless == pytest.approx(0, abs=0.06)


def test_one_said_twice_is_heard_once() -> None:
    rng = np.random.default_rng(2)
    codes = np.arange(4000) % 4
    said = opinion(codes, 4, rng)
    first, second, _ = fit_text([said, said], codes)
    assert first == pytest.approx(second, abs=0.01)
    assert first + second == pytest.approx(1, abs=0.06)


def test_one_that_says_the_opposite_gets_no_weight_below_zero() -> None:
    rng = np.random.default_rng(4)
    codes = np.arange(2000) % 4
    said = opinion(codes, 4, rng)
    good, opposite, _ = fit_text([said, normalised(-opinion(codes, 4, rng))], codes)
    assert opposite == 0
    assert good > 0.9


def test_the_prior_gives_the_catalogue_its_own_mix_back() -> None:
    rng = np.random.default_rng(5)
    codes = rng.choice(4, 8000, p=[0.85, 0.05, 0.05, 0.05])
    said = opinion(codes, 4, rng, 1.0)[None]  # as if all were equally frequent
    there = np.ones((1, len(codes)), dtype=bool)
    has = {"text": there[0]}
    fusion = fit_fusion({TEXT: said}, there, has, codes, [TEXT])
    assert fusion.weights[TEXT] == pytest.approx([1, 1], abs=0.12)
    fused = fusion.log_probabilities(said, there, has)
    before, after = ((each.argmax(axis=1) == codes).mean() for each in (said[0], fused))
    assert before < 0.65
    assert after > 0.85
    assert np.exp(fused).mean(axis=0) == pytest.approx(np.bincount(codes) / len(codes), abs=0.01)


def test_perfectly_separated_categories_keep_finite_weights() -> None:
    codes = np.arange(840) % 7
    certain = np.where(codes[:, None] == np.arange(7), 0, -np.inf).astype(np.float32)
    mild = normalised(np.where(codes[:, None] == np.arange(7), 2.0, 0.0))
    weights = fit_text([certain, mild], codes)
    assert np.isfinite(weights).all()
    assert weights[0] == pytest.approx(0.5, abs=0.05)  # nothing to gain: it stays where it started
    assert 0.5 < weights[1] < 10


def test_weights_minimise_the_cross_entropy_and_the_distance_from_equal_shares() -> None:
    rng = np.random.default_rng(6)
    codes = rng.integers(3, size=300)
    opinions = np.stack([opinion(codes, 3, rng), normalised(2 * opinion(codes, 3, rng))])
    there = np.ones((2, 300), dtype=bool)
    fusion = fit_fusion({TEXT: opinions}, there, {"text": there[0]}, codes, [TEXT, TEXT])

    def cost(weights: np.ndarray) -> float:
        scores = np.einsum("m,mnk->nk", weights[:2], opinions) + weights[2] * fusion.prior
        away = weights - [0.5, 0.5, 0]
        return cross_entropy(normalised(scores.astype(float)), codes) + away @ away / 300

    best = fusion.weights[TEXT]
    for step in np.concatenate([np.eye(3), -np.eye(3)]) * 0.02:
        assert cost(np.maximum(best + step, 0)) >= cost(best) - 1e-7


def test_each_pattern_is_calibrated_by_itself_and_both_together_know_more() -> None:
    fusion, codes, opinions, there, has = fit_two()
    assert fusion.weights[TEXT][1] == fusion.weights[IMAGE][0] == 0
    assert fusion.weights[BOTH][:2] == pytest.approx([1, 1], abs=0.15)
    fused = fusion.log_probabilities(opinions, there, has)
    both = there.all(axis=0)
    assert cross_entropy(fused[both], codes[both]) < 0.9 * cross_entropy(opinions[0, both], codes[both])
    # With one modality, one weight on its member.
    lone = there[0] & ~there[1]
    score = fusion.weights[TEXT][0] * opinions[0, lone] + fusion.weights[TEXT][2] * fusion.prior
    assert fused[lone] == pytest.approx(normalised(score), abs=1e-5)


def test_a_listing_of_which_nothing_can_be_read_gets_the_frequencies() -> None:
    fusion, codes, opinions, there, has = fit_two()
    nothing = ~there.any(axis=0)
    assert nothing.any()
    found = np.exp(fusion.log_probabilities(opinions, there, has)[nothing])
    assert found == pytest.approx(np.tile(np.bincount(codes) / len(codes), (nothing.sum(), 1)), abs=2e-3)


def test_what_is_not_there_is_not_looked_at() -> None:
    codes, opinions, there, has = catalogue()
    rubbish = np.where(there[:, :, None], opinions, np.nan)
    patterns = (TEXT, IMAGE, BOTH)
    clean, dirty = (
        fit_fusion(dict.fromkeys(patterns, each), there, has, codes, [TEXT, IMAGE]) for each in (opinions, rubbish)
    )
    for pattern in patterns:
        assert np.array_equal(clean.weights[pattern], dirty.weights[pattern])
    found = dirty.log_probabilities(rubbish, there, has)
    assert np.isfinite(found).all()
    assert np.array_equal(found, clean.log_probabilities(opinions, there, has))


def test_a_member_whose_encoder_failed_adds_nothing() -> None:
    fusion, _, opinions, there, has = fit_two()
    row = np.flatnonzero(there.all(axis=0))[0]
    failed = there.copy()
    failed[1, row] = False
    found = fusion.log_probabilities(opinions, failed, has)
    weights = fusion.weights[BOTH]
    assert found[row] == pytest.approx(normalised(weights[0] * opinions[0, row] + weights[2] * fusion.prior), abs=1e-5)
    failed[0, row] = False
    assert fusion.log_probabilities(opinions, failed, has)[row] == pytest.approx(fusion.prior, abs=1e-5)


def test_listings_a_member_failed_on_do_not_teach_its_weight() -> None:
    rng = np.random.default_rng(7)
    codes = np.arange(2000) % 4
    opinions = np.stack([opinion(codes, 4, rng), opinion(codes, 4, rng)])
    has = {"text": np.ones(2000, dtype=bool)}
    there = np.ones((2, 2000), dtype=bool)
    there[1, 1000:] = False
    opinions[1, 1000:] = np.nan
    whole = fit_fusion({TEXT: opinions}, there, has, codes, [TEXT, TEXT])
    half = fit_fusion({TEXT: opinions[:, :1000]}, there[:, :1000], {"text": there[0, :1000]}, codes[:1000], [TEXT] * 2)
    assert np.array_equal(whole.weights[TEXT], half.weights[TEXT])


def test_a_member_that_reads_both_is_weighed_by_what_it_was_shown() -> None:
    rng = np.random.default_rng(8)
    codes = np.arange(4000) % 4
    text, image = opinion(codes, 4, rng, 2.0), opinion(codes, 4, rng, 1.0)
    # Right to the point with both, twice too sure with the text alone, and lost without it.
    opinions: dict[Pattern, np.ndarray] = {
        BOTH: normalised(text + image)[None],
        TEXT: normalised(2 * text)[None],
        IMAGE: normalised(rng.normal(size=image.shape))[None],
    }
    there = np.ones((1, 4000), dtype=bool)
    has = dict.fromkeys(("text", "image"), there[0])
    fusion = fit_fusion(opinions, there, has, codes, [BOTH])
    found = [fusion.weights[pattern][0] for pattern in (BOTH, TEXT, IMAGE)]
    assert found == pytest.approx([1, 0.5, 0], abs=0.08)


def test_a_modality_that_no_member_reads_changes_nothing() -> None:
    rng = np.random.default_rng(9)
    codes = np.arange(600) % 3
    said = opinion(codes, 3, rng)[None]
    there = np.ones((1, 600), dtype=bool)
    has = {"text": there[0], "image": rng.random(600) < 0.5}
    fusion = fit_fusion({TEXT: said}, there, has, codes, [TEXT])
    without = fusion.log_probabilities(said, there, {"text": there[0]})
    assert np.array_equal(fusion.log_probabilities(said, there, has), without)
    assert not np.allclose(without, fusion.prior, atol=0.1)


def test_a_pattern_no_listing_has_keeps_equal_shares() -> None:
    codes, opinions, there, _ = catalogue()
    one_each = np.stack([there[0], ~there[0]])
    has = {"text": one_each[0], "image": one_each[1]}
    fusion = fit_fusion(dict.fromkeys((TEXT, IMAGE, BOTH), opinions), one_each, has, codes, [TEXT, IMAGE])
    assert fusion.weights[BOTH].tolist() == [0.5, 0.5, 0]


def test_a_large_catalogue_is_learnt_from_in_part() -> None:
    rng = np.random.default_rng(10)
    codes = np.sort(rng.integers(3, size=120_000))  # filed by category
    weight, prior = fit_text([normalised(2 * opinion(codes, 3, rng))], codes)
    assert weight == pytest.approx(0.5, abs=0.02)
    assert prior < 0.5


def test_undefined_opinions_are_refused() -> None:
    codes = np.arange(6) % 2
    with pytest.raises(HeadstartError, match="not numbers"):
        fit_text([np.full((6, 2), np.nan, np.float32)], codes)
    with pytest.raises(HeadstartError, match="no opinions"):
        fit_fusion({}, np.ones((1, 6), dtype=bool), {}, codes, [TEXT])


def test_written_and_read_back_it_says_the_same() -> None:
    fusion, _, opinions, there, has = fit_two()
    again = Fusion.from_json(json.loads(json.dumps(fusion.to_json())))
    assert again.members == fusion.members
    found, kept = (each.log_probabilities(opinions, there, has) for each in (again, fusion))
    assert np.array_equal(found, kept)


@pytest.mark.parametrize(
    "change",
    [
        {"prior": None},
        {"prior": [float("nan"), 0, 0, 0]},
        {"members": []},
        {"members": [["text"]]},
        {"weights": [{"has": ["text"], "weights": [1, 1, -1]}]},
        {"weights": [{"has": ["text"], "weights": [1, "x", 0]}]},
        {"weights": [{"weights": [1, 1, 0]}]},
        {"weights": [{"has": ["text"], "weights": [1, 1]}]},
    ],
)
def test_damaged_weights_are_refused(change: dict[str, object]) -> None:
    fusion, *_ = fit_two()
    with pytest.raises(ModelError, match="train the classifier again"):
        Fusion.from_json({**fusion.to_json(), **change})
    missing = {name: value for name, value in fusion.to_json().items() if name not in change}
    with pytest.raises(ModelError, match="train the classifier again"):
        Fusion.from_json(missing)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(0, 60), classes=st.integers(2, 6))
def test_outcomes_are_distributions_and_know_no_order(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(classes, size=rows)
    opinions = normalised(3 * rng.normal(size=(2, rows, classes)))
    has = {name: rng.random(rows) < 0.7 for name in ("text", "image")}
    there = np.stack([has["text"], has["image"]]) & (rng.random((2, rows)) < 0.9)

    def run(said: np.ndarray, true: np.ndarray) -> np.ndarray:
        fusion = fit_fusion(dict.fromkeys((TEXT, IMAGE, BOTH), said), there, has, true, [TEXT, IMAGE])
        assert all((weights >= 0).all() and np.isfinite(weights).all() for weights in fusion.weights.values())
        return fusion.log_probabilities(said, there, has)

    found = run(opinions, codes)
    assert np.exp(found).sum(axis=1) == pytest.approx(np.ones(rows), abs=1e-5)
    order = rng.permutation(classes)
    turned = run(opinions[:, :, order], np.argsort(order)[codes])
    assert np.exp(turned) == pytest.approx(np.exp(found[:, order]), abs=2e-3)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(5, 60))
@settings(max_examples=30, deadline=None)
def test_no_other_weights_lose_less(seed: int, members: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=rows)
    said = [normalised(rng.normal(size=(rows, 3)) + 3 * rng.random() * np.eye(3)[codes]) for _ in range(members)]
    found = fit_text(said, codes)
    prior = np.bincount(codes, minlength=3) + 1.0
    terms = np.array([*said, np.broadcast_to(np.log(prior / prior.sum()), (rows, 3))], float)
    usual = np.append(np.full(members, 1 / members), 0)

    def loss(weights: np.ndarray) -> float:
        scores = np.tensordot(weights, terms, 1)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(-scores[np.arange(rows), codes].sum() + ((weights - usual) ** 2).sum())

    least = loss(found)
    for each in np.eye(members + 1) * 1e-3:
        assert loss(found + each) > least
        assert (found < 1e-3)[each > 0].all() or loss(found - each) > least


def test_wherever_it_begins_it_ends_the_same() -> None:
    fusion, codes, opinions, there, has = fit_two()
    far = Fusion(fusion.members, {pattern: np.full(3, 4.0) for pattern in fusion.weights}, fusion.prior)
    again = fit_fusion(dict.fromkeys((TEXT, IMAGE, BOTH), opinions), there, has, codes, [TEXT, IMAGE], begin=far)
    for pattern, weights in fusion.weights.items():
        assert again.weights[pattern] == pytest.approx(weights, abs=1e-4)
