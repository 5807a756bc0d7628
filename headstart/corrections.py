"""Decisions → a corrected catalogue: a new file of the catalogue's kind, with the same rows in the same order.

The catalogue is read twice: once to check every decision, once to write.
"""

from __future__ import annotations

import codecs
import difflib
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from headstart.catalog import Catalog, Columns, category, strings_in
from headstart.decisions import Decision, correct
from headstart.errors import CatalogError, HeadstartError
from headstart.files import write_atomically
from headstart.progress import progress, say
from headstart.rewriting import ADDED, UNDECODED, Edit, Rewriting, earlier, exact_codec
from headstart.tables import Table, shown

Branch = tuple[str, ...]
"""Levels above a category, the top first."""
_STEP = 4096  # rows between two looks of the progress bar


@dataclass(frozen=True)
class Applied:
    """What became of the decisions: each is `changed`, `already` there, `kept`, `skipped`, or of a `holdout`."""

    rows: int
    """All rows of the file, also those that are no listing."""
    changed: int
    """Listings filed elsewhere now."""
    already: int
    """Listings that were under the category decided on before."""
    kept: int
    skipped: int
    holdout: int
    """Decisions on listings of a holdout, none of them applied."""
    corrected: Counter[tuple[str, str]]
    """Category before and after → listings changed."""


def apply(catalog: Catalog, decisions: Sequence[Decision], out: Path, new_categories: bool = False) -> Applied:
    """Write the corrected catalogue to a new file, which is whole or not there at all.

    The label cell of each corrected listing changes, and the columns `ADDED` say what was decided; where an earlier
    correction has added them, they are brought up to date. `read_catalog` reads the file with the catalogue's options.

    Args:
        catalog: with a label column.
        decisions: as `read_decisions` gives them.
        out: of the catalogue's kind; compressed where it ends in ``.gz``.
        new_categories: take categories that no listing is in; else they are refused, as they may be misspelt.

    Raises:
        CatalogError: what `Catalog.batches` and `correct` refuse, a file that exists or is of another kind, a column
            that would be overwritten, a category that the path or the encoding cannot hold.
        HeadstartError: the file cannot be written.
    """
    table, columns = catalog.table, catalog.columns
    _check(catalog, out)
    binding = {decision.id: decision for decision in decisions if decision.binding}
    ids: list[str] = []
    labels: list[str | None] = []
    there: set[str | None] = set()
    bare = Catalog(table, replace(columns, image=None), None)  # nobody looks at photos here
    with progress("checking") as advance:
        for batch in bare.batches():
            there.update(batch.labels)
            if not binding.keys().isdisjoint(batch.ids):
                found = [row for row, listing in enumerate(batch.ids) if listing in binding]
                ids += [batch.ids[row] for row in found]
                labels += [batch.labels[row] for row in found]
            advance(len(batch.ids))
    if not new_categories:
        _check_categories(binding.values(), {label for label in there if label})
    changed = correct(ids, labels, decisions)[1].tolist()
    moved = {ids[row] for row in changed}
    edits = _Edits(catalog, binding, moved, _branches(catalog, {binding[listing].final for listing in moved}))
    rewriting = Rewriting(table, columns.id, cast(str, columns.label), edits)
    rows = bare.counts.rows + bare.counts.left_out
    if table.kind == "CSV":
        _check_codec(table, binding.values())

    def write(file: BinaryIO) -> None:
        with progress("writing", rows) as advance:
            if table.kind == "Parquet":
                _write_parquet(rewriting, file, advance)
            else:
                texts = rewriting.csv_texts() if table.kind == "CSV" else rewriting.json_texts()
                packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if out.suffix.lower() == ".gz" else nullcontext(file)
                with packed as to:
                    for number, part in enumerate(codecs.iterencode(texts, exact_codec(table), UNDECODED), 1):
                        to.write(part)
                        if number % _STEP == 0:
                            advance(_STEP)
        if (rewriting.rows, edits.met) != (rows, len(binding)):
            raise CatalogError(f"{table.path} changed while it was read: run the command again")

    try:
        write_atomically(out, write)
    except OSError as error:
        raise HeadstartError(f"{out} cannot be written ({error.strerror}); choose another file") from None
    holdout = sum(decision.holdout for decision in decisions)
    if holdout:
        say(f"{holdout:,} decisions are on listings of a holdout: they are not applied, and its labels stay")
    kinds = Counter(decision.decision for decision in binding.values())
    return Applied(
        rows=rows,
        changed=len(changed),
        already=len(binding) - kinds["keep"] - len(changed),
        kept=kinds["keep"],
        skipped=sum(decision.decision == "skip" and not decision.holdout for decision in decisions),
        holdout=holdout,
        corrected=Counter((binding[listing].filed, binding[listing].final) for listing in edits.moved),
    )


def _check(catalog: Catalog, out: Path) -> None:
    """Refuse what can be refused before a row is read."""
    table, columns = catalog.table, catalog.columns
    if columns.label is None:
        raise CatalogError(
            f"no label column of {table.path} is named, so nothing can be corrected; name it with --label"
        )
    same = Table(out, table.delimiter, table.encoding)
    if (
        same.kind != table.kind
        or same.separator != table.separator
        or out.name.lower().endswith((".parquet.gz", ".pq.gz"))
    ):
        suffix = next(suffix for suffix in reversed(table.path.suffixes) if suffix.lower() != ".gz")
        raise CatalogError(f"{out} would not be read as {table.path} is; let its name end in {suffix}")
    if os.path.lexists(out):
        what = "is the catalogue itself" if out.exists() and out.samefile(table.path) else "exists already"
        raise CatalogError(f"{out} {what}, and a correction goes to a new file; give another name")
    if not out.parent.is_dir():
        raise CatalogError(f"{out} cannot be written, there is no folder {out.parent}; make it, or give another name")
    if table.kind != "JSON Lines":  # there, each line has columns of its own
        earlier(table, table.names())
    if {columns.id, columns.label} & set(ADDED):
        raise CatalogError(f"the columns {', '.join(ADDED)} are written anew; name others as --id and --label")


