from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, listing_keys, read_features
from headstart.embeddings.key import PhotoKeys, content_key, key_rows, text_keys
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import CatalogError, StoreError

ROWS = [  # id, text, photo, label
    ("1", "robe rouge", "1.jpg", "mode"),
    ("2", "", "2.jpg", "maison"),
    ("3", "lampe", "", "maison"),
    ("4", "", "nowhere.jpg", ""),
    ("5", "robe rouge", "copy of 1.jpg", "mode"),
    ("6", "cafetière", "2.jpg", "cuisine"),
    ("7", "never encoded", "never encoded.jpg", "cuisine"),
]
PHOTOS = {"1.jpg": b"one", "2.jpg": b"two", "copy of 1.jpg": b"one", "never encoded.jpg": b"seven"}


def vector(number: int, dim: int) -> np.ndarray:
    """A vector like no other: all `number`, but for its first element."""
    return np.array([100 + number] + [number] * (dim - 1), np.float16)


def write_catalog(path: Path, rows: list[tuple[str, str, str, str]]) -> Catalog:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "photo", "label"), *rows])
    return read_catalog(path, Columns(text=("text",), image="photo", label="label"))


def new_store(root: Path, name: str, modality: str, dim: int, contents: dict[int, bytes]) -> EmbeddingStore:
    """A store with these contents, `vector(number, dim)` for each, one part a content."""
    store = EmbeddingStore.create(root, name, name * 16, modality, dim, {})
    for number, content in contents.items():
        store.append(key_rows([content_key(modality, content)]), vector(number, dim)[None], {})
    return store


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name, content in PHOTOS.items():
        (tmp_path / name).write_bytes(content)
    return write_catalog(tmp_path / "listings.csv", ROWS)


@pytest.fixture
def all_stores(tmp_path: Path) -> list[EmbeddingStore]:
    root = tmp_path / "store"
    texts = {3: b"lampe", 6: "cafetière".encode(), 9: b"nobody's", 1: b"robe rouge"}
    photos = {2: b"two", 1: b"one"}
    return [
        new_store(root, "words", "text", 3, texts),
        new_store(root, "pixels", "image", 4, photos),
        new_store(root, "colours", "image", 2, {2: b"two"}),
    ]


@pytest.fixture
def features(catalog: Catalog, all_stores: list[EmbeddingStore], tmp_path: Path) -> Features:
    return read_features(catalog, all_stores, PhotoKeys(tmp_path / "note"))


def test_each_listing_has_its_row_and_what_is_missing_is_zero_and_absent(features: Features) -> None:
    assert len(features) == 7
    assert features.ids == tuple("1234567")
    assert features.labels == ("mode", "maison", "maison", None, "mode", "cuisine", "cuisine")
    expected = {"words": [1, 0, 3, 0, 1, 6, 0], "pixels": [1, 2, 0, 0, 1, 2, 0], "colours": [0, 2, 0, 0, 0, 2, 0]}
    for name, dim in (("words", 3), ("pixels", 4), ("colours", 2)):
        rows = [vector(number, dim) if number else np.zeros(dim) for number in expected[name]]
        assert np.array_equal(features.vectors[name], np.stack(rows))
        assert features.vectors[name].dtype == np.float16
        assert features.present[name].tolist() == [number > 0 for number in expected[name]]
    assert features.fingerprints == {name: name * 16 for name in expected}


def test_encoders_by_modality(features: Features) -> None:
    assert features.encoders("text") == ("words",)
    assert features.encoders("image") == ("pixels", "colours")
    assert features.encoders("sound") == ()


def test_rows_follow_the_catalogue_s_order_not_the_store_s(
    features: Features, all_stores: list[EmbeddingStore], tmp_path: Path
) -> None:
    order = [4, 6, 2, 0, 5, 1, 3]
    shuffled = write_catalog(tmp_path / "shuffled.csv", [ROWS[row] for row in order])
    again = read_features(shuffled, all_stores, PhotoKeys(tmp_path / "note"))
    taken = features.take(np.array(order))
    for each in (again, taken):
        assert each.ids == tuple(ROWS[row][0] for row in order)
        assert each.labels == tuple(ROWS[row][3] or None for row in order)
        assert each.modality == features.modality
        assert each.fingerprints == features.fingerprints
        for name in features.vectors:
            assert np.array_equal(each.vectors[name], features.vectors[name][order])
            assert np.array_equal(each.present[name], features.present[name][order])


def test_taking_nothing_and_taking_a_listing_twice(features: Features) -> None:
    nothing = features.take(np.array([], np.int64))
    assert len(nothing) == 0
    assert nothing.vectors["pixels"].shape == (0, 4)
    twice = features.take(np.array([5, 5]))
    assert twice.ids == ("6", "6")
    assert twice.vectors["words"][:, 0].tolist() == [106, 106]


def test_without_stores_there_are_still_ids_and_labels(catalog: Catalog, tmp_path: Path) -> None:
    features = read_features(catalog, [], PhotoKeys(tmp_path / "note"))
    assert len(features) == len(features.labels) == 7
    assert features.vectors == features.present == {}


def test_a_catalogue_longer_than_a_batch(tmp_path: Path) -> None:
    rows = 65_536 + 10
    path = tmp_path / "many.csv"
    path.write_text("id,text\n" + "".join(f"{row},text {row % 5}\n" for row in range(rows)))
    store = new_store(tmp_path / "store", "words", "text", 3, {n: b"text %d" % n for n in (1, 2, 3, 4)})
    features = read_features(read_catalog(path, Columns(text=("text",))), [store], PhotoKeys(tmp_path / "note"))
    number = np.arange(rows) % 5
    assert np.array_equal(features.vectors["words"][:, 1], number.astype(np.float16))
    assert np.array_equal(features.present["words"], number > 0)


def test_damage_is_refused(catalog: Catalog, all_stores: list[EmbeddingStore], tmp_path: Path) -> None:
    folder = all_stores[1].folder
    next(path for path in folder.glob("*.npy") if "keys" not in path.name).write_bytes(b"")
    with pytest.raises(StoreError, match="extract again"):
        read_features(catalog, [EmbeddingStore(folder)], PhotoKeys(tmp_path / "note"))
    catalog.path.write_text("id,text,photo,label\n")
    with pytest.raises(CatalogError):
        read_features(catalog, all_stores, PhotoKeys(tmp_path / "note"))


def test_keys_of_one_modality_and_the_rows_they_are_of(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    texts, photos = [None, "a", "b", None], [tmp_path / "1.jpg", None, tmp_path / "gone.jpg", tmp_path / "1.jpg"]
    note = PhotoKeys(tmp_path / "note")
    rows, keys = listing_keys("text", texts, photos, note)
    assert rows.tolist() == [1, 2]
    assert [key.tobytes() for key in keys] == text_keys(["a", "b"])
    rows, keys = listing_keys("image", texts, photos, note)
    assert rows.tolist() == [0, 3]
    assert [key.tobytes() for key in keys] == [content_key("image", b"one")] * 2
    rows, keys = listing_keys("image", texts, [None] * 4, note)
    assert (rows.shape, keys.shape) == ((0,), (0, 16))
