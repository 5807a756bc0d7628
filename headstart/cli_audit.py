"""The commands ``headstart audit`` and ``headstart audit apply``."""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from headstart.options import EXAMPLE, Seed, takes_catalog, takes_labels
from headstart.progress import say
from headstart.subcommands import Json, table

if TYPE_CHECKING:
    from headstart.workflow import Request

_LOOK = "look"


class _Audit(TyperGroup):
    """Looks at a catalogue, unless the first word is another command's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] == ["apply"] else [_LOOK, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == _LOOK else name, command, rest  # its help is that of 'headstart audit'


audit_app = typer.Typer(
    cls=_Audit, help="Find listings filed under the wrong category, and correct them.", rich_markup_mode=None
)


Holdout = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN=VALUE",
        help="Listings to be looked at only: nothing is learnt from them, no decision on them is applied.",
    ),
]


class Kind(StrEnum):
    """Of the file of suspects."""

    csv = "csv"
    parquet = "parquet"
    jsonl = "jsonl"


def _flips(value: float | None) -> float | None:
    if value is not None and not 0 < value <= 0.5:
        raise typer.BadParameter(f"{value:g} is no share to flip: give one up to a half, such as 0.05 for 5 %")
    return value


@audit_app.command(
    _LOOK,
    epilog=f"Example: headstart audit listings.csv {EXAMPLE} --out audit\n\n"
    "Decide on the page, save decisions.csv, then: headstart audit apply --help",
)
@takes_catalog
def look(
    request: "Request",
    out: Annotated[Path, typer.Option(help="Folder for audit.html and the file of suspects.")] = Path("audit"),
    kind: Annotated[Kind, typer.Option("--format", help="Of the file of suspects.")] = Kind.csv,
    holdout: Holdout = None,
    decisions: Annotated[
        Path | None, typer.Option(help="decisions.csv made before: what is filed as was decided is no suspect again.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts the listings are cut into.")] = 5,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="How many times, with other cuts.  [default: 2; 1 beyond 20,000 listings]")
    ] = None,
    duplicate_cosine: Annotated[float, typer.Option(min=0.5, max=1, help="Nearer listings stay together.")] = 0.95,
    self_test: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", callback=_flips, help="File this share of listings wrongly, and tell how well it is found."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="How often, with --self-test.")] = 5,
    title: Annotated[str, typer.Option(help="Of the page.")] = "",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find the listings that are probably filed under the wrong category; writes a page to decide on them.

    To correct the catalogue by the decisions: headstart audit apply CATALOG decisions.csv --out NEW
    """
    from dataclasses import asdict

    from headstart import auditing
    from headstart.decisions import read_decisions
    from headstart.reports import flips, wording
    from headstart.reports.render import writable

    source = request.resolve()
    looking = auditing.Looking(folds, repeats or 0, seed, duplicate_cosine)
    if self_test is not None:
        tested = auditing.self_test(source, looking, self_test, draws, holdout)
        if as_json:
            typer.echo(json.dumps([asdict(each) for each in tested], indent=2))
            return
        found = flips.table(tested)
        table(found.header, found.rows)
        for each in tested:
            typer.echo(
                f"{each.kind}: {wording.count(each.flips)} listings flipped in each of {each.draws} draws; "
                f"{each.estimate:,.0f} look misfiled, {each.before:,.0f} before"
            )
        say("ahead by: points, with Student's 95 % intervals over the draws")
        return
    decided = read_decisions(decisions) if decisions else []
    source.open()  # what cannot be read leaves no folder behind
    writable(out)
    words = ["headstart", "audit", str(source.path), *source.words()]
    words += [word for name in source.encoders for word in ("--encoder", name)]
    words += ["--folds", str(folds), "--seed", str(seed), "--duplicate-cosine", str(duplicate_cosine)]
    words += ["--decisions", str(decisions)] if decisions else []
    words += [*(["--repeats", str(repeats)] if repeats else []), *(["--holdout", holdout] if holdout else [])]
    result = auditing.audit(source, looking, title or source.path.name, shlex.join(words), holdout, decided)
    paths = auditing.write_audit(result, out, kind.value)
    if as_json:
        told = {name: value for name, value in asdict(result).items() if name != "suspects"}
        typer.echo(json.dumps({**told, "suspects": len(result.suspects)}, indent=2, ensure_ascii=False))
        return
    best = [
        (str(rank), each.id, each.filed, each.suggested, each.reason)
        for rank, each in enumerate(result.suspects[:10], 1)
    ]
    if best:
        table(("", "Listing", "Filed under", "Suggested", "Why"), best)
    typer.echo(auditing.in_words(result))
    for path in paths:
        typer.echo(str(path))


@audit_app.command(
    "apply", epilog="Example: headstart audit apply listings.csv decisions.csv --label category --out corrected.csv"
)
@takes_labels
def apply(
    request: "Request",
    decisions: Annotated[Path, typer.Argument(help="decisions.csv, as the page saves it.")],
    out: Annotated[Path, typer.Option(help="The corrected catalogue, a new file of the same kind.")],
    holdout: Holdout = None,
    new_categories: Annotated[
        bool, typer.Option("--new-categories", help="Take categories that no listing is in yet.")
    ] = False,
) -> None:
    """Write a catalogue corrected by the decisions: every row, in its order, and who decided."""
    from headstart import auditing
    from headstart.reports import wording

    done = auditing.apply(request.resolve(), decisions, out, holdout, new_categories)
    for (filed, category), listings in sorted(done.corrected.items(), key=lambda each: (-each[1], each[0])):
        typer.echo(wording.plain(f"{wording.counted(listings, 'listing', 'listings')}: {filed} → {category}"))
    others = {"kept as filed": done.kept, "were so already": done.already, "skipped": done.skipped}
    told = "".join(f", {count:,} {what}" for what, count in others.items() if count)
    typer.echo(f"{done.changed:,} of {done.rows:,} rows corrected{told}")
    typer.echo(str(out))
