from __future__ import annotations

import csv
import gzip
import json
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogs import Write, everything, refusal
from correcting import COLUMNS, HEAD, MORE, MOVE, apply, labels, opened
from headstart.catalog import Columns, category
from headstart.corrections import Applied, refiled
from headstart.decisions import Decision
from headstart.errors import CatalogError
from headstart.rewriting import ADDED

# --- CSV -------------------------------------------------------------------------------------------


def test_a_csv_changes_in_the_label_cell_and_four_columns(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        f'{HEAD}\n1,"a ""b""",A\n\n2,"two\nlines",A\n3,=x,A\n,no id,A\n4,short\n4,a,b,c,d,e,f\n5,"z",A\n6,h,A\n7,,=A\n'
    )
    made = [
        MOVE,
        Decision("3", "A", "keep", decided_by="=cmd"),
        Decision("5", "A", "skip"),
        Decision("6", "A", "agree", "B", holdout=True),
        Decision("7", "=A", "other", "-B"),
        Decision("1", "B", "agree", "A"),
    ]
    out = path.with_name("out.csv")
    applied = apply(opened(path), made, out)
    assert applied == Applied(9, 2, 1, 1, 1, 1, Counter({("A", "B"): 1, ("=A", "-B"): 1}))
    assert "1 decisions are on listings of a holdout" in capsys.readouterr().err
    assert out.read_text() == (
        f'{HEAD},{MORE}\n1,"a ""b""",A,,agree,,\n\n2,"two\nlines",B,A,agree,Zoé,2026-03-01\n'.replace(
            '"a ""b"""', '"a ""b"""'
        )
        + '3,=x,A,,keep,\'=cmd,\n,no id,A,,,,\n4,short\n4,a,b,c,d,e,f,""\n'
        + '5,"z",A,,,,\n6,h,A,,,,\n7,,-B,\'=A,other,,\n'
    )
    before, after = labels(opened(path)), labels(opened(out))
    assert after == before | {"2": "B", "7": "-B"}
    assert sorted(path.parent.iterdir()) == [path, out], "nothing else is left"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "codec", "given"),
    [
        ("", "utf-8", "utf-8"),
        ("\ufeff", "utf-8", "utf-8"),
        ("", "cp1252", "cp1252"),
        ("\ufeff", "utf-16-le", "utf-16"),
        ("\ufeff", "utf-16-be", "utf-16"),
    ],
)
def test_encoding_mark_delimiter_and_line_ends_stay(write: Write, mark: str, codec: str, given: str, end: str) -> None:
    rows = ['"id";text;label', "1;crème, brûlée;A", '2;"a;b";A', "3;;"]
    path = write((mark + end.join(rows)).encode(codec))
    out = path.with_name("out.txt")
    apply(opened(path, delimiter=";", encoding=given), [MOVE], out)
    expected = [rows[0] + ";" + MORE.replace(",", ";"), rows[1] + ";;;;", '2;"a;b";B;A;agree;Zoé;2026-03-01', "3;;;;;;"]
    assert out.read_bytes() == (mark + end.join(expected)).encode(codec)


@pytest.mark.parametrize(("name", "to"), [("c.csv.gz", "o.csv"), ("c.csv", "o.csv.gz"), ("c.tsv", "o.tsv.gz")])
def test_a_csv_may_be_compressed(write: Write, name: str, to: str) -> None:
    text = f"{HEAD}\n1,a,A\n2,b,A\n".replace(",", "\t" if "tsv" in name else ",").encode()
    path = write(gzip.compress(text) if name.endswith("gz") else text, name)
    out = path.with_name(to)
    apply(opened(path), [MOVE], out)
    assert labels(opened(out)) == {"1": "A", "2": "B"}
    assert (out.read_bytes()[:2] == b"\x1f\x8b") == to.endswith("gz")


@pytest.mark.parametrize("last", ['3,c,"A', '3,c,"A""\n', '3,"c",A', '3,c,"A\n"'])
def test_the_last_row_may_end_in_any_way(write: Write, last: str) -> None:
    path = write(f"{HEAD}\n2,b,A\n{last}")
    apply(opened(path), [MOVE], path.with_name("out.csv"))
    assert labels(opened(path.with_name("out.csv"))) == labels(opened(path)) | {"2": "B"}


