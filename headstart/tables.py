"""Tables on disk → columns of strings, in a stream: CSV, Parquet and JSON Lines.

Every cell becomes a string or None, whatever the file: 007 stays "007", 12.0 (an integer that met an empty
cell on its way through pandas) becomes "12", not-a-number becomes None, a list becomes its JSON.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from headstart.errors import CatalogError

Block = list[list[str | None]]
"""Consecutive rows: one list for each column asked for, all of one length."""

_KINDS = {
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV", ".parquet": "Parquet", ".pq": "Parquet",
    ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".json": "JSON Lines",
}  # fmt: skip
_LARGEST_CSV_ROW = 8 << 20  # bytes: pyarrow parses such a block at a time, and a row must fit into one
_PARQUET_ROWS = 8192  # rows in a block
_JSON_ROWS = 1024  # their objects, all parsed at once, stay in the processor's cache


@dataclass(frozen=True)
class Table:
    """One file with named columns. The type goes by the suffix; ``.gz`` after it is undone (not for Parquet).

    Row numbers are those that a spreadsheet shows, blank lines left out: in CSV the column names are row 1.
    """

    path: Path
    delimiter: str = ","
    """Between the cells of a CSV. A ``.tsv`` has tabs unless another one is given."""
    encoding: str = "utf-8"

    @property
    def kind(self) -> str:
        """``"CSV"``, ``"Parquet"`` or ``"JSON Lines"``.

        Raises:
            CatalogError: the suffix is none of those known.
        """
        suffixes = [suffix.lower() for suffix in self.path.suffixes if suffix.lower() != ".gz"]
        kind = _KINDS.get(suffixes[-1]) if suffixes else None
        if kind is None:
            raise CatalogError(f"{self.path} is of no known type; its name must end in one of {', '.join(_KINDS)}")
        return kind

    @property
    def first_row(self) -> int:
        """The number of the first row that holds data."""
        return 2 if self.kind == "CSV" else 1

    def names(self) -> list[str]:
        """The column names, in order; a name that the file gives twice is there twice.

        Raises:
            CatalogError: the file is empty, damaged, or not in its encoding.
        """
        with self.explained():
            if self.path.stat().st_size == 0:
                raise CatalogError(f"{self.path} is empty; give a file with column names and rows")
            if self.kind == "CSV":
                names = self._csv_names()
            elif self.kind == "Parquet":
                from pyarrow.parquet import read_schema

                names = read_schema(self.path).names
            else:
                # No line has to have every key: those of the first block are taken for all.
                names = list(dict.fromkeys(name for row in next(self._objects(), []) for name in row))
        if not names:
            raise CatalogError(f"{self.path} holds no column names and no rows; give a file with both")
        return names

    def blocks(self, names: Sequence[str], skip: Callable[[int, str, str], None]) -> Iterator[Block]:
        """Read the columns named (more than once if you like), block by block.

        Args:
            skip: called with number, reason and contents for each row of a CSV that is given out in no block,
                because its cells cannot be lined up with the columns. Blocks may come later than such calls.

        Raises:
            CatalogError: the file is damaged, not in its encoding, or a cell cannot be read as text.
        """
        with self.explained():
            if self.kind == "CSV":
                yield from self._csv_blocks(names, skip)
            elif self.kind == "Parquet":
                yield from self._parquet_blocks(names)
            else:
                yield from self._json_blocks(names)

    def _csv_names(self) -> list[str]:
        # Bytes that are not in the encoding matter here only in a name; pyarrow finds them in the cells.
        with self.open() as file:
            text = io.TextIOWrapper(file, self.codec, errors="replace", newline="")
            names = next((row for row in csv.reader(text, delimiter=self.separator) if row), [])
        if any("\ufffd" in name for name in names):
            raise self._not_in_encoding()
        return names

    def _csv_blocks(self, names: Sequence[str], skip: Callable[[int, str, str], None]) -> Iterator[Block]:
        from pyarrow import csv as arrow_csv

        def broken(row: Any) -> str:
            reason = f"row has {row.actual_columns} cells instead of {row.expected_columns}"
            skip(row.number, reason, row.text)
            if row.text.count('"') % 2:
                ends[0] = row.text
            return "skip"

        # pyarrow would turn Ctrl-C into an exception of its own; a block is short, and Python's handler runs after it.
        pa.enable_signal_handlers(False)
        ends = ["", ""]  # the last broken row with an odd quote, and the last cell of all
        last = self._csv_names()[-1]

        with _no_traceback():
            reader = arrow_csv.open_csv(
                self.path,
                # Rows are numbered only by the reader with one thread; it is nearly as fast.
                read_options=arrow_csv.ReadOptions(
                    use_threads=False,
                    block_size=_LARGEST_CSV_ROW,
                    encoding="utf8" if self.codec == "utf-8-sig" else self.codec,
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.separator, newlines_in_values=True, invalid_row_handler=broken
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=list(dict.fromkeys([*names, last])),
                    column_types=dict.fromkeys([*names, last], pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        with reader:
            while True:
                with _no_traceback():
                    batch = next(reader, None)
                if batch is None:
                    break
                yield [batch.column(name).to_pylist() for name in names]
                if batch.num_rows:
                    ends[1] = batch.column(last)[-1].as_py() or ""
        self._refuse_open_quote(ends)

    def _refuse_open_quote(self, ends: list[str]) -> None:
        """A quote never closed takes all rows after it into one cell, and pyarrow does not say so."""
        ends = [end for end in ends if "\n" in end]
        if not ends:
            return
        tail = b""  # the file is read again, but only where its last cell has several lines
        with self.open() as file:
            while chunk := file.read(1 << 20):
                tail = (tail + chunk)[-256:]
        last = tail.decode(self.codec, "ignore").rstrip("\r\n")
        for end in ends:
            if last.endswith(end.rstrip("\r\n")[-32:]) and not last.endswith('"'):
                raise self._open_quote(f"its last row runs over {end.rstrip().count(chr(10)) + 1} lines")

    def _parquet_blocks(self, names: Sequence[str]) -> Iterator[Block]:
        from pyarrow.parquet import ParquetFile

        with ParquetFile(self.path) as file:
            for batch in file.iter_batches(_PARQUET_ROWS, columns=list(dict.fromkeys(names))):
                yield [self.strings(batch.column(name), name) for name in names]

    def strings(self, column: pa.Array, name: str) -> list[str | None]:
        """The cells of a Parquet column as text.

        Raises:
            CatalogError: a cell cannot be read as text.
        """
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        values = column.to_pylist()
        return values if pa.types.is_string(column.type) else self._texts(values, name)

    def _json_blocks(self, names: Sequence[str]) -> Iterator[Block]:
        for rows in self._objects():
            yield [self._texts([row.get(name) for row in rows], name) for name in names]

    def _objects(self) -> Iterator[list[dict[str, Any]]]:
        """Block after block. pyarrow's reader holds a column to one type; catalogues do not keep to that."""
        with self.open() as file:
            text = io.TextIOWrapper(file, self.codec, newline="\n")
            start = 1
            while lines := list(islice(text, _JSON_ROWS)):
                yield self._parsed(lines, start)
                start += len(lines)

    def _parsed(self, lines: list[str], start: int) -> list[dict[str, Any]]:
        filled = [line for line in lines if not line.isspace()]
        try:
            rows = json.loads(f"[{','.join(filled)}]")  # one call takes half the time of a call for each line
            if len(rows) == len(filled) and all(isinstance(row, dict) for row in rows):
                return rows
        except (ValueError, RecursionError):
            pass  # line by line, to name the one
        return [self._object(line, number) for number, line in enumerate(lines, start) if not line.isspace()]

    def _object(self, line: str, number: int) -> dict[str, Any]:
        where = ""
        try:
            row = json.loads(line)
            if isinstance(row, dict):
                return row
        except json.JSONDecodeError as error:
            where = f" ({error.msg}, column {error.colno})"
        except (ValueError, RecursionError):  # a number of thousands of digits, a thousand brackets
            pass
        raise CatalogError(f"{self.path}: line {number} is not a JSON object{where}; write one object a line")

    def _texts(self, values: list[Any], name: str) -> list[str | None]:
        with suppress(TypeError, UnicodeEncodeError):  # most columns are whole texts, and one look shows it
            "".join(values).encode()
            return values
        try:
            return list(map(text_of, values))
        except (TypeError, ValueError) as error:
            raise CatalogError(
                f"{self.path}: column {name!r} is not text ({_one_line(error)}); name another one"
            ) from error

    @property
    def separator(self) -> str:
        """Between the cells of a CSV, the suffix considered."""
        return "\t" if self.delimiter == "," and ".tsv" in self.path.suffixes else self.delimiter

    @property
    def codec(self) -> str:
        """The encoding, as Python decodes it."""
        name = codecs.lookup(self.encoding).name
        # The byte order mark that Excel writes is no part of the first name.
        return "utf-8-sig" if name == "utf-8" else name

    def open(self) -> IO[bytes]:
        """The file's bytes, no longer compressed."""
        return gzip.open(self.path) if self.path.suffix.lower() == ".gz" else self.path.open("rb")  # type: ignore[return-value]

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the libraries raise about a file that cannot be read, as one line."""
        try:
            yield
        except (pa.ArrowException, csv.Error, OSError, EOFError, ValueError, zlib.error) as error:
            message = _one_line(error)
            undecodable = isinstance(error, UnicodeDecodeError) or "invalid UTF8" in message or "\ufffd" in message
            if undecodable and self.kind != "Parquet":
                raise self._not_in_encoding() from error
            if "straddling object" in message:
                raise self._open_quote(f"a row has more than {_LARGEST_CSV_ROW >> 20} MB") from error
            raise CatalogError(
                f"{self.path} cannot be read as {self.kind} ({message}); write or copy the file again"
            ) from error

    def _open_quote(self, sign: str) -> CatalogError:
        return CatalogError(f'{self.path}: {sign}; look for a quote (") that is opened and never closed')

    def _not_in_encoding(self) -> CatalogError:
        """The error that says where the file leaves its encoding. Reads the file up to there."""
        decoder = codecs.getincrementaldecoder(self.codec)()
        line, place, likely = 1, "", "cp1252"
        try:
            with self.open() as file:
                while chunk := file.read(1 << 20):
                    line += decoder.decode(chunk).count("\n")
                decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            place = f": line {line} has the byte 0x{error.object[error.start]:02x}"
            likely = "utf-16" if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else likely
        return CatalogError(f"{self.path} is not {self.encoding}{place}; try --encoding {likely}")


@contextmanager
def _no_traceback() -> Iterator[None]:
    """pyarrow prints one where a broken row is not UTF-8, and then raises an error that says as much."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook


def text_of(value: Any) -> str | None:
    """One cell as text.

    Raises:
        TypeError: it has no text, such as bytes within a structure.
        ValueError: its bytes are not UTF-8.
    """
    if value is None:
        return None
    if isinstance(value, str):
        # Half an emoji (a surrogate), which JSON holds where a program cut a text short, is not valid UTF-8.
        return value if value.isascii() else _whole(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _whole(value: str) -> str:
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shown(value: str) -> str:
    """A value as it appears in a message: on one line and not too long."""
    return repr(value if len(value) <= 80 else value[:79] + "…")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
