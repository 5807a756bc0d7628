"""The command line: parse, call one function, print. Results go to stdout, all else to stderr."""

import functools
import inspect
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.errors import HeadstartError
from headstart.progress import say
from headstart.subcommands import Json, Store, encoders_app, store_app, table

if TYPE_CHECKING:
    from headstart.reports.figures import Table
    from headstart.workflow import Request, Source

_STARTED = time.perf_counter()

app = typer.Typer(
    help="Product listings to categories: frozen encoders read every listing once, small heads train in seconds.",
    epilog="Start with: headstart demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(store_app, name="store")
app.add_typer(encoders_app, name="encoders")

Seed = Annotated[int, typer.Option(min=0, help="Decides every random choice.")]


Encoders = Annotated[
    list[str] | None,
    typer.Option("--encoder", help="Name or handle, as in 'headstart encoders'; several may be given."),
]


class Precision(StrEnum):
    """What a network multiplies in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class BackendName(StrEnum):
    """What joblib runs tasks with."""

    loky = "loky"
    threading = "threading"
    dask = "dask"
    ray = "ray"


class HeadName(StrEnum):
    """Which vectors a head reads."""

    text = "text"
    image = "image"
    fused = "fused"


def _request(
    *,
    catalog: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON Lines file, one listing a row.")],
    id: Annotated[str | None, typer.Option(help="Column of the ids, each used once.  [default: id]")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Column of texts; several are joined in order.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of photo file names.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos. Without --image, they are named by id.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the categories.")] = None,
    label_level: Annotated[int | None, typer.Option(help="Take this level of a category path; 1 is the top.")] = None,
    label_separator: Annotated[str | None, typer.Option(help="What stands between two levels.  [default: >>]")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between the cells of a CSV.  [default: ,]")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of a CSV or JSON Lines file, such as cp1252.  [default: utf-8]")
    ] = None,
    store: Store = Path("store"),
    encoder: Encoders = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of each --encoder that takes it; bfloat16 is faster where the processor has it."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="File for the one --encoder keras:APPLICATION.")] = None,
) -> "Request":
    """The options of every command that reads a catalogue; those left out are as last time."""
    from headstart.extract.registry import refined
    from headstart.workflow import Request

    options = {
        "id": id,
        "text": text,
        "image": image,
        "images": images,
        "label": label,
        "label_level": label_level,
        "label_separator": label_separator,
        "delimiter": delimiter,
        "encoding": encoding,
    }
    given = {name: value for name, value in options.items() if value is not None and value != []}
    return Request(catalog, store, given, refined(encoder or (), precision and precision.value, weights))


def takes_catalog(command: Callable[..., None], without: Collection[str] = ()) -> Callable[..., None]:
    """Give a command the options of `_request`, but for those named, in place of its parameter `request`."""
    options = inspect.signature(_request).parameters
    shared = [parameter for name, parameter in options.items() if name not in without]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "request"
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        request = _request(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(request=request, **given)

    first = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
    rest = [parameter for parameter in own if parameter not in first]
    parameters = [*first, *shared, *rest]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run


takes_new_listings = functools.partial(
    takes_catalog, without={"label", "label_level", "label_separator", "encoder", "precision", "weights"}
)
"""For commands whose classifier knows the categories and the encoders."""


EXAMPLE = "--id sku --text title --text description --image photo --images photos/ --label category"


@app.command(epilog="Example: headstart demo --folder demo")
def demo(
    folder: Annotated[Path, typer.Option(help="Where the sample, its vectors and the report go.")] = Path("demo"),
    seed: Seed = 2026,
) -> None:
    """The whole story on a drawn sample of 1050 French listings; writes a report."""
    from headstart.catalog import Columns
    from headstart.sample import COLUMNS, draw_sample
    from headstart.workflow import Source

    path = draw_sample(folder, seed=seed)
    columns = Columns(COLUMNS.id, COLUMNS.texts, COLUMNS.photo, COLUMNS.label)
    source = Source(path, columns, folder / "photos", store=folder / "store")
    _judge(source, folder, "Les Bonnes Affaires", folds=5, repeats=2, seed=0, cosine=0.95, drawn=True, as_json=False)


@app.command(epilog=f"Example: headstart extract listings.csv {EXAMPLE}")
@takes_catalog
def extract(
    request: "Request",
    workers: Annotated[
        int, typer.Option(min=1, help="Tasks at a time. With 1 the process itself encodes, on all its cores.")
    ] = 1,
    backend: Annotated[
        BackendName, typer.Option(help="What runs the workers; dask and ray need the extra of that name.")
    ] = BackendName.loky,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running Dask or Ray cluster, such as tcp://10.0.0.5:8786.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what could not be encoded before.")
    ] = False,
) -> None:
    """Read every listing once and keep its vectors; what is kept already is not read again."""
    from headstart.extract.backends import Workers
    from headstart.workflow import read_once

    read_once(request.resolve(), workers=Workers(workers, backend.value, scheduler), retry_failed=retry_failed)


@app.command(epilog=f"Example: headstart train listings.csv {EXAMPLE} --head fused --save model")
@takes_catalog
def train(
    request: "Request",
    head: Annotated[HeadName | None, typer.Option(help="Default: fused, or what there is.")] = None,
    hidden: Annotated[int, typer.Option(min=0, help="Units of a hidden layer; 0 for none.")] = 0,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="Share of hidden units dropped.")] = 0.0,
    l2: Annotated[float | None, typer.Option(min=0, max=1e6, help="Penalty on large weights.  [default: 8]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-6, max=10, help="First step of Adam.  [default: 0.04]")
    ] = None,
    balanced: Annotated[bool, typer.Option(help="Weigh rare categories as much as frequent ones.")] = True,
    holdout: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of listings to judge on.")] = 0.2,
    save: Annotated[Path | None, typer.Option(help="Train again on all listings and save the classifier.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train one head on the kept vectors and judge it on listings it has not seen."""
    from headstart import runtime, workflow
    from headstart.reports import wording

    given = {"hidden": hidden, "dropout": dropout, "l2": l2, "learning_rate": learning_rate, "balanced": balanced}
    settings = {name: value for name, value in given.items() if value is not None}
    read = workflow.read_once(request.resolve())
    found = workflow.train(read, head and head.value, settings, holdout, seed, save)
    figures = found.figures
    seconds = {
        "fit": found.fit_seconds,
        "predict": found.predict_seconds,
        "tensorflow_import": sum(runtime.import_seconds),
        "all": time.perf_counter() - _STARTED,
    }
    if as_json:
        scores = {name: vars(getattr(figures, name)) for name in ("accuracy", "macro_f1", "top3")}
        counts = {"train": found.train_rows, "test": found.test_rows}
        typer.echo(json.dumps({"head": found.head, "listings": counts, **scores, "seconds": seconds}, indent=2))
    else:
        for name, value in (("accuracy", figures.accuracy), ("macro-F1", figures.macro_f1), ("top-3", figures.top3)):
            line = f"{name:9} {wording.percent(value.mean):>8}   ({wording.interval(value)})"
            typer.echo(wording.plain(line))
        typer.echo(
            f"{found.head} head, learnt from {found.train_rows:,} listings, judged on {found.test_rows:,} others\n"
            f"fit {seconds['fit']:.2f} s, prediction {1000 * seconds['predict']:.0f} ms; from start to figures "
            f"{seconds['all']:.1f} s, {seconds['tensorflow_import']:.1f} s of it starting TensorFlow"
        )
    if found.rare:
        names = ", ".join(repr(label[:40]) for label in list(found.rare)[:5])
        say(f"categories with one distinct listing, learnt but not judged: {len(found.rare)} ({names} …)")
    if save is not None:
        say(f"the classifier, trained on all of them, is in {save}; try: headstart predict {save} NEW_LISTINGS")


@app.command(epilog=f"Example: headstart benchmark listings.csv {EXAMPLE} --out report")
@takes_catalog
def benchmark(
    request: "Request",
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.md and results.json.")] = Path("report"),
    folds: Annotated[int, typer.Option(min=2, help="Parts the listings are cut into.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="How many times, with other cuts.")] = 2,
    duplicate_cosine: Annotated[float, typer.Option(min=0.5, max=1, help="Nearer listings stay together.")] = 0.95,
    title: Annotated[str, typer.Option(help="Of the report.")] = "",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Judge text, image, both fused and a TF-IDF control on the same folds; writes a report."""
    source = request.resolve()
    _judge(source, out, title or source.path.name, folds, repeats, seed, duplicate_cosine, False, as_json)


@app.command(epilog="Example: headstart predict model new.csv --images photos/ --out predictions.csv")
@takes_new_listings
def predict(
    model: Annotated[Path, typer.Argument(help="Folder that 'headstart train --save' wrote.")],
    request: "Request",
    out: Annotated[Path | None, typer.Option(help="File ending in .csv, .parquet or .jsonl; else stdout.")] = None,
) -> None:
    """Give every listing a category, with its probability and the next best ones."""
    from headstart import workflow
    from headstart.heads.classifier import Classifier
    from headstart.predictions import check_out

    if out is not None:
        check_out(out)
    rows = workflow.predict(Classifier.load(model), request, out)
    if out is not None:
        say(f"{rows:,} listings classified: {out}")


def _judge(
    source: "Source",
    out: Path,
    title: str,
    folds: int,
    repeats: int,
    seed: int,
    cosine: float,
    drawn: bool,
    as_json: bool,
) -> None:
    """Run the benchmark, write the report, print the leaderboard."""
    from headstart.reports import wording
    from headstart.reports.benchmark import Settings
    from headstart.reports.render import leaderboard_table
    from headstart.workflow import judge, read_once

    read = read_once(source)
    say("judging every approach on the same folds …")
    settings = Settings(folds, repeats, seed, cosine)
    words = ["demo"] if drawn else ["benchmark", str(source.path), *source.words()]
    if not drawn:
        words += [word for name in source.encoders for word in ("--encoder", name)]
        words += ["--folds", str(folds), "--repeats", str(repeats), "--seed", str(seed)]
        words += ["--duplicate-cosine", str(cosine)]
    command = shlex.join(["headstart", *words])
    result = judge(read, settings, out, title=title, command=command, drawn=drawn)
    if as_json:
        typer.echo(result.to_json())
        return
    board: Table = leaderboard_table(result)
    table(board.header, board.rows)
    catalog, duplicates = result.catalog, result.duplicates
    say(
        f"judged {catalog.judged:,} of {catalog.rows:,} listings, in {catalog.classes:,} of "
        f"{catalog.classes + len(catalog.rare):,} categories; {duplicates.rows:,} listings have near-duplicates "
        f"(cosine {duplicates.cosine} or more): {duplicates.groups:,} groups, the largest of {duplicates.largest:,}"
    )
    if catalog.rare:
        say(f"left out, as they have fewer than {folds} distinct listings: {', '.join(list(catalog.rare)[:5])}, …")
    if duplicates.rows > 0.3 * catalog.rows:
        say("so many near-duplicates may be different products in the same words: try a higher --duplicate-cosine")
    for sentence in result.verdict:
        typer.echo(wording.plain(sentence))
    if drawn:
        typer.echo("These listings are drawn: the figures show how the report works, not what a catalogue would give.")
    for name in ("report.html", "report.md", "results.json"):
        typer.echo(str(out / name))


def _version(wanted: bool) -> None:
    if wanted:
        from headstart import __version__

        typer.echo(f"headstart {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Product listings to categories: frozen encoders read every listing once, small heads train in seconds."""


class Stopped(BaseException):
    """Ctrl-C, or a polite kill."""


def _stop(number: int, frame: object) -> None:
    import signal

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # what is encoded is being kept: a second Ctrl-C would spoil that
    raise Stopped(number)


def main() -> None:
    """Run the command line. Exit 0: done; 1: it could not, one line says why; 2: wrong usage; 130: stopped."""
    import signal
    import warnings

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _stop)
    warnings.filterwarnings("ignore", module="PIL")  # a damaged photo is counted with its reason, not warned of
    try:
        app()
    except Stopped as stopped:
        say("stopped: what was kept so far stays, the same command goes on from there")
        sys.exit(128 + int(stopped.args[0]))
    except HeadstartError as error:
        _fail(str(error))
    except Exception as error:
        if os.environ.get("HEADSTART_DEBUG"):
            raise
        _fail(f"{type(error).__name__}: {error}; HEADSTART_DEBUG=1 shows where")


def _fail(message: str) -> None:
    say(f"error: {' '.join(message.split())}")
    sys.exit(1)
