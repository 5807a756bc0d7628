"""From evidence to suspects. The evidence is made by hand here, so that what becomes of it can be said beforehand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.embeddings.neighbours import Neighbours
from headstart.heads.nested import Listings
from headstart.heads.opinions import FUSED, Opinions
from headstart.reports import audit
from headstart.reports.audit import Weighed, confident_issues, misfiled, reason, tell, unclear, weigh
from headstart.reports.suspects import KINDS, Unclear

NAMES = ("Bébé", "Linge", "Montres")


def sure(rows: list[int], of: float = 0.9, classes: int = 3) -> np.ndarray:
    """Log-probabilities of heads that are so sure of these categories."""
    found = np.full((len(rows), classes), (1 - of) / (classes - 1), np.float32)
    found[np.arange(len(rows)), rows] = of
    return np.log(found)


def opinions(families: Mapping[str, np.ndarray]) -> Opinions:
    n = len(families[FUSED])
    return Opinions(np.ones(n, bool), dict(families), {name: np.ones(n, bool) for name in families})


def nobody(n: int) -> Neighbours:
    return Neighbours(np.full((n, 2), -1), np.zeros((n, 2), np.float32))


def weighed(
    codes: list[int],
    fused: np.ndarray,
    groups: list[int] | None = None,
    near: list[list[int]] | None = None,
    apart: np.ndarray | None = None,
) -> Weighed:
    n = len(codes)
    rows = nobody(n) if near is None else Neighbours(np.array(near), np.zeros((n, len(near[0])), np.float32))
    return weigh(np.array(codes), np.array(groups or range(n)), opinions({FUSED: fused}), rows, apart)


def test_without_other_evidence_the_score_is_the_odds_of_the_heads() -> None:
    found = weighed([0, 0, 1], sure([0, 2, 1]))
    # 0.9 against 0.05: the next best of a listing rightly filed, and the reverse.
    np.testing.assert_allclose(found.score, [0.05 / 0.95, 0.9 / 0.95, 0.05 / 0.95], rtol=1e-4)
    assert found.suggested[1] == 2
    assert found.ranked().tolist() == [1]
    assert found.against[FUSED].tolist() == [False, True, False]


def test_neighbours_move_the_score_by_the_logarithm_of_their_votes() -> None:
    codes, fused = [0, 1, 2, 2], sure([0, 1, 2, 2], 0.5)
    near = [[2, 3], [2, 0], [-1, -1], [-1, -1]]
    found = weighed(codes, fused, near=near)
    # Two votes for the third category, none for the first; half a vote is added to each of the three.
    ahead = np.log(0.25 / 0.5) + audit.VOTE * np.log(2.5 / 0.5)
    assert found.score[0] == pytest.approx(1 / (1 + np.exp(-ahead)), rel=1e-4)
    assert (found.votes[0], found.asked[0], found.suggested[0]) == (2, 2, 2)
    assert found.against["neighbours"].tolist() == [True, False, False, False]  # one of two is no majority
    assert found.asked.tolist() == [2, 2, 0, 0]


def test_a_neighbour_whose_copies_are_filed_apart_is_a_fraction_of_each() -> None:
    found = weighed([0, 2, 1], sure([0, 2, 2], 0.5), groups=[0, 1, 1], near=[[1], [-1], [-1]])
    assert found.votes[0] == pytest.approx(0.5)
    assert not found.against["neighbours"][0]


@pytest.mark.parametrize("wrong", [0, 1])
def test_of_two_copies_filed_apart_the_wrong_one_is_caught(wrong: int) -> None:
    codes = [0, 0, 1]
    codes[wrong] = 1
    found = weighed(codes, sure([0, 0, 1]), groups=[0, 0, 1])
    assert found.ranked().tolist() == [wrong]
    unsure = weighed(codes, sure([0, 0, 1], 0.5), groups=[0, 0, 1])
    assert unsure.ranked().tolist() == [wrong, 1 - wrong]  # one of them must be: both are looked at
    alone = weighed(codes, sure([0, 0, 1]))
    assert found.score[wrong] > alone.score[wrong]
    assert found.against["duplicates"].tolist() == [True, True, False]
    assert found.copies.tolist() == [1, 1, 0]


def test_copies_that_are_all_filed_wrongly_do_not_vouch_for_each_other() -> None:
    together = weighed([2] * 5 + [0], sure([0] * 6, 0.6), groups=[0] * 5 + [1])
    alone = weighed([2] * 5 + [0], sure([0] * 6, 0.6))
    np.testing.assert_array_equal(together.score, alone.score)
    assert together.ranked().tolist() == [0, 1, 2, 3, 4]


def test_what_a_holdout_is_filed_under_says_nothing_of_others() -> None:
    apart = np.array([False, True, True])
    found = weighed([0, 1, 1], sure([0, 0, 0], 0.5), groups=[0, 0, 1], near=[[2], [-1], [0]], apart=apart)
    assert not found.against["duplicates"][0]
    assert found.copies[0] == 0
    assert found.asked[0] == 0
    assert found.against["duplicates"][1]  # it is judged itself
    assert found.against["neighbours"][2]


def test_blocks_of_listings_give_what_all_at_once_would(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    codes, groups = rng.integers(0, 3, 50).tolist(), np.unique(rng.integers(0, 30, 50), return_inverse=True)[1].tolist()
    fused, near = np.log(rng.dirichlet(np.ones(3), 50)).astype(np.float32), rng.integers(-1, 50, (50, 4)).tolist()
    whole = weighed(codes, fused, groups, near)
    monkeypatch.setattr(audit, "BLOCK", 21)
    parts = weighed(codes, fused, groups, near)
    for name in ("margin", "suggested", "torn", "votes", "asked", "copies"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)
    assert all(np.array_equal(parts.against[kind], whole.against[kind]) for kind in whole.against)


def test_the_surest_come_first_however_sure() -> None:
    margins = np.array([18.0, 40.0, 25.0])
    fused = np.stack([-margins, np.zeros(3)], axis=1).astype(np.float32)
    found = weighed([0, 0, 0], fused)
    assert found.ranked().tolist() == [1, 2, 0]
    with np.errstate(over="raise"):
        np.testing.assert_allclose(weighed([1, 1, 1], 4 * fused).score, 0, atol=1e-9)


def test_listings_that_are_not_judged_are_no_suspects() -> None:
    said = opinions({FUSED: sure([1, 1])})
    said.judged[0] = False
    found = weigh(np.array([0, 0]), np.array([0, 1]), said, nobody(2))
    assert found.ranked().tolist() == [1]
    assert found.score[0] == 0
    assert not found.against[FUSED][0]


def test_pairs_of_categories_with_many_listings_that_could_be_either_are_confused_as_such() -> None:
    # Eight listings are torn between the first two categories, two of them copies; three between the others.
    either = np.log(np.array([[0.5, 0.45, 0.05]] * 8 + [[0.05, 0.5, 0.45]] * 3 + [[0.98, 0.01, 0.01]] * 20, np.float32))
    codes = np.array([0, 1] * 4 + [1, 2, 1] + [0] * 20)
    groups = np.arange(31)
    groups[1] = 0
    found = weigh(codes, groups, opinions({FUSED: either}), nobody(31))
    assert found.torn.sum() == 11
    # One of the copies is filed apart from the other, and the pair counts once.
    assert unclear(codes, groups, found, NAMES) == ()  # so few may be chance: seven of ten, in one of three pairs
    many = np.concatenate([either, either[:11], either[:11]])
    codes, groups = np.concatenate([codes, codes[:11], codes[:11]]), np.arange(53)
    groups[1] = 0
    found = weigh(codes, groups, opinions({FUSED: many}), nobody(53))
    assert unclear(codes, groups, found, NAMES) == (Unclear("Bébé", "Linge", 23),)
    two = weigh(codes[:8], groups[:8], opinions({FUSED: many[:8, :2]}), nobody(8))
    assert unclear(codes[:8], groups[:8], two, NAMES[:2]) == (Unclear("Bébé", "Linge", 7),)  # there is no other pair


def test_the_estimate_is_that_of_the_calibrated_confident_joint() -> None:
    count = pytest.importorskip("cleanlab.count")
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 600)
    codes = truth.copy()
    wrong = rng.choice(600, 30, replace=False)
    codes[wrong] = (codes[wrong] + rng.integers(1, 3, 30)) % 3
    fused = sure(truth.tolist(), 0.8) + rng.normal(0, 0.4, (600, 3)).astype(np.float32)
    fused -= np.log(np.exp(fused).sum(axis=1, keepdims=True))
    said = opinions({FUSED: fused})
    every = np.ones(600, bool)
    found = misfiled(codes, np.arange(600), said, every)
    theirs = count.num_label_issues(
        codes, np.exp(fused.astype(np.float64)), estimation_method="off_diagonal_calibrated"
    )
    assert found.mean == pytest.approx(theirs, abs=1)
    assert found.low < 30 < found.high
    assert 10 < found.high - found.low < 40  # about ±2 √30
    assert confident_issues(codes, said, every)[wrong].mean() > 0.7
    assert confident_issues(codes, said, every).sum() < 60


def test_what_is_told_of_a_suspect() -> None:
    said = opinions({FUSED: sure([1, 1], 0.8), "text": sure([1, 0]), "image": sure([1, 0])})
    codes, groups = np.array([0, 0]), np.array([0, 1])
    found = weigh(codes, groups, said, nobody(2))
    found.against["confident_learning"] = np.array([True, False])
    features = Features(("a", "b"), ("Bébé", "Bébé"), {}, {}, {})
    listings = Listings(features, codes, 3, groups, ["drap de bain", None])
    first, second = tell(listings, NAMES, said, found, np.arange(2), ["a.jpg"], (), np.array([False, True]))
    assert (first.id, first.text, first.photo, first.filed, first.suggested) == (
        "a", "drap de bain", "a.jpg", "Bébé", "Linge",
    )  # fmt: skip
    assert first.probability == pytest.approx(0.8, rel=1e-4)
    assert first.filed_probability == pytest.approx(0.1, rel=1e-4)
    assert first.evidence == ("confident_learning", "fused", "text", "image") == KINDS[:4]
    assert first.reason == "text and photo both say Linge"
    assert (second.text, second.photo, second.holdout) == ("", "", True)
    assert second.evidence == ("fused",)
    assert second.reason == "all that can be read says Linge"


def test_the_evidence_in_words() -> None:
    n = np.array
    found = Weighed(
        margin=n([2.2]), suggested=n([1]), torn=n([True]), votes=n([9.0]), asked=n([10.0]), copies=n([2.0]),
        against={FUSED: n([True]), "text": n([False]), "image": n([True]), "neighbours": n([True])},
    )  # fmt: skip
    assert reason(found, 0, "Linge", "Bébé") == (
        "the photo says Linge; 9 of 10 neighbours are Linge; 2 near-copies are filed under Linge; Linge and Bébé are "
        "often confused"
    )
    nothing = {name: n([False]) for name in found.against}
    bare = Weighed(found.margin, found.suggested, n([False]), n([0.0]), n([10.0]), n([0.0]), nothing)
    assert reason(bare, 0, "Linge") == "Linge is a little likelier than what it is filed under"
