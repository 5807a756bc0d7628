"""The commands under ``headstart encoders`` and ``headstart store``, ``compare``, and what all commands print with."""

import json
import shlex
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.errors import HeadstartError
from headstart.progress import say

if TYPE_CHECKING:
    from headstart.extract.registry import Row
    from headstart.reports.benchmark import Settings
    from headstart.workflow import Source

store_app = typer.Typer(help="The kept vectors.", no_args_is_help=True, rich_markup_mode=None)
encoders_app = typer.Typer(
    epilog="Example: headstart encoders --store store", invoke_without_command=True, rich_markup_mode=None
)

Store = Annotated[Path, typer.Option(envvar="HEADSTART_STORE", help="Folder of the kept vectors.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print aligned columns: a table that reads the same on a terminal, in a pipe and in a log."""
    rows = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def judge(
    source: "Source",
    out: Path,
    title: str,
    settings: "Settings",
    drawn: bool,
    as_json: bool,
    decisions: Path | None = None,
) -> None:
    """Run the benchmark, write the report, print the leaderboard."""
    from headstart import workflow
    from headstart.decisions import read_decisions
    from headstart.reports import wording
    from headstart.reports.tables import leaderboard_table

    decided = read_decisions(decisions) if decisions else []
    read = workflow.read_once(source)
    say("judging every approach on the same folds …")
    words = ["demo"] if drawn else ["benchmark", str(source.path), *source.words()]
    if not drawn:
        words += [word for name in source.encoders for word in ("--encoder", name)]
        words += ["--folds", str(settings.folds), "--repeats", str(settings.repeats), "--seed", str(settings.seed)]
        words += ["--duplicate-cosine", str(settings.cosine)]
        words += ["--decisions", str(decisions)] if decisions else []
        if settings.fine_tune != "none":
            words += ["--fine-tune", settings.fine_tune, "--fine-tune-minutes", f"{settings.minutes:g}"]
    command = shlex.join(["headstart", *words])
    result = workflow.judge(read, settings, out, title=title, command=command, drawn=drawn, decisions=decided)
    if as_json:
        typer.echo(result.to_json())
        return
    board = leaderboard_table(result)
    table(board.header, board.rows)
    catalog, duplicates = result.catalog, result.duplicates
    say(
        f"judged {catalog.judged:,} of {catalog.rows:,} listings, in {catalog.classes:,} of "
        f"{catalog.classes + len(catalog.rare):,} categories; {duplicates.rows:,} listings have near-duplicates "
        f"(cosine {duplicates.cosine} or more): {duplicates.groups:,} groups, the largest of {duplicates.largest:,}"
    )
    if catalog.rare:
        few = ", ".join(list(catalog.rare)[:5])
        say(f"left out, as they have fewer than {settings.folds} distinct listings: {few}, …")
    if duplicates.rows > 0.3 * catalog.rows:
        say("so many near-duplicates may be different products in the same words: try a higher --duplicate-cosine")
    if result.corrected:
        worth = result.corrected.comparison
        told = wording.compared(worth, "Learning from the categories decided on", "those filed")
        typer.echo(wording.plain(told))
    for sentence in result.verdict:
        typer.echo(wording.plain(sentence))
    if drawn:
        typer.echo("These listings are drawn: the figures show how the report works, not what a catalogue would give.")
    for name in ("report.html", "report.md", "results.json"):
        typer.echo(str(out / name))


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="results.json of a benchmark, or the folder that holds it.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Of another benchmark on the same listings, cut alike.")],
    as_json: Json = False,
) -> None:
    """Say which of two benchmarks' results is better, by the tests of a report, and what differs between the two."""
    from dataclasses import asdict

    from headstart.reports.contrast import contrast, differences_table, pairs_table

    found = contrast(a, b)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    typer.echo(found.verdict)
    for each in (pairs_table(found), differences_table(found)):
        if each.rows:
            typer.echo()
            table(each.header, each.rows)
    for note in found.notes:
        typer.echo(f"\n{note}")
    say(f"{found.listings:,} listings; p-values are adjusted for {len(found.pairs)} comparisons (Holm)")


