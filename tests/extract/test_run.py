from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extracting import Row, read, reports, write_catalog
from PIL import Image
from small_encoders import Letters, Pixels

from headstart.catalog import Columns, read_catalog
from headstart.embeddings.key import PHOTO_NOTE
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import EncoderError, HeadstartError, ItemError
from headstart.extract.run import extract, open_store


def paint(path: Path, grey: int) -> Path:
    """A photo of one grey."""
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path, "PNG")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Twelve listings, whose photos lie in `tmp_path`: two share a text, two a photo; two lack one of them."""
    rows = [(f"id {n}", f"listing {n}", f"{n}.png") for n in range(12)]
    for n in range(12):
        paint(tmp_path / f"{n}.png", 20 * n)
    shutil.copy(tmp_path / "1.png", tmp_path / "2.png")
    rows[3] = ("id 3", "listing 5", "3.png")
    rows[7] = ("id 7", "", "7.png")
    rows[8] = ("id 8", "listing 8", "")
    return rows


def test_every_listing_is_read_once(tmp_path: Path, rows: list[Row]) -> None:
    letters, pixels = Letters(), Pixels()
    catalog = write_catalog(tmp_path, rows)
    text, image = reports(catalog, [letters, pixels], tmp_path / "store")
    assert (text.encoder, text.modality, text.listings, text.distinct, text.encoded) == ("letters", "text", 11, 10, 10)
    assert (image.encoder, image.modality) == ("pixels", "image")
    assert (image.listings, image.distinct, image.encoded) == (11, 10, 10)
    assert len(letters.read) == len(pixels.read) == 10
    assert len(set(letters.read)) == 10
    features = read(catalog, tmp_path / "store", [letters, pixels])
    for n, (_, words, photo) in enumerate(rows):
        assert features.present["letters"][n] == bool(words)
        assert features.present["pixels"][n] == bool(photo)
        if words:
            assert np.array_equal(features.vectors["letters"][n], letters.encode([words])[0])
        if photo:
            assert set(features.vectors["pixels"][n]) == {20 * (1 if n == 2 else n)}


def written(root: Path) -> dict[Path, int]:
    """When each file was written, but for notes of what the catalogue and its photos are now."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != PHOTO_NOTE)
    return {path: path.stat().st_mtime_ns for path in files if path.parent.name != "listings"}


def test_nothing_new_nothing_encoded_and_nothing_written(tmp_path: Path, rows: list[Row]) -> None:
    catalog, root = write_catalog(tmp_path, rows), tmp_path / "store"
    reports(catalog, [Letters(), Pixels()], root)
    before = written(root)
    again = [Letters(), Pixels()]
    text, image = reports(catalog, again, root)
    assert (text.encoded, text.distinct, text.listings, text.seconds) == (0, 10, 11, 0.0)
    assert (image.encoded, image.distinct, image.listings, image.seconds) == (0, 10, 11, 0.0)
    assert [each.read for each in again] == [[], []]
    assert written(root) == before


def test_only_what_changed_is_encoded(tmp_path: Path, rows: list[Row]) -> None:
    root = tmp_path / "store"
    reports(write_catalog(tmp_path, rows), [Letters(), Pixels()], root)
    rows[4] = ("id 4", "a new text", "4.png")
    rows[5] = ("id 5", "listing 5", "2.png")  # another listing's photo
    rows.append(("id 12", "listing 9", "12.png"))  # another listing's text
    paint(tmp_path / "12.png", 250)
    paint(tmp_path / "0.png", 251)
    letters, pixels = Letters(), Pixels()
    catalog = write_catalog(tmp_path, rows)
    text, image = reports(catalog, [letters, pixels], root)
    assert letters.read == ["a new text"]
    assert sorted(int(item[0]) for item in pixels.read) == [250, 251]
    assert (text.encoded, image.encoded) == (1, 2)
    features = read(catalog, root, [letters, pixels])
    assert features.vectors["pixels"][[0, 5, 12], 0].tolist() == [251, 20, 250]
    assert np.array_equal(features.vectors["letters"][4], letters.encode(["a new text"])[0])


