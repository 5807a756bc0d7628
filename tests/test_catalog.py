from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogs import TEXT, Write, everything, refusal
from headstart.catalog import Columns, Counts, category, read_catalog
from headstart.errors import CatalogError

FLIPKART = Path(__file__).parents[2] / "shared" / "flipkart"


# --- Refused at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.jsonl", "c.csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_refused_at_once(write: Write, name: str, content: bytes) -> None:
    message = refusal(lambda: read_catalog(write(content, name), TEXT))
    assert name in message


@pytest.mark.parametrize("content", ["id,text\n", "id,text\n1\n", "id,text\n,a\n"])
def test_a_file_without_a_listing_is_refused(write: Write, content: str) -> None:
    catalog = read_catalog(write(content), TEXT)
    assert "holds no listing" in refusal(lambda: everything(catalog))


def test_a_parquet_without_rows_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / "c.parquet"
    )
    assert "holds no listing" in refusal(lambda: everything(read_catalog(tmp_path / "c.parquet", TEXT)))


def test_a_column_that_is_not_there_is_named_with_the_nearest(write: Write) -> None:
    path = write("id,Description,price\n1,a,2\n")
    message = refusal(lambda: read_catalog(path, Columns(text=("descripton",))))
    assert "no column 'descripton' (did you mean 'Description'?)" in message
    assert "--text: 'id', 'Description', 'price'" in message
    assert "--id" in refusal(lambda: read_catalog(path, Columns(id="sku", text=("price",))))
    assert "--image" in refusal(lambda: read_catalog(path, Columns(image="photo")))
    assert "--label" in refusal(lambda: read_catalog(path, Columns(text=("price",), label="category")))


def test_another_delimiter_is_suspected(write: Write) -> None:
    assert "--delimiter ';'" in refusal(lambda: read_catalog(write("id;text\n1;a\n"), TEXT))


def test_a_column_given_twice_is_refused_only_when_it_is_used(write: Write) -> None:
    path = write("id,text,text,x,x\n1,a,b,c,d\n")
    assert "2 columns 'text'" in refusal(lambda: read_catalog(path, TEXT))
    assert everything(read_catalog(write("id,text,x,x\n1,a,b,c\n"), TEXT)).texts == ["a"]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        (Columns(), {}, "nothing to read"),
        (TEXT, {"delimiter": ";;"}, "';;'"),
        (TEXT, {"delimiter": '"'}, "delimiter"),
        (TEXT, {"encoding": "utf-9"}, "'utf-9'"),
        (TEXT, {"encoding": "hex"}, "'hex'"),
        (TEXT, {"images": Path("no-such-folder")}, "no-such-folder"),
        (Columns(text=("text",), label="text", label_level=0), {}, "label level 0"),
        (Columns(text=("text",), label_level=1), {}, "--label"),
        (Columns(text=("text",), label="text", label_level=1, label_separator=""), {}, "separator"),
    ],
)
def test_wrong_options_are_refused_at_once(write: Write, columns: Columns, options: dict, said: str) -> None:
    path = write("id,text\n1,a\n")
    assert said in refusal(lambda: read_catalog(path, columns, **options))


def test_files_that_are_none(write: Write, tmp_path: Path) -> None:
    assert "does not exist" in refusal(lambda: read_catalog(tmp_path / "none.csv", TEXT))
    assert "is a folder" in refusal(lambda: read_catalog(tmp_path, TEXT))
    assert ".parquet" in refusal(lambda: read_catalog(write("x", "c.xlsx"), TEXT))
    assert ".parquet" in refusal(lambda: read_catalog(write("x", "catalogue"), TEXT))


def test_counts_are_there_only_after_a_complete_pass(write: Write) -> None:
    catalog = read_catalog(write("id,text\n1,a\n2,b\n"), TEXT)
    next(catalog.batches(1))
    assert "not counted" in refusal(lambda: catalog.counts)
    list(catalog.batches(1))
    assert catalog.counts == Counts(rows=2, with_text=2)
    list(catalog.batches())
    assert catalog.counts == Counts(rows=2, with_text=2)


