from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.groups import BATCH
from headstart.heads.sides import SMALL

Draw = Callable[..., Features]
TEXT, IMAGE, FUSED = HeadConfig(("words",)), HeadConfig(("pixels",)), HeadConfig(("words", "pixels"))


def codes_of(features: Features) -> np.ndarray:
    return np.unique([str(label) for label in features.labels], return_inverse=True)[1]


def fit(features: Features, *tasks: HeadTask, codes: np.ndarray | None = None) -> HeadBank:
    codes = codes_of(features) if codes is None else codes
    return HeadBank(features, codes, int(codes.max()) + 1, tasks).fit()


def thirds(features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, inner and test rows."""
    rows = np.arange(len(features))
    return rows[rows % 3 == 0], rows[rows % 3 == 1], rows[rows % 3 == 2]


def weights(bank: HeadBank, head: int = 0) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in bank.network(head).get_weights()]


def assert_same(weights: list[np.ndarray], others: list[np.ndarray], tolerance: float) -> None:
    """Kernels to a share of their largest weight; a bias, which may be next to nothing, as a part of a logit."""
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * (np.abs(one).max() if one.ndim == 2 else 1))


def opinions(bank: HeadBank, absent: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """Probabilities ``(H, n, K)``."""
    return np.exp(np.stack(bank.log_probabilities(absent=absent)))


def share_right(bank: HeadBank, rows: np.ndarray, head: int = 0) -> float:
    return float((opinions(bank)[head].argmax(axis=1) == bank.codes)[rows].mean())


def test_a_head_in_a_bank_is_the_head_trained_alone(drawn: Draw) -> None:
    features = drawn(noise=2.0)
    train, inner, test = thirds(features)
    tasks = [
        HeadTask(TEXT, train, inner),
        HeadTask(FUSED, train, inner, seed=1),
        HeadTask(replace(FUSED, learning_rate=0.5), train, inner),
        HeadTask(FUSED, np.concatenate([inner, test]), train[:9]),
        HeadTask(replace(FUSED, hidden=8), train, inner, seed=2),
        HeadTask(replace(FUSED, hidden=8, l2=0.5), test, inner, seed=3),
        HeadTask(replace(IMAGE, l2=0.1, balanced=False), train, test),
        HeadTask(HeadConfig(("pixels", "words")), train, inner),
        HeadTask(replace(FUSED, fusion="gated"), train, inner),
        HeadTask(replace(FUSED, fusion="gated", hidden=6), train, inner, seed=4),
        HeadTask(TEXT, train, inner[:0], side=np.arange(len(features))),
    ]
    together = fit(features, *tasks)
    assert len(set(together.looks.tolist())) > 1, "the heads stop at different times, or this test shows too little"
    for number, task in enumerate(tasks):
        alone = fit(features, task)
        assert alone.looks[0] == together.looks[number]
        assert alone.inner_loss[0] == pytest.approx(together.inner_loss[number], abs=1e-5)
        assert_same(weights(alone), weights(together, number), 1e-4)
        np.testing.assert_allclose(opinions(alone)[0], opinions(together)[number], atol=1e-4)


@pytest.mark.parametrize("sizes", [(40, 40, 40), (800, 800, 800)], ids=["coordinates", "vectors"])
def test_a_head_as_a_keras_model_says_what_the_bank_says(drawn: Draw, sizes: tuple[int, ...]) -> None:
    features = drawn(sizes)
    assert (len(features) > SMALL) == (sizes[0] > 40)
    train, inner, _ = thirds(features)
    gated = replace(FUSED, fusion="gated")
    configs = (TEXT, FUSED, HeadConfig(("pixels", "words")), replace(FUSED, hidden=8, dropout=0.3))
    configs += (gated, replace(gated, hidden=4), replace(gated, encoders=("pixels", "words")))
    bank = fit(features, *[HeadTask(config, train, inner) for config in configs])
    for number, config in enumerate(configs):
        inputs = [features.vectors[name].astype(np.float32) for name in config.encoders]
        inputs.append(np.stack([features.present[name] for name in config.encoders], axis=1).astype(np.float32))
        said = np.asarray(bank.network(number)(inputs, training=False))
        np.testing.assert_allclose(said, opinions(bank)[number], atol=1e-4)
        np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)


def test_each_encoder_counts_and_both_together_know_more(drawn: Draw) -> None:
    features = drawn((100, 100, 100), noise=2.5, missing=0.0)
    train, inner, test = thirds(features)
    bank = fit(features, *[HeadTask(config, train, inner) for config in (TEXT, IMAGE, FUSED)])
    text, image, fused = (share_right(bank, test, head) for head in range(3))
    assert min(text, image) > 0.5
    assert fused > max(text, image)


def test_a_hidden_layer_learns_what_a_linear_head_cannot(drawn: Draw) -> None:
    features = drawn((200, 200), missing=0.0)
    signs = np.sign(np.random.default_rng(5).normal(size=(400, 2)))
    block = np.random.default_rng(6).normal(scale=0.2, size=(400, 12))
    block[:, :2] += signs
    features = replace(features, vectors={**features.vectors, "words": block.astype(np.float32)})
    codes = (signs.prod(axis=1) > 0).astype(int)  # exclusive or
    train, inner, test = thirds(features)
    tasks = [HeadTask(replace(TEXT, hidden=hidden, l2=0.1), train, inner) for hidden in (0, 16)]
    bank = fit(features, *tasks, codes=codes)
    assert share_right(bank, test, 0) < 0.7
    assert share_right(bank, test, 1) > 0.95


def test_dropout_changes_what_is_learnt_and_not_how_a_listing_is_judged(drawn: Draw) -> None:
    features = drawn(noise=2.0)
    train, inner, test = thirds(features)
    with_dropout, without = (
        fit(features, HeadTask(replace(FUSED, hidden=16, dropout=dropout), train, inner)) for dropout in (0.5, 0.0)
    )
    assert np.abs(weights(with_dropout)[0] - weights(without)[0]).max() > 1e-3
    np.testing.assert_array_equal(opinions(with_dropout), opinions(with_dropout))
    assert share_right(with_dropout, test) > 0.6


def test_a_head_never_learns_from_its_test_rows(drawn: Draw) -> None:
    features = drawn()
    train, inner, test = thirds(features)
    codes = codes_of(features)
    swapped = codes.copy()
    swapped[test] = (codes[test] + 1) % 3
    others = {name: block.copy() for name, block in features.vectors.items()}
    for block in others.values():
        block[test] = -7 * block[test]
    tasks = [HeadTask(FUSED, train, inner), HeadTask(replace(FUSED, hidden=8), train, inner)]
    first = fit(features, *tasks, codes=codes)
    second = fit(replace(features, vectors=others), *tasks, codes=swapped)
    unlabelled = fit(features, *tasks, codes=np.where(np.isin(np.arange(len(codes)), test), -1, codes))
    for head in range(2):
        for same in (second, unlabelled):
            assert_same(weights(first, head), weights(same, head), 1e-5)
        np.testing.assert_array_equal(first.looks, second.looks)


def test_the_scout_learns_nothing_from_the_inner_rows(drawn: Draw) -> None:
    features = drawn((20, 20), noise=1.0, missing=0.0)
    wide = np.random.default_rng(1).normal(size=(40, 200))  # enough dimensions to learn any labels by heart
    features = replace(features, vectors={**features.vectors, "words": wide})
    codes = np.random.default_rng(2).integers(2, size=40)
    first, second = np.arange(20), np.arange(20, 40)
    config = replace(TEXT, l2=0.01)
    apart = fit(features, HeadTask(config, first, second), codes=codes)
    cheating = fit(features, HeadTask(config, np.arange(40), second), codes=codes)
    assert apart.inner_loss[0] > 0.6  # nats; a coin's is 0.69
    assert cheating.inner_loss[0] < 0.1


def test_the_inner_rows_say_when_to_stop_and_are_then_learnt_from(drawn: Draw) -> None:
    features = drawn(noise=2.0)
    train, inner, _ = thirds(features)
    codes = codes_of(features)
    config = replace(FUSED, l2=0.01, learning_rate=0.4, absent=0.0)  # learns by heart, slowly, if it is not stopped
    wrong = codes.copy()
    wrong[inner] = (codes[inner] + 1) % 3
    honest = fit(features, HeadTask(config, train, inner), codes=codes)
    misled = fit(features, HeadTask(config, train, inner), codes=wrong)
    endless = fit(features, HeadTask(config, train, inner[:0]), codes=codes)
    assert misled.looks[0] < honest.looks[0] < endless.looks[0]
    # Both heads learn from inner rows in the end, or the two would not disagree about them.
    at_all = fit(features, HeadTask(config, np.concatenate([train, inner]), inner[:0]), codes=codes)
    assert share_right(honest, inner) > share_right(endless, inner)
    assert share_right(at_all, inner) == 1


def test_class_weights_find_the_few(drawn: Draw) -> None:
    features = drawn((190, 14), noise=2.5, missing=0.0)
    train, inner, test = thirds(features)
    bank = fit(features, *[HeadTask(replace(TEXT, balanced=balanced), train, inner) for balanced in (True, False)])
    few = test[bank.codes[test] == 1]
    assert len(few) >= 3
    said = opinions(bank)[:, :, 1]
    assert said[0, few].mean() > said[1, few].mean() + 0.1
    assert said[0, test].mean() > said[1, test].mean() + 0.1
    assert said[1, test].mean() == pytest.approx(14 / 204, abs=0.05)


def test_a_listing_that_lacks_a_modality_is_judged_by_the_other(drawn: Draw) -> None:
    features = drawn((60, 60, 60), noise=0.7, missing=0.6)
    train, inner, test = thirds(features)
    bank = fit(features, *[HeadTask(config, train, inner) for config in (TEXT, IMAGE, FUSED)])
    said = opinions(bank)
    assert np.isfinite(said).all()
    for head, name in ((0, "words"), (1, "pixels")):
        blind = said[head, ~features.present[name]]
        np.testing.assert_allclose(blind, np.broadcast_to(blind[0], blind.shape), atol=1e-6)
        assert blind.max() < 0.6, "nothing is known of these listings"
        assert share_right(bank, test[~features.present[name][test]], 2) > 0.8
        assert share_right(bank, test[features.present[name][test]], head) > 0.8


@pytest.mark.parametrize("fusion", ["concat", "gated"])
@pytest.mark.parametrize("size", [100, 800], ids=["coordinates", "vectors"])
def test_photos_and_texts_taken_away_leave_what_the_others_tell(drawn: Draw, fusion: str, size: int) -> None:
    features = drawn((size, size, size), noise=2.0, missing=0.0)
    train, inner, test = thirds(features)
    bank = fit(features, *[HeadTask(config, train, inner) for config in (TEXT, IMAGE, replace(FUSED, fusion=fusion))])
    all_rows, codes = np.ones(len(features), bool), bank.codes
    for head, gone in ((0, "image"), (1, "text")):
        said = opinions(bank, {gone: all_rows})
        alone, fused = ((said[each].argmax(axis=1) == codes)[test].mean() for each in (head, 2))
        assert fused > alone - 0.06
    # Read so, a listing is judged as one that never had a photo.
    never = replace(
        features,
        vectors={**features.vectors, "pixels": np.zeros_like(features.vectors["pixels"])},
        present={**features.present, "pixels": ~all_rows},
    )
    inputs = [never.vectors[name].astype(np.float32) for name in FUSED.encoders]
    inputs.append(np.stack([never.present[name] for name in FUSED.encoders], axis=1).astype(np.float32))
    said = np.asarray(bank.network(2)(inputs, training=False))
    np.testing.assert_allclose(said, opinions(bank, {"image": all_rows})[2], atol=1e-4)


def test_opinions_on_chosen_rows_are_those_on_all(drawn: Draw) -> None:
    features = drawn()
    train, inner, test = thirds(features)
    bank = fit(features, HeadTask(TEXT, train, inner), HeadTask(FUSED, test, inner), HeadTask(TEXT, inner, train))
    rows = [test[::-1], train[:1], inner[:0]]
    for head, said in enumerate(bank.log_probabilities(rows)):
        np.testing.assert_allclose(np.exp(said), opinions(bank)[head, rows[head]], atol=1e-6)


def test_to_lack_a_photo_may_say_something(drawn: Draw) -> None:
    features = drawn((100, 100), noise=30.0, missing=0.0)
    codes = codes_of(features)
    has = (codes == 0) ^ (np.random.default_rng(0).random(200) < 0.05)
    block = np.where(has[:, None], features.vectors["pixels"], 0)
    features = replace(
        features,
        vectors={**features.vectors, "pixels": block},
        present={**features.present, "pixels": has},
    )
    train, inner, test = thirds(features)
    config = replace(FUSED, absent=0.0)  # or absence would be made to say less
    assert share_right(fit(features, HeadTask(config, train, inner)), test) > 0.85


def test_an_encoder_that_saw_none_of_the_rows_does_no_harm(drawn: Draw) -> None:
    features = drawn(missing=0.0)
    nothing = np.zeros_like(features.vectors["pixels"])
    features = replace(
        features,
        vectors={**features.vectors, "pixels": nothing},
        present={**features.present, "pixels": np.zeros(len(features), bool)},
    )
    train, inner, test = thirds(features)
    bank = fit(features, HeadTask(TEXT, train, inner), HeadTask(FUSED, train, inner))
    text, fused = opinions(bank)
    np.testing.assert_allclose(text, fused, atol=0.05)
    assert share_right(bank, test, 1) > 0.8


def test_units_and_origin_of_an_encoder_do_not_matter(drawn: Draw) -> None:
    features = drawn(missing=0.2)
    train, inner, _ = thirds(features)
    there = features.present["pixels"][:, None]
    block = features.vectors["pixels"].astype(np.float32)
    moved = np.where(there, 0.01 * block + 0.5, 0)
    first = fit(features, HeadTask(FUSED, train, inner))
    second = fit(replace(features, vectors={**features.vectors, "pixels": moved}), HeadTask(FUSED, train, inner))
    np.testing.assert_allclose(opinions(first), opinions(second), atol=1e-3)


def test_the_same_seeds_give_the_same_heads_and_others_give_others(drawn: Draw) -> None:
    features = drawn(noise=2.0)
    train, inner, _ = thirds(features)
    config = replace(FUSED, hidden=8, dropout=0.2)
    first, again, other = (fit(features, HeadTask(config, train, inner, seed)) for seed in (1, 1, 2))
    np.testing.assert_allclose(opinions(first), opinions(again), atol=1e-5)
    assert np.abs(opinions(first) - opinions(other)).max() > 1e-3


def test_shuffled_labels_are_not_learnt(drawn: Draw) -> None:
    features = drawn((100, 100, 100))
    codes = np.random.default_rng(3).permutation(codes_of(features))
    rows = np.arange(len(features))
    tasks = [HeadTask(FUSED, rows[rows % 3 == (k + 1) % 3], rows[rows % 3 == (k + 2) % 3]) for k in range(3)]
    said = opinions(fit(features, *tasks, codes=codes)).argmax(axis=2)
    right = float(np.mean(said[rows % 3, rows] == codes))
    assert abs(right - 1 / 3) < 1.96 * np.sqrt(2 / 9 / len(rows))


def test_more_listings_than_a_step_sees_are_learnt_from_as_well(drawn: Draw) -> None:
    features = drawn((1800, 1800, 1800), noise=2.0)
    assert len(features) > BATCH
    train, inner, test = thirds(features)
    task = HeadTask(FUSED, train, inner)
    bank = fit(features, task)
    few = features.take(np.concatenate([train[:60], inner[:60], test]))
    by_few = fit(few, HeadTask(FUSED, np.arange(60), np.arange(60, 120)))
    right = share_right(bank, test)
    assert right > 0.8
    assert right > share_right(by_few, np.arange(120, len(few)))


def test_a_learning_rate_that_explodes_is_refused(drawn: Draw) -> None:
    features = drawn()
    train, inner, _ = thirds(features)
    with pytest.raises(ModelError, match=r"not finite at learning rate 1e\+30: give a lower one$"):
        fit(features, HeadTask(TEXT, train, inner), HeadTask(replace(FUSED, learning_rate=1e30), train, inner))


def test_an_encoder_without_vectors_is_refused(drawn: Draw) -> None:
    features = drawn()
    train, inner, _ = thirds(features)
    with pytest.raises(ModelError, match=r"^no vectors of sounds; there are those of: words, pixels$"):
        fit(features, HeadTask(HeadConfig(("words", "sounds")), train, inner))


def test_a_head_without_listings_is_refused(drawn: Draw) -> None:
    features = drawn()
    train, inner, _ = thirds(features)
    with pytest.raises(ModelError, match="no listing to learn from"):
        fit(features, HeadTask(TEXT, train, inner), HeadTask(TEXT, train[:0], inner))


def test_sides_of_few_listings_beside_many(drawn: Draw) -> None:
    features = drawn((800, 800, 800), noise=1.0)
    assert len(features) > SMALL
    rows = np.arange(len(features))
    tasks = [HeadTask(TEXT, rows[:size], rows[size : size + 9]) for size in (8, 30, 900)]
    right = [share_right(fit(features, *tasks), rows[1000:], head) for head in range(3)]
    assert right[2] > 0.8
    assert right[2] > right[0] > 1 / 3


def test_without_early_stopping_a_head_learns_to_the_end(drawn: Draw) -> None:
    features = drawn()
    train, inner, _ = thirds(features)
    bank = HeadBank(features, codes_of(features), 3, [HeadTask(TEXT, train, inner)]).fit(looks=7, stop_early=False)
    assert bank.looks.tolist() == [7]
    assert np.isfinite(bank.inner_loss).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"encoders": ()}, "encoders ()"),
        ({"encoders": "words"}, "encoders 'words'"),
        ({"encoders": ("words", "words")}, "encoders ('words', 'words')"),
        ({"absent": 2.0}, "absent 2.0"),
        ({"l2": -5.0}, "l2 -5.0"),
        ({"hidden": -1}, "hidden -1"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
        ({"fusion": "soup"}, "no fusion 'soup'"),
    ],
)
def test_settings_that_make_no_head_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ModelError) as caught:
        HeadConfig(**{"encoders": ("words",), **settings})  # type: ignore[arg-type]
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
