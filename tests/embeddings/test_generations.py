from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import check_kept, flip, halves_of, keep, missing, new_store, vectors_of

from headstart.embeddings import generations
from headstart.embeddings.generations import drop_damaged, read_generations
from headstart.embeddings.part import read_record, write_record
from headstart.embeddings.store import EmbeddingStore
from headstart.embeddings.upkeep import compact, mend, verify
from headstart.errors import DamageError, StoreError
from headstart.files import file_digest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    """An empty store in which every key is worth a generation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "WORTH_KEEPING", 1)
        yield new_store(tmp_path / "store")


def settle(store: EmbeddingStore) -> None:
    store.refresh()
    store.settle()


steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=5)),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("lose a row"), st.integers(0, 99)),
    st.tuples(st.sampled_from(["delete", "cut", "flip"]), st.integers(0, 99)),
)


@settings(max_examples=40, deadline=None)
@given(done=st.lists(steps, max_size=12), most=st.sampled_from([3, 1 << 20]))
def test_lookups_are_the_same_whatever_became_of_the_index(done: list[tuple[str, object]], most: int) -> None:
    kept: list[str] = []  # with repeats
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "WORTH_KEEPING", 1)
        patch.setattr(generations, "MOST_MERGED", most)
        store = new_store(Path(root))
        for step, what in done:
            store.refresh()
            index = sorted(store.folder.glob("*.index.*"))
            if step == "append":
                assert isinstance(what, list)
                keep(store, *what)
                kept += what
            elif step == "settle":
                store.settle()
            elif step == "compact":
                compact(store, most_rows=6)
                kept = sorted(set(kept))
            elif step == "lose a row" and kept:
                assert isinstance(what, int)
                part = store.parts[what % len(store.parts)]
                row = what % part.receipt.rows
                [lost] = (text for text in set(kept) if (halves_of(text)[:, 0] == part.keys[:, row]).all())
                flip(store.folder / f"{part.receipt.id}.npy", 128 + 6 * row, 1)
                assert mend(EmbeddingStore(store.folder))[1] == 1
                kept.remove(lost)
            elif index:
                assert isinstance(what, int)
                path = index[what % len(index)]
                if step == "delete":
                    path.unlink()
                elif step == "cut":
                    path.write_bytes(path.read_bytes()[:-1])
                elif path.suffix == ".json":
                    flip(path, what, 0)
                else:
                    flip(path, what, 0)  # in the header
            opened = EmbeddingStore(store.folder)
            assert missing(opened, "abcdefghijkl") == [text for text in "abcdefghijkl" if text not in kept]
            check_kept(opened, sorted(set(kept)))
            assert len(opened) == len(kept)


def seal(path: Path) -> None:
    """Let a generation's record say that its array is as it should be."""
    record = path.with_suffix(".json")
    write_record(record, {**read_record(record), "digest": file_digest(path)})


@pytest.mark.parametrize("sealed", [False, True], ids=["damaged", "wrong from the start"])
def test_a_flipped_bit_anywhere_in_an_index_never_gives_a_wrong_vector(store: EmbeddingStore, sealed: bool) -> None:
    texts = [*"abcdef"]
    keep(store, *texts[:4])
    keep(store, *texts[4:])
    settle(store)
    [path] = store.folder.glob("*.index.npy")
    record = path.with_suffix(".json").read_bytes()
    keys, vectors = halves_of(*texts), vectors_of(*texts)
    wrong = hidden = 0
    for place in range(128 if sealed else 0, path.stat().st_size):
        flip(path, place, place % 8)
        if sealed:
            seal(path)
        opened = EmbeddingStore(store.folder)
        rows = opened.lookup(keys)
        there = rows >= 0
        hidden += not there.all()
        try:
            assert np.array_equal(opened.read(rows[there], keys[:, there]), vectors[there])
        except StoreError:
            wrong += 1
        assert [path.name in problem.what for problem in verify(opened)] == ([] if sealed else [True])
        flip(path, place, place % 8)
        path.with_suffix(".json").write_bytes(record)
    assert (wrong > 0, hidden > 0) == (sealed, sealed), "what is damaged is left aside"


