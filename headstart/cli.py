"""The command line: parse, call one function, print. Results go to stdout, all else to stderr."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli_audit import audit_app
from headstart.cli_serve import EXPORT, SERVE, export, serve
from headstart.errors import HeadstartError
from headstart.options import (
    EXAMPLE,
    Backend,
    BackendName,
    Coverage,
    Depth,
    ErrorRate,
    FineTune,
    FineTuneMinutes,
    FusionName,
    HeadName,
    RetryFailed,
    Scheduler,
    Seed,
    WorkerCount,
    takes_catalog,
    takes_new_listings,
)
from headstart.progress import say
from headstart.subcommands import Json, compare, encoders_app, judge, store_app, table

if TYPE_CHECKING:
    from headstart.workflow import Request

_STARTED = time.perf_counter()

app = typer.Typer(
    help="Product listings to categories: frozen encoders read every listing once, small heads train in seconds.",
    epilog="Start with: headstart demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(audit_app, name="audit")
app.add_typer(store_app, name="store")
app.add_typer(encoders_app, name="encoders")


@app.command(epilog="Example: headstart demo --folder demo")
def demo(
    folder: Annotated[Path, typer.Option(help="Where the sample, its vectors and the report go.")] = Path("demo"),
    seed: Seed = 2026,
) -> None:
    """The whole story on a drawn sample of 1050 French listings; writes a report."""
    from headstart.catalog import Columns
    from headstart.reports.benchmark import Settings
    from headstart.sample import COLUMNS, draw_sample
    from headstart.workflow import Source

    path = draw_sample(folder, seed=seed)
    columns = Columns(COLUMNS.id, COLUMNS.texts, COLUMNS.photo, COLUMNS.label)
    source = Source(path, columns, folder / "photos", store=folder / "store")
    judge(source, folder, "Les Bonnes Affaires", Settings(), drawn=True, as_json=False)


@app.command(epilog=f"Example: headstart extract listings.csv {EXAMPLE}")
@takes_catalog
def extract(
    request: "Request",
    workers: WorkerCount = 1,
    backend: Backend = BackendName.loky,
    scheduler: Scheduler = None,
    retry_failed: RetryFailed = False,
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
    fusion: Annotated[
        FusionName | None,
        typer.Option(help="late: a head an encoder, weighed; else one head. Fused heads are late by default."),
    ] = None,
    words: Annotated[
        bool | None,
        typer.Option(help="The TF-IDF control as a member of a late fusion. Default: where there are texts."),
    ] = None,
    hidden: Annotated[int, typer.Option(min=0, help="Units of a hidden layer; 0 for none.")] = 0,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="Share of hidden units dropped.")] = 0.0,
    l2: Annotated[float | None, typer.Option(min=0, max=1e6, help="Penalty on large weights.  [default: 8]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-6, max=10, help="Of the longest safe step.  [default: 1]")
    ] = None,
    absent: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="Listings that lose text or photo in training.  [default: 0.2]")
    ] = None,
    balanced: Annotated[bool, typer.Option(help="Weigh rare categories as much as frequent ones.")] = True,
    error_rate: ErrorRate = 0.02,
    holdout: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of listings to judge on.")] = 0.2,
    duplicate_cosine: Annotated[float, typer.Option(min=0.5, max=1, help="Nearer listings stay together.")] = 0.95,
    save: Annotated[Path | None, typer.Option(help="Train again on all listings and save the classifier.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train one head on the kept vectors and judge it on listings it has not seen."""
    from headstart import modelling, runtime, workflow
    from headstart.reports import wording

    settings: dict[str, Any] = {
        "fusion": fusion and fusion.value,
        "words": words,
        "hidden": hidden,
        "dropout": dropout,
        "l2": l2,
        "learning_rate": learning_rate,
        "absent": absent,
        "balanced": balanced,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    read = workflow.read_once(request.resolve())
    found = modelling.train(read, head and head.value, settings, holdout, seed, save, error_rate, duplicate_cosine)
    figures, taken = found.figures, found.accepted
    seconds = {
        "fit": found.fit_seconds,
        "predict": found.predict_seconds,
        "tensorflow_import": sum(runtime.import_seconds),
        "all": time.perf_counter() - _STARTED,
    }
    if as_json:
        scores = {name: vars(getattr(figures, name)) for name in ("accuracy", "macro_f1", "top3")}
        accepted = taken and {"share": vars(taken.share), "error": vars(taken.error)}
        counts = {"train": found.train_rows, "test": found.test_rows}
        told = {
            "head": found.head,
            "settings": vars(found.config),
            "listings": counts,
            **scores,
            "log_loss": vars(found.log_loss),
            "control": found.control and vars(found.control),
        }
        typer.echo(json.dumps({**told, "accepted": accepted, "seconds": seconds}, indent=2))
    else:
        for name, value in (("accuracy", figures.accuracy), ("macro-F1", figures.macro_f1), ("top-3", figures.top3)):
            line = f"{name:9} {wording.percent(value.mean):>8}   ({wording.interval(value)})"
            typer.echo(wording.plain(line))
        typer.echo(f"log-loss  {found.log_loss.mean:>8.3f}   ({found.log_loss.low:.3f} – {found.log_loss.high:.3f})")
        if taken is None:
            typer.echo(f"nobody knows which could be accepted without a look: {found.uncalibrated}")
        elif taken.share.mean == 0:
            least = wording.plain(wording.percent(found.lowest_rate))
            typer.echo(
                f"nothing could be accepted at an error rate of {error_rate:g}: of the listings held back, it takes "
                f"{least} or more"
            )
        else:
            line = f"accepted  {wording.percent(taken.share.mean):>8}   wrong: {wording.percent(taken.error.mean)} "
            typer.echo(
                wording.plain(f"{line}({wording.interval(taken.error)}); allowed: {wording.percent(error_rate)}")
            )
        if found.control is not None:
            typer.echo(wording.plain(wording.duel(found.control)))
        typer.echo(
            f"{wording.head(found.config)}, learnt from {found.train_rows:,} listings, judged on {found.test_rows:,} "
            "others\n"
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
    fine_tune: Annotated[
        FineTune, typer.Option(help="Fine-tune the encoders, too: their upper layers, or all of them.")
    ] = FineTune.none,
    fine_tune_minutes: FineTuneMinutes = 20.0,
    decisions: Annotated[
        Path | None, typer.Option(help="decisions.csv of an audit: judge by the categories decided on.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Judge text, image, both fused and a TF-IDF control on the same folds; writes a report."""
    from headstart.reports.benchmark import Settings

    source = request.resolve()
    settings = Settings(folds, repeats, seed, duplicate_cosine, fine_tune=fine_tune.value, minutes=fine_tune_minutes)
    judge(source, out, title or source.path.name, settings, drawn=False, as_json=as_json, decisions=decisions)


app.command(epilog="Example: headstart compare report earlier/report")(compare)


@app.command(epilog=f"Example: headstart sweep listings.csv {EXAMPLE} --l2 2 --l2 8 --fusion late --save model")
@takes_catalog
def sweep(
    request: "Request",
    head: Annotated[list[HeadName] | None, typer.Option(help="Which to try; by default all that there are.")] = None,
    fusion: Annotated[list[FusionName] | None, typer.Option(help="Which to try; by default all.")] = None,
    l2: Annotated[list[float] | None, typer.Option(min=0, max=1e6, help="Penalties to try.  [0.5 to 32]")] = None,
    hidden: Annotated[list[int] | None, typer.Option(min=0, help="Units of hidden layers to try.  [0, 16]")] = None,
    absent: Annotated[
        list[float] | None, typer.Option(min=0, max=0.9, help="Shares that lose text or photo in training.  [0, 0.2]")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Settings tried, at random from the grid of all.")] = 100,
    folds: Annotated[int, typer.Option(min=2, help="Outer folds, on which what was chosen is judged.")] = 5,
    duplicate_cosine: Annotated[float, typer.Option(min=0.5, max=1, help="Nearer listings stay together.")] = 0.95,
    show: Annotated[int, typer.Option(min=1, help="Rows of the leaderboard.")] = 15,
    save: Annotated[Path | None, typer.Option(help="Train the best on all listings and save the classifier.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Try many heads at once; choose on inner folds, judge the choice on outer ones."""
    from headstart import modelling, workflow
    from headstart.reports import wording

    fusions = [each.value for each in fusion or ()]
    tried: dict[str, list[Any] | None] = {"l2": l2, "fusion": fusions, "hidden": hidden, "absent": absent}
    given = {name: tuple(values) for name, values in tried.items() if values}
    heads = [each.value for each in head or ()]
    read = workflow.read_once(request.resolve())
    found = modelling.sweep(read, heads, given, draws, folds, duplicate_cosine, seed, save)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    shown = modelling.leaderboard(found)
    table(shown.header, shown.rows[:show])
    say(
        f"{len(found.entries):,} settings, ranked by log-loss on the inner folds of every training side; the best "
        f"{len(shown.rows[:show])} are shown"
    )
    accuracy = wording.plain(f"{wording.percent(found.accuracy.mean)} ({wording.interval(found.accuracy)})")
    typer.echo(f"choosing like this is worth, on {folds} outer folds that took no part in it: accuracy {accuracy}")
    typer.echo(f"from start to figures {time.perf_counter() - _STARTED:.1f} s")
    if save is not None:
        say(f"the best, trained on all listings, is in {save}; try: headstart predict {save} NEW_LISTINGS")


@app.command(
    "fine-tune", epilog=f"Example: headstart fine-tune listings.csv {EXAMPLE} --encoder efficientnet-lite0 --save tuned"
)
@takes_catalog
def fine_tune(
    request: "Request",
    depth: Annotated[
        Depth, typer.Option(help="The upper layers, on kept activations of the lower ones; or the whole network.")
    ] = Depth.top,
    minutes: Annotated[float, typer.Option(min=0.1, help="At most; the best so far is kept.")] = 20.0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the listings, at most.  [default: 8]")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without a lower loss of inner listings that end it.  [default: 3]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-9, help="Of the topmost layer.  [default: 0.0001]")
    ] = None,
    holdout: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of listings to judge on.")] = 0.2,
    duplicate_cosine: Annotated[float, typer.Option(min=0.5, max=1, help="Nearer listings stay together.")] = 0.95,
    save: Annotated[Path | None, typer.Option(help="Folder for the encoder; use it as --encoder tuned:FOLDER.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train an encoder further on these categories, and judge it beside its frozen self."""
    from dataclasses import asdict

    from headstart import fine_tuning, workflow
    from headstart.reports import wording
    from headstart.reports.render import writable

    source = request.resolve()
    fine_tuning.check(source, depth.value, save)
    if save is not None:
        writable(save)
    given = {"epochs": epochs, "patience": patience, "learning_rate": learning_rate}
    settings = {name: value for name, value in given.items() if value}
    read = workflow.read_once(source)
    workflow.need_labels(read)
    found = fine_tuning.fine_tune(read, depth.value, holdout, seed, minutes, save, duplicate_cosine, settings)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        for name, value in (("frozen", found.frozen), ("fine-tuned", found.tuned)):
            line = f"{name:10} {wording.percent(value.mean):>8}   ({wording.interval(value)})"
            typer.echo(wording.plain(line))
        typer.echo(wording.plain(fine_tuning.in_words(found)))
    if found.saved:
        others = [f"--encoder {name}" for name in fine_tuning.beside(source)]
        command = " ".join([f"headstart train {request.path} --encoder tuned:{save}", *others])
        say(f"the encoder is in {save}; try: {command}")
    elif save is not None:
        say(f"nothing is saved: {save} is as it was")


@app.command(epilog="Example: headstart predict model new.csv --images photos/ --out predictions.csv")
@takes_new_listings
def predict(
    model: Annotated[Path, typer.Argument(help="Folder that 'headstart train --save' wrote.")],
    request: "Request",
    out: Annotated[Path | None, typer.Option(help="File ending in .csv, .parquet or .jsonl; else stdout.")] = None,
    error_rate: ErrorRate = 0.02,
    coverage: Coverage = 0.95,
    workers: WorkerCount = 1,
    backend: Backend = BackendName.loky,
    scheduler: Scheduler = None,
    retry_failed: RetryFailed = False,
) -> None:
    """Give every listing a category and its probability: accept it, suggest a few, or send the listing to a person."""
    from headstart import modelling
    from headstart.extract.backends import Workers
    from headstart.heads.classifier import Classifier
    from headstart.predictions import check_out

    if out is not None:
        check_out(out)
    encoding = Workers(workers, backend.value, scheduler)
    modelling.predict(Classifier.load(model), request, out, error_rate, coverage, encoding, retry_failed)
    if out is not None:
        say(f"predictions are in {out}")


app.command(epilog=EXPORT)(export)
app.command(epilog=SERVE)(serve)


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
    """Ctrl-C, or a polite kill. A note on it says what is left, where that is not what was kept so far."""


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
        kept = "what was kept so far stays, the same command goes on from there"
        say(f"stopped: {'; '.join(_notes(stopped)) or kept}")
        sys.exit(128 + int(stopped.args[0]))
    except HeadstartError as error:
        _fail("; ".join([str(error), *_notes(error)]))
    except Exception as error:
        if os.environ.get("HEADSTART_DEBUG"):
            raise
        _fail(f"{type(error).__name__}: {error}; HEADSTART_DEBUG=1 shows where")


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _fail(message: str) -> None:
    say(f"error: {' '.join(message.split())}")
    sys.exit(1)
