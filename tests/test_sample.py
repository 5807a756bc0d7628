"""The sample catalogue: the same each time, and with the faults that it promises."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from headstart.errors import CatalogError
from headstart.sample import COLUMNS, draw_sample

ROWS = 70


def listings(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(row: dict[str, str]) -> str:
    return "".join(row[column] for column in COLUMNS.texts)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CSV of a sample that no test changes."""
    return draw_sample(tmp_path_factory.mktemp("sample"), rows=ROWS, seed=1)


def test_the_same_seed_gives_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_sample(tmp_path, rows=ROWS, seed=1)
    assert contents(tmp_path) == contents(drawn.parent)


def test_another_seed_gives_other_texts_and_photos(drawn: Path, tmp_path: Path) -> None:
    mine, other = listings(drawn), listings(draw_sample(tmp_path, rows=ROWS, seed=2))
    shared = {texts(row) for row in mine} & {texts(row) for row in other}
    assert shared <= {""}
    photos = {path.read_bytes() for path in drawn.parent.glob("photos/*")}
    assert photos.isdisjoint(path.read_bytes() for path in tmp_path.glob("photos/*"))


def test_rows_ids_and_categories(drawn: Path) -> None:
    rows = listings(drawn)
    assert len(rows) == ROWS
    assert len({row[COLUMNS.id] for row in rows}) == ROWS
    sizes = Counter(row[COLUMNS.truth] for row in rows)
    assert len(sizes) == 7
    assert min(sizes.values()) >= 0.7 * ROWS / 7


def test_three_percent_are_filed_under_another_of_the_categories(drawn: Path) -> None:
    rows = listings(drawn)
    wrong = [row for row in rows if row[COLUMNS.label] != row[COLUMNS.truth]]
    assert len(wrong) == round(0.03 * ROWS)
    assert {row[COLUMNS.label] for row in rows} == {row[COLUMNS.truth] for row in rows}


def test_some_have_no_photo_some_no_text_and_none_has_neither(drawn: Path) -> None:
    rows = listings(drawn)
    no_photo = [row for row in rows if not row[COLUMNS.photo]]
    no_text = [row for row in rows if not texts(row)]
    assert 0 < len(no_photo) < ROWS / 8
    assert 0 < len(no_text) < ROWS / 8
    assert all(texts(row) for row in no_photo)


def test_re_posts_keep_most_of_their_text_and_their_category(drawn: Path) -> None:
    rows = [row for row in listings(drawn) if texts(row)]
    titles, descriptions = (Counter(row[column] for row in rows) for column in COLUMNS.texts)
    again = [row for row in rows if descriptions[row["description"]] > 1 or titles[row["titre"]] > 1]
    assert again
    for row in rows:
        if row["titre"].startswith("URGENT "):
            first = [other for other in rows if f"URGENT {other['titre']}" == row["titre"]]
            assert [other[COLUMNS.truth] for other in first] == [row[COLUMNS.truth]]


def test_every_photo_opens_and_is_named_after_its_listing(drawn: Path) -> None:
    rows = [row for row in listings(drawn) if row[COLUMNS.photo]]
    assert {row[COLUMNS.photo] for row in rows} == {path.name for path in drawn.parent.glob("photos/*")}
    for row in rows:
        assert row[COLUMNS.photo] == f"{row[COLUMNS.id]}.jpg"
        with Image.open(drawn.parent / "photos" / row[COLUMNS.photo]) as photo:
            photo.load()
            assert photo.mode == "RGB"
            assert 180 <= min(photo.size) <= max(photo.size) <= 320


def test_a_folder_that_holds_the_sample_is_left_alone(tmp_path: Path) -> None:
    draw_sample(tmp_path, rows=7)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    draw_sample(tmp_path, rows=7)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("lost", ["sample.json", "listings.csv", "photos/lba-00003.jpg"])
def test_what_is_not_whole_is_drawn_again(tmp_path: Path, lost: str) -> None:
    draw_sample(tmp_path, rows=7)
    whole = contents(tmp_path)
    (tmp_path / lost).unlink()
    draw_sample(tmp_path, rows=7)
    assert contents(tmp_path) == whole


def test_another_sample_replaces_all_of_the_first(tmp_path: Path) -> None:
    draw_sample(tmp_path, rows=14)
    table = draw_sample(tmp_path, rows=7)
    assert {path.stem for path in tmp_path.glob("photos/*")} <= {row[COLUMNS.id] for row in listings(table)}
    assert json.loads((tmp_path / "sample.json").read_text())["rows"] == 7


def test_fewer_rows_than_categories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="rows is 3: ask for 7"):
        draw_sample(tmp_path, rows=3)


def test_a_catalogue_that_is_no_sample_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "listings.csv").write_text("id,titre\n1,ma montre\n")
    with pytest.raises(CatalogError, match="would be overwritten: name another --folder"):
        draw_sample(tmp_path, rows=7)
    assert (tmp_path / "listings.csv").read_text() == "id,titre\n1,ma montre\n"