def test_a_cell_of_a_megabyte_is_copied(write: Write) -> None:
    path = write(f'{HEAD}\n1,"{"a," * 2**19}",A\n2,b,A\n')
    apply(opened(path), [MOVE], path.with_name("out.csv"))
    assert path.with_name("out.csv").stat().st_size > 2**20


def test_bytes_outside_the_encoding_are_copied_where_nobody_reads_them(write: Write) -> None:
    path = write(b"id,text,other,label\n1,a,caf\xe9,A\n2,b,\xff,A\n")
    out = path.with_name("out.csv")
    apply(opened(path), [replace(MOVE, decided_by="")], out)
    assert out.read_bytes().split(b"\n")[1:3] == [b"1,a,caf\xe9,A,,,,", b"2,b,\xff,B,A,agree,,2026-03-01"]


def test_a_category_that_the_encoding_cannot_hold(write: Write) -> None:
    path = write(f"{HEAD}\n2,é,A\n".encode("cp1252"))
    out = path.with_name("out.csv")
    message = refusal(lambda: apply(opened(path, encoding="cp1252"), [replace(MOVE, category="Ω")], out))
    assert "'Ω', decided on for listing '2', has 'Ω', which cp1252 cannot hold" in message
    assert list(path.parent.iterdir()) == [path]


HOSTILE = st.text(
    st.sampled_from("a\u00e9e\u0301 ,;\t\n\r\"'=+-@\ufeff\u2028\0🎒[]{}\\>") | st.characters(codec="utf-8"), max_size=12
)
LABELS = HOSTILE.map(lambda text: unicodedata.normalize("NFC", text.strip())).filter(
    lambda text: category(text) == text
)
TABLES = st.lists(st.tuples(HOSTILE.filter(str.strip), HOSTILE, HOSTILE, st.none() | LABELS), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(TABLES, st.sampled_from(["csv", "quoted", "parquet", "jsonl"]), st.sampled_from("\n,;"), st.data())
def test_whatever_the_text_the_labels_are_those_decided(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, str, str, str | None]],
    kind: str,
    mark: str,
    data: st.DataObject,
) -> None:
    table = list({row[0]: row for row in table}.values())
    folder = tmp_path_factory.mktemp("c")
    path = folder / f"c.{kind.replace('quoted', 'csv')}"
    delimiter = mark.replace("\n", "\t")
    if kind == "parquet":
        pq.write_table(
            pa.table(dict(zip(("id", "text", "label"), zip(*(row[:3] for row in table), strict=True), strict=True))),
            path,
        )
    elif kind == "jsonl":
        lines = (
            json.dumps(dict(zip(("id", "text", "label"), row, strict=False)), ensure_ascii=mark == ",") for row in table
        )
        path.write_text("\n".join(lines), encoding="utf-8", newline="")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(
                file, delimiter=delimiter, quoting=csv.QUOTE_ALL if kind == "quoted" else csv.QUOTE_MINIMAL
            )
            writer.writerows([("id", "text", "label"), *(row[:3] for row in table)])
    columns = Columns(text=("text",), label="label")
    try:
        catalog = opened(path, columns, delimiter=delimiter)
        before = everything(catalog)
    except CatalogError:
        return  # such as an id that is only a carriage return, unquoted
    filed = dict(zip(before.ids, before.labels, strict=True))
    moves = {row[0]: row[3] for row in table if row[3] is not None and row[0] in filed}
    made = [Decision(listing, filed[listing] or "", "other", to, to, to) for listing, to in moves.items()]
    out = path.with_name("out" + path.suffix)
    apply(catalog, made, out)
    after = everything(opened(out, columns, delimiter=delimiter))
    assert (after.ids, after.texts) == (before.ids, before.texts)
    assert after.labels == [moves.get(listing, filed[listing]) for listing in before.ids]


# --- Parquet and JSON Lines ------------------------------------------------------------------------


