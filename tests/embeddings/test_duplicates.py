from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.embeddings import duplicates
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.errors import HeadstartError


def everywhere(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return vectors, np.ones(len(vectors), dtype=bool)


def at_degrees(*angles: float) -> np.ndarray:
    turn = np.radians(angles)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def test_listings_above_the_threshold_share_a_group_and_others_do_not() -> None:
    # cos 17° = 0.956 and cos 20° = 0.940
    assert near_duplicate_groups([everywhere(at_degrees(0, 17, 90, 110))]).tolist() == [0, 0, 1, 2]


def test_a_chain_of_resemblances_is_one_group() -> None:
    assert near_duplicate_groups([everywhere(at_degrees(0, 34, 17, 180))]).tolist() == [0, 0, 0, 1]


def test_groups_are_numbered_by_first_appearance() -> None:
    vectors = at_degrees(200, 100, 0, 100, 200)
    assert near_duplicate_groups([everywhere(vectors)]).tolist() == [0, 1, 2, 1, 0]


def test_one_encoder_is_enough_to_link_and_links_join_across_encoders() -> None:
    text, photo = at_degrees(0, 0, 90, 180), at_degrees(0, 120, 120, 240)
    assert near_duplicate_groups([everywhere(text), everywhere(photo)]).tolist() == [0, 0, 0, 1]


def test_what_is_absent_or_zero_links_nothing() -> None:
    vectors = at_degrees(0, 0, 0, 0)
    vectors[2:] = 0
    present = np.array([True, False, True, True])
    assert near_duplicate_groups([(vectors, present)]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_one_content_encoded_twice_links_at_any_threshold_in_float16(scale: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 1280)) * scale
    again = vectors + rng.standard_normal(vectors.shape) * scale * 1e-7  # encoders are not batch-invariant
    both = np.concatenate([vectors, again]).astype(np.float16)
    assert near_duplicate_groups([everywhere(both)], cosine=1.0).tolist() == [*range(400), *range(400)]


def test_duplicates_far_apart_in_a_large_catalogue_are_found() -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
    vectors[[1500, 2900]] = vectors[3]
    vectors[1023] = -2 * vectors[1024]
    vectors[1025] = 5 * vectors[1024]
    groups = near_duplicate_groups([everywhere(vectors)])
    assert np.flatnonzero(groups == groups[3]).tolist() == [3, 1500, 2900]
    assert np.flatnonzero(groups == groups[1024]).tolist() == [1024, 1025]
    assert groups.max() + 1 == 3000 - 3


def test_groups_are_those_of_a_plain_search() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((150, 3))
    cosines = (vectors @ vectors.T) / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    expected = np.arange(150)
    for _ in range(150):  # each round hands the lowest number on to the neighbours
        expected = np.where(cosines >= 0.98, expected, 150).min(axis=1)
    groups = near_duplicate_groups([everywhere(vectors)], cosine=0.98)
    assert np.array_equal(groups[:, None] == groups, expected[:, None] == expected)
    assert 10 < groups.max() + 1 < 140


def test_inputs_are_left_as_they_were() -> None:
    vectors = at_degrees(0, 10) * 7
    before = vectors.copy()
    near_duplicate_groups([everywhere(vectors)])
    assert np.array_equal(vectors, before)


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(duplicates, "EXACT", 0)


def exactly(blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "EXACT", 10**9)
        return near_duplicate_groups(blocks)


@pytest.mark.usefixtures("indexed")
def test_an_index_finds_the_same_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    blocks = []
    for name in ("text", "photo"):
        vectors = rng.standard_normal((3000, 24)) + 0.5
        again = rng.permutation(3000)
        vectors[again[:600]] = vectors[again[600:1200]] + 0.15 * rng.standard_normal((600, 24))
        np.save(tmp_path / f"{name}.npy", vectors.astype(np.float16))
        blocks.append((np.load(tmp_path / f"{name}.npy", mmap_mode="r"), rng.random(3000) < 0.9))
    groups, true = near_duplicate_groups(blocks), exactly(blocks)
    pairs = true[:, None] == true
    assert 300 < 3000 - true.max() - 1 < 2500
    assert (groups[:, None] == groups)[pairs].mean() >= 0.95
    assert pairs[groups[:, None] == groups].all()  # every link is a true one
    assert np.array_equal(np.unique(groups, return_index=True)[1], np.sort(np.unique(groups, return_index=True)[1]))


@pytest.mark.usefixtures("indexed")
def test_copies_are_always_linked_and_hide_no_other_links() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((2500, 16)).astype(np.float32)
    vectors[rng.permutation(2000)[:1000]] = vectors[2000]
    vectors[2001] = vectors[2000] + 0.01
    vectors[2002:2006] = 0
    groups = near_duplicate_groups([everywhere(vectors)])
    assert (groups == groups[2000]).sum() >= 1002
    assert np.array_equal(groups, exactly([everywhere(vectors)]))


@pytest.mark.usefixtures("indexed")
def test_copies_are_linked_where_an_index_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((len(queries), k), np.float32), np.full((len(queries), k), -1)

    monkeypatch.setattr(duplicates, "index_of", lambda read, rows, probes: Nothing())
    vectors = at_degrees(0, 17, 90, 90, 200)[[4, 3, 0, 2, 1, 4]].astype(np.float16)
    assert near_duplicate_groups([everywhere(vectors)]).tolist() == [0, 1, 2, 1, 3, 0]


@pytest.mark.usefixtures("indexed")
def test_of_few_listings_an_index_gives_what_all_pairs_give() -> None:
    for test in (
        test_listings_above_the_threshold_share_a_group_and_others_do_not,
        test_a_chain_of_resemblances_is_one_group,
        test_groups_are_numbered_by_first_appearance,
        test_one_encoder_is_enough_to_link_and_links_join_across_encoders,
        test_what_is_absent_or_zero_links_nothing,
    ):
        test()


def test_a_large_catalogue_without_the_library_is_compared_whole_and_told_what_is_quicker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(duplicates, "EXACT", 2)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert near_duplicate_groups([everywhere(at_degrees(0, 90, 91))]).tolist() == [0, 1, 1]
    assert "pip install 'headstart[audit]'" in capsys.readouterr().err


@pytest.mark.parametrize("cosine", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_named(cosine: float) -> None:
    with pytest.raises(HeadstartError, match=str(cosine)):
        near_duplicate_groups([everywhere(at_degrees(0, 1))], cosine)


def test_encoders_of_other_listings_or_none_are_refused() -> None:
    with pytest.raises(HeadstartError, match=r"\[2, 3\]"):
        near_duplicate_groups([everywhere(at_degrees(0, 1)), everywhere(at_degrees(0, 1, 2))])
    with pytest.raises(HeadstartError, match="one or more encoders"):
        near_duplicate_groups([])