@encoders_app.callback()
def encoders(context: typer.Context, store: Store = Path("store"), as_json: Json = False) -> None:
    """What encoders there are, whether their weights are on this machine, and how fast it read with them."""
    if context.invoked_subcommand:
        return
    from headstart.embeddings.store import stores
    from headstart.errors import StoreError
    from headstart.extract.registry import describe, is_handle

    try:
        rows = describe(list(stores(store)))
    except StoreError as error:  # what there is can be told without the rates
        say(f"no rates: {error}")
        rows = describe()
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
        return
    for row in rows:
        if row.problem:
            say(f"not usable: {row.problem}")
    header = ("Reads", "Dim", "MB", "Here", "Rate", "Licence", "Source")
    named = {row.name: _cells(row) for row in rows if not is_handle(row.name)}
    others = {row.name: _cells(row) for row in rows if is_handle(row.name)}
    table(("Name", *header), [(name, *cells) for name, cells in named.items()])
    if others:  # a handle may be long: it stands last on its line
        typer.echo()
        table((*header, "Handle"), [(*cells, name) for name, cells in others.items()])
    say("\nmore with --encoder hub:URL_OR_FOLDER, keras:APPLICATION, keras-hub:PRESET and 'NAME#option=value'")


def _cells(row: "Row") -> tuple[str, ...]:
    rate = "" if row.rate is None else f"{row.rate:,.0f}/s" if row.rate >= 10 else f"{row.rate:.1f}/s"
    dim, megabytes = ("?" if number is None else str(number) for number in (row.dim, row.megabytes))
    return row.modality or "?", dim, megabytes, "yes" if row.here else "no", rate, row.licence, row.source


@encoders_app.command("pull", epilog="Example: headstart encoders pull use-large --from use-large.tar.gz")
def encoders_pull(
    name: Annotated[str, typer.Argument(help="Name or handle of an encoder.")],
    source: Annotated[Path | None, typer.Option("--from", help="File or folder of its weights, got elsewhere.")] = None,
) -> None:
    """Bring an encoder's weights to this machine, so that it needs no network afterwards."""
    from headstart.extract.registry import encoder

    made = encoder(name)
    made.pull(source)
    typer.echo(f"{name} is here: read listings with --encoder {shlex.quote(name)}")


@store_app.command("info", epilog="Example: headstart store info --store store")
def store_info(store: Store = Path("store"), as_json: Json = False) -> None:
    """How many vectors are kept, of which encoders, in how many bytes."""
    from headstart.embeddings.store import stores

    found: list[dict[str, Any]] = [
        {
            "encoder": kept.name,
            "modality": kept.modality,
            "dim": kept.dim,
            "fingerprint": kept.fingerprint,
            "vectors": len(kept),
            "parts": len(kept.receipts),
            "bytes": kept.bytes(),
            "seconds_per_vector": round(kept.seconds_per_row(), 6),
        }
        for kept in stores(store)
    ]
    _need_some(found, store)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    header = ("Encoder", "Reads", "Dim", "Vectors", "Parts", "MB", "ms each", "Fingerprint")
    cells = [
        (
            str(row["encoder"]),
            str(row["modality"]),
            str(row["dim"]),
            f"{row['vectors']:,}",
            str(row["parts"]),
            f"{row['bytes'] / 1e6:.1f}",
            f"{1000 * row['seconds_per_vector']:.1f}",
            str(row["fingerprint"])[:12],
        )
        for row in found
    ]
    table(header, cells)


