"""Files of every kind, read through the catalogue that they hold."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import TEXT, Write, everything, refusal
from headstart.catalog import Columns, Counts, read_catalog

# --- CSV -------------------------------------------------------------------------------------------


def test_csv_cells_stay_as_they_are_written(write: Write) -> None:
    path = write('id,text,label\n007,"deux\nlignes, ""citées""",1.0\n1e3,nan,NA\n')
    read = everything(read_catalog(path, Columns(text=("text",), label="label")))
    assert read.ids == ["007", "1e3"]
    assert read.texts == ['deux\nlignes, "citées"', "nan"]
    assert read.labels == ["1.0", "NA"]


def test_fields_are_joined_in_the_order_named(write: Write) -> None:
    path = write("id,b,a\n1,Bleu,Robe\n2,,Jupe\n3,,\n")
    catalog = read_catalog(path, Columns(text=("a", "b")))
    assert everything(catalog).texts == ["Robe\nBleu", "Jupe", None]
    assert catalog.counts.problems == {"no text": 1}
    assert catalog.counts.examples == {"no text": "row 4, id '3'"}


@pytest.mark.parametrize(
    ("encoding", "given"),
    [("latin-1", "latin-1"), ("cp1252", "cp1252"), ("utf-16", "utf-16"), ("utf-8-sig", "utf-8")],
)
def test_an_excel_export_reads_with_its_encoding_and_delimiter(write: Write, encoding: str, given: str) -> None:
    path = write("réf;désignation;prix\r\n1;Crème brûlée, 4 pots;3,50\r\n".encode(encoding))
    columns = Columns(id="réf", text=("désignation",))
    assert everything(read_catalog(path, columns, delimiter=";", encoding=given)).texts == ["Crème brûlée, 4 pots"]


@pytest.mark.parametrize(("name", "delimiter"), [("c.tsv", ","), ("c.txt", "\t"), ("c.csv", r"\t")])
def test_tabs(write: Write, name: str, delimiter: str) -> None:
    path = write("id\ttext\n1\ta,b\n", name)
    assert everything(read_catalog(path, TEXT, delimiter=delimiter)).texts == ["a,b"]


def test_a_compressed_csv_reads_as_it_is(write: Write) -> None:
    whole = gzip.compress("id,text\n1,été\n".encode())
    assert everything(read_catalog(write(whole, "c.csv.gz"), TEXT)).texts == ["été"]
    assert "cannot be read as CSV" in refusal(lambda: everything(read_catalog(write(whole[:-12], "d.csv.gz"), TEXT)))


def test_rows_that_cannot_be_lined_up_are_counted_and_the_rest_is_read(write: Write) -> None:
    catalog = read_catalog(write("id,text,x\n1,a,b\n2,a\n3,,c\n4,a,b,c\n5,a\n6,,b\n"), TEXT)
    assert everything(catalog).ids == ["1", "3", "6"]
    assert catalog.counts == Counts(
        rows=3,
        with_text=1,
        left_out=3,
        problems={"row has 2 cells instead of 3": 2, "row has 4 cells instead of 3": 1, "no text": 2},
        examples={
            "row has 2 cells instead of 3": "row 3: '2,a'",
            "row has 4 cells instead of 3": "row 5: '4,a,b,c'",
            "no text": "row 4, id '3'",
        },
    )


def test_row_numbers_count_the_rows_left_out_before(write: Write) -> None:
    catalog = read_catalog(write("id,text\n1\n2\n3,a\n4\n5,\n"), TEXT)
    everything(catalog)
    assert catalog.counts.examples["no text"] == "row 6, id '5'"
    message = refusal(lambda: everything(read_catalog(write("id,text\n1\n2\n3,a\n4\n3,b\n"), TEXT)))
    assert "rows 4 and 6 have the same id '3'" in message


def test_a_row_without_id_is_left_out_and_counted(write: Write) -> None:
    catalog = read_catalog(write("id,text\n,a\n1,b\n  ,c\n2,\n"), TEXT)
    assert everything(catalog, rows=2).ids == ["1", "2"]
    assert catalog.counts.problems == {"no id": 2, "no text": 1}
    assert catalog.counts.examples == {"no id": "row 2", "no text": "row 5, id '2'"}
    assert catalog.counts.left_out == 2


def test_a_text_of_a_megabyte_is_read(write: Write) -> None:
    assert everything(read_catalog(write("id,text\n1," + "a" * 2**20), TEXT)).texts == ["a" * 2**20]


@pytest.mark.parametrize("rows", [2, 2_000_000])
@pytest.mark.parametrize("first", ['1,b,"never closed', '1,"never closed,c'])
def test_a_quote_never_closed_does_not_swallow_the_rows_after_it(write: Write, first: str, rows: int) -> None:
    path = write(f"id,text,more\n0,a,b\n{first}\n" + "2,some text,c\n" * rows)
    assert "never closed" in refusal(lambda: everything(read_catalog(path, TEXT)))


@pytest.mark.parametrize("end", ['"l1\nl2"', '"l1\nl2"\n', '"l1\nl ""2"""', '"l1\n"', '5" wide', '"l1\nl2",too many'])
def test_a_last_cell_of_several_lines_is_no_open_quote(write: Write, end: str) -> None:
    catalog = read_catalog(write(f"id,text,more\n0,a,b\n1,c,{end}"), TEXT)
    assert everything(catalog).ids[0] == "0"
    assert catalog.counts.rows + catalog.counts.left_out == 2


