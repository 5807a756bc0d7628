"""Audit a catalogue: evidence on each of its listings, the suspects among them, and how well they are found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.errors import CatalogError, HeadstartError
from headstart.files import write_atomically, write_text_atomically
from headstart.labelled import Labelled, labelled
from headstart.progress import say
from headstart.reports import wording
from headstart.reports.audit_page import SHOWN
from headstart.workflow import Read, Source, read_once, refuse_learnt

if TYPE_CHECKING:
    from typing import BinaryIO

    import pyarrow as pa

    from headstart.catalog import Catalog
    from headstart.corrections import Applied
    from headstart.decisions import Decision
    from headstart.embeddings.neighbours import Neighbours
    from headstart.heads.opinions import Opinions
    from headstart.reports.audit import Weighed
    from headstart.reports.flips import SelfTest
    from headstart.reports.suspects import Audit, Suspect

MANY = 20_000
"""Listings beyond which the words of the texts are no member and folds are not repeated: that would take hours."""
LETTERS = 200
"""Of a listing's text in the file of suspects."""


@dataclass(frozen=True)
class Looking:
    """How an audit looks at listings."""

    folds: int = 5
    repeats: int = 0
    """Times that the listings are cut into folds; 0: twice, or once where there are more than `MANY`."""
    seed: int = 0
    cosine: float = 0.95
    """Listings whose text or photo vectors are at least so near are near-duplicates."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The labelled listings of a catalogue, and what is known of them without their categories."""

    found: Labelled
    near: Neighbours
    apart: np.ndarray
    """Those of a holdout ``(n,)`` bool."""
    looking: Looking

    def look(self, codes: np.ndarray) -> tuple[Opinions, Weighed]:
        """The evidence, were the listings filed under these categories ``(n,)``."""
        from headstart.heads.opinions import families, opinions
        from headstart.reports.audit import weigh

        few = len(codes) <= MANY
        listings = replace(self.found.listings, codes=codes)
        said = opinions(
            listings,
            families(listings.features, words=few),
            self.looking.folds,
            self.looking.repeats or (2 if few else 1),
            self.looking.seed,
            self.apart,
        )
        return said, weigh(codes, listings.groups, said, self.near, self.apart)


def prepare(read: Read, looking: Looking, held: Collection[str] = ()) -> Prepared:
    """Groups and neighbours of the labelled listings.

    Args:
        read: from `read_once`.
        looking: how to look.
        held: ids of the listings of a holdout.

    Raises:
        HeadstartError: no categories to speak of.
    """
    from headstart.embeddings.neighbours import nearest
    from headstart.reports.audit import NEIGHBOURS

    refuse_learnt(read)
    found = labelled(read, looking.cosine)
    listings = found.listings
    apart = np.fromiter((name in held for name in listings.features.ids), bool, len(found.rows))
    if held:
        say(f"{int(apart.sum()):,} listings of the holdout are for review only: nothing is learnt from them")
    near = nearest(listings.features.blocks(), listings.groups, NEIGHBOURS, ~apart)
    return Prepared(found, near, apart, looking)


def ids_with(catalog: Catalog, where: str) -> set[str]:
    """The ids of the listings that have a value in a column, as ``split=test``.

    Raises:
        CatalogError: not of that form, no such column, or no listing has it.
    """
    column, equals, value = where.partition("=")
    there = catalog.table.names()
    if not equals or column not in there:
        raise CatalogError(
            f"{where!r} names no column and value of {catalog.path}: give one of {', '.join(there)} as in split=test"
        )
    blocks = catalog.table.blocks([catalog.columns.id, column], lambda *_: None)
    found = {name for ids, cells in blocks for name, cell in zip(ids, cells, strict=True) if name and cell == value}
    if not found:
        raise CatalogError(f"no listing of {catalog.path} has {value!r} in column {column!r}: check --holdout")
    return found


def audit(
    source: Source,
    looking: Looking,
    title: str,
    command: str,
    holdout: str | None = None,
    decided: Collection[Decision] = (),
) -> Audit:
    """Find the listings of a catalogue that are probably filed under the wrong category.

    Args:
        source: the catalogue.
        looking: how to look.
        title: of the page.
        command: that gives this result again.
        holdout: column and value of the listings of a holdout, as ``split=test``.
        decided: decisions made before; a listing on which there is one is no suspect again while it is filed so.

    Raises:
        HeadstartError: no categories to speak of, too few listings for folds, or cleanlab is not there.
    """
    from headstart.reports.audit import confident_issues, misfiled, need_cleanlab, tell, unclear
    from headstart.reports.examples import photos_of
    from headstart.reports.suspects import Audit
    from headstart.runtime import machine, now, versions

    need_cleanlab()
    held = held_out(source, holdout)
    read = read_once(source)
    ready = prepare(read, looking, held)
    listings, names = ready.found.listings, [str(name) for name in ready.found.names]
    codes, groups = listings.codes, listings.groups
    said, found = ready.look(codes)
    counted = said.judged & ~ready.apart
    found.against["confident_learning"] = confident_issues(codes, said, counted)
    confused = unclear(codes, groups, found, names)
    if lonely := len(read.features) - int(said.judged.sum()):
        say(
            f"{lonely:,} listings are not judged: nothing of them can be read, they have no category, or one that "
            "nothing else distinct is in"
        )
    rows = found.ranked()
    settled = {(each.id, each.final) for each in decided if each.decision != "skip"}
    known = np.array([(listings.features.ids[row], names[codes[row]]) in settled for row in rows.tolist()], bool)
    if known.any():
        say(f"{int(known.sum()):,} suspects are filed as was decided before, and are left out")
        rows = rows[~known]
    shown = ready.found.rows[rows[:SHOWN]]
    photos = photos_of(read.catalog, read.features.ids, shown)
    return Audit(
        title=title,
        catalog=str(source.path),
        rows=len(read.features),
        judged=int(counted.sum()),
        categories=tuple(names),
        estimate=misfiled(codes, groups, said, counted, looking.seed),
        suspects=tell(listings, names, said, found, rows, [*photos.values()], confused, ready.apart),
        unclear=confused,
        provenance={"date": now(), "command": command, "machine": machine(), **versions()},
    )


