from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.embeddings import neighbours
from headstart.embeddings.neighbours import Neighbours, nearest
from headstart.errors import HeadstartError

Blocks = list[tuple[np.ndarray, np.ndarray]]


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[Blocks, np.ndarray, int]:
    """Listings of one to three encoders, some absent and some all zero, in groups; and how many neighbours."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 40))
    blocks = []
    for _ in range(draw(st.integers(1, 3))):
        vectors = rng.standard_normal((count, draw(st.integers(2, 6)))) + draw(st.sampled_from([0, 3]))
        vectors[rng.random(count) < draw(st.sampled_from([0, 0.2]))] = 0
        blocks.append((vectors, rng.random(count) < draw(st.sampled_from([1, 0.7]))))
    return blocks, rng.integers(draw(st.integers(1, 40)), size=count), draw(st.integers(1, 12))


def plain(blocks: Blocks, groups: np.ndarray) -> list[list[tuple[int, float]]]:
    """All neighbours by their definition: rows and cosines of each listing, the nearest first."""
    has = np.array([present & vectors.any(axis=1) for vectors, present in blocks])
    cosines = np.zeros((len(groups), len(groups)))
    for (vectors, _), there in zip(blocks, has, strict=True):
        centred = vectors - vectors[there].mean(axis=0) if there.any() else vectors
        for i in np.flatnonzero(there):
            for j in np.flatnonzero(there):
                lengths = np.linalg.norm(centred[i]) * np.linalg.norm(centred[j])
                cosines[i, j] += centred[i] @ centred[j] / lengths / has[:, i].sum() if lengths > 1e-9 else 0
    result = []
    for i in range(len(groups)):
        voices: dict[int, int] = {}
        for j in np.flatnonzero(has.any(axis=0)):
            voices.setdefault(int(groups[j]), int(j))
        others = [j for group, j in voices.items() if group != groups[i]] if has[:, i].any() else []
        result.append([(j, cosines[i, j]) for j in sorted(others, key=lambda j: -cosines[i, j])])
    return result


def everywhere(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return vectors, np.ones(len(vectors), dtype=bool)


def clusters(count: int, dim: int = 48, seed: int = 0) -> np.ndarray:
    """Vectors around a thirtieth as many middles, all in a narrow cone."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((max(1, count // 30), dim)) + 2
    return middles[rng.integers(len(middles), size=count)] + 0.5 * rng.standard_normal((count, dim))


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "EXACT", 0)


@given(catalogues())
@settings(deadline=None)
def test_neighbours_are_those_of_the_definition(catalogue: tuple[Blocks, np.ndarray, int]) -> None:
    blocks, groups, k = catalogue
    found = nearest(blocks, groups, k)
    for i, expected in enumerate(plain(blocks, groups)):
        count = min(k, len(expected))
        true = np.array([cosine for _, cosine in expected])
        assert (found.rows[i] >= 0).tolist() == [True] * count + [False] * (k - count)
        np.testing.assert_allclose(found.cosines[i], [*true[:count], *[0] * (k - count)], atol=1e-5)
        apart = np.diff(true, prepend=np.inf, append=-np.inf) < -1e-4
        for at in np.flatnonzero((apart[:-1] & apart[1:])[:count]):
            assert found.rows[i, at] == expected[at][0]


@pytest.mark.parametrize("limit", [0, neighbours.EXACT])
def test_neighbours_are_of_as_many_groups_and_never_of_the_own(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "EXACT", limit)
    vectors, rng = clusters(600), np.random.default_rng(1)
    vectors[rng.permutation(600)[:300]] = vectors[0]  # re-posts, whose own group fills all the places near them
    groups = np.unique(vectors, axis=0, return_inverse=True)[1].ravel()
    found = nearest([everywhere(vectors)], groups, 10)
    assert (found.rows >= 0).all()
    of = groups[found.rows]
    assert not (of == groups[:, None]).any()
    assert all(len(set(row)) == 10 for row in of)
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    assert found.rows.dtype == np.int64 and found.cosines.dtype == np.float32


