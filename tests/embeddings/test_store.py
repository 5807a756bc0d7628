from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import (
    FINGERPRINT,
    check_kept,
    failure,
    flip,
    halves_of,
    keep,
    keys_of,
    missing,
    new_store,
    refusal,
    write_old_store,
)

from headstart.embeddings.index import KeyMap, halves
from headstart.embeddings.key import key_rows
from headstart.embeddings.part import FORMAT, write_part, write_record
from headstart.embeddings.store import EmbeddingStore, store_folder, stores
from headstart.embeddings.upkeep import verify
from headstart.errors import DamageError

SPEC = {"weights": "5" * 64, "normalisation": "L2"}


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Two parts, of the texts a, b and c, d."""
    store = new_store(tmp_path / "store")
    store.append(keys_of("a", "b"), np.arange(6.0).reshape(2, 3), {"seconds": 1.0})
    store.append(keys_of("c", "d"), np.arange(6.0, 12).reshape(2, 3), {"seconds": 2.0})
    return store


# Few first halves and few second halves, so that keys meet in one half, in the other, and in both.
some_half = st.sampled_from([bytes(8), b"\xff" * 8, b"\x01" + bytes(7), bytes(7) + b"\x01", b"headstar"])
some_keys = st.tuples(some_half, some_half).map(b"".join)
part = st.lists(some_keys, min_size=1, max_size=7)


@settings(max_examples=25, deadline=None)
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
            keys = halves(key_rows(wanted))
            rows = opened.lookup(keys)
            assert rows.shape == (len(wanted),)
            assert [row >= 0 for row in rows] == [key in first for key in wanted]
            assert set(rows[rows < 0]) <= {-1}
            kept = opened.read(rows[rows >= 0], keys[:, rows >= 0])
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
    wanted = halves(keys[order])
    rows = store.lookup(wanted)
    assert np.array_equal(rows, np.where(order < 15_000, order, -1))
    assert np.array_equal(
        store.read(rows[rows >= 0], wanted[:, rows >= 0]), vectors[order[order < 15_000]].astype(np.float16)
    )


def test_an_empty_store_holds_nothing_and_says_so(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    assert len(store) == 0
    assert store.lookup(halves_of("a", "b")).tolist() == [-1, -1]
    assert store.lookup(halves_of()).shape == (0,)
    assert store.read(np.empty(0, np.int64), halves_of()).shape == (0, 3)
    assert store.failures() == {}
    assert store.seconds_per_row() == 0
    assert verify(store) == []


def test_what_a_store_says_of_itself(store: EmbeddingStore) -> None:
    for each in (store, EmbeddingStore(store.folder), new_store(store.folder.parent)):
        assert (each.name, each.modality, each.dim, each.dtype) == ("letters", "text", 3, np.float16)
        assert each.fingerprint == FINGERPRINT
        assert len(each) == 4
        assert each.seconds_per_row() == 0.75
        assert each.bytes() == sum(path.stat().st_size for path in each.folder.iterdir())
        assert verify(each) == []


def test_a_row_that_is_not_there_is_refused(store: EmbeddingStore) -> None:
    for rows in ([-1], [4], [0, 1, -1]):
        keys = halves_of(*"abcd")[:, : len(rows)]
        assert "it has 4" in refusal(lambda rows=rows, keys=keys: store.read(np.array(rows), keys))  # type: ignore[misc]


def test_what_another_process_appends_shows_after_a_refresh(store: EmbeddingStore) -> None:
    reader = EmbeddingStore(store.folder)
    assert reader.lookup(halves_of("a", "e")).tolist() == [0, -1]
    store.append(keys_of("e"), np.ones((1, 3)), {})
    assert reader.lookup(halves_of("a", "e")).tolist() == [0, -1]
    reader.refresh()
    assert reader.lookup(halves_of("a", "e")).tolist() == [0, 4]


def test_a_store_keeps_the_precision_it_was_made_for(tmp_path: Path) -> None:
    value = np.array([[1 / 3, 1e5, 1e-12]], np.float32)
    exact = EmbeddingStore.create(tmp_path, "letters", FINGERPRINT, "text", 3, SPEC, dtype="float32")
    exact.append(keys_of("a"), value, {})
    assert np.array_equal(exact.read(np.array([0]), halves_of("a")), value)
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
    assert store.lookup(halves_of("y")).tolist() == [5]


@pytest.mark.parametrize("shape", [(2, 4), (2,), (2, 3, 1), (3, 3), (0, 3)])
def test_vectors_that_do_not_fit_are_refused(store: EmbeddingStore, shape: tuple[int, ...]) -> None:
    refusal(lambda: store.append(keys_of("x", "y"), np.zeros(shape), {}))
    assert len(EmbeddingStore(store.folder)) == 4


def test_what_has_no_receipt_does_not_exist(store: EmbeddingStore) -> None:
    (store.folder / f"{store.receipts[0].id}.json").unlink()
    (store.folder / ".half.npy.0badcafe.tmp").write_bytes(b"cut")
    opened = EmbeddingStore(store.folder)
    assert verify(opened) == []
    assert len(opened) == 2
    assert opened.lookup(halves_of("a", "b", "c", "d")).tolist() == [-1, -1, 0, 1]
    assert opened.read(np.array([1]), halves_of("d")).tolist() == [[9, 10, 11]]


def test_every_damaged_part_is_listed_and_reading_it_is_refused(store: EmbeddingStore) -> None:
    one, other = (store.folder / receipt.id for receipt in store.receipts)
    vectors, receipt = one.with_suffix(".npy"), other.with_suffix(".json")
    vectors.write_bytes(vectors.read_bytes()[:-1])
    receipt.write_bytes(receipt.read_bytes().replace(b'"rows": 2', b'"rows": 1'))
    opened = EmbeddingStore(store.folder)
    problems = verify(opened)
    assert [path.name in problem.what for path, problem in zip((vectors, receipt), problems, strict=True)] == [
        True,
        True,
    ]
    assert vectors.name in refusal(lambda: len(opened), DamageError)
    assert vectors.name in refusal(lambda: opened.lookup(halves_of("a")), DamageError)
    vectors.with_suffix(".json").unlink()
    opened.refresh()
    assert receipt.name in refusal(lambda: opened.lookup(halves_of("a")), DamageError)


def test_a_header_damaged_anywhere_is_refused_and_written_anew_by_the_encoder(store: EmbeddingStore) -> None:
    path = store.folder / "encoder.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        flip(path, place, place % 8)
        assert str(path) in refusal(lambda: EmbeddingStore(store.folder), DamageError), f"byte {place}"
        path.write_bytes(whole[:place])
        assert str(path) in refusal(lambda: EmbeddingStore(store.folder), DamageError), f"cut at {place}"
        path.write_bytes(whole)
    for content in (b"", whole[:-1]):
        path.write_bytes(content)
        assert len(new_store(store.folder.parent)) == 4
        assert path.read_bytes() == whole
    path.unlink()
    assert "run 'headstart extract' first" in refusal(lambda: EmbeddingStore(store.folder))
    assert new_store(store.folder.parent).lookup(halves_of("d", "a")).tolist() == [3, 0]


def test_no_store_and_no_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert str(folder) in refusal(lambda folder=folder: EmbeddingStore(folder))  # type: ignore[misc]


def test_a_newer_format_is_refused_whatever_else_it_holds(store: EmbeddingStore) -> None:
    path = store.folder / "encoder.json"
    path.write_text(newer := json.dumps({"format": FORMAT + 1, "encoders": []}))
    for work in (lambda: EmbeddingStore(store.folder), lambda: new_store(store.folder.parent)):
        assert f"format {FORMAT + 1}" in refusal(work)
    assert path.read_text() == newer


def test_a_part_of_a_newer_format_is_refused_and_listed(store: EmbeddingStore) -> None:
    path = store.folder / f"{store.receipts[1].id}.json"
    write_record(path, {"format": FORMAT + 1, "id": store.receipts[1].id})
    opened = EmbeddingStore(store.folder)
    assert "upgrade" in refusal(lambda: opened.lookup(halves_of("a")))
    [problem] = verify(opened)
    assert "upgrade" in problem.what
    assert problem.part is None, "it is not to be taken out of use"


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
    assert strange.id in refusal(lambda: opened.lookup(halves_of("a")))
    [problem] = verify(opened)
    assert strange.id in problem.what
    assert problem.part is None


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


def test_a_store_may_have_more_parts_than_a_process_may_have_files_open(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for number in range(90):
        store.append(keys_of(str(number)), np.full((1, 3), number), {})
    code = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from headstart.embeddings.store import stores; from headstart.embeddings.upkeep import compact, verify\n"
        "[store] = stores(Path(sys.argv[1])); assert len(store.parts) == 90 and not verify(store)\n"
        "assert compact(store) == (90, 90) and len(store.parts) == 1"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_there_are_no_stores_where_there_is_no_folder(tmp_path: Path) -> None:
    assert list(stores(tmp_path / "nowhere")) == []


def test_a_vector_of_another_key_is_refused(store: EmbeddingStore) -> None:
    keys = halves_of(*"abcd")
    store.read(np.arange(4), keys)
    for rows in ([1, 0, 2, 3], [0, 1, 2, 2], [3, 2, 1, 0]):
        refusal(lambda rows=rows: store.read(np.array(rows), keys), DamageError)  # type: ignore[misc]


def test_failures_are_told_until_their_content_is_encoded(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    keep(store, "a", failed=[failure("b"), failure("c", kind="unreadable")])
    keep(store, failed=[failure("b", kind="too large")])
    keep(store, "c")
    opened = EmbeddingStore(store.folder)
    assert list(opened.failures().values()) == [failure("b", attempts=2, kind="too large")]
    assert len(opened) == 2 and opened.seconds_per_row() == 1.5
    check_kept(opened, ["c", "a"])
    none, some = KeyMap(), KeyMap()
    some.add(halves_of("b", "x"))
    assert opened.failures(none) == {}
    assert opened.failures(some) == opened.failures()


def test_a_store_of_format_1_is_read_extended_and_refused_when_damaged(tmp_path: Path) -> None:
    folder = write_old_store(tmp_path, ["a", "b"], ["c"])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    old = EmbeddingStore(folder)
    check_kept(old, ["c", "a", "b"])
    assert verify(old) == [] and old.failures() == {} and old.seconds_per_row() == 4 / 3
    extended = new_store(tmp_path)
    keep(extended, "d", "e", failed=[failure("f")])
    check_kept(EmbeddingStore(folder), [*"dbcea"])
    assert {path: path.read_bytes() for path in before} == before, "nothing of the old store is changed"
    vectors = folder / f"{old.receipts[0].id}.npy"
    flip(vectors, -1, 5)
    opened = EmbeddingStore(folder)
    assert missing(opened, "abcde") == []
    assert vectors.name in refusal(lambda: check_kept(opened, ["a"]), DamageError)
    check_kept(opened, ["c", "d"])
    assert [problem.part for problem in verify(opened)] == [old.receipts[0].id]


def test_what_was_opened_stays_readable_whatever_happens_to_the_files(tmp_path: Path, store: EmbeddingStore) -> None:
    shutil.copytree(store.folder, tmp_path / "copy")
    reader = EmbeddingStore(tmp_path / "copy")
    check = reader.lookup(halves_of("a", "c"))
    shutil.rmtree(tmp_path / "copy")
    keys = halves_of("a", "c")
    assert reader.read(check, keys).tolist() == [[0, 1, 2], [6, 7, 8]], "what was shown stays readable"
