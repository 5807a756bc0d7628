from __future__ import annotations

import numpy as np
import pytest

from headstart.embeddings.neighbours import Neighbours
from headstart.errors import HeadstartError
from headstart.heads.opinions import FUSED, Opinions
from headstart.reports.audit import Weighed, weigh
from headstart.reports.flips import FIGURES, KINDS, confusion, flip, over_draws, self_test, table

TRUTH = np.random.default_rng(0).integers(0, 4, 400)


def look(of: float) -> object:
    """Heads that know the truth so well, whatever the listings are filed under."""

    def looked(codes: np.ndarray) -> tuple[Opinions, Weighed]:
        rng = np.random.default_rng(1)
        guess = np.where(rng.random(400) < of, TRUTH, rng.integers(0, 4, 400))
        fused = np.full((400, 4), np.log(0.1), np.float32)
        fused[np.arange(400), guess] = np.log(0.7)
        said = Opinions(np.ones(400, bool), {FUSED: fused}, {FUSED: np.ones(400, bool)})
        nobody = Neighbours(np.full((400, 1), -1), np.zeros((400, 1), np.float32))
        return said, weigh(codes, np.arange(400), said, nobody)

    return looked


def test_flips_are_of_listings_and_categories_drawn_from_the_seed() -> None:
    rows, filed = flip(TRUTH, 20, None, (3, 0), 4)
    assert len(np.unique(rows)) == 20
    assert np.array_equal(np.flatnonzero(filed != TRUTH), rows)
    again, other = flip(TRUTH, 20, None, (3, 0), 4), flip(TRUTH, 20, None, (3, 1), 4)
    assert np.array_equal(again[1], filed)
    assert not np.array_equal(other[0], rows)


def test_groups_flip_together_and_to_one_category() -> None:
    groups = np.arange(400) // 3
    rows, filed = flip(TRUTH // 4, 20, None, (3, 0), 4, groups)  # all of one category
    assert 20 <= len(rows) <= 22
    assert np.isin(np.flatnonzero(np.isin(groups, groups[rows])), rows).all()
    assert all(len(np.unique(filed[groups == group])) == 1 for group in np.unique(groups[rows]))


def test_what_is_not_judged_is_missed_by_both() -> None:
    pytest.importorskip("cleanlab")
    usual = look(1.0)

    def blind(codes: np.ndarray) -> tuple[Opinions, Weighed]:
        said, _ = usual(codes)  # type: ignore[operator]
        said.judged[:200] = False
        return said, weigh(codes, np.arange(400), said, Neighbours(np.full((400, 1), -1), np.zeros((400, 1))))

    for each in self_test(TRUTH, np.arange(400), blind, 4, 0.05, draws=2):
        assert each.audit.flipped == each.cleanlab.flipped < 0.8


def test_confusable_flips_go_where_the_heads_are_torn() -> None:
    towards = np.array([[0, 0.9, 0.1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0], [0.5, 0.25, 0.25, 0]])
    codes = np.repeat(np.arange(4), 1000)
    rows, filed = flip(codes, 2000, towards, (0,), 4)
    counts = np.zeros((4, 4))
    np.add.at(counts, (codes[rows], filed[rows]), 1)
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), towards, atol=0.06)
    assert (counts[towards == 0] == 0).all()


def test_confusion_is_what_heads_say_of_listings_filed_elsewhere() -> None:
    likely = np.array([[0.5, 0.4, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], np.float32)
    said = Opinions(np.array([True, True, True]), {FUSED: np.log(likely)}, {FUSED: np.ones(3, bool)})
    found = confusion(np.array([0, 0, 1]), said, 3)
    np.testing.assert_allclose(found[0], [0, 0.75, 0.25], rtol=1e-5)
    np.testing.assert_allclose(found[1], [0.5, 0, 0.5], rtol=1e-5)
    np.testing.assert_allclose(found[2], [0.5, 0.5, 0])  # nobody knows


def test_heads_that_know_the_truth_find_every_flip_and_guesses_find_few() -> None:
    pytest.importorskip("cleanlab")
    for each in self_test(TRUTH, np.arange(400), look(1.0), 4, 0.05, draws=2):  # type: ignore[arg-type]
        assert (each.flips, each.draws) == (20, 2)
        assert [getattr(each.audit, name) for name in FIGURES] == [1.0] * 5
        assert each.cleanlab == each.audit
        assert each.estimate == pytest.approx(20)
        assert each.before == 0
    for each in self_test(TRUTH, np.arange(400), look(0.0), 4, 0.05, draws=2):  # type: ignore[arg-type]
        assert each.audit.flipped < 0.3
        assert 0.3 < each.audit.auroc < 0.7


def test_a_share_that_flips_nothing_or_most_is_refused() -> None:
    for share in (0.001, 0.6):
        with pytest.raises(HeadstartError, match=f"share of {share:g}"):
            self_test(TRUTH, np.arange(400), look(1.0), 4, share)  # type: ignore[arg-type]


def test_intervals_over_draws_are_students() -> None:
    found = over_draws(np.array([1.0, 2.0, 3.0]))
    # t(0.975, 2) = 4.3027, standard error 1/√3.
    assert found.mean == pytest.approx(2)
    assert found.high - 2 == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


def test_the_table_has_both_rankings_and_the_difference() -> None:
    pytest.importorskip("cleanlab")
    found = table(self_test(TRUTH, np.arange(400), look(0.9), 4, 0.05, draws=2))  # type: ignore[arg-type]
    assert [row[:2] for row in found.rows] == [
        (kind, name) for kind in KINDS for name in ("headstart", "cleanlab", "ahead by")
    ]
    assert all(len(row) == len(found.header) for row in found.rows)
