"""The Catalog: listings with an id, a text, a photo and perhaps a label, read in a stream.

Everything is columnar: a `Batch` holds parallel lists, and no object is made for a single listing. Memory
goes with the batch, not with the file, but for 8 bytes a listing, which find ids used twice.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from operator import not_
from pathlib import Path
from typing import cast

import numpy as np

from headstart.errors import CatalogError
from headstart.photos import PhotoFolder
from headstart.tables import Block, Table, shown
from headstart.texts import join_columns


@dataclass(frozen=True)
class Columns:
    """Which columns hold what. They are named by the user, never guessed."""

    id: str = "id"
    text: tuple[str, ...] = ()
    """Joined in this order, one a line."""
    image: str | None = None
    """Holds a file name relative to the photo folder."""
    label: str | None = None
    label_level: int | None = None
    """Takes one level of a category path; 1 is the first. None: the label is the whole cell."""
    label_separator: str = ">>"


@dataclass(frozen=True)
class Batch:
    """Consecutive listings as parallel lists of equal length, with None where a listing lacks something."""

    ids: list[str]
    texts: list[str | None]
    photos: list[str | None]
    """Absolute paths of photos that exist on disk; whether they can be decoded is not looked at."""
    labels: list[str | None]
    photo_stats: np.ndarray | None = field(default=None, compare=False)
    """What `file_stats` said of the photos, int64 of shape ``(2, n)``; None where none were asked for."""


@dataclass
class Counts:
    """What a catalogue holds. The file has ``rows + left_out`` rows.

    Each listing without the text, photo or label that was asked for is counted under one reason in
    `problems`, and so is each row left out.
    """

    rows: int = 0
    """Listings, all of them given out in the batches."""
    with_text: int = 0
    with_image: int = 0
    with_label: int = 0
    categories: int = 0
    """Different labels among them."""
    left_out: int = 0
    """Rows in no batch: those without an id, and those whose cells cannot be lined up with the columns."""
    problems: dict[str, int] = field(default_factory=dict)
    """Reason → rows."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason → where it was met first: ``"row 12, id 'x': …"``."""

    def note(self, reason: str, example: str) -> None:
        """Count one more row under a reason; the first example is kept."""
        self.problems[reason] = self.problems.get(reason, 0) + 1
        self.examples.setdefault(reason, example)