# --- Ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("again", [0, 7, 18])
def test_two_rows_with_one_id_are_named_wherever_they_are(write: Write, rows: int, again: int) -> None:
    ids = [f"sku-{i}" for i in range(20)]
    ids[19] = ids[again]
    path = write("id,text\n" + "".join(f"{i},a\n" for i in ids))
    given: list[str] = []

    def read() -> None:
        for batch in read_catalog(path, TEXT).batches(rows):
            given.extend(batch.ids)

    assert f"rows {again + 2} and 21 have the same id 'sku-{again}'" in refusal(read)
    assert len(given) == len(set(given)) < 20


# --- Labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "level", "label"),
    [
        ("  Mode ", None, "Mode"),
        ('["A >> B"]', None, '["A >> B"]'),
        ("e\u0301te\u0301", None, "été"),
        ("A >> B >> C", 1, "A"),
        ("A>>B>>C", 3, "C"),
        ("A >> B", 3, None),
        ("A >>  >> C", 2, None),
        ('["A & co >> B >> C"]', 1, "A & co"),
        ('["A >> B >> Some long na..."]', 3, "Some long na..."),
        ('["A >> B >> cut off he', 2, "B"),
        ('["A >> B"', 2, "B"),
        ('["A", "B", "cut of', 2, "B"),
        ('["A >> 5" wide >> C"]', 1, "A"),
        ('["D\\u00e9co >> B"]', 1, "Déco"),
        ('["A", "B"]', 2, "B"),
        ('["A >> B", "C >> D"]', 2, "B"),
        ("[]", 1, None),
        ("[Promo] A >> B", 2, "B"),
    ],
)
def test_a_label_is_a_cell_or_one_level_of_its_path(cell: str, level: int | None, label: str | None) -> None:
    assert category(cell, level) == label


def test_labels_that_are_missing_have_their_reason(write: Write) -> None:
    path = write("id,text,path\n1,a,Mode | Robes\n2,a,Mode\n3,a,\n4,a, \n")
    catalog = read_catalog(path, Columns(text=("text",), label="path", label_level=2, label_separator="|"))
    assert everything(catalog).labels == ["Robes", None, None, None]
    assert catalog.counts.problems == {"category path without a level 2": 1, "no label": 2}
    assert catalog.counts.examples["category path without a level 2"] == "row 3, id '2': 'Mode'"


# --- Photos ----------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("1.jpg", "2.png", "3.webp", "4.jpeg", "sub/5.jpg", "6.gif", "folder.jpg/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "secret.jpg").touch()
    return folder


def test_photos_are_joined_by_id(write: Write, photos: Path) -> None:
    path = write("id\n4\n3\n2\n1\n5\nsub/5\n6\nfolder\n../secret\n")
    catalog = read_catalog(path, Columns(), photos)
    expected = ["4.jpeg", "3.webp", "2.png", "1.jpg", None, "sub/5.jpg", None, None, None]
    assert everything(catalog).photos == [str(photos / name) if name else None for name in expected]
    assert catalog.counts.problems == {"photo not found": 3, "photo name leaves the photo folder": 1}


def test_an_image_column_names_files_in_the_folder(write: Write, photos: Path, tmp_path: Path) -> None:
    names = [
        "..",
        " 1.jpg ",
        "sub/5.jpg",
        "nowhere/1.jpg",
        "9.jpg",
        "",
        "../secret.jpg",
        "sub/../../secret.jpg",
    ]
    names += [
        str(tmp_path / "secret.jpg"),
        "C:\\secret.jpg",
        "..\\secret.jpg",
        "https://shop.example/1.jpg",
        "a\0/b",
    ]
    path = write("id,image\n" + "".join(f"{i},{name}\n" for i, name in enumerate(names)))
    catalog = read_catalog(path, Columns(image="image"), photos)
    assert everything(catalog).photos == [None, str(photos / "1.jpg"), str(photos / "sub/5.jpg"), *[None] * 10]
    assert catalog.counts.problems == {
        "photo name leaves the photo folder": 6,
        "photo not found": 3,
        "no photo named": 1,
        "photo is a web address, not a file": 1,
    }
    assert catalog.counts.examples["photo not found"] == "row 5, id '3': 'nowhere/1.jpg'"


