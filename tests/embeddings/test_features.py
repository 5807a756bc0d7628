from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import flip, refusal

from headstart.embeddings.features import BATCH, Features, Gathered, open_features
from headstart.embeddings.key import content_key, key_rows
from headstart.embeddings.listings import Column, Listings, ListingsWriter, listings_path
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import DamageError

ROWS: list[tuple[str, str | None, bytes | None, bytes | None]] = [  # id, label, text, photo
    ("1", "mode", b"robe rouge", b"one"),
    ("2", "maison", None, b"two"),
    ("3", "maison", b"lampe", None),
    ("4", None, None, None),
    ("5", "mode", b"robe rouge", b"one"),
    ("6", "cuisine", "cafetière".encode(), b"two"),
    ("7", "cuisine", b"never encoded", b"never encoded"),
]
NUMBERS = {"words": [1, 0, 3, 0, 1, 6, 0], "pixels": [1, 2, 0, 0, 1, 2, 0], "colours": [0, 2, 0, 0, 0, 2, 0]}
DIMS = {"words": 3, "pixels": 4, "colours": 2}


def vector(number: int, dim: int) -> np.ndarray:
    """A vector like no other: all `number`, but for its first element."""
    return np.array([100 + number] + [number] * (dim - 1), np.float16)


def matrix(name: str, rows: np.ndarray) -> np.ndarray:
    """The vectors of these listings as they must be."""
    dim = DIMS[name]
    numbers = np.array(NUMBERS[name])[rows]
    return np.array([vector(n, dim) if n else np.zeros(dim) for n in numbers], np.float16).reshape(-1, dim)


def write_listings(root: Path, rows: list[tuple[str, str | None, bytes | None, bytes | None]]) -> Listings:
    def keys(modality: str, contents: list[bytes | None]) -> list[bytes | None]:
        return [None if content is None else content_key(modality, content) for content in contents]

    with ListingsWriter(root, root / "c.csv") as writer:
        for batch in (rows[:3], rows[3:]):
            ids, labels, texts, photos = ([row[place] for row in batch] for place in range(4))
            both = {"text": keys("text", texts), "image": keys("image", photos)}  # type: ignore[arg-type]
            writer.add(ids, labels, both)
    return Listings(listings_path(root, root / "c.csv"))


def new_store(root: Path, name: str, modality: str, contents: dict[int, bytes], dim: int = 0) -> EmbeddingStore:
    """A store with these contents, `vector(number, dim)` for each, one part a content."""
    dim = dim or DIMS[name]
    store = EmbeddingStore.create(root, name, name * 16, modality, dim, {})
    for number, content in contents.items():
        store.append(key_rows([content_key(modality, content)]), vector(number, dim)[None], {})
    return EmbeddingStore(store.folder)


def write_stores(root: Path) -> list[EmbeddingStore]:
    texts = {3: b"lampe", 6: "cafetière".encode(), 9: b"nobody's", 1: b"robe rouge"}
    return [
        new_store(root, "words", "text", texts),
        new_store(root, "pixels", "image", {2: b"two", 1: b"one"}),
        new_store(root, "colours", "image", {2: b"two"}),
    ]


@pytest.fixture
def listings(tmp_path: Path) -> Listings:
    return write_listings(tmp_path, ROWS)


@pytest.fixture
def all_stores(tmp_path: Path) -> list[EmbeddingStore]:
    return write_stores(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Listings, list[EmbeddingStore]]:
    """The same, for tests that only read."""
    root = tmp_path_factory.mktemp("kept")
    return write_listings(root, ROWS), write_stores(root)


@pytest.fixture
def features(listings: Listings, all_stores: list[EmbeddingStore]) -> Features:
    return open_features(listings, all_stores)