def test_parquet_keeps_types_and_order(tmp_path: Path) -> None:
    table = pa.table(
        {
            "price": pa.array([1, 2, None], pa.decimal128(8, 2)),
            "label": pa.array(["A", "A", None]).dictionary_encode(),
            "text": pa.array(["a", "b", None], pa.large_string()),
            "when": pa.array([1, 2, 3], pa.timestamp("ms", "Europe/Paris")),
            "id": pa.array([1, 2, None]),
            "sizes": pa.array([[1], None, []], pa.list_(pa.int16())),
        }
    ).replace_schema_metadata({"own": "note"})
    table = table.append_column("sizes", pa.array([7, 8, 9]))  # a name given twice
    pq.write_table(table, tmp_path / "c.parquet")
    applied = apply(opened(tmp_path / "c.parquet"), [MOVE], tmp_path / "o.parquet")
    assert (applied.rows, applied.changed) == (3, 1)
    new = pq.ParquetFile(tmp_path / "o.parquet").read()
    assert new.schema.names == [*table.schema.names, *ADDED]
    assert new.schema.metadata[b"own"] == b"note"
    for place, name in enumerate(table.schema.names):
        if name != "label":
            assert new.column(place).equals(table.column(place))
            assert new.schema.types[place] == table.schema.types[place]
    assert new.column("label").to_pylist() == ["A", "B", None]
    assert [new.column(name).to_pylist() for name in ADDED] == [
        [None, value, None] for value in ("A", "agree", "Zoé", "2026-03-01")
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.list_(pa.string()), pa.int64(), pa.binary()])
def test_a_label_column_of_parquet_keeps_its_type_where_it_can(tmp_path: Path, kind: pa.DataType) -> None:
    cells = {pa.list_(pa.string()): [["7", "x"], ["7"]], pa.int64(): [7, 7]}.get(kind, ["7", "7"])
    pq.write_table(
        pa.table({"id": ["1", "2"], "text": ["a", "b"], "label": pa.array(cells, kind)}), tmp_path / "c.parquet"
    )
    columns = replace(COLUMNS, label_level=1)
    apply(opened(tmp_path / "c.parquet", columns), [Decision("1", "7", "agree", "8")], tmp_path / "o.parquet")
    assert labels(opened(tmp_path / "o.parquet", columns)) == {"1": "8", "2": "7"}
    kept = kind if kind not in (pa.int64(), pa.binary()) else pa.string()
    assert pq.read_schema(tmp_path / "o.parquet").field("label").type == kept


def test_json_lines_change_only_where_they_must(write: Write) -> None:
    lines = [
        r'{"id": 1, "price": 1.50, "label":"A", "text": "\u00e9 \ud83d", "n": 1e400}',
        r'  {"label" : ["A", "x"] , "price": 1.50, "id": "2", "deep": {"label": [1, "}"]}, "label": "A" }  ',
        "",
        '{"text": "no id", "n": 2.0}',
        '{"id":3,"label":["A","old"],"text":"c"}\r',
        '{"id": 4}',
    ]
    path = write("\n".join(lines), "c.jsonl")
    out = path.with_name("o.ndjson.gz")
    columns = replace(COLUMNS, label_level=1)
    made = [MOVE, Decision("3", "A", "other", "Ω"), Decision("4", "", "other", "New")]
    assert apply(opened(path, columns), made, out).rows == 5
    none = ', "filed_before": null, "decision": null, "decided_by": null, "decided_at": null}'
    expected = [
        lines[0][:-1] + none,
        lines[1].replace('"label": "A" ', '"label": "B" ').rstrip()[:-1]
        + ', "filed_before": "A", "decision": "agree", "decided_by": "Zoé", "decided_at": "2026-03-01"}  ',
        "",
        lines[3],
        '{"id":3,"label":["Ω"],"text":"c", "filed_before": "[\\"A\\", \\"old\\"]", "decision": "other"'
        ', "decided_by": "", "decided_at": ""}\r',
        '{"id": 4, "filed_before": "", "decision": "other", "decided_by": "", "decided_at": "", "label": "New"}',
    ]
    assert gzip.decompress(out.read_bytes()).decode().split("\n") == expected