def read_catalog(
    path: Path,
    columns: Columns,
    images: Path | None = None,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> Catalog:
    r"""Check that a catalogue can be read as asked. No row is read before `Catalog.batches`.

    Args:
        path: CSV (``.csv``, ``.tsv``, ``.txt``), Parquet (``.parquet``) or JSON Lines, one object a
            line (``.jsonl``, ``.ndjson``, ``.json``).
        images: the photo folder. Without it, names in the image column are relative to the catalogue's own
            folder; without an image column, the photo of listing ``x`` is ``x.jpg``, ``x.jpeg``, ``x.png`` or
            ``x.webp`` in it.
        delimiter: between the cells of a CSV, one character (``"\t"`` for a tab).
        encoding: of a CSV or JSON Lines file, as Python names it.

    Raises:
        CatalogError: no such file or folder, a type or encoding that is not known, a column that is not there
            or is there twice, nothing to read, or a label level below 1.
    """
    delimiter = "\t" if delimiter == r"\t" else delimiter
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise CatalogError(f"{delimiter!r} cannot be a delimiter; give one character, as in --delimiter ';'")
    try:
        "".encode(encoding)
    except LookupError:
        raise CatalogError(f"no encoding is called {encoding!r}; try utf-8, latin-1, cp1252, utf-16") from None
    check_there(path, images)
    if not (columns.text or columns.image or images):
        raise CatalogError("nothing to read; name a text column (--text), or photos (--image, --images)")
    if columns.label_level is not None and (columns.label is None or columns.label_level < 1):
        raise CatalogError(
            f"the label level {columns.label_level} is wrong; name a --label column, count levels from 1"
        )
    if not columns.label_separator:
        raise CatalogError("the label separator is empty; give what stands between two levels, as in '>>'")
    folder = images or (path.parent if columns.image else None)
    table = Table(path, delimiter, encoding)
    there = table.names()
    named = [("--id", columns.id), *(("--text", name) for name in columns.text)]
    named += [(o, n) for o, n in (("--image", columns.image), ("--label", columns.label)) if n is not None]
    for option, name in named:
        if there.count(name) != 1:
            raise _column_error(table, option, name, there)
    return Catalog(table, columns, folder)


def check_there(path: Path, images: Path | None) -> None:
    """Raise CatalogError where there is no catalogue, or no folder of photos."""
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise CatalogError(f"the catalogue {path} {what}; give the path of a CSV, Parquet or JSON Lines file")
    if images is not None and not images.is_dir():
        raise CatalogError(f"the photo folder {images} does not exist; give another one with --images")


def _column_error(table: Table, option: str, name: str, there: list[str]) -> CatalogError:
    if name in there:
        return CatalogError(f"{table.path} has {there.count(name)} columns {name!r}; rename all but one")
    if len(there) == 1 and (other := next((d for d in ";\t|," if d in there[0]), None)):
        return CatalogError(f"{table.path} has no column {name!r}, only {shown(there[0])}; try --delimiter {other!r}")
    lower = {column.lower(): column for column in there}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f" (did you mean {lower[near[0]]!r}?)" if near else ""
    columns = ", ".join(map(repr, there))
    return CatalogError(f"{table.path} has no column {name!r}{hint}; name one of these with {option}: {columns}")


@dataclass
class Catalog:
    """A catalogue on disk, as `read_catalog` gives it. Rows are numbered as in `Table`."""

    table: Table
    columns: Columns
    images: Path | None
    """The folder that photo names are relative to."""
    _counts: Counts | None = field(default=None, init=False, repr=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def counts(self) -> Counts:
        """What the last complete pass over `batches` counted.

        Raises:
            CatalogError: there was none yet.
        """
        if self._counts is None:
            raise CatalogError(f"{self.path} is not counted yet; read all its batches first")
        return self._counts

    def texts(self, ids: Iterable[str]) -> Iterator[str | None]:
        """The text of each listing, read once more; see `contents`."""
        return self.contents("text", ids)

    def contents(self, modality: str, ids: Iterable[str]) -> Iterator[str | None]:
        """The text of each listing, or the path of its photo, read once more.

        Args:
            modality: ``"text"`` or ``"image"``.
            ids: of the listings, as they were read before.

        Raises:
            CatalogError: there are other listings now.
        """
        known = iter(ids)
        for batch in self.batches():
            if batch.ids != list(islice(known, len(batch.ids))):
                break
            yield from batch.texts if modality == "text" else batch.photos
        else:
            if next(known, None) is None:
                return
        raise CatalogError(f"{self.path} changed while it was read: run the command again")

    def batches(self, rows: int = 16_384) -> Iterator[Batch]:
        """Read the listings from first to last, `rows` of the file for each batch (the last may have fewer).

        Larger batches take more time: their strings leave the processor's cache between one step and the next.

        Raises:
            CatalogError: the file is damaged, leaves its encoding, holds no listing, or has two rows with one
                id (the second of them is in no batch).
        """
        if rows < 1:
            raise ValueError(f"rows is {rows}; a batch has at least 1")
        reading, seen = _Pass(self.table.first_row), list[np.ndarray]()
        photos = PhotoFolder(self.images) if self.images else None
        c = self.columns
        names = [c.id, *c.text, *(name for name in (c.image, c.label) if name is not None)]
        start = 0
        for block in _rebatch(self.table.blocks(names, reading.skip), rows):
            positions: Sequence[int] = range(start, start + len(block[0]))
            start += len(block[0])
            if None in block[0] or not all(map(str.strip, cast(list[str], block[0]))):
                named = [bool(value and value.strip()) for value in block[0]]
                for position in compress(positions, map(not_, named)):
                    reading.counts.left_out += 1
                    reading.note("no id", position)
                positions = list(compress(positions, named))
                block = [list(compress(column, named)) for column in block]
            if not positions:
                continue
            batch = self._batch(block, positions, reading, photos)
            if suspects := _met_before(seen, batch.ids):
                self._refuse_shared_id(suspects)
            yield batch
        counts = reading.counts
        if not counts.rows:
            why = f" ({counts.left_out} rows left out: {', '.join(counts.problems)})" if counts.left_out else ""
            raise CatalogError(f"{self.path} holds no listing{why}; give a file with rows under its column names")
        self._counts = counts

    def _batch(self, block: Block, positions: Sequence[int], reading: _Pass, photos: PhotoFolder | None) -> Batch:
        """Raw columns, their ids complete → a Batch; counts its rows and notes what they lack."""
        c, counts = self.columns, reading.counts
        ids = cast(list[str], block[0])

        texts: list[str | None] = [None] * len(ids)
        if c.text:
            texts = join_columns(block[1 : 1 + len(c.text)])
            for i in _missing(texts):
                reading.note("no text", positions[i], ids[i])

        found: list[str | None] = [None] * len(ids)
        stats: np.ndarray | None = None
        if photos and c.image is not None:
            files = [value.strip() if value else "" for value in block[1 + len(c.text)]]
            found, stats = photos.find(files)
            for i in _missing(found):
                reading.note(photos.why_not(files[i]), positions[i], ids[i], files[i])
        elif photos:
            found, stats = photos.find_by_id(ids)
            for i in _missing(found):
                reading.note(photos.why_not(ids[i]), positions[i], ids[i])

        labels: list[str | None] = [None] * len(ids)
        if c.label is not None:
            cells = [cell or "" for cell in block[-1]]
            categories = {cell: category(cell, c.label_level, c.label_separator) for cell in set(cells)}
            labels = [categories[cell] for cell in cells]
            for i in _missing(labels):
                cell = cells[i].strip()
                reason = f"category path without a level {c.label_level}" if cell else "no label"
                reading.note(reason, positions[i], ids[i], cell)

        counts.rows += len(ids)
        counts.with_text += len(ids) - texts.count(None)
        counts.with_image += len(ids) - found.count(None)
        counts.with_label += len(ids) - labels.count(None)
        reading.labels.update(labels)
        counts.categories = len(reading.labels) - (None in reading.labels)
        return Batch(ids, texts, found, labels, stats)

    def _refuse_shared_id(self, suspects: set[int]) -> None:
        """Read the ids again to name two rows that share one; none do when only the hashes were the same."""
        first: dict[str, int] = {}
        reading = _Pass(self.table.first_row)
        position = 0
        for (ids,) in self.table.blocks([self.columns.id], reading.skip):
            for position, listing in enumerate(ids, position):  # noqa: B020
                if not listing or hash(listing) not in suspects:
                    continue
                if listing in first:
                    one, other = reading.row(first[listing]), reading.row(position)
                    raise CatalogError(
                        f"{self.path}: rows {one} and {other} have the same id {shown(listing)}; "
                        "give each listing an id of its own, or name another column with --id"
                    )
                first[listing] = position
            position += 1


@dataclass
class _Pass:
    """One reading of the file: its counts, and what turns a position among the rows into a row number."""

    first_row: int
    counts: Counts = field(default_factory=Counts)
    labels: set[str | None] = field(default_factory=set)
    skipped: list[int] = field(default_factory=list)
    """Numbers of the rows that the table could not give out, ascending."""

    def skip(self, number: int, reason: str, contents: str) -> None:
        self.skipped.append(number)
        self.counts.left_out += 1
        self.counts.note(reason, f"row {number}: {shown(contents)}")

    def row(self, position: int) -> int:
        number = self.first_row + position
        for skipped in self.skipped:
            if skipped > number:
                break
            number += 1
        return number

    def note(self, reason: str, position: int, listing: str = "", value: str = "") -> None:
        example = ""
        if reason not in self.counts.examples:  # only the first is kept, and to find its row takes a search
            example = f"row {self.row(position)}"
            example += f", id {shown(listing)}" if listing else ""
            example += f": {shown(value)}" if value else ""
        self.counts.note(reason, example)


def category(cell: str, level: int | None = None, separator: str = ">>") -> str | None:
    """The label that a cell holds, in Unicode's composed form (NFC) and without outer white space.

    Args:
        level: None for the whole cell. Otherwise the cell is a category path, and 1 is its first level. The
            path may be wrapped in a JSON list, ``["A >> B"]``, be cut off, ``["A >> B``, or be a list with a
            string for each level, ``["A", "B"]``. Of several paths in a list the first counts.

    Returns:
        The label, or None when there is nothing in it or the path has fewer levels.
    """
    levels = [cell.strip()]
    if level is not None:
        if levels[0].startswith("["):
            levels = strings_in(levels[0])
        if levels and (len(levels) == 1 or separator in levels[0]):
            levels = levels[0].split(separator)
        levels = levels[level - 1 : level]
    return unicodedata.normalize("NFC", levels[0].strip()) or None if levels else None


def strings_in(cell: str) -> list[str]:
    """The strings of a JSON list, also of one whose end was cut off."""
    for end in ("", '"]', "]"):
        try:
            return [value for value in json.loads(cell + end, strict=False) if isinstance(value, str)]
        except (ValueError, RecursionError):
            continue
    return [cell.removeprefix('["').removesuffix('"]')]


def _met_before(runs: list[np.ndarray], ids: list[str]) -> set[int]:
    """Which hashes of these ids were met before, in `runs` or twice in `ids`? Adds them to `runs`.

    A run is a sorted array of int64 hashes, over twice as long as the next: 8 bytes an id and few runs to
    search, where a set of a hundred million strings would not fit into memory.
    """
    new = np.sort(np.fromiter(map(hash, ids), np.int64, len(ids)))
    met = set(new[1:][new[1:] == new[:-1]].tolist())
    for run in runs:
        place = np.minimum(np.searchsorted(run, new), len(run) - 1)
        met.update(new[run[place] == new].tolist())
    runs.append(new)
    while len(runs) > 1 and len(runs[-2]) <= 2 * len(runs[-1]):
        runs[-2:] = [np.sort(np.concatenate(runs[-2:]), kind="stable")]
    return met


def _rebatch(blocks: Iterator[Block], rows: int) -> Iterator[Block]:
    """The same rows in blocks of exactly `rows`, but for the last."""
    kept: Block = []
    for block in blocks:
        kept = kept or [[] for _ in block]
        for column, more in zip(kept, block, strict=True):
            column += more
        whole = len(kept[0]) - len(kept[0]) % rows
        for start in range(0, whole, rows):
            yield [column[start : start + rows] for column in kept]
        kept = [column[whole:] for column in kept]
    if kept and kept[0]:
        yield kept


def _missing(values: Sequence[object]) -> list[int]:
    return [i for i, value in enumerate(values) if value is None] if None in values else []