def test_each_listing_has_its_row_and_what_is_missing_is_zero_and_absent(features: Features) -> None:
    assert len(features) == 7
    assert features.ids == list("1234567")
    assert features.labels == ["mode", "maison", "maison", None, "mode", "cuisine", "cuisine"]
    assert list(features.vectors) == list(features.present) == list(NUMBERS)
    for name, numbers in NUMBERS.items():
        assert np.array_equal(features.vectors[name], matrix(name, np.arange(7)))
        assert features.vectors[name].dtype == np.float16
        assert features.present[name].tolist() == [number > 0 for number in numbers]
        assert features.vectors[name] is features.vectors[name], "gathered once"
    assert features.fingerprints == {name: name * 16 for name in NUMBERS}
    assert features.modality == {"words": "text", "pixels": "image", "colours": "image"}
    for (vectors, there), name in zip(features.blocks(), NUMBERS, strict=True):
        assert vectors is features.vectors[name] and there is features.present[name]


def test_encoders_by_modality(features: Features) -> None:
    assert features.encoders("text") == ("words",)
    assert features.encoders("image") == ("pixels", "colours")
    assert features.encoders("sound") == ()


def test_opening_touches_nothing_and_asking_tells(listings: Listings, all_stores: list[EmbeddingStore]) -> None:
    for store in all_stores:
        shutil.rmtree(store.folder)
        store.folder.mkdir()
    features = open_features(listings, all_stores)
    taken = features.take(np.array([2, 0])).take(np.array([1]))
    assert features.encoders("image") == ("pixels", "colours") and len(taken) == 1 and taken.ids == ["1"]
    assert not any(features.present["words"]), "an empty store"


def test_damage_is_refused_when_it_is_asked_for(listings: Listings, all_stores: list[EmbeddingStore]) -> None:
    words, pixels, _ = (store.folder for store in all_stores)
    damaged = sorted(path for path in pixels.glob("*.npy") if "keys" not in path.name)
    flip(damaged[0], -1, 2)  # two
    cut = next(words.glob("*.keys.npy"))
    cut.write_bytes(cut.read_bytes()[:-1])
    features = open_features(listings, [EmbeddingStore(store.folder) for store in all_stores])
    assert features.present["pixels"].tolist() == [number > 0 for number in NUMBERS["pixels"]]
    assert damaged[0].name in refusal(lambda: features.vectors["pixels"], DamageError)
    assert damaged[0].name in refusal(lambda: features.take(np.array([0, 1])).vectors["pixels"], DamageError)
    alone = features.take(np.array([4, 0, 2])).vectors["pixels"]
    assert np.array_equal(alone, matrix("pixels", np.array([4, 0, 2]))), "what is not asked for is not read"
    for each in (features.vectors, features.present):
        assert cut.name in refusal(lambda each=each: each["words"], DamageError)  # type: ignore[misc]
    assert np.array_equal(features.vectors["colours"], matrix("colours", np.arange(7)))


@settings(max_examples=40, deadline=None)
@given(
    takes=st.lists(st.lists(st.integers(0, 10_000), max_size=9), min_size=1, max_size=4),
    asked=st.lists(st.sampled_from([None, "words", "pixels", "colours"]), min_size=4, max_size=4),
)
def test_taking_composes_and_is_what_eager_matrices_give(
    kept: tuple[Listings, list[EmbeddingStore]], takes: list[list[int]], asked: list[str | None]
) -> None:
    lazy = open_features(*kept)
    ids, labels = tuple(row[0] for row in ROWS), tuple(row[1] for row in ROWS)
    whole = {each: matrix(each, np.arange(7)) for each in NUMBERS}
    there = {each: np.array(NUMBERS[each]) > 0 for each in NUMBERS}
    eager = Features(ids, labels, whole, there, lazy.modality, lazy.fingerprints)
    chosen = np.arange(7)
    for take, ask in zip(takes, asked, strict=False):
        if ask:  # what was gathered already is taken from there
            assert np.array_equal(lazy.vectors[ask], eager.vectors[ask])
        rows = np.array([row % len(chosen) for row in take] if len(chosen) else [], np.int64)
        lazy, eager, chosen = lazy.take(rows), eager.take(rows), chosen[rows]
    for each in (lazy, eager):
        assert list(each.ids) == [ROWS[row][0] for row in chosen]
        assert list(each.labels) == [ROWS[row][1] for row in chosen]
        for encoder in NUMBERS:
            assert np.array_equal(each.vectors[encoder], matrix(encoder, chosen))
            assert np.array_equal(each.present[encoder], np.array(NUMBERS[encoder], bool)[chosen])
            assert each.vectors[encoder].shape == (len(chosen), DIMS[encoder])
        assert (each.modality, each.fingerprints) == (lazy.modality, lazy.fingerprints)


