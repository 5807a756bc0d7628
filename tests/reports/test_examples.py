"""Which listings show what is confused, and their photos made small."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.reports.examples import BYTES, EXAMPLES, LETTERS, PAIRS, SIDE, confused, thumbnail
from headstart.reports.result import Confused

CLASSES = ("bags", "lamps", "rugs")


def picture(address: str | None, most: int = BYTES) -> Image.Image:
    assert address is not None
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    file = base64.b64decode(data)
    assert len(file) <= most
    return Image.open(io.BytesIO(file)).convert("RGB")


def halves(path: Path, size: tuple[int, int], orientation: int = 1) -> str:
    """A photo, red to the left and blue to the right, with a note of how the camera was held."""
    photo = Image.new("RGB", size, "red")
    photo.paste("blue", (size[0] // 2, 0, *size))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(path, exif=exif, quality=95)
    return str(path)


def colour(photo: Image.Image, x: float, y: float) -> str:
    pixel = photo.getpixel((int(x * (photo.width - 1)), int(y * (photo.height - 1))))
    assert isinstance(pixel, tuple)
    return "red" if pixel[0] > 150 > pixel[2] else "blue" if pixel[2] > 150 > pixel[0] else str(pixel)


@pytest.mark.parametrize(
    ("orientation", "size", "red", "blue"),
    [
        (1, (96, 48), (0.1, 0.5), (0.9, 0.5)),
        (3, (96, 48), (0.9, 0.5), (0.1, 0.5)),
        (6, (48, 96), (0.5, 0.1), (0.5, 0.9)),
        (8, (48, 96), (0.5, 0.9), (0.5, 0.1)),
    ],
)
def test_a_photo_is_shown_upright_in_its_own_proportions(
    orientation: int, size: tuple[int, int], red: tuple[float, float], blue: tuple[float, float], tmp_path: Path
) -> None:
    small = picture(thumbnail(halves(tmp_path / "photo.jpg", (400, 200), orientation)))
    assert small.size == size
    assert (colour(small, *red), colour(small, *blue)) == ("red", "blue")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_photo_with_damaged_exif_is_shown(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "photo.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    small = picture(thumbnail(str(tmp_path / "photo.jpg")))
    assert small.size == (96, 48) and colour(small, 0.5, 0.5) == "red"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3000, 7), (2, 900), (600, 600)])
def test_thumbnails_are_small_whatever_the_photo(width: int, height: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)  # what a JPEG is worst at
    Image.fromarray(noise).save(tmp_path / "noise.png")
    small = picture(thumbnail(str(tmp_path / "noise.png")))
    assert max(small.size) == SIDE and min(small.size) >= 1
    larger = picture(thumbnail(str(tmp_path / "noise.png"), 160, 9000), 9000)  # an audit's
    assert max(larger.size) == 160 and min(larger.size) >= 1


@pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff\xe0 cut", b"<svg onload='x'/>"])
def test_a_photo_that_cannot_be_read_has_no_thumbnail(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    assert thumbnail(str(tmp_path / "photo.jpg")) is None


def test_a_truncated_photo_has_no_thumbnail(tmp_path: Path) -> None:
    whole = Path(halves(tmp_path / "photo.jpg", (400, 200))).read_bytes()
    (tmp_path / "photo.jpg").write_bytes(whole[: len(whole) // 2])
    assert thumbnail(str(tmp_path / "photo.jpg")) is None


@pytest.mark.parametrize("name", ["", "nowhere.jpg", ".", "nul\0.jpg"])
def test_a_photo_that_is_no_file_has_no_thumbnail(name: str, tmp_path: Path) -> None:
    assert thumbnail(str(tmp_path / name) if name else "") is None


def catalogue(folder: Path, rows: Sequence[tuple[str, str, str]]) -> Catalog:
    """Of ids, texts and categories; listing `n` has the photo n.jpg, if there is one."""
    lines = ["id,text,label", *(f'{name},"{text}",{label}' for name, text, label in rows)]
    (folder / "c.csv").write_text("\n".join(lines) + "\n")
    return read_catalog(folder / "c.csv", Columns("id", ("text",), None, "label"), folder)


ROWS = [
    ("a", "strap", "bags"), ("b", "zip", "bags"), ("c", "zip ", "bags"), ("d", "bulb", "lamps"), ("e", "wool", "rugs"),
]  # fmt: skip
LABELS, GROUPS = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 2, 3])
PREDICTED = np.array([[1, 1, 1, 1, 0], [0, 1, 1, 1, 2]])
SURE = np.array([[0.6, 0.7, 0.9, 0.9, 0.8], [0.9, 0.9, 0.8, 0.9, 0.9]])


def found(catalog: Catalog, rows: Sequence[tuple[str, str, str]] = ROWS) -> tuple[Confused, ...]:
    ids, texts = [row[0] for row in rows], [row[1] for row in rows]
    return confused(catalog, ids, np.arange(len(rows)), texts, GROUPS, LABELS, PREDICTED, SURE, CLASSES)


def test_pairs_come_by_frequency_and_near_duplicates_count_once(tmp_path: Path) -> None:
    halves(tmp_path / "a.jpg", (40, 40))
    most, least = found(catalogue(tmp_path, ROWS))
    assert (most.category, most.given) == ("bags", "lamps") and (least.category, least.given) == ("rugs", "bags")
    # Of b and c, near-duplicates, the surer one; its probability is the mean over the repeats in which it was wrong.
    assert [(each.id, each.probability) for each in most.examples] == [("c", pytest.approx(0.85)), ("a", 0.6)]
    assert [each.photo for each in most.examples] == ["", str(tmp_path / "a.jpg")]
    assert [(each.id, each.text, each.probability) for each in least.examples] == [("e", "wool", 0.8)]


def test_nothing_confused_has_no_examples(tmp_path: Path) -> None:
    right = np.tile(LABELS, (2, 1))
    catalog = catalogue(tmp_path, ROWS)
    ids, texts = [row[0] for row in ROWS], [row[1] for row in ROWS]
    assert confused(catalog, ids, np.arange(5), texts, GROUPS, LABELS, right, SURE, CLASSES) == ()


def test_pairs_and_examples_are_few_and_texts_short(tmp_path: Path) -> None:
    count, classes = 60, [f"c{n}" for n in range(12)]
    rows = [(f"n{n}", "long\n" * 100, classes[n % 12]) for n in range(count)]
    labels = np.arange(count) % 12
    told = confused(
        catalogue(tmp_path, [(name, "x", label) for name, _, label in rows]),
        [row[0] for row in rows],
        np.arange(count),
        [row[1] for row in rows],
        np.arange(count),
        labels,
        ((labels + 1) % 12)[None],
        np.linspace(0.5, 0.9, count)[None],
        classes,
    )
    assert len(told) == PAIRS and {len(each.examples) for each in told} == {EXAMPLES}
    for each in told:
        sure = [mistake.probability for mistake in each.examples]
        assert sure == sorted(sure, reverse=True)
        assert all(len(mistake.text) <= LETTERS and mistake.text.endswith("…") for mistake in each.examples)
        assert all("\n" not in mistake.text for mistake in each.examples)


def test_judged_rows_are_found_in_the_whole_catalogue(tmp_path: Path) -> None:
    every = [("x", "not judged", ""), *ROWS]
    for name in "xe":
        halves(tmp_path / f"{name}.jpg", (40, 40))
    catalog = catalogue(tmp_path, every)
    told = confused(
        catalog,
        [row[0] for row in every],
        np.arange(1, 6),
        [row[1] for row in ROWS],
        GROUPS,
        LABELS,
        PREDICTED,
        SURE,
        CLASSES,
    )
    assert [(each.id, each.photo) for each in told[1].examples] == [("e", str(tmp_path / "e.jpg"))]


@pytest.mark.parametrize("change", ["fewer", "others", "gone"])
def test_a_catalogue_that_changed_meanwhile_costs_the_photos_alone(change: str, tmp_path: Path) -> None:
    for name in "abcde":
        halves(tmp_path / f"{name}.jpg", (40, 40))
    catalog = catalogue(tmp_path, ROWS)
    if change == "gone":
        (tmp_path / "c.csv").unlink()
    else:
        catalogue(tmp_path, ROWS[:2] if change == "fewer" else [(f"z{name}", *rest) for name, *rest in ROWS])
    most, least = found(catalog)
    assert [each.id for each in (*most.examples, *least.examples)] == ["c", "a", "e"]
    for each in (*most.examples, *least.examples):
        assert each.photo in ("", str(tmp_path / f"{each.id}.jpg"))  # never another's
    assert least.examples[0].photo == ""
