from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.embeddings.key import content_key, key_rows
from headstart.embeddings.part import FORMAT, write_part, write_record
from headstart.embeddings.store import EmbeddingStore, store_folder, stores
from headstart.errors import StoreError

FINGERPRINT = "0123456789abcdef" * 4
SPEC = {"weights": "5" * 64, "normalisation": "L2"}


def new_store(root: Path, name: str = "letters", fingerprint: str = FINGERPRINT, dim: int = 3) -> EmbeddingStore:
    return EmbeddingStore.create(root, name, fingerprint, "text", dim, SPEC)


def keys_of(*texts: str) -> np.ndarray:
    return key_rows([content_key("text", text.encode()) for text in texts])


def refusal(work: Callable[[], object]) -> str:
    """The message of the StoreError that the work ends in."""
    with pytest.raises(StoreError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Two parts, of the texts a, b and c, d."""
    store = new_store(tmp_path / "store")
    store.append(keys_of("a", "b"), np.arange(6.0).reshape(2, 3), {"seconds": 1.0})
    store.append(keys_of("c", "d"), np.arange(6.0, 12).reshape(2, 3), {"seconds": 2.0})
    return store


# Few first halves and few second halves, so that keys meet in one half, in the other, and in both.
halves = st.sampled_from([bytes(8), b"\xff" * 8, b"\x01" + bytes(7), bytes(7) + b"\x01", b"headstar"])
some_keys = st.tuples(halves, halves).map(b"".join)
part = st.lists(some_keys, min_size=1, max_size=7)


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(part, max_size=4), wanted=st.lists(some_keys, max_size=12), seed=st.integers(0, 99))
def test_vectors_are_found_by_key_in_any_order_and_the_first_of_a_key_counts(
    parts: list[list[bytes]], wanted: list[bytes], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first: dict[bytes, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as root:
        store = new_store(Path(root))
        for keys in parts:
            vectors = rng.standard_normal((len(keys), 3)).astype(np.float16)
            store.append(key_rows(keys), vectors, {})
            for key, vector in zip(keys, vectors, strict=True):
                first.setdefault(key, vector)
        for opened in (store, EmbeddingStore(store.folder)):
            assert len(opened) == sum(map(len, parts))
            rows = opened.lookup(key_rows(wanted))
            assert rows.shape == (len(wanted),)
            assert [row >= 0 for row in rows] == [key in first for key in wanted]
            assert set(rows[rows < 0]) <= {-1}
            kept = opened.read(rows[rows >= 0])
            assert kept.dtype == np.float16
            expected = [first[key] for key in wanted if key in first]
            assert np.array_equal(kept, np.array(expected, np.float16).reshape(-1, 3))


def test_many_vectors_in_many_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (20_000, 16), dtype=np.uint8)
    vectors = rng.standard_normal((20_000, 3)).astype(np.float32)
    store = new_store(tmp_path)
    for rows in np.split(np.arange(15_000), [1, 700, 701, 9_000]):
        store.append(keys[rows], vectors[rows], {})
    order = rng.permutation(20_000)
    rows = store.lookup(keys[order])
    assert np.array_equal(rows, np.where(order < 15_000, order, -1))
    assert np.array_equal(store.read(rows[rows >= 0]), vectors[order[order < 15_000]].astype(np.float16))


def test_an_empty_store_holds_nothing_and_says_so(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert len(store) == 0
    assert store.lookup(keys_of("a", "b")).tolist() == [-1, -1]
    assert store.lookup(key_rows([])).shape == (0,)
    assert store.read(np.empty(0, np.int64)).shape == (0, 3)
    assert store.seconds_per_row() == 0
    assert store.verify() == []


def test_what_a_store_says_of_itself(store: EmbeddingStore) -> None:
    for each in (store, EmbeddingStore(store.folder), new_store(store.folder.parent)):
        assert (each.name, each.modality, each.dim, each.dtype) == ("letters", "text", 3, np.float16)
        assert each.fingerprint == FINGERPRINT
        assert len(each) == 4
        assert each.seconds_per_row() == 0.75
        assert each.bytes() == sum(path.stat().st_size for path in each.folder.iterdir())
        assert each.verify() == []


def test_a_row_that_is_not_there_is_refused(store: EmbeddingStore) -> None:
    for rows in ([-1], [4], [0, 1, -1]):
        assert "it has 4" in refusal(lambda rows=rows: store.read(np.array(rows)))  # type: ignore[misc]


def test_what_another_process_appends_shows_after_a_refresh(store: EmbeddingStore) -> None:
    reader = EmbeddingStore(store.folder)
    assert reader.lookup(keys_of("a", "e")).tolist() == [0, -1]
    store.append(keys_of("e"), np.ones((1, 3)), {})
    assert reader.lookup(keys_of("a", "e")).tolist() == [0, -1]
    reader.refresh()
    assert reader.lookup(keys_of("a", "e")).tolist() == [0, 4]


def test_a_store_keeps_the_precision_it_was_made_for(tmp_path: Path) -> None:
    value = np.array([[1 / 3, 1e5, 1e-12]], np.float32)
    exact = EmbeddingStore.create(tmp_path, "letters", FINGERPRINT, "text", 3, SPEC, dtype="float32")
    exact.append(keys_of("a"), value, {})
    assert np.array_equal(exact.read(np.array([0])), value)
    assert "float32" in refusal(lambda: new_store(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, 65_520.0, -1e30])
def test_a_vector_that_half_precision_cannot_hold_is_refused(store: EmbeddingStore, value: float) -> None:
    vectors = np.zeros((3, 3), np.float32)
    vectors[1, 2] = value
    before = sorted(store.folder.iterdir())
    assert "vector 1 is not finite in float16" in refusal(lambda: store.append(keys_of("x", "y", "z"), vectors, {}))
    assert sorted(store.folder.iterdir()) == before
    vectors[1, 2] = 65_504.0
    store.append(keys_of("x", "y", "z"), vectors, {})
    assert store.lookup(keys_of("y")).tolist() == [5]


@pytest.mark.parametrize("shape", [(2, 4), (2,), (2, 3, 1), (3, 3), (0, 3)])
def test_vectors_that_do_not_fit_are_refused(store: EmbeddingStore, shape: tuple[int, ...]) -> None:
    refusal(lambda: store.append(keys_of("x", "y"), np.zeros(shape), {}))
    assert len(EmbeddingStore(store.folder)) == 4


def test_what_has_no_receipt_does_not_exist(store: EmbeddingStore) -> None:
    (store.folder / f"{store.receipts[0].id}.json").unlink()
    (store.folder / ".half.npy.0badcafe.tmp").write_bytes(b"cut")
    opened = EmbeddingStore(store.folder)
    assert opened.verify() == []
    assert len(opened) == 2
    assert opened.lookup(keys_of("a", "b", "c", "d")).tolist() == [-1, -1, 0, 1]
    assert opened.read(np.array([1])).tolist() == [[9, 10, 11]]


def test_every_damaged_part_is_listed_and_reading_it_is_refused(store: EmbeddingStore) -> None:
    one, other = (store.folder / receipt.id for receipt in store.receipts)
    vectors, receipt = one.with_suffix(".npy"), other.with_suffix(".json")
    vectors.write_bytes(vectors.read_bytes()[:-1])
    receipt.write_bytes(receipt.read_bytes().replace(b'"rows": 2', b'"rows": 1'))
    opened = EmbeddingStore(store.folder)
    problems = opened.verify()
    assert [path.name in problem for path, problem in zip((vectors, receipt), problems, strict=True)] == [True, True]
    assert receipt.name in refusal(lambda: len(opened))
    assert receipt.name in refusal(lambda: opened.lookup(keys_of("a")))
    receipt.unlink()
    opened.refresh()
    assert vectors.name in refusal(lambda: opened.lookup(keys_of("a")))
    vectors.with_suffix(".json").unlink()
    opened.refresh()
    assert opened.verify() == [], "following the advice mends the store"
    assert opened.lookup(keys_of("a", "c")).tolist() == [-1, -1]


def test_a_flipped_bit_in_a_vector_is_found_by_verify(store: EmbeddingStore) -> None:
    for ending in (".npy", ".keys.npy"):
        path = store.folder / f"{store.receipts[1].id}{ending}"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        [problem] = EmbeddingStore(store.folder).verify()
        assert path.name in problem
        assert "extract again" in problem
        path.write_bytes(whole)
    assert EmbeddingStore(store.folder).verify() == []


def test_a_header_damaged_anywhere_is_refused_and_made_anew_when_deleted(store: EmbeddingStore) -> None:
    path = store.folder / "encoder.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert str(path) in refusal(lambda: EmbeddingStore(store.folder)), f"byte {place}"
        path.write_bytes(whole[:place])
        assert "delete it" in refusal(lambda: new_store(store.folder.parent)), f"cut at {place}"
    path.unlink()
    assert "run 'headstart extract' first" in refusal(lambda: EmbeddingStore(store.folder))
    assert new_store(store.folder.parent).lookup(keys_of("d", "a")).tolist() == [3, 0]


def test_no_store_and_no_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert str(folder) in refusal(lambda folder=folder: EmbeddingStore(folder))  # type: ignore[misc]


def test_a_newer_format_is_refused_whatever_else_it_holds(store: EmbeddingStore) -> None:
    path = store.folder / "encoder.json"
    path.write_text(json.dumps({"format": FORMAT + 1, "encoders": []}))
    for work in (lambda: EmbeddingStore(store.folder), lambda: new_store(store.folder.parent)):
        assert f"format {FORMAT + 1}" in refusal(work)


def test_a_part_of_a_newer_format_is_refused_and_listed(store: EmbeddingStore) -> None:
    path = store.folder / f"{store.receipts[1].id}.json"
    write_record(path, {"format": FORMAT + 1, "id": store.receipts[1].id})
    opened = EmbeddingStore(store.folder)
    assert "upgrade" in refusal(lambda: opened.lookup(keys_of("a")))
    [problem] = opened.verify()
    assert "upgrade" in problem


def test_the_store_of_another_encoder_is_refused_and_left_as_it_was(store: EmbeddingStore) -> None:
    root = store.folder.parent
    alike = FINGERPRINT[:12] + "0" * 52  # the folder's name has twelve digits
    assert alike in refusal(lambda: new_store(root, fingerprint=alike))
    assert "(n, 4)" in refusal(lambda: new_store(root, dim=4))
    assert "image" in refusal(lambda: EmbeddingStore.create(root, "letters", FINGERPRINT, "image", 3, SPEC))
    assert len(new_store(root)) == 4


@pytest.mark.parametrize(("fingerprint", "dim"), [("e" * 64, 3), (FINGERPRINT, 2)])
def test_a_part_of_another_encoder_is_refused_and_listed(store: EmbeddingStore, fingerprint: str, dim: int) -> None:
    strange = write_part(store.folder, keys_of("e"), np.ones((1, dim), np.float16), fingerprint, {})
    opened = EmbeddingStore(store.folder)
    assert strange.id in refusal(lambda: opened.lookup(keys_of("a")))
    [problem] = opened.verify()
    assert strange.id in problem


def test_another_version_of_an_encoder_gets_a_store_of_its_own(store: EmbeddingStore) -> None:
    root = store.folder.parent
    newer = new_store(root, fingerprint="e" * 64)
    newer.append(keys_of("a"), np.ones((1, 3)), {})
    assert len(new_store(root)) == 4
    assert [(each.name, len(each)) for each in stores(root)] == [("letters", 4), ("letters", 1)]


def test_encoders_whose_names_are_no_file_names(tmp_path: Path) -> None:
    for name in ("hub:https://tfhub.dev/x/4", "../../outside", "keras:Inception V3", "a\\b", "encodeur-français"):
        fingerprint = hashlib.sha256(name.encode()).hexdigest()
        store = EmbeddingStore.create(tmp_path / "store", name, fingerprint, "text", 3, {})
        assert store.folder == tmp_path / "store" / store_folder(name, fingerprint)
        assert store.folder.parent.samefile(tmp_path / "store")
        assert EmbeddingStore(store.folder).name == name
    assert len(list(stores(tmp_path / "store"))) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_encoder_that_is_renamed_or_moved_finds_its_vectors(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = new_store(root, name="hub:old/folder")
    store.append(keys_of("a"), np.ones((1, 3)), {})
    again = new_store(root, name="hub:new/folder")
    assert again.folder == store.folder and len(again) == 1 and again.name == "hub:new/folder"
    assert len(list(stores(root))) == 1


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path, store: EmbeddingStore) -> None:
    (tmp_path / "file").touch()
    (tmp_path / store.folder.name).touch()
    for root in (tmp_path / "file", tmp_path / "file" / "store", tmp_path):
        assert "choose another --store" in refusal(lambda root=root: new_store(root))  # type: ignore[misc]
    shutil.rmtree(store.folder)
    assert "what was kept before is safe" in refusal(lambda: store.append(keys_of("e"), np.ones((1, 3)), {}))


def test_there_are_no_stores_where_there_is_no_folder(tmp_path: Path) -> None:
    assert list(stores(tmp_path / "nowhere")) == []
