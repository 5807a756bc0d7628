from __future__ import annotations

import hashlib
import os
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.embeddings.key import KEY_BYTES, PHOTO_LIMIT, PhotoKeys, content_key, key_rows, path_key, text_keys
from headstart.photos import file_stats
from headstart.texts import join_fields

YESTERDAY = time.time_ns() - 86_400 * 10**9


def put(photo: Path | str, content: bytes, mtime_ns: int = YESTERDAY) -> str:
    """A file with this content and this modification time."""
    Path(photo).write_bytes(content)
    os.utime(photo, ns=(mtime_ns, mtime_ns))
    return str(photo)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    return [put(tmp_path / f"{number}.jpg", b"photo %d" % number) for number in range(8)]


def image_keys(photos: list[str]) -> list[bytes | None]:
    return [content_key("image", Path(photo).read_bytes()) for photo in photos]


@given(st.binary(), st.binary())
def test_same_content_same_key_other_content_other_key(one: bytes, other: bytes) -> None:
    assert (content_key("image", one) == content_key("image", other)) == (one == other)
    assert len(content_key("image", one)) == KEY_BYTES


def test_a_key_is_what_the_store_s_format_says() -> None:
    assert content_key("text", b"robe") == hashlib.sha256(b"text|robe").digest()[:16]


@given(st.text())
def test_a_text_and_a_photo_of_the_same_bytes_have_different_keys(text: str) -> None:
    assert text_keys([text]) != [content_key("image", text.encode())]


@given(st.lists(st.none() | st.text()))
def test_texts_keep_their_places_and_what_is_missing_has_no_key(texts: list[str | None]) -> None:
    keys = text_keys(texts)
    assert [key is None for key in keys] == [text is None for text in texts]
    assert len(set(keys)) == len(set(texts))


@given(st.text(min_size=1))
def test_one_text_typed_in_two_ways_has_one_key(text: str) -> None:
    ways = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    one, other = text_keys([join_fields([way]) for way in ways])
    assert one == other


@given(st.lists(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)))
def test_rows_hold_the_keys(keys: list[bytes]) -> None:
    rows = key_rows(keys)
    assert rows.shape == (len(keys), KEY_BYTES)
    assert rows.dtype == np.uint8
    assert [row.tobytes() for row in rows] == keys


def test_a_photo_s_key_is_of_its_bytes_and_what_cannot_be_read_has_none(tmp_path: Path, photos: list[str]) -> None:
    gone, folder = str(tmp_path / "gone.jpg"), str(tmp_path / "folder.jpg")
    Path(folder).mkdir()
    keys = PhotoKeys(tmp_path / "note").keys([photos[1], None, gone, photos[0], folder, photos[1]])
    assert keys == [*image_keys(photos[1:2]), None, None, *image_keys(photos[0:1]), None, *image_keys(photos[1:2])]


def test_a_photo_whose_size_and_time_are_as_noted_is_not_read_again(tmp_path: Path, photos: list[str]) -> None:
    note = tmp_path / "store" / "note"
    before = image_keys(photos)
    first = PhotoKeys(note)
    assert first.keys(photos) == before
    for photo in photos:
        put(photo, Path(photo).read_bytes()[::-1])  # other content behind the same size and time shows who reads it
    assert first.keys(photos) == before
    first.save()
    assert PhotoKeys(note).keys(photos) == before
    assert PhotoKeys(tmp_path / "no note").keys(photos) == image_keys(photos) != before


def test_a_photo_of_another_size_or_time_is_read_again(tmp_path: Path, photos: list[str]) -> None:
    note = tmp_path / "note"
    first = PhotoKeys(note)
    before = first.keys(photos)
    first.save()
    put(photos[0], b"photo X", YESTERDAY + 1)
    put(photos[1], b"a longer photo", YESTERDAY)
    Path(photos[2]).unlink()
    again = PhotoKeys(note)
    after = again.keys(photos)
    assert after == [*image_keys(photos[:2]), None, *before[3:]]
    assert after[0] != before[0]
    again.save()
    put(photos[0], b"X photo", YESTERDAY + 1)
    assert PhotoKeys(note).keys(photos[:1]) == after[:1], "the new size and time are noted in the place of the old"


def test_a_photo_changed_just_now_is_not_noted(tmp_path: Path) -> None:
    now = time.time_ns()
    photo = put(tmp_path / "new.jpg", b"one", now)
    keys = PhotoKeys(tmp_path / "note")
    before = keys.keys([photo])
    keys.save()
    put(photo, b"two", now)  # a second change in the same tick of the clock
    assert keys.keys([photo]) == PhotoKeys(tmp_path / "note").keys([photo]) == image_keys([photo]) != before


