from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.config import HeadConfig, head_encoders
from headstart.heads.nested import Listings
from headstart.heads.splits import repeated_folds
from headstart.heads.sweep import GRID, grid, sweep
from headstart.heads.sweep import drawn as draw

Draw = Callable[..., Features]
KINDS = {"words": "text", "pixels": "image"}


def listings_of(features: Features, codes: np.ndarray | None = None) -> Listings:
    if codes is None:
        codes = np.unique([str(label) for label in features.labels], return_inverse=True)[1]
    return Listings(features, codes, int(codes.max()) + 1, np.arange(len(features)))


def test_the_grid_has_every_setting_that_makes_a_difference_once(drawn: Draw) -> None:
    heads = head_encoders(drawn())
    configs = grid(heads, KINDS, {}, words=True)
    assert len(configs) == len(set(configs)) > 100
    assert {config.fusion for config in configs} == {"late", "concat", "gated"}
    for config in configs:
        assert config.fusion != "gated" or len(config.encoders) == 2
        assert config.fusion != "late" or len(config.encoders) + config.words > 1
        assert not config.words or config.encoders != ("pixels",)
        assert config.absent == 0 or (len(config.encoders) == 2 and config.fusion != "late")
    assert {config.l2 for config in configs} == set(GRID["l2"])
    few = grid(heads, KINDS, {"l2": (3.0,), "fusion": ("concat",), "hidden": (0,), "absent": (0.1,)}, words=True)
    assert few == [
        HeadConfig(("words",), l2=3.0, absent=0.0),
        HeadConfig(("pixels",), l2=3.0, absent=0.0),
        HeadConfig(("words", "pixels"), l2=3.0, absent=0.1),
    ]
    assert not any(config.words for config in grid(heads, KINDS, {}, words=False))
    with pytest.raises(ModelError, match="no fusion 'soup'"):
        grid(heads, KINDS, {"fusion": ("soup",)}, words=True)


def test_random_draws_are_those_of_the_seed(drawn: Draw) -> None:
    configs = grid(head_encoders(drawn()), KINDS, {}, words=True)
    some = draw(configs, 10, seed=1)
    assert len(some) == len(set(some)) == 10
    assert some == draw(configs, 10, seed=1) != draw(configs, 10, seed=2)
    assert draw(configs, 10_000, seed=0) == configs


def test_the_setting_that_suits_the_listings_is_chosen_and_judged_apart(drawn: Draw) -> None:
    listings = listings_of(drawn((60, 60, 60), noise=2.0))
    configs = [
        HeadConfig(("pixels",), l2=1e5),
        HeadConfig(("words", "pixels"), l2=8.0),
        HeadConfig(("words",), l2=1e5),
    ]
    folds = repeated_folds(listings.codes, listings.groups, 3, 1, 0)
    found = sweep(listings, configs, folds, 0)
    assert set(found.chosen) == {configs[1]}
    assert found.configs[0] == configs[1]
    assert (np.diff(found.losses.mean(axis=1)) >= 0).all()
    assert found.probabilities.shape == (180, 3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert (found.probabilities.argmax(axis=1) == listings.codes).mean() > 0.7


def test_choosing_among_many_on_shuffled_labels_stays_at_chance(drawn: Draw) -> None:
    features = drawn((60, 60, 60), noise=1.0)
    codes = np.random.default_rng(4).permutation(np.repeat(np.arange(3), 60))
    listings = listings_of(features, codes)
    configs = [
        replace(config, hidden=hidden)
        for config in grid(head_encoders(features), KINDS, {"l2": (0.01, 0.3, 8.0), "hidden": (0,)}, words=False)
        for hidden in (0, 4)
    ]
    assert len(configs) > 20
    folds = repeated_folds(codes, listings.groups, 3, 1, 0)
    found = sweep(listings, configs, folds, 0)
    right = (found.probabilities.argmax(axis=1) == codes).mean()
    assert abs(right - 1 / 3) < 1.96 * np.sqrt(2 / 9 / 180)
    assert found.right.mean(axis=1).max() > 1 / 3, "the leaderboard's first looks better than chance: it was picked"


def test_a_sweep_over_nothing_is_refused(drawn: Draw) -> None:
    listings = listings_of(drawn())
    folds = repeated_folds(listings.codes, listings.groups, 3, 1, 0)
    with pytest.raises(ModelError, match="no settings to try"):
        sweep(listings, [], folds, 0)


def test_the_random_draw_keeps_the_order_of_the_grid() -> None:
    configs = [HeadConfig(("words",), l2=float(l2)) for l2 in range(30)]
    some = draw(configs, 5, seed=0)
    assert [config.l2 for config in some] == sorted(config.l2 for config in some)


def test_listings_that_lack_something_count_with_what_they_have(drawn: Draw) -> None:
    listings = listings_of(drawn((60, 60, 60), noise=1.5, missing=0.5))
    late = HeadConfig(("words", "pixels"), fusion="late", absent=0.0)
    configs = [HeadConfig(("pixels",)), HeadConfig(("words",)), late]
    folds = repeated_folds(listings.codes, listings.groups, 3, 1, 0)
    found = sweep(listings, configs, folds, 0)
    assert found.configs[0] == late, "it alone can read what the others cannot"
    assert set(found.chosen) == {late}
    assert (found.probabilities.argmax(axis=1) == listings.codes).mean() > 0.7


def test_a_fold_s_labels_have_no_part_in_what_is_chosen_for_it(drawn: Draw) -> None:
    listings = listings_of(drawn((40, 40, 40), noise=2.5))
    configs = [HeadConfig((name,), l2=l2) for name in ("words", "pixels") for l2 in (0.1, 8.0)]
    folds = repeated_folds(listings.codes, listings.groups, 3, 1, 0)
    codes = listings.codes.copy()
    test = folds[0].test
    codes[test] = (codes[test] + 1) % 3
    honest, spoilt = (sweep(each, configs, folds, 0) for each in (listings, replace(listings, codes=codes)))
    assert honest.chosen[0] == spoilt.chosen[0]
    np.testing.assert_allclose(honest.probabilities[test], spoilt.probabilities[test], atol=1e-3)