def test_json_in_another_encoding_escapes_what_it_lacks(write: Write) -> None:
    path = write('{"id": 2, "text": "é", "label": "A"}\n'.encode("latin-1"), "c.jsonl")
    out = path.with_name("o.jsonl")
    apply(opened(path, encoding="latin-1"), [replace(MOVE, category="Ω")], out)
    assert '"text": "é", "label": "\\u03a9"' in out.read_text("latin-1")
    assert labels(opened(out, encoding="latin-1")) == {"2": "Ω"}


# --- category paths --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "level", "new"),
    [
        (" A ", None, "New"),
        ("A >> B >> C", 2, "A >> New"),
        ("A >> B >> C", 1, "New"),
        ("A>>B", 2, "A>>New"),
        ("A >> B", 3, "A >> B>>New"),
        ('["A >> B >> C"]', 2, '["A >> New"]'),
        ('["A >> B >> C", "D >> E"]', 2, '["A >> New", "D >> E"]'),
        ('["A >> B >> cut off', 2, '["A >> New"]'),
        ('["Déco", "B", "C"]', 2, '["Déco", "New"]'),
        ('["A", "B"]', 1, '["New"]'),
        ("[Promo] A >> B", 2, "[Promo] A >> New"),
        ("", 1, "New"),
    ],
)
def test_a_path_stays_up_to_the_level_above(cell: str, level: int | None, new: str) -> None:
    assert refiled(cell, "New", level) == new


@pytest.mark.parametrize(("cell", "to", "level"), [("A", "B >> C", 2), ("A", "B", 3), ("", "B", 2), ("[]", "B", 2)])
def test_a_path_that_cannot_hold_the_category_is_refused(write: Write, cell: str, to: str, level: int) -> None:
    path = write(f"{HEAD}\n2,b,{cell}\n1,a,A >> A >> A\n")
    columns = replace(COLUMNS, label_level=level)
    made = [Decision("2", category(cell, level) or "", "other", to)]
    message = refusal(lambda: apply(opened(path, columns), made, path.with_name("out.csv")))
    assert f"listing '2': the category {to!r} cannot be level {level} of {cell!r}" in message
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("cell", "new"),
    [
        ("Toys >> Cars >> Red", "Clothing >> Shoes"),
        ("Toys>>Cars", "Clothing>>Shoes"),
        ('["Toys >> Cars", "D >> E"]', '["Clothing >> Shoes", "D >> E"]'),
        ('["Toys", "Cars", "Red"]', '["Clothing", "Shoes"]'),
    ],
)
def test_a_category_of_another_branch_brings_its_branch(write: Write, cell: str, new: str) -> None:
    path = write(json.dumps({"id": "1", "text": "a", "label": cell}) + "\n", "c.jsonl")
    other = {"id": "2", "text": "b", "label": "Clothing >> Shoes >> Boots"}
    path.write_text(path.read_text() + json.dumps(other) + "\n")
    columns = replace(COLUMNS, label_level=2)
    out = path.with_name("o.jsonl")
    apply(opened(path, columns), [Decision("1", "Cars", "other", "Shoes")], out)
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert first["label"] == new
    assert second["label"] == other["label"]


def test_a_category_of_several_branches_stays_in_the_listing_s_own_or_is_refused(write: Write) -> None:
    rows = ["1,a,Toys >> Cars", "2,b,Toys >> Shoes", "3,c,Clothing >> Shoes", "4,d,Home >> Lamps"]
    path = write("\n".join([HEAD, *rows]) + "\n")
    columns = replace(COLUMNS, label_level=2)
    apply(opened(path, columns), [Decision("1", "Cars", "other", "Shoes")], path.with_name("out.csv"))
    assert "1,a,Toys >> Shoes" in path.with_name("out.csv").read_text()
    made = [Decision("4", "Lamps", "other", "Shoes")]
    message = refusal(lambda: apply(opened(path, columns), made, path.with_name("not.csv")))
    assert "the category 'Shoes' is under 'Clothing' and under 'Toys'" in message
    assert not path.with_name("not.csv").exists()