def test_nothing_learnt_nothing_written(tmp_path: Path, photos: list[str]) -> None:
    note = tmp_path / "note"
    PhotoKeys(note).save()
    assert not note.exists()
    keys = PhotoKeys(note)
    keys.keys(photos)
    keys.save()
    written = note.stat()
    again = PhotoKeys(note)
    again.keys(photos)
    again.save()
    assert (note.stat().st_ino, note.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_folder_may_have_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    photo = put(folder / "1.jpg", b"one")
    keys = PhotoKeys(tmp_path / "note")
    noted = keys.keys([photo])
    keys.save()
    put(photo, b"two")
    assert PhotoKeys(tmp_path / "note").keys([photo]) == noted


def test_wherever_the_note_is_damaged_the_keys_are_right(tmp_path: Path, photos: list[str]) -> None:
    note = tmp_path / "note"
    keys = PhotoKeys(note)
    keys.keys(photos)
    keys.save()
    whole, right = note.read_bytes(), image_keys(photos)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        note.write_bytes(flipped)
        assert PhotoKeys(note).keys(photos) == right, f"byte {place}"
    for end in range(0, len(whole), 50):
        note.write_bytes(whole[:end])
        assert PhotoKeys(note).keys(photos) == right, f"cut at {end}"


def test_a_note_of_something_else_counts_as_empty_and_is_replaced(tmp_path: Path, photos: list[str]) -> None:
    note = tmp_path / "note"
    note.write_bytes(b"PAR1, a note of another version")
    keys = PhotoKeys(note)
    assert keys.keys(photos) == image_keys(photos)
    keys.save()
    right = image_keys(photos)
    for photo in photos:
        put(photo, b"another")
    assert PhotoKeys(note).keys(photos) == right


def test_a_note_that_cannot_be_written_costs_only_time(tmp_path: Path, photos: list[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for note in (tmp_path / "file" / "note", tmp_path / "folder"):
        keys = PhotoKeys(note)
        assert keys.keys(photos) == image_keys(photos)
        keys.save()


def test_a_photo_that_stands_in_many_places_or_is_large_is_read_in_pieces(tmp_path: Path) -> None:
    content = os.urandom(700_001)
    photo = put(tmp_path / "large.jpg", content)
    keys = PhotoKeys(tmp_path / "note").keys([photo, None, photo])
    assert keys == [content_key("image", content), None, content_key("image", content)]


def test_a_file_too_large_for_a_photo_has_no_key(tmp_path: Path) -> None:
    photo = tmp_path / "1.jpg"
    with photo.open("wb") as file:
        file.truncate(PHOTO_LIMIT + 1)  # takes no place on disk
    assert PhotoKeys(tmp_path / "note").keys([str(photo)]) == [None]


def test_what_is_known_of_the_files_already_is_not_asked_again(tmp_path: Path, photos: list[str]) -> None:
    listed = [photos[0], None, str(tmp_path / "gone.jpg"), photos[1]]
    stats = file_stats([photo or "" for photo in listed])
    first = PhotoKeys(tmp_path / "note")
    keys = [*image_keys(photos[:1]), None, None, *image_keys(photos[1:2])]
    assert first.keys(listed, stats) == keys
    Path(photos[0]).unlink()
    assert first.keys(listed, stats) == keys, "a photo that goes meanwhile keeps the key that it had"
    assert first.keys(listed) == [None, *keys[1:]]


def test_what_goes_unused_for_two_turns_is_forgotten(
    tmp_path: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note, now, right = tmp_path / "note", time.time_ns(), image_keys(photos)
    first = PhotoKeys(note)
    first.keys(photos)
    first.save()
    for photo in photos:
        put(photo, b"another")
    sizes = []
    for months in (1, 2, 3):
        monkeypatch.setattr(time, "time_ns", lambda months=months: now + months * 31 * 86_400 * 10**9)
        keys = PhotoKeys(note)
        assert keys.keys(photos[:2]) == right[:2], "what is used stays"
        keys.save()
        sizes.append(note.stat().st_size)
    assert sizes[0] > sizes[1] == sizes[2]
    assert PhotoKeys(note).keys(photos[2:]) == image_keys(photos[2:]) != right[2:]


def test_the_note_holds_what_several_runs_learnt(tmp_path: Path, photos: list[str]) -> None:
    note, right = tmp_path / "note", image_keys(photos)
    for start in range(0, 8, 2):
        keys = PhotoKeys(note)
        keys.keys(photos[start : start + 2])
        keys.save()
    for photo in photos:
        put(photo, b"another")
    assert PhotoKeys(note).keys(photos) == right


def test_a_path_s_key_is_of_its_bytes(tmp_path: Path) -> None:
    assert path_key("/a/caf\udce9.jpg") == content_key("path", b"/a/caf\xe9.jpg")