@pytest.mark.parametrize("content", ["id,text\n1,a\n2,caf\xe9\n", "id,\xe9,text\n1,a,b\n"])
def test_a_csv_that_is_not_utf8_says_where_and_what_to_do(write: Write, content: str) -> None:
    message = refusal(lambda: everything(read_catalog(write(content.encode("latin-1")), TEXT)))
    line = 1 + content[: content.index("\xe9")].count("\n")
    assert f"c.csv is not utf-8: line {line} has the byte 0xe9" in message
    assert "--encoding cp1252" in message


def test_a_utf16_csv_is_recognised(write: Write) -> None:
    assert "--encoding utf-16" in refusal(lambda: read_catalog(write("id,text\n1,a".encode("utf-16")), TEXT))


# --- Parquet and JSON Lines ------------------------------------------------------------------------


def parquet(tmp_path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "c.parquet", row_group_size=2)
    return tmp_path / "c.parquet"


def test_parquet_types_become_text(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        id=pa.array([7, 8, 9]),
        text=pa.array([12.5, math.nan, None]),
        name=pa.array(["a", None, "a"]).dictionary_encode(),
        raw=pa.array([b"\xc3\xa9", b"b", None]),
        label=pa.array([True, False, None]),
    )
    read = everything(read_catalog(path, Columns(text=("text", "name", "raw"), label="label")))
    assert read.ids == ["7", "8", "9"]
    assert read.texts == ["12.5\na\né", "b", "a"]
    assert read.labels == ["true", "false", None]


def test_whole_numbers_that_became_floats_are_ids_again(tmp_path: Path) -> None:
    path = parquet(tmp_path, id=pa.array([1.0, 3760123456789.0, None]), text=pa.array(["a", "b", "c"]))
    catalog = read_catalog(path, TEXT)
    assert everything(catalog).ids == ["1", "3760123456789"]
    assert catalog.counts.examples == {"no id": "row 3"}


def test_a_list_column_holds_the_levels(tmp_path: Path, write: Write) -> None:
    paths = [["Maison", "Rideaux"], ["Mode"], None, ["Bébé >> Bain >> Serviettes"]]
    columns = Columns(text=("text",), label="path", label_level=2)
    lines = "".join(json.dumps({"id": i, "text": "a", "path": p}) + "\n" for i, p in enumerate(paths))
    for path in (parquet(tmp_path, id=range(4), text=["a"] * 4, path=paths), write(lines, "c.jsonl")):
        catalog = read_catalog(path, columns)
        assert everything(catalog).labels == ["Rideaux", None, None, "Bain"]
        assert catalog.counts.problems == {"category path without a level 2": 1, "no label": 1}


def test_a_damaged_parquet_is_refused(tmp_path: Path, write: Write) -> None:
    good = parquet(tmp_path, id=["1", "2"], text=["a" * 5000, "b"]).read_bytes()
    for content in (good[:-50], good[:20], b"PAR1 nonsense PAR1"):
        assert "Parquet" in refusal(lambda c=content: everything(read_catalog(write(c, "bad.parquet"), TEXT)))
    inside = good[:4] + b"\xff" * 60 + good[64:]
    assert "Parquet" in refusal(lambda: everything(read_catalog(write(inside, "bad.parquet"), TEXT)))


def test_cells_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, id=["1"], text=pa.array([{"bytes": b"\xff\xd8"}]))
    assert "column 'text'" in refusal(lambda: everything(read_catalog(path, TEXT)))
    path = parquet(tmp_path, id=["1"], text=pa.array([b"\xff\xd8"]))
    assert "column 'text'" in refusal(lambda: everything(read_catalog(path, TEXT)))


def test_json_lines_may_mix_types_and_leave_keys_out(write: Write) -> None:
    lines = '{"id": 7, "text": "a"}\n\n{"id": "008", "text": 3.0, "more": 1}\n{"id": 9.0}\n{"id": 1, "text": NaN}'
    catalog = read_catalog(write(lines, "c.ndjson"), TEXT)
    read = everything(catalog)
    assert read.ids == ["7", "008", "9", "1"]
    assert read.texts == ["a", "3", None, None]


def test_half_an_emoji_in_json_does_not_reach_the_encoder(write: Write) -> None:
    read = everything(read_catalog(write(r'{"id": 1, "text": "joli \ud83d\ude00 sac \ud83d"}', "c.jsonl"), TEXT))
    assert read.texts == ["joli 😀 sac \ufffd"]


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 2, "text": "cut',
        '{"id": 2} {"id": 3}',
        "[1, 2]",
        "not json",
        "[" * 100_000,
        '{"id": 1' + "0" * 5000 + "}",
    ],
)
def test_a_malformed_line_is_named(write: Write, line: str) -> None:
    path = write('{"id": 1, "text": "a"}\n\n' + line + "\n", "c.jsonl")
    assert "line 3 is not" in refusal(lambda: everything(read_catalog(path, TEXT)))


def test_json_lines_not_in_utf8_say_where(write: Write) -> None:
    path = write('{"id": 1, "text": "a"}\n{"id": 2, "text": "\xe9"}\n'.encode("latin-1"), "c.jsonl")
    assert "line 2 has the byte 0xe9" in refusal(lambda: everything(read_catalog(path, TEXT)))
    assert everything(read_catalog(path, TEXT, encoding="latin-1")).texts == ["a", "é"]
