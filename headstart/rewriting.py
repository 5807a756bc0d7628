"""A table on disk → the same table with some labels changed and columns added, in a stream.

Whatever no edit touches is copied, the text of CSV and JSON Lines as it stands, character by character.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa

from headstart.cells import guarded
from headstart.errors import CatalogError
from headstart.tables import Table, text_of

ADDED = ("filed_before", "decision", "decided_by", "decided_at")
"""The columns that a corrected catalogue has more."""
Edit = tuple[str | None, dict[str, str | None]]
"""The new label cell, and the cells of `ADDED`; None where a cell stays."""
UNDECODED = "surrogateescape"
"""How bytes outside the encoding are copied: as they are. `Table` refuses them only in the columns that it reads."""
_ROWS = 65_536  # in a row group of a Parquet file
_LARGEST_CELL = 8 << 20  # characters; `Table` refuses larger rows
_MARK = "\ufeff"


def earlier(table: Table, names: Iterable[str]) -> bool:
    """Do columns of these names come from an earlier correction? It wrote all of `ADDED`.

    Raises:
        CatalogError: the catalogue has such a column of its own, which is not to be overwritten.
    """
    there = [name for name in names if name in ADDED]
    if there and sorted(there) != sorted(ADDED):
        raise CatalogError(f"{table.path} has a column {there[0]!r} that no correction wrote; rename it")
    return bool(there)


def exact_codec(table: Table) -> str:
    """The encoding without its byte order mark, which is copied as a character where there is one."""
    with table.open() as file:
        head = file.read(4)
    if table.codec == "utf-16":
        return "utf-16-be" if head.startswith(codecs.BOM_UTF16_BE) else "utf-16-le"
    if table.codec == "utf-32":
        return "utf-32-be" if head.startswith(codecs.BOM_UTF32_BE) else "utf-32-le"
    return table.codec.removesuffix("-sig")


@dataclass
class Rewriting:
    """One file, written anew as its kind asks: `csv_texts`, `json_texts` or `parquet_batches`, once."""

    table: Table
    id: str
    """The column of ids."""
    label: str
    """The column of labels."""
    edit: Callable[[str, str], Edit | None]
    """Asked for each row with an id and its label cell; None where the row stays."""
    rows: int = 0
    """Rows met, also those that are no listing."""

    def csv_texts(self) -> Iterator[str]:
        """A CSV row by row. Rows that cannot be lined up with the columns stay so."""
        csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
        record: list[str] = []  # the lines of the present row
        ended = False
        buffer = io.StringIO()
        separator = self.table.separator
        writer = csv.writer(buffer, delimiter=separator, lineterminator="\r\n")  # quotes cells with any of these

        def fed(lines: Iterator[str]) -> Iterator[str]:
            nonlocal ended
            for line in lines:
                record.append(line)
                yield line
            ended = True

        def written(row: list[str]) -> str:
            buffer.seek(0)
            buffer.truncate()
            writer.writerow(row)
            return buffer.getvalue().removesuffix("\r\n")

        with self.table.explained():
            names = self.table.names()
            more = [] if earlier(self.table, names) else list(ADDED)
            id_at, label_at = names.index(self.id), names.index(self.label)
            places = {name: (names + more).index(name) for name in ADDED}
            mark, lines = self._lines("")
            yield mark
            header = True
            for row in csv.reader(fed(lines), delimiter=separator):
                text = "".join(record)
                record.clear()
                body = text.rstrip("\r\n")
                end = text[len(body) :]
                if ended:  # within a quote, which the end of the file closed
                    body, end = written(row), ""
                if header and row:
                    header = False
                    yield separator.join([body, *more]) + end
                    continue
                self.rows += bool(row)
                if len(row) == len(names) + len(more) and more:  # it has as many cells as a listing from now on
                    yield f'{body}{separator}""{end}'
                elif len(row) != len(names):
                    yield body + end
                elif edit := self._edit(row[id_at], row[label_at]):
                    label, cells = edit
                    row += [""] * len(more)
                    row[label_at] = row[label_at] if label is None else label
                    for name, cell in cells.items():
                        row[places[name]] = row[places[name]] if cell is None else guarded(cell)
                    yield written(row) + end
                else:
                    yield body + separator * len(more) + end

    def json_texts(self) -> Iterator[str]:
        """JSON Lines line by line. A listing without a decision has null in the columns added."""
        codec = exact_codec(self.table)
        nothing = "".join(f', "{name}": null' for name in ADDED)
        with self.table.explained():
            mark, lines = self._lines("\n")
            yield mark
            for line in lines:
                if not line or line.isspace():
                    yield line
                    continue
                self.rows += 1
                row = json.loads(line)
                listing, value = text_of(row.get(self.id)), row.get(self.label)
                if not listing or not listing.strip():
                    yield line
                    continue
                again = earlier(self.table, row)
                if edit := self._edit(listing, value if isinstance(value, str) else text_of(value)):
                    label, cells = edit
                    changes: dict[str, Any] = {
                        name: cell for name, cell in cells.items() if cell is not None or not again
                    }
                    if label is not None:
                        changes[self.label] = json.loads(label) if isinstance(value, list) else label
                    yield _spliced(line, row, {name: _json(value, codec) for name, value in changes.items()})
                elif again:
                    yield line
                else:
                    end = line.rindex("}")
                    yield line[:end] + nothing + line[end:]

    def parquet_batches(self) -> Iterator[pa.RecordBatch]:
        """A Parquet file, a row group at a time. The label column keeps its type where that is text or a list."""
        from pyarrow.parquet import ParquetFile

        with self.table.explained(), ParquetFile(self.table.path) as source:
            schema, strings = source.schema_arrow, self.table.strings
            label_at = schema.get_field_index(self.label)
            kind = schema.field(label_at).type
            in_lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            if not (in_lists or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                kind = pa.string()
            schema = schema.set(label_at, schema.field(label_at).with_type(kind))
            places = [schema.get_field_index(name) for name in ADDED]
            for name, place in zip(ADDED, places, strict=True):
                new = pa.field(name, pa.string())
                schema = schema.append(new) if place < 0 else schema.set(place, new)
            places = [schema.get_field_index(name) for name in ADDED]
            for batch in source.iter_batches(_ROWS):
                self.rows += len(batch)
                columns = batch.columns + [pa.nulls(len(batch), pa.string())] * (len(schema) - batch.num_columns)
                cells = strings(columns[label_at], self.label)
                labels: list[Any] = columns[label_at].to_pylist() if in_lists else list(cells)
                added = {name: strings(columns[place], name) for name, place in zip(ADDED, places, strict=True)}
                for row, listing in enumerate(strings(batch.column(self.id), self.id)):
                    if edit := self._edit(listing, cells[row]):
                        label, changes = edit
                        if label is not None:
                            labels[row] = json.loads(label) if in_lists else label
                        for name, cell in changes.items():
                            added[name][row] = added[name][row] if cell is None else cell
                columns[label_at] = pa.array(labels, kind)
                for name, place in zip(ADDED, places, strict=True):
                    columns[place] = pa.array(added[name], pa.string())
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _edit(self, listing: str | None, cell: str | None) -> Edit | None:
        return self.edit(listing, cell or "") if listing else None

    def _lines(self, newline: str) -> tuple[str, Iterator[str]]:
        """The byte order mark or nothing, and the lines after it."""

        def read() -> Iterator[str]:
            with self.table.open() as file:
                yield from io.TextIOWrapper(file, exact_codec(self.table), UNDECODED, newline)

        lines = read()
        first = next(lines, "")
        mark = _MARK if first.startswith(_MARK) else ""
        return mark, chain([first.removeprefix(mark)], lines)


def _json(value: Any, codec: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _spliced(line: str, row: dict[str, Any], changes: dict[str, str]) -> str:
    """The line of an object with other values at some keys; all other text stays, also how a number is written."""
    if row.keys() & changes.keys():
        for key, (start, end) in reversed(_spans(line).items()):
            if key in changes:
                line = line[:start] + changes[key] + line[end:]
    end = line.rindex("}")
    more = "".join(f", {json.dumps(key)}: {text}" for key, text in changes.items() if key not in row)
    return line[:end] + more + line[end:]


def _spans(line: str) -> dict[str, tuple[int, int]]:
    """Where the value of each key stands in the line of an object, in order; of a key given twice the last counts."""
    decoder, space = json.JSONDecoder(), json.decoder.WHITESPACE.match  # type: ignore[attr-defined]
    spans: dict[str, tuple[int, int]] = {}
    end = line.index("{")
    while line[end] != "}":  # at the brace that opens, or at a comma
        key, end = decoder.raw_decode(line, space(line, end + 1).end())
        start = space(line, space(line, end).end() + 1).end()
        _, end = decoder.raw_decode(line, start)
        spans.pop(key, None)
        spans[key] = start, end
        end = space(line, end).end()
    return spans