@store_app.command("verify", epilog="Example: headstart store verify --store store")
def store_verify(
    store: Store = Path("store"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; leave damaged parts in use.")] = False,
) -> None:
    """Check every kept vector; exit 1 where something is wrong.

    Damaged parts are taken out of use, their sound vectors kept; the next extract encodes the others again.
    """
    from headstart.embeddings.listings import damaged_listings
    from headstart.embeddings.store import EmbeddingStore, store_folders
    from headstart.embeddings.upkeep import mend, verify
    from headstart.errors import StoreError
    from headstart.progress import progress

    folders = store_folders(store)
    _need_some(folders, store)
    count = lost = 0
    for folder in folders:
        try:
            kept = EmbeddingStore(folder)
            with progress(f"{kept.name}: checking", len(kept.receipt_paths())) as advance:
                found = verify(kept, advance)
        except StoreError as error:
            count += 1
            typer.echo(f"{folder.name}: problems: 1\n  {error}")
            continue
        count += len(found)
        typer.echo(f"{folder.name}: {f'problems: {len(found)}' if found else 'all is well'}")
        for problem in found:
            typer.echo(f"  {problem.what}")
        if found and not dry_run:
            try:
                lost += mend(kept)[1]
            except StoreError as error:  # the others are still to be checked
                typer.echo(f"  {error}")
    if listings := damaged_listings(store):
        count += len(listings)
        typer.echo("\n".join(["listings:", *(f"  {problem}" for problem in listings)]))
    if count:
        cure = "run it without --dry-run" if dry_run else f"{lost:,} vectors taken out of use"
        raise HeadstartError(f"problems in {store}: {count}; {cure}, then extract again")


@store_app.command("compact", epilog="Example: headstart store compact --store store --drop-unused")
def store_compact(
    store: Store = Path("store"),
    drop_unused: Annotated[
        bool, typer.Option("--drop-unused", help="Drop what no catalogue held when it was last extracted.")
    ] = False,
) -> None:
    """Merge small parts into large ones, keep each vector once, delete what killed runs left behind."""
    from headstart.embeddings.listings import used_keys
    from headstart.embeddings.store import stores
    from headstart.embeddings.upkeep import compact
    from headstart.progress import progress

    found = list(stores(store))
    _need_some(found, store)
    rows = []
    for kept in found:
        parts, size = len(kept.receipts), kept.bytes()
        used = partial(used_keys, store, kept.modality) if drop_unused else None
        with progress(f"{kept.name}: compacting", parts) as advance:
            before, after = compact(kept, used, advance=advance)
        changes = (f"{before:,} → {after:,}", f"{parts} → {len(kept.receipts)}")
        rows.append((kept.name, *changes, f"{size / 1e6:.1f} → {kept.bytes() / 1e6:.1f}"))
    table(("Encoder", "Vectors", "Parts", "MB"), rows)


@store_app.command("failures", epilog="Example: headstart store failures --store store --json")
def store_failures(store: Store = Path("store"), as_json: Json = False) -> None:
    """What could not be encoded of the catalogues as last extracted, why, and how often it was tried."""
    from headstart.embeddings.listings import used_keys
    from headstart.embeddings.store import stores
    from headstart.errors import StoreError

    kept = list(stores(store))
    _need_some(kept, store)
    found = []
    for each in kept:
        used = None
        with suppress(StoreError):  # else all are told, also of contents that no catalogue holds any more
            used = used_keys(store, each.modality)
        found += [(each, failure) for failure in each.failures(used).values()]
    if as_json:
        typer.echo(json.dumps([{"encoder": each.name, **vars(failure)} for each, failure in found], indent=2))
    elif not found:
        typer.echo("none")
    else:
        header = ("Encoder", "Kind", "Tries", "Reason", "First listing")
        table(header, [(e.name, f.kind, str(f.attempts), f.reason, f.listing) for e, f in found])


def _need_some(found: Collection[object], store: Path) -> None:
    if not found:
        raise HeadstartError(f"no vectors are kept in {store}: name a folder with --store, or run 'headstart extract'")