def test_one_in_a_hundred_changed_is_one_in_a_hundred_encoded_and_names_and_order_are_nothing(tmp_path: Path) -> None:
    rng, root = random.Random(3), tmp_path / "store"
    rows = [(f"id {n}", f"listing {n}", f"{n}.png") for n in range(400)]
    for n in range(400):
        Image.new("RGB", (8, 8), (n % 256, n // 256, 7)).save(tmp_path / f"{n}.png", "PNG")
    assert [each.encoded for each in reports(write_catalog(tmp_path, rows), [Letters(), Pixels()], root)] == [400, 400]

    for n in range(400):
        (tmp_path / f"{n}.png").rename(tmp_path / f"renamed {n}.png")
    rows = [(f"other {listing}", text, f"renamed {photo}") for listing, text, photo in rng.sample(rows, 400)]
    assert [each.encoded for each in reports(write_catalog(tmp_path, rows), [Letters(), Pixels()], root)] == [0, 0]

    for n in rng.sample(range(400), 4):
        rows[n] = (rows[n][0], rows[n][1] + ", new", rows[n][2])
    changed = rng.sample(range(400), 4)
    for n in changed:
        paint(tmp_path / f"renamed {n}.png", 100 + n % 150)
    letters, pixels = Letters(), Pixels()
    catalog = write_catalog(tmp_path, rows)
    assert [each.encoded for each in reports(catalog, [letters, pixels], root)] == [4, 4]
    assert all(text.endswith(", new") for text in letters.read)
    assert sorted(int(item[0]) for item in pixels.read) == sorted(100 + n % 150 for n in changed)


def test_one_text_typed_in_two_ways_is_encoded_once(tmp_path: Path) -> None:
    letters = Letters()
    catalog = write_catalog(tmp_path, [("1", "caf\u00e9", ""), ("2", " cafe\u0301\n", "")])
    [text] = reports(catalog, [letters], tmp_path / "store")
    assert (text.listings, text.distinct, text.encoded) == (2, 1, 1)
    assert letters.read == ["caf\u00e9"]


def test_the_order_of_the_listings_and_the_size_of_the_parts_do_not_matter(tmp_path: Path, rows: list[Row]) -> None:
    shuffled = random.Random(1).sample(rows, len(rows))
    one, other = tmp_path / "one", tmp_path / "other"
    encoders = [Letters(), Pixels()]
    reports(write_catalog(tmp_path, rows), encoders, one)
    catalog = write_catalog(tmp_path, shuffled)
    reports(catalog, [Letters(), Pixels()], other, part_rows=1)
    again = [Letters(), Pixels()]
    assert [report.encoded for report in reports(catalog, again, one)] == [0, 0], "another order is nothing new"
    assert [each.read for each in again] == [[], []]
    a, b = read(catalog, one, encoders), read(catalog, other, encoders)
    assert a.ids == b.ids == tuple(row[0] for row in shuffled)
    for name in ("letters", "pixels"):
        assert np.array_equal(a.vectors[name], b.vectors[name])
        assert np.array_equal(a.present[name], b.present[name])
    assert len(open_store(one, encoders[0]).receipts) == 1
    assert len(open_store(other, encoders[0]).receipts) == len({row[1] for row in rows if row[1]})


def test_unreadable_photos_are_counted_with_their_reason_and_the_listings_stay(tmp_path: Path, rows: list[Row]) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    (tmp_path / "4.png").write_bytes(b"")
    (tmp_path / "5.png").write_bytes(whole.getvalue()[:-900])
    (tmp_path / "6.png").write_text("<html>404</html>")
    rows[9] = ("id 9", "listing 9", "nowhere.png")
    catalog, root = write_catalog(tmp_path, rows), tmp_path / "store"
    expected = [
        ("id 4", "photo is empty (0 bytes)"),
        ("id 5", "photo is truncated"),
        ("id 6", "not an image of a known format"),
    ]
    for run, retry_failed in enumerate((False, False, True)):
        pixels = Pixels()
        [image] = reports(catalog, [pixels], root, retry_failed=retry_failed)
        assert image.failures == expected
        assert (image.listings, image.distinct, image.lost) == (10, 9, 3)
        assert image.encoded == len(pixels.read) == (6 if run == 0 else 0)
        assert image.passed_over == (3 if run == 1 else 0), "what failed is tried again only when asked for"
    failures = open_store(root, Pixels()).failures().values()
    assert {(each.listing, each.kind, each.attempts) for each in failures} == {
        (f"id {n}", "damaged", 2) for n in (4, 5, 6)
    }
    features = read(catalog, root, [Pixels()])
    assert np.flatnonzero(~features.present["pixels"]).tolist() == [4, 5, 6, 8, 9]
    assert not features.vectors["pixels"][4:7].any()
    paint(tmp_path / "5.png", 3)
    [image] = reports(catalog, [Pixels()], root)
    assert (image.encoded, len(image.failures)) == (1, 2)
    (tmp_path / "4.png").unlink()
    [image] = reports(catalog, [Pixels()], root)
    assert (image.encoded, len(image.failures), image.lost) == (0, 1, 1)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that no one can read, not even root")
def test_a_photo_that_cannot_be_opened_is_counted_too(tmp_path: Path, rows: list[Row]) -> None:
    (tmp_path / "4.png").unlink()
    (tmp_path / "4.png").symlink_to("/proc/self/mem")  # reading its first page is an input/output error
    [image] = reports(write_catalog(tmp_path, rows), [Pixels()], tmp_path / "store")
    assert image.failures == [("id 4", "photo cannot be read (Input/output error)")]
    assert (image.listings, image.distinct, image.encoded) == (11, 10, 9)


def test_a_photo_that_was_swapped_behind_its_date_is_not_kept_under_the_old_key(
    tmp_path: Path, rows: list[Row]
) -> None:
    root, photo, other = tmp_path / "store", tmp_path / "4.png", paint(tmp_path / "other.png", 81)
    assert photo.stat().st_size == other.stat().st_size
    for path in (photo, other):
        os.utime(path, (1e9, 1e9))
    catalog = write_catalog(tmp_path, rows)
    reports(catalog, [Pixels()], root)
    other.replace(photo)
    shutil.rmtree(open_store(root, Pixels()).folder)
    [image] = reports(catalog, [Pixels()], root)
    [(listing, reason)] = image.failures
    assert listing == "id 4"
    assert "touch it" in reason
    photo.touch()
    [image] = reports(catalog, [Pixels()], root)
    assert (image.encoded, image.failures) == (1, [])
    assert read(catalog, root, [Pixels()]).vectors["pixels"][4, 0] == 81


def test_a_photo_that_could_not_be_read_at_first_is_read_the_next_time(tmp_path: Path, rows: list[Row]) -> None:
    photo, moved = tmp_path / "4.png", tmp_path / "moved"
    catalog = write_catalog(tmp_path, rows)

    class Healing(Pixels):
        def prepare(self, item: bytes) -> Any:
            with suppress(FileNotFoundError):  # it was moved before
                moved.replace(photo)
            return super().prepare(item)

    photo.rename(moved)
    photo.symlink_to("/proc/self/mem")  # reading its first page is an input/output error
    [image] = reports(catalog, [Healing()], tmp_path / "store")
    [(listing, _)] = image.failures
    assert (listing, image.lost) == ("id 4", 1)
    [image] = reports(catalog, [Pixels()], tmp_path / "store")
    assert (image.encoded, image.failures) == (1, [])


def test_a_text_that_the_encoder_cannot_take_is_counted(tmp_path: Path, rows: list[Row]) -> None:
    class Shy(Letters):
        def prepare(self, item: str) -> Any:
            if "1" in item:
                raise ItemError("text holds a one")
            return item

    [text] = reports(write_catalog(tmp_path, rows), [Shy()], tmp_path / "store")
    assert text.failures == [(f"id {n}", "text holds a one") for n in (1, 10, 11)]
    assert (text.distinct, text.encoded) == (10, 7)


def test_a_catalogue_of_photos_that_all_fail_never_loads_the_network(tmp_path: Path) -> None:
    class Unloadable(Pixels):
        def load(self) -> None:
            raise EncoderError("there is no network here")

    (tmp_path / "1.png").write_bytes(b"")
    [image] = reports(write_catalog(tmp_path, [("1", "", "1.png")]), [Unloadable()], tmp_path / "store")
    assert (image.encoded, len(image.failures)) == (0, 1)
    paint(tmp_path / "1.png", 1)
    with pytest.raises(EncoderError, match="no network"):
        extract(write_catalog(tmp_path, [("1", "", "1.png")]), [Unloadable()], tmp_path / "store")


def test_a_note_of_photo_keys_that_cannot_be_written_stops_nothing(tmp_path: Path, rows: list[Row]) -> None:
    for n in range(12):
        os.utime(tmp_path / f"{n}.png", (1e9, 1e9))
    (tmp_path / "store" / PHOTO_NOTE).mkdir(parents=True)
    for expected in (10, 0):
        [image] = reports(write_catalog(tmp_path, rows), [Pixels()], tmp_path / "store")
        assert (image.encoded, image.failures) == (expected, [])


REAL = """
import sys
from pathlib import Path
from headstart.catalog import Columns, read_catalog
from headstart.extract.registry import encoder
from headstart.extract.run import extract
from headstart.sample.draw import COLUMNS
catalog = read_catalog(Path(sys.argv[1]), Columns(COLUMNS.id, COLUMNS.texts, COLUMNS.photo), Path(sys.argv[2]))
encoders = [encoder("use-multilingual-v3"), encoder("efficientnet-lite0")]
reports, stores, listings = extract(catalog, encoders, Path(sys.argv[3]))
heavy = {"tensorflow", "keras", "sklearn", "scipy", "sentencepiece", "rich", "matplotlib"} & set(sys.modules)
print([report.encoded for report in reports], [report.distinct for report in reports], sorted(heavy))
"""


def test_with_the_real_encoders_nothing_new_starts_no_tensorflow(tmp_path: Path) -> None:
    from headstart.extract.registry import encoder
    from headstart.sample.draw import COLUMNS, draw_sample

    path, root = draw_sample(tmp_path / "sample", rows=14), tmp_path / "store"
    photos = path.parent / "photos"
    catalog = read_catalog(path, Columns(COLUMNS.id, COLUMNS.texts, COLUMNS.photo), photos)
    encoders = [encoder("use-multilingual-v3"), encoder("efficientnet-lite0")]
    text, image = reports(catalog, encoders, root)
    assert text.encoded == text.distinct > 0
    assert image.encoded == image.distinct > 0
    features = read(catalog, root, encoders)
    for each in encoders:
        lengths = np.linalg.norm(features.vectors[each.name].astype(np.float32), axis=1)
        assert ((lengths > 0.1) == features.present[each.name]).all()
        assert open_store(root, each).seconds_per_row() > 0
    done = subprocess.run([sys.executable, "-c", REAL, path, photos, root], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[0, 0] [{text.distinct}, {image.distinct}] []"
    assert done.stderr == ""


def test_a_catalogue_that_cannot_be_read_keeps_nothing(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, [("1", "a", ""), ("1", "b", "")])
    with pytest.raises(HeadstartError, match="same id"):
        extract(catalog, [Letters()], tmp_path / "store")
    assert len(EmbeddingStore(open_store(tmp_path / "store", Letters()).folder)) == 0