def _check_categories(decisions: Iterable[Decision], there: set[str]) -> None:
    for decision in decisions:
        if decision.decision != "keep" and decision.final not in there:
            near = difflib.get_close_matches(decision.final, there, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise CatalogError(
                f"no listing is in the category {shown(decision.final)}{hint}, decided on for {shown(decision.id)}: "
                "correct it, or allow it with --new-categories"
            )


def refiled(
    cell: str, to: str, level: int | None = None, separator: str = ">>", above: Sequence[str] | None = None
) -> str:
    """The cell with another category in it, as `category` reads it.

    The levels above stay, or become those given. What lay below the old category is dropped: it belonged to the wrong
    branch. A path in a JSON list stays in one, and so do the other paths of the list.

    Raises:
        ValueError: there is no such cell, as the path is too short or the category holds the separator.
    """
    if level is None:
        new = to
    else:
        whole = cell.strip()
        strings = strings_in(whole) if whole.startswith("[") else [whole]
        listed = strings != [whole]
        if strings and len(strings) > 1 and separator not in strings[0]:
            new = json.dumps([*(above or strings[: level - 1]), to], ensure_ascii=False)
        else:
            path = strings[0].split(separator) if strings and strings[0] else []
            old = path[level - 1] if level <= len(path) else ""
            space = old[: len(old) - len(old.lstrip())]  # as in "A >> B"
            if above:
                ends = " " if path and path[0] != path[0].rstrip() else ""
                path = [above[0] + ends, *(space + name + ends for name in above[1:])]
            new = separator.join([*path[: level - 1], space + to])
            new = json.dumps([new, *strings[1:]], ensure_ascii=False) if listed else new
    if category(new, level, separator) != to:
        raise ValueError(f"the category {shown(to)} cannot be level {level} of {shown(cell)}")
    return new


@dataclass
class _Edits:
    """What `Rewriting` asks of each listing."""

    catalog: Catalog
    binding: dict[str, Decision]
    moved: set[str]
    """Ids of the listings whose label changes."""
    branches: dict[str, set[Branch]]
    """Category decided on → the levels above it, wherever the catalogue has it."""
    met: int = 0
    """Decisions given out."""

    def __call__(self, listing: str, cell: str) -> Edit | None:
        decision = self.binding.get(listing)
        if decision is None:
            return None
        self.met += 1
        label = before = None
        if listing in self.moved:
            columns, before = self.catalog.columns, cell
            try:
                above = self._above(cell, decision.final)
                label = refiled(cell, decision.final, columns.label_level, columns.label_separator, above)
            except ValueError as error:
                raise CatalogError(f"listing {shown(listing)}: {error}; decide on another category") from None
        values = (before, decision.decision, decision.decided_by, decision.decided_at)
        return label, dict(zip(ADDED, values, strict=True))

    def _above(self, cell: str, to: str) -> Branch | None:
        """The levels above the category decided on, where they are not those of the cell.

        Raises:
            ValueError: the catalogue has it in several branches, none of them the cell's.
        """
        known = self.branches.get(to, set())
        if not known or _branch(cell, self.catalog.columns) in known:
            return None
        if len(known) > 1:
            first, second = (" / ".join(branch) for branch in sorted(known)[:2])
            raise ValueError(f"the category {shown(to)} is under {shown(first)} and under {shown(second)}")
        return next(iter(known))


def _branch(cell: str, columns: Columns) -> Branch:
    levels = range(1, columns.label_level or 1)
    return tuple(category(cell, level, columns.label_separator) or "" for level in levels)


def _branches(catalog: Catalog, wanted: set[str]) -> dict[str, set[Branch]]:
    """Where the catalogue has these categories: the levels above each."""
    columns = catalog.columns
    found: dict[str, set[Branch]] = {}
    if wanted and (columns.label_level or 1) > 1:
        for (cells,) in catalog.table.blocks([cast(str, columns.label)], lambda *_: None):
            for cell in set(filter(None, cells)):
                label = category(cell, columns.label_level, columns.label_separator)
                if label in wanted:
                    found.setdefault(label, set()).add(_branch(cell, columns))
    return found


def _check_codec(table: Table, decisions: Iterable[Decision]) -> None:
    """Refuse what a CSV in this encoding cannot hold."""
    codec = exact_codec(table)
    for decision in decisions:
        for text in (decision.final, decision.decided_by, decision.decided_at):
            try:
                text.encode(codec)
            except UnicodeEncodeError as error:
                lacking = f"{shown(text)}, decided on for listing {shown(decision.id)}, has {text[error.start]!r}"
                raise CatalogError(
                    f"{lacking}, which {table.encoding} cannot hold; save {table.path} in UTF-8 first"
                ) from None


def _write_parquet(rewriting: Rewriting, file: BinaryIO, advance: Callable[[int], None]) -> None:
    from pyarrow.parquet import ParquetWriter

    batches = rewriting.parquet_batches()
    first = next(batches)
    with ParquetWriter(file, first.schema) as to:
        for batch in chain([first], batches):
            to.write_batch(batch)
            advance(len(batch))