def test_without_a_photo_folder_names_are_relative_to_the_catalogue(write: Write, photos: Path) -> None:
    path = write("id,image\n1,photos/1.jpg\n")
    assert everything(read_catalog(path, Columns(image="image"))).photos == [str(photos / "1.jpg")]


def test_without_photos_asked_for_none_is_missed(write: Write, photos: Path) -> None:
    catalog = read_catalog(write("id,text\n1,a\n"), TEXT)
    assert everything(catalog).photos == [None]
    assert catalog.counts.problems == {}


# --- Every format, any text ------------------------------------------------------------------------

# NUL and lone surrogates are left out: neither is text that a CSV can hold.
cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", '"', '""', "a,b", "l1\nl2", "\r\n", "é", "e\u0301", "\ufeff", "NA", "007", " x ", "\u2028", "a;b\tc"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=12), rows=st.integers(1, 5))
def test_any_table_reads_back_the_same_from_every_format(
    tmp_path: Path, table: list[tuple[str, str, str]], rows: int
) -> None:
    records = [{"id": f"{i}{a}", "name": a, "text": b, "label": c} for i, (a, b, c) in enumerate(table, 100)]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "name", "text", "label"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(records)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet", row_group_size=3)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")

    columns = Columns(text=("name", "text"), label="label")
    found = {s: read_catalog(tmp_path / f"t.{s}", columns) for s in ("csv", "parquet", "jsonl")}
    read = {suffix: everything(catalog) for suffix, catalog in found.items()}
    assert read["csv"].ids == [record["id"] for record in records]
    assert [text is None for text in read["csv"].texts] == [not (a.strip() or b.strip()) for a, b, _ in table]
    assert read["csv"] == read["parquet"] == read["jsonl"]
    assert found["csv"].counts.problems == found["parquet"].counts.problems == found["jsonl"].counts.problems
    for suffix, catalog in found.items():
        counts = catalog.counts
        assert everything(catalog, rows) == read[suffix], "small batches hold the same listings"
        assert catalog.counts == counts
        assert [len(batch.ids) for batch in catalog.batches(rows)][:-1] == [rows] * ((len(table) - 1) // rows)


def test_batches_cross_the_blocks_of_a_large_file(write: Write) -> None:
    ids = [str(i) for i in range(40_000)]
    catalog = read_catalog(write("id,text\n" + "".join(f"{i},{'t' * 300} {i}\n" for i in ids)), TEXT)
    sizes = [len(batch.ids) for batch in catalog.batches(15_000)]
    assert sizes == [15_000, 15_000, 10_000]
    read = everything(catalog, 7_777)
    assert read.ids == ids
    assert read.texts == [f"{'t' * 300} {i}" for i in ids]


@pytest.mark.skipif(not FLIPKART.is_dir(), reason="the Flipkart sample is not on this machine")
def test_the_flipkart_sample() -> None:
    columns = Columns(
        id="uniq_id",
        text=("product_name", "description"),
        image="image",
        label="product_category_tree",
        label_level=1,
    )
    catalog = read_catalog(FLIPKART / "flipkart_com-ecommerce_sample.csv", columns, FLIPKART / "images")
    read = everything(catalog)
    counts = catalog.counts
    assert (counts.rows, counts.with_text, counts.with_image, counts.with_label) == (840, 840, 837, 840)
    assert counts.problems == {"photo not found": 3}
    classes = Counter(read.labels)
    assert len(classes) == 7
    assert set(classes.values()) == {120}
    assert "Home Decor & Festive Needs" in classes
    assert all(Path(photo).stem == listing for photo, listing in zip(read.photos, read.ids, strict=True) if photo)
    assert len(set(read.ids)) == 840


@pytest.mark.parametrize("now", ["id,text\na,one\nc,two\n", "id,text\na,one\n", "id,text\na,one\nb,two\nc,three\n"])
def test_texts_read_once_more_are_those_of_the_same_listings(tmp_path: Path, now: str) -> None:
    path = tmp_path / "listings.csv"
    path.write_text("id,text\na,one\nb,two\n")
    assert list(read_catalog(path, Columns(text=("text",))).texts(["a", "b"])) == ["one", "two"]
    path.write_text(now)
    with pytest.raises(CatalogError, match="changed while it was read"):
        list(read_catalog(path, Columns(text=("text",))).texts(["a", "b"]))