@given(catalogues(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_listings_in_another_order_have_neighbours_as_near(
    catalogue: tuple[Blocks, np.ndarray, int], random: object
) -> None:
    blocks, _, k = catalogue
    count = len(blocks[0][0])
    order = np.array(random.sample(range(count), count))  # type: ignore[attr-defined]
    found = nearest(blocks, np.arange(count), k)
    again = nearest([(vectors[order], present[order]) for vectors, present in blocks], np.arange(count), k)
    np.testing.assert_allclose(again.cosines, found.cosines[order], atol=1e-5)
    np.testing.assert_array_equal(again.rows >= 0, found.rows[order] >= 0)


def test_another_order_permutes_the_neighbours() -> None:
    vectors, order = clusters(300), np.random.default_rng(2).permutation(300)
    found = nearest([everywhere(vectors)], np.arange(300), 5)
    again = nearest([everywhere(vectors[order])], np.arange(300), 5)
    np.testing.assert_array_equal(order[again.rows], found.rows[order])


def test_cosines_are_of_centred_vectors() -> None:
    # Seen from the origin all point to the right; seen from their middle, two up and two down.
    vectors = np.array([[9, 1], [9, 1.1], [9, -1], [9, -1.1]])
    found = nearest([everywhere(vectors)], np.arange(4), 3)
    assert found.rows[:, 0].tolist() == [1, 0, 3, 2]
    np.testing.assert_allclose(found.cosines, [[1, -1, -1]] * 4, atol=1e-5)


def test_a_listing_without_a_photo_is_compared_by_its_text_alone() -> None:
    text = np.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    photo = np.array([[1.0, 0], [7, 7], [-1, 0], [1, 0]])
    present = np.array([True, False, True, True])
    found = nearest([everywhere(text), (photo, present)], np.arange(4), 1)
    assert (found.rows[1, 0], found.cosines[1, 0]) == (0, pytest.approx(1))
    assert (found.rows[0, 0], found.cosines[0, 0]) == (1, pytest.approx(0.5))  # the photo it lacks counts as 0


def test_what_nothing_was_read_of_has_no_neighbours_and_is_none() -> None:
    vectors, present = clusters(100), np.ones(100, dtype=bool)
    vectors[3] = 0
    present[4] = False
    found = nearest([(vectors, present)], np.arange(100), 99)
    assert (found.rows[[3, 4]] == -1).all()
    assert not np.isin(found.rows, [3, 4]).any()
    assert ((found.rows >= 0).sum(axis=1)[[0, 99]] == 97).all()


def test_a_group_speaks_through_its_first_listing_that_was_read() -> None:
    vectors = np.array([[0.0, 0], [1, 0], [1, 0.1], [0, 1], [-1, -1]])
    found = nearest([everywhere(vectors)], np.array([0, 0, 0, 1, 2]), 2)
    assert set(found.rows[3]) == {1, 4}


def test_nothing_but_zeros_has_no_neighbours() -> None:
    found = nearest([everywhere(np.zeros((5, 3))), everywhere(np.zeros((5, 2)))], np.arange(5), 2)
    assert (found.rows == -1).all() and (found.cosines == 0).all()
    assert nearest([everywhere(np.zeros((0, 3)))], np.arange(0), 2).rows.shape == (0, 2)


@pytest.mark.parametrize("limit", [0, neighbours.EXACT])
def test_more_neighbours_than_groups_are_as_many_as_there_are(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "EXACT", limit)
    groups = np.arange(30) % 3
    found = nearest([everywhere(clusters(30))], groups, 8)
    assert ((found.rows >= 0) == ([True] * 2 + [False] * 6)).all()
    assert nearest([everywhere(clusters(30))], np.zeros(30, int), 8).rows.max() == -1


@pytest.mark.usefixtures("indexed")
def test_an_index_finds_nearly_all_neighbours(tmp_path: Path) -> None:
    text, rng = clusters(4000), np.random.default_rng(4)
    photo = text @ rng.standard_normal((48, 32)) / 5 + 0.5 * rng.standard_normal((4000, 32))
    present = rng.random(4000) < 0.8
    blocks = [everywhere(on_disk(tmp_path / "text.npy", text)), (on_disk(tmp_path / "photo.npy", photo), present)]
    groups = np.arange(4000) // 2 * 2
    found = nearest(blocks, groups, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "EXACT", 4000)
        true = nearest(blocks, groups, 10)
    assert share(found, true) >= 0.95
    same = found.rows == true.rows
    np.testing.assert_allclose(found.cosines[same], true.cosines[same], atol=1e-5)


def share(found: Neighbours, true: Neighbours) -> float:
    """How many of the true neighbours were found."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(true.rows, found.rows, strict=True)]))


def on_disk(file: Path, vectors: np.ndarray) -> np.ndarray:
    np.save(file, vectors.astype(np.float16))
    mapped: np.ndarray = np.load(file, mmap_mode="r")
    return mapped


def test_a_memory_map_of_float16_gives_what_its_float32_gives(tmp_path: Path) -> None:
    mapped = on_disk(tmp_path / "vectors.npy", clusters(200) * 50)
    found = nearest([everywhere(mapped)], np.arange(200), 5)
    again = nearest([everywhere(np.array(mapped, np.float32))], np.arange(200), 5)
    np.testing.assert_array_equal(found.rows, again.rows)
    np.testing.assert_array_equal(found.cosines, again.cosines)


def test_a_large_catalogue_without_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "EXACT", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(HeadstartError, match=r"^100 listings .*pip install 'headstart\[audit\]'$"):
        nearest([everywhere(clusters(100))], np.arange(100), 3)
    nearest([everywhere(clusters(10))], np.arange(10), 3)


def test_lengths_that_differ_and_no_encoders_are_refused() -> None:
    with pytest.raises(HeadstartError, match=r"\[2, 3\]"):
        nearest([everywhere(np.eye(3))], np.arange(2), 1)
    with pytest.raises(HeadstartError, match="one or more encoders"):
        nearest([], np.arange(2), 1)
    with pytest.raises(HeadstartError, match="0 neighbours"):
        nearest([everywhere(np.eye(3))], np.arange(3), 0)