def test_generations_of_like_size_are_merged(store: EmbeddingStore) -> None:
    sizes = []
    for number in range(16):
        keep(store, f"text {number}")
        settle(store)
        sizes.append([generation.run.shape[1] for generation in read_generations(store.folder)])
        assert sum(sizes[-1]) == number + 1
    assert sizes[-1] == [16] or max(map(len, sizes)) <= 3
    for generation in read_generations(store.folder):
        assert (np.diff(generation.run[0].astype(object)) >= 0).all()
    assert {part for each in read_generations(store.folder) for part in each.parts} == {r.id for r in store.receipts}
    assert len(list(store.folder.glob("*.index.npy"))) == len(sizes[-1]), "what was merged is deleted"
    check_kept(EmbeddingStore(store.folder), [f"text {number}" for number in range(16)])


def test_few_new_keys_are_not_worth_a_generation(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    keep(store, "a")
    settle(store)
    assert read_generations(store.folder) == []
    check_kept(store, ["a"])


def test_many_keys_at_once_become_generations_side_by_side(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "MOST_MERGED", 5)
    texts = [f"text {number}" for number in range(12)]
    for start in range(0, 12, 3):
        keep(store, *texts[start : start + 3])
    settle(store)
    assert [each.run.shape[1] for each in read_generations(store.folder)] == [3, 3, 3, 3]
    check_kept(EmbeddingStore(store.folder), texts)


def test_a_reader_is_not_misled_by_an_index_of_parts_that_it_does_not_show(store: EmbeddingStore) -> None:
    keep(store, "a", "b")
    reader = EmbeddingStore(store.folder)
    assert len(reader) == 2
    keep(store, "c")
    keep(store, "a", "d")
    settle(store)
    assert missing(reader, "abcd") == ["c", "d"]
    check_kept(reader, "ab")
    another = EmbeddingStore(store.folder)
    assert len(another) == 5
    compact(store)
    check_kept(another, "abcd")
    check_kept(EmbeddingStore(store.folder), "abcd")


def test_of_a_key_kept_twice_one_vector_may_go(store: EmbeddingStore) -> None:
    first = keep(store, "a", "b")
    keep(store, "c", "a")
    settle(store)
    for ending in (".json", ".npy", ".keys.npy"):
        (store.folder / f"{first}{ending}").unlink()
    opened = EmbeddingStore(store.folder)
    check_kept(opened, "ac")
    assert missing(opened, "abc") == ["b"]


def test_damaged_generations_are_told_and_deleted_and_made_anew(store: EmbeddingStore) -> None:
    keep(store, "a", "b", "c")
    settle(store)
    [record] = store.folder.glob("*.index.json")
    for path in (record, record.with_suffix(".npy")):
        whole = path.read_bytes()
        for content in (whole[:-1], b"", whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:]):
            path.write_bytes(content)
            [told] = drop_damaged(store.folder, dry_run=True)
            assert path.name in told and "\n" not in told
            assert record.exists()
        path.write_bytes(whole)
    assert drop_damaged(store.folder) == []
    flip(record.with_suffix(".npy"), -1, 1)
    assert len(drop_damaged(store.folder)) == 1
    assert list(store.folder.glob("*.index.*")) == []
    settle(store)
    assert len(read_generations(store.folder)) == 1


def test_an_index_that_points_past_the_store_is_refused_when_read(store: EmbeddingStore) -> None:
    keep(store, "a")
    settle(store)
    [path] = store.folder.glob("*.index.npy")
    flip(path, 128 + 16, 2)  # the row in the part
    seal(path)
    opened = EmbeddingStore(store.folder)
    rows = opened.lookup(halves_of("a"))
    with pytest.raises(StoreError):
        opened.read(rows, halves_of("a"))


def test_an_index_copied_from_another_store_gives_no_wrong_vector(store: EmbeddingStore, tmp_path: Path) -> None:
    keep(store, "a", "b")
    other = new_store(tmp_path / "other", fingerprint="e" * 64)
    keep(other, "b", "c")
    settle(other)
    for path in other.folder.glob("*.index.*"):
        shutil.copy(path, store.folder)
    opened = EmbeddingStore(store.folder)
    assert missing(opened, "abc") == ["c"]
    check_kept(opened, "ab")
    with pytest.raises(DamageError):
        opened.read(np.array([0]), halves_of("b"))
