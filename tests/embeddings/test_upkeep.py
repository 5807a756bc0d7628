from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from keeping import (
    check_kept,
    failure,
    flip,
    halves_of,
    keep,
    missing,
    new_store,
    refusal,
    vectors_of,
    write_old_store,
)

from headstart.embeddings import generations
from headstart.embeddings.index import KeyMap
from headstart.embeddings.store import EmbeddingStore
from headstart.embeddings.upkeep import compact, mend, verify
from headstart.errors import DamageError, StoreError

HEADER_BYTES = 128


@pytest.fixture(autouse=True)
def an_index_for_few_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "WORTH_KEEPING", 1)
        yield


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Three parts, of a b c, d e, f, with failures x (tried twice) and y; and an index."""
    store = new_store(tmp_path / "store")
    keep(store, "a", "b", "c", failed=[failure("x")])
    keep(store, "d", "e", failed=[failure("x"), failure("y")])
    keep(store, "f")
    store.refresh()
    store.settle()
    store.refresh()
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def reopened(store: EmbeddingStore) -> EmbeddingStore:
    return EmbeddingStore(store.folder)


def part_files(store: EmbeddingStore, number: int) -> tuple[Path, Path, Path]:
    """Vectors, keys and receipt of a part."""
    name = store.receipts[number].id
    return tuple(store.folder / f"{name}{ending}" for ending in (".npy", ".keys.npy", ".json"))


def test_a_sound_store_has_no_problems_and_mending_changes_nothing(store: EmbeddingStore) -> None:
    before = contents(store.folder)
    read: list[int] = []
    assert verify(store, read.append) == []
    assert sum(read) == 3
    for touched_only in (False, True):
        assert mend(store, touched_only) == ([], 0)
    assert contents(store.folder) == before | {"lock": b""}


def test_verifying_changes_nothing(store: EmbeddingStore) -> None:
    flip(part_files(store, 0)[0], -1, 0)
    flip(part_files(store, 1)[2], 50, 0)
    (store.folder / ".half.npy.0badcafe.tmp").write_bytes(b"cut")
    before = contents(store.folder)
    found = verify(reopened(store))
    assert [problem.part for problem in found] == [store.receipts[0].id, store.receipts[1].id]
    assert contents(store.folder) == before


@pytest.mark.parametrize(
    ("file", "places", "lost"),
    [
        (0, range(HEADER_BYTES, HEADER_BYTES + 6), 1),
        (0, range(0, HEADER_BYTES, 9), 0),
        (1, range(HEADER_BYTES, HEADER_BYTES + 24), 1),
        (1, range(0, HEADER_BYTES, 9), 0),
        (2, range(0, 600, 29), 0),
    ],
    ids=["vectors", "header of vectors", "keys and checks", "header of keys", "receipt"],
)
def test_mending_costs_only_what_is_damaged(store: EmbeddingStore, file: int, places: range, lost: int) -> None:
    path = part_files(store, 0)[file]
    whole = contents(store.folder)
    for place in places:
        flip(path, place, place % 8)
        damaged = reopened(store)
        problems, gone = mend(damaged)
        assert (gone, [problem.part for problem in problems]) == (lost, [path.name.split(".")[0]])
        assert path.name in problems[0].what
        for opened in (damaged, reopened(store)):
            assert missing(opened, "abcdef") == ["a"][:lost]
            check_kept(opened, "abcdef"[lost:])
            assert verify(opened) == []
            attempts = {each.reason[0]: each.attempts for each in opened.failures().values()}
            assert attempts == {"x": 2 if file < 2 else 1, "y": 1}, "a receipt's failures go with it"
        for left in store.folder.iterdir():
            left.unlink()
        for name, content in whole.items():
            (store.folder / name).write_bytes(content)


def test_two_damaged_rows_in_both_files_of_a_part(store: EmbeddingStore) -> None:
    vectors, keys, _ = part_files(store, 0)
    flip(vectors, HEADER_BYTES, 0)
    flip(keys, -1, 7)
    problems, lost = mend(reopened(store))
    assert (len(problems), lost) == (2, 2)
    assert missing(reopened(store), "abcdef") == ["a", "c"]


def test_missing_files(store: EmbeddingStore) -> None:
    part_files(store, 0)[0].unlink()
    part_files(store, 1)[1].unlink()
    problems, lost = mend(reopened(store))
    assert [problem.part for problem in problems] == [receipt.id for receipt in store.receipts[:2]]
    assert lost == 5
    assert missing(reopened(store), "abcdef") == [*"abcde"]
    assert set(reopened(store).failures()) == set(store.failures()), "what cannot be encoded is in the receipts"


def test_a_file_that_cannot_be_read_this_time_is_told_and_left(store: EmbeddingStore) -> None:
    path = part_files(store, 1)[0]
    aside = path.rename(path.parent.parent / "aside")
    path.mkdir()  # the tests may run as root, who may read every file
    for touched_only in (False, True):
        problems, lost = mend(reopened(store), touched_only)
        assert lost == 0
        assert [problem.part for problem in problems] == [None]
        assert path.name in problems[0].what and "cannot be read" in problems[0].what
    path.rmdir()
    aside.rename(path)
    check_kept(reopened(store), "abcdef")


def test_a_part_of_zeros_is_lost_and_counted(store: EmbeddingStore) -> None:
    for path in part_files(store, 0)[:2]:
        path.write_bytes(path.read_bytes()[:HEADER_BYTES] + bytes(path.stat().st_size - HEADER_BYTES))
    assert mend(reopened(store))[1] == 3
    assert len(reopened(store)) == 3


def test_what_killed_processes_left_is_deleted_and_the_rest_is_not(store: EmbeddingStore) -> None:
    dead = "0123456789abcdef-0badcafe"
    left = [".x.npy.0badcafe.tmp", f"{dead}.npy", f"{dead}.keys.npy", f"{dead}.index.npy", f"{dead}.plan.arrow"]
    stays = ["note.txt", ".gitignore", "lock"]
    for name in left + stays:
        (store.folder / name).write_bytes(b"")
    before = contents(store.folder)
    mend(store, touched_only=True)
    assert before.keys() - contents(store.folder).keys() == set(left)
    for name in left:
        (store.folder / name).write_bytes(b"")
    compact(store, most_rows=1)
    assert not contents(store.folder).keys() & set(left)


def test_mending_what_was_touched(store: EmbeddingStore) -> None:
    touched, silent, cut = (part_files(store, number)[0] for number in range(3))
    silent_time = silent.stat().st_mtime_ns
    flip(silent, -1, 0)
    os.utime(silent, ns=(silent_time, silent_time))  # damage by the disk leaves no trace in the times
    flip(touched, HEADER_BYTES, 0)
    cut.write_bytes(cut.read_bytes()[:-1])
    os.utime(cut, ns=(silent_time, silent_time))
    problems, lost = mend(reopened(store), touched_only=True)
    assert [problem.part for problem in problems] == [store.receipts[0].id, store.receipts[2].id]
    assert lost == 2
    assert missing(reopened(store), "abcdef") == ["a", "f"]
    refusal(lambda: check_kept(reopened(store), "e"), DamageError)
    assert mend(reopened(store))[1] == 1
    assert missing(reopened(store), "abcdef") == ["a", "e", "f"]


def test_a_part_that_was_only_copied_is_read_once(store: EmbeddingStore) -> None:
    vectors, _, receipt = part_files(store, 0)
    os.utime(vectors, ns=(receipt.stat().st_mtime_ns + 10**9,) * 2)
    assert mend(reopened(store), touched_only=True) == ([], 0)
    flip(vectors, -1, 0)
    os.utime(vectors, ns=(receipt.stat().st_mtime_ns,) * 2)
    assert mend(reopened(store), touched_only=True) == ([], 0), "it counts as seen"
    assert len(verify(reopened(store))) == 1


def test_what_belongs_to_a_newer_headstart_or_another_encoder_is_told_and_left(store: EmbeddingStore) -> None:
    newer = part_files(store, 2)[2]
    strange = new_store(store.folder.parent, fingerprint="e" * 64)
    name = keep(strange, "z")
    for path in strange.folder.glob(f"{name}*"):
        shutil.copy(path, store.folder)
    newer.write_text('{"format": 3, "id": "what comes then"}')
    before = contents(store.folder)
    problems, lost = mend(store)
    assert lost == 0 and [problem.part for problem in problems] == [None, None]
    assert contents(store.folder) == before | {"lock": b""}


def test_compacting_merges_drops_doubles_and_keeps_failures(store: EmbeddingStore) -> None:
    keep(store, "b", "g", "g", "y", failed=[failure("x", attempts=3)])
    reader = reopened(store)
    assert len(reader) == 10
    assert compact(store) == (10, 8)
    for opened in (store, reopened(store), reader):
        check_kept(opened, "abcdefgy")
        assert list(opened.failures().values()) == [failure("x", attempts=5)]
    assert len(store.receipts) == 1
    assert verify(store) == []
    assert store.receipts[0].info["seconds"] == 3.5  # half of what the last part held stays: g and y
    assert missing(store, "xz") == ["x", "z"]
    before = contents(store.folder)
    assert compact(store) == (8, 8)
    assert contents(store.folder) == before, "once is enough"


@pytest.mark.parametrize("most_rows", [1, 2, 3, 4, 5])
def test_compacting_in_groups_is_done_once(store: EmbeddingStore, most_rows: int) -> None:
    used = KeyMap()
    used.add(halves_of(*"acdfgh"))
    keep(store, "g", "a", "b", failed=[failure("x")])
    keep(store, "h", failed=[failure("x"), failure("y")])
    expected = {key: each.attempts for key, each in reopened(store).failures().items()}
    compact(store, most_rows=most_rows)
    assert {key: each.attempts for key, each in store.failures().items()} == expected
    check_kept(store, "abcdefgh")
    assert len(store) == 8
    compact(store, lambda: used, most_rows)
    before = contents(store.folder)
    compact(store, lambda: used, most_rows)
    assert contents(store.folder) == before
    check_kept(store, "acdfgh")
    assert missing(store, "abcdefgh") == ["b", "e"]
    assert verify(store) == []


def test_compacting_away_everything(store: EmbeddingStore) -> None:
    assert compact(store, KeyMap) == (6, 0)
    assert len(reopened(store)) == 0
    keep(store, "a")
    store.refresh()
    check_kept(store, "a")
    assert verify(store) == []


def test_the_machines_of_a_merged_part_are_named_once(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for text, machine in (("a", "arm"), ("b", "x86"), ("c", "arm")):
        store.append(halves_of(text).T.copy().view(np.uint8), vectors_of(text), {"seconds": 0.5, "machine": machine})
        store.refresh()
        compact(store)
    [receipt] = store.receipts
    assert (receipt.info["machine"], receipt.info["seconds"]) == ("arm and x86", 1.5)


def test_compacting_refuses_damage_and_leaves_it(store: EmbeddingStore) -> None:
    vectors = part_files(store, 1)[0]
    flip(vectors, -1, 0)
    before = contents(store.folder)
    assert vectors.name.split(".")[0] in refusal(lambda: compact(reopened(store)), DamageError)
    assert contents(store.folder) == before | {"lock": b""}
    check_kept(reopened(store), "abcdf")
    mend(reopened(store))
    compact(reopened(store))
    check_kept(reopened(store), "abcdf")


def test_a_store_of_format_1_becomes_one_of_format_2(tmp_path: Path) -> None:
    folder = write_old_store(tmp_path, ["a", "b"], ["c"])
    store = new_store(tmp_path)
    keep(store, "d")
    compact(store, most_rows=2)
    assert [receipt.format for receipt in store.receipts] == [2, 2]
    for opened in (store, EmbeddingStore(folder)):
        check_kept(opened, "abcd")
        assert verify(opened) == []
    assert compact(store) == (4, 4)


def test_damage_of_format_1_is_refused_by_compacting_and_costs_the_part(tmp_path: Path) -> None:
    folder = write_old_store(tmp_path, ["a", "b"], ["c"])
    path = sorted(folder.glob("*.keys.npy"))[0]
    flip(path, -1, 0)
    refusal(lambda: compact(EmbeddingStore(folder)), DamageError)
    assert mend(EmbeddingStore(folder))[1] == 2
    assert missing(EmbeddingStore(folder), "abc") == ["a", "b"]


def test_upkeep_waits_for_nobody_and_disturbs_nobody(store: EmbeddingStore) -> None:
    before = contents(store.folder) | {"lock": b""}
    with store.in_use() as held:
        assert held
        for work in (lambda: compact(store), lambda: mend(store)):
            assert "is in use" in refusal(work)
        with reopened(store).in_use() as held_too:
            assert held_too, "others may append meanwhile"
        assert contents(store.folder) == before
    compact(store)
    check_kept(store, "abcdef")


def test_a_store_that_is_gone_cannot_be_mended(store: EmbeddingStore) -> None:
    shutil.rmtree(store.folder)
    for work in (lambda: compact(store), lambda: mend(store)):
        with pytest.raises(StoreError):
            work()