def held_out(source: Source, holdout: str | None) -> set[str]:
    """The ids of a holdout's listings; looked for before the work, as it may name no column."""
    return set() if holdout is None else ids_with(source.open(), holdout)


def self_test(source: Source, looking: Looking, share: float, draws: int, holdout: str | None = None) -> list[SelfTest]:
    """How well listings filed wrongly on purpose are found among these; see `headstart.reports.flips`."""
    from headstart.reports import flips
    from headstart.reports.audit import need_cleanlab

    need_cleanlab()
    ready = prepare(read_once(source), looking, held_out(source, holdout))
    say(f"looking {len(flips.KINDS) * draws + 1} times, each time with heads trained anew …")
    listings = ready.found.listings
    classes = len(ready.found.names)
    return flips.self_test(listings.codes, listings.groups, ready.look, classes, share, draws, looking.seed)


def suspects_table(suspects: Sequence[Suspect], guard: bool) -> pa.RecordBatch:
    """One row a suspect: what is suggested instead, one score, a boolean for each kind of evidence, and why.

    Args:
        suspects: the most suspicious first.
        guard: whether text is written so that no spreadsheet takes it for a formula.
    """
    import pyarrow as pa

    from headstart.cells import guarded
    from headstart.reports.examples import begins
    from headstart.reports.suspects import KINDS

    def texts(values: Iterable[str]) -> pa.Array:
        return pa.array(map(guarded, values) if guard else values, pa.string())

    def numbers(values: Iterable[float]) -> pa.Array:
        return pa.array([round(value, 4) for value in values], pa.float64())

    return pa.record_batch(
        {
            "rank": pa.array(range(1, 1 + len(suspects)), pa.int64()),
            "id": texts(each.id for each in suspects),
            "filed": texts(each.filed for each in suspects),
            "suggested": texts(each.suggested for each in suspects),
            "score": numbers(each.score for each in suspects),
            "probability": numbers(each.probability for each in suspects),
            "filed_probability": numbers(each.filed_probability for each in suspects),
            **{f"by_{kind}": pa.array([kind in each.evidence for each in suspects], pa.bool_()) for kind in KINDS},
            "unclear": pa.array([each.unclear for each in suspects], pa.bool_()),
            "holdout": pa.array([each.holdout for each in suspects], pa.bool_()),
            "reason": texts(each.reason for each in suspects),
            "text": texts(begins(each.text, LETTERS) for each in suspects),
        }
    )


def write_audit(found: Audit, folder: Path, kind: str = "csv") -> list[Path]:
    """Write the page and the file of suspects; returns where.

    Args:
        found: what an audit found.
        folder: made if need be.
        kind: ``csv``, ``parquet`` or ``jsonl``.

    Raises:
        HeadstartError: it cannot be written.
    """
    from headstart.predictions import rows_writer
    from headstart.reports.audit_page import audit_html

    batch = suspects_table(found.suspects, guard=kind == "csv")
    paths = [folder / f"suspects.{kind}", folder / "audit.html"]

    def write(file: BinaryIO) -> None:
        with rows_writer(paths[0].suffix, file, batch.schema) as add:
            add(batch)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(paths[0], write)
        write_text_atomically(paths[1], audit_html(found).encode("utf-8", "replace").decode())
    except OSError as error:
        raise HeadstartError(f"{folder} cannot be written ({error.strerror}): name another folder with --out") from None
    return paths


def in_words(found: Audit) -> str:
    """What an audit found, in a few lines."""
    told = [
        f"about {wording.number_of(found.estimate)} of {wording.counted(found.judged, 'listing', 'listings')} look "
        f"misfiled; {wording.counted(len(found.suspects), 'suspect', 'suspects')}, the likeliest first"
    ]
    told += [
        f"{pair.a} and {pair.b} are confused as such, {wording.counted(pair.listings, 'listing', 'listings')} could be "
        "either: a rule for what belongs where helps more than decisions"
        for pair in found.unclear[:5]
    ]
    if len(found.suspects) > SHOWN:
        told.append(f"the page shows the first {SHOWN}, the file all of them")
    if held := sum(each.holdout for each in found.suspects):
        told.append(f"{held:,} suspects are of the holdout, for review only: decisions on them are not applied")
    return wording.plain("\n".join(told))


def apply(
    source: Source, decisions: Path, out: Path, holdout: str | None = None, new_categories: bool = False
) -> Applied:
    """Write a corrected catalogue; see `headstart.corrections`.

    Args:
        source: the catalogue.
        decisions: file of decisions.
        out: the new file.
        holdout: column and value of listings that stay as they are, beside those that the decisions say are.
        new_categories: take categories that no listing is in.

    Raises:
        HeadstartError: what `read_catalog`, `read_decisions` and `corrections.apply` refuse.
    """
    from headstart import corrections
    from headstart.decisions import read_decisions

    columns = source.columns
    if not (columns.text or columns.image or source.images):  # none is looked at here
        source = replace(source, columns=replace(columns, text=(columns.id,)))
    held = held_out(source, holdout)
    made = [replace(each, holdout=each.holdout or each.id in held) for each in read_decisions(decisions)]
    return corrections.apply(source.open(), made, out, new_categories)