def test_taking_gathers_nothing_until_it_is_asked_for() -> None:
    asked: list[list[int] | None] = []

    def source(rows: np.ndarray | None) -> np.ndarray:
        asked.append(None if rows is None else rows.tolist())
        return np.arange(10) if rows is None else rows

    matrices = Gathered({"a": source})
    taken = matrices.take(np.array([5, 7, 9])).take(np.array([2, 0]))
    assert "a" in taken and list(taken) == ["a"] and len(taken) == 1
    assert asked == []
    assert taken["a"].tolist() == [9, 5] and taken["a"].tolist() == [9, 5]
    assert asked == [[9, 5]], "only the rows that are wanted, and once"
    assert matrices["a"][3] == 3 and matrices.take(np.array([4]))["a"].tolist() == [4]
    assert asked == [[9, 5], None], "what is there already is not gathered again"
    assert Gathered.of(matrices) is matrices
    assert "b" not in matrices


def test_strings_stay_in_their_columns(features: Features) -> None:
    taken = features.take(np.array([6, 3]))
    assert isinstance(taken.ids, Column) and isinstance(taken.labels, Column)
    assert (taken.ids, taken.labels) == (["7", "4"], ["cuisine", None])


def test_without_stores_there_are_still_ids_and_labels(listings: Listings) -> None:
    features = open_features(listings, [])
    assert len(features) == len(features.labels) == 7
    assert dict(features.vectors) == dict(features.present) == {}
    assert features.take(np.array([1])).ids == ["2"]


def test_a_catalogue_longer_than_a_batch(tmp_path: Path) -> None:
    rows = BATCH + 10
    keys = [content_key("text", b"text %d" % number) for number in range(5)]
    with ListingsWriter(tmp_path, tmp_path / "many.csv") as writer:
        for start in range(0, rows, 10_000):
            some = range(start, min(start + 10_000, rows))
            writer.add([str(row) for row in some], [None] * len(some), {"text": [keys[row % 5] for row in some]})
    store = new_store(tmp_path, "words", "text", {number: b"text %d" % number for number in (1, 2, 3, 4)})
    features = open_features(Listings(listings_path(tmp_path, tmp_path / "many.csv")), [store])
    number = np.arange(rows) % 5
    assert np.array_equal(features.present["words"], number > 0)
    assert np.array_equal(features.vectors["words"][:, 1], number.astype(np.float16))
    backwards = features.take(np.arange(rows)[::-1])
    assert np.array_equal(backwards.vectors["words"][:, 1], number[::-1].astype(np.float16))
    assert backwards.ids[0] == str(rows - 1)


def test_vectors_stay_in_reach_when_the_store_is_compacted(
    features: Features, all_stores: list[EmbeddingStore]
) -> None:
    from headstart.embeddings.upkeep import compact

    assert features.present["words"].any()
    assert compact(EmbeddingStore(all_stores[0].folder)) == (4, 4)
    assert np.array_equal(features.vectors["words"], matrix("words", np.arange(7)))
    compact(EmbeddingStore(all_stores[1].folder))
    assert np.array_equal(features.vectors["pixels"], matrix("pixels", np.arange(7))), "not looked into before"
