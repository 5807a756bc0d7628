from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import flip, halves_of, keys_of, refusal

from headstart.embeddings.index import halves
from headstart.embeddings.listings import Column, Listings, ListingsWriter, key_array, listings_path, used_keys
from headstart.embeddings.part import FORMAT
from headstart.errors import DamageError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
some_key = st.none() | st.binary(min_size=16, max_size=16)
rows = st.lists(st.tuples(texts, st.none() | texts, some_key, some_key), max_size=7)


def write(root: Path, catalog: Path, *batches: list[tuple[str, str | None, bytes | None, bytes | None]]) -> Path:
    with ListingsWriter(root, catalog) as writer:
        for batch in batches:
            ids, labels, text, image = (list(column) for column in zip(*batch, strict=True)) if batch else ([],) * 4
            writer.add(ids, labels, {"text": text, "image": image})
    return listings_path(root, catalog)


def key(text: str) -> bytes:
    return keys_of(text).tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The listings of a catalogue of five in two batches; the third has no text, and only the second has a photo."""
    first = [("1", "robes", key("a"), None), ("2", None, key("b"), key("p")), ("3", "", None, None)]
    return write(tmp_path, tmp_path / "c.csv", first, [("4", "robes", key("a"), None), ("5", None, key("c"), None)])


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(rows, max_size=4))
def test_listings_are_read_as_they_were_written(
    batches: list[list[tuple[str, str | None, bytes | None, bytes | None]]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        listings = Listings(write(Path(name), Path(name) / "c.csv", *batches))
        every = [row for batch in batches for row in batch]
        assert len(listings) == len(every)
        assert listings.ids == [row[0] for row in every]
        assert list(listings.labels) == [row[1] for row in every]
        assert listings.catalog == Path(name).resolve() / "c.csv"
        for place, modality in ((2, "text"), (3, "image")):
            keys, there = listings.keys(modality)
            assert there.tolist() == [row[place] is not None for row in every]
            expected = b"".join(row[place] or bytes(16) for row in every)  # type: ignore[misc]
            assert np.array_equal(keys, halves(np.frombuffer(expected, np.uint8)))


def test_a_modality_that_is_not_there_has_no_keys(tmp_path: Path) -> None:
    with ListingsWriter(tmp_path, tmp_path / "c.csv") as writer:
        writer.add(["1", "2"], [None, None], {"text": [None, key("a")]})
    keys, there = Listings(listings_path(tmp_path, tmp_path / "c.csv")).keys("image")
    assert keys.tolist() == [[0, 0], [0, 0]] and there.tolist() == [False, False]


def test_columns_are_sequences(path: Path) -> None:
    listings = Listings(path)
    ids, labels = listings.ids, listings.labels
    assert [ids[0], ids[-1], ids[np.int64(3)]] == ["1", "5", "4"]
    assert ids[1:4] == ["2", "3", "4"] and ids[::-2] == ["5", "3", "1"] and ids[9:] == []
    assert labels.take(np.array([3, 1, 3])) == ["robes", None, "robes"]
    assert ids.take(np.array([4, 0])).take(np.array([1])) == ("1",)
    assert ids.take(np.empty(0, np.int64)) == []
    assert "3" in ids and ids.index("4") == 3 and labels.count("robes") == 2
    assert ids != ["1"] and ids != "12345x" and ids == tuple("12345")
    with pytest.raises(IndexError):
        ids[5]


def test_a_part_is_what_a_slice_is(path: Path) -> None:
    listings = Listings(path)
    keys, there = listings.keys("text")
    for start in range(6):
        for stop in (start, start + 2, start + 9):
            part = listings.part(start, stop)
            assert (len(part), part.ids) == (len(listings.ids[start:stop]), listings.ids[start:stop])
            assert part.labels == listings.labels[start:stop]
            assert np.array_equal(part.keys("text")[0], keys[:, start:stop])
            assert np.array_equal(part.keys("text")[1], there[start:stop])
    assert listings.part(1, 5).part(1, 3).ids == ["3", "4"] and len(listings) == 5


def test_keys_of_a_slice_are_the_slice_s() -> None:
    every: list[bytes | None] = [None if number % 3 == 0 else bytes([number] * 16) for number in range(10)]
    column = pa.array(every, pa.binary(16))
    for start in range(11):
        keys, there = key_array(column.slice(start, 4))
        assert there.tolist() == [each is not None for each in every[start : start + 4]]
        raw = b"".join(each or bytes(16) for each in every[start : start + 4])
        assert np.array_equal(keys, halves(np.frombuffer(raw, np.uint8)))


def test_an_error_while_they_are_written_leaves_the_old_ones(tmp_path: Path, path: Path) -> None:
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    with pytest.raises(KeyboardInterrupt), ListingsWriter(tmp_path, tmp_path / "c.csv") as writer:
        writer.add(["9"], [None], {})
        raise KeyboardInterrupt
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
    assert Listings(path).ids == list("12345")


def test_a_kill_while_they_are_written_leaves_the_old_ones(tmp_path: Path, path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from headstart.embeddings.listings import ListingsWriter\n"
        "with ListingsWriter(Path(sys.argv[1]), Path(sys.argv[1]) / 'c.csv') as writer:\n"
        "    writer.add(['9'] * 100_000, [None] * 100_000, {}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -signal.SIGKILL
    assert Listings(path).ids == list("12345")


def test_damage_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 1 + len(whole) // 150):
        flip(path, place, place % 8)
        assert path.name in refusal(lambda: Listings(path), DamageError), f"byte {place}"
        path.write_bytes(whole[:place])
        assert path.name in refusal(lambda: Listings(path)), f"cut at {place}"
        path.write_bytes(whole)
    path.unlink()
    assert "headstart extract" in refusal(lambda: Listings(path))
    path.write_bytes(whole)
    assert len(Listings(path)) == 5


def test_a_newer_format_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.embeddings.listings.FORMAT", FORMAT + 1)
    write(path.parent.parent, path.parent.parent / "c.csv")
    monkeypatch.undo()
    assert "upgrade" in refusal(lambda: Listings(path))


def test_what_was_opened_stays_readable_when_it_is_written_anew(tmp_path: Path, path: Path) -> None:
    listings = Listings(path)
    write(tmp_path, tmp_path / "c.csv", [("9", None, None, None)])
    assert listings.ids == list("12345")
    assert Listings(path).ids == ["9"]
    path.unlink()
    assert listings.ids == list("12345")


def test_each_catalogue_has_its_own_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {listings_path(tmp_path, tmp_path / name) for name in ("a/c.csv", "b/c.csv", "b/d.csv", "b/" + 250 * "x")}
    assert len(paths) == 4
    assert all(len(path.name) < 100 for path in paths)
    monkeypatch.chdir(tmp_path)
    assert listings_path(tmp_path, Path("c.csv")) == listings_path(tmp_path, tmp_path / "c.csv")


def test_the_keys_that_some_catalogue_uses(tmp_path: Path, path: Path) -> None:
    write(tmp_path, tmp_path / "d.csv", [("1", None, key("d"), None), ("2", None, key("a"), key("q"))])
    text, image = used_keys(tmp_path, "text"), used_keys(tmp_path, "image")
    assert (len(text), len(image)) == (4, 2)
    assert text.get(halves_of(*"abcdpx"))[0].tolist() == [True] * 4 + [False] * 2
    assert image.get(halves_of(*"pqa"))[0].tolist() == [True, True, False]
    write(tmp_path, tmp_path / "d.csv", [("1", None, None, None)])
    assert used_keys(tmp_path, "text").get(halves_of(*"ad"))[0].tolist() == [True, False]


def test_nobody_knows_what_is_used_where_listings_are_damaged_or_lost(tmp_path: Path, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refusal(lambda: used_keys(tmp_path, "text"))
    path.write_bytes(whole)
    assert len(used_keys(tmp_path, "text")) == 3
    shutil.rmtree(path.parent)
    assert "run 'headstart extract'" in refusal(lambda: used_keys(tmp_path, "text"))


def test_nobody_knows_what_is_used_of_what_was_not_looked_at(tmp_path: Path, path: Path) -> None:
    with ListingsWriter(tmp_path, tmp_path / "d.csv", unread=["image"]) as writer:
        writer.add(["1"], [None], {"text": [key("d")]})
    assert len(used_keys(tmp_path, "text")) == 4
    assert "without an encoder of its images" in refusal(lambda: used_keys(tmp_path, "image"))


def test_a_column_of_many_pieces() -> None:
    column = Column(pa.chunked_array([["a", None], [], ["b"]], pa.string()))
    assert len(column) == 3 and column == ["a", None, "b"] and column[2] == "b"
    assert column.take(np.array([2, 0])) == ["b", "a"]
