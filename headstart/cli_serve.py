"""The commands that bring a classifier into production."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.errors import HeadstartError
from headstart.options import Coverage, ErrorRate, takes_check

if TYPE_CHECKING:
    from headstart.workflow import Request

EXPORT = "Example: headstart export model serving --check listings.csv"
SERVE = "Example: headstart serve model --workers 2 --watch"


@takes_check
def export(
    model: Annotated[Path, typer.Argument(help="Folder that 'headstart train --save' wrote.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the versions, as TensorFlow Serving reads it.")
    ],
    request: "Request | None",
    version: Annotated[
        int | None, typer.Option(min=1, help="Its number.  [default: one more than the highest there]")
    ] = None,
    error_rate: ErrorRate = 0.02,
    coverage: Coverage = 0.95,
) -> None:
    """Write the classifier and its encoders as one SavedModel for TensorFlow Serving: texts and photos in, answers out.

    With --check and the number of a version that is there already, nothing is written; what it decides is compared at
    the error rate and coverage that it was exported with.
    """
    from headstart.catalog import check_there
    from headstart.serve import export as exporting
    from headstart.serve.checking import check

    if request is not None:  # before a version is written that would not be checked
        images = request.given.get("images")
        check_there(request.path, Path(images) if images else None)
    there = request is not None and version is not None and (folder / str(version)).exists()
    place = folder / str(version) if there else exporting.export(model, folder, version, error_rate, coverage)
    if not there:
        typer.echo(str(place))
    if request is not None:
        typer.echo(check(model, place, request))


def serve(
    model: Annotated[
        Path, typer.Argument(help="Folder of 'headstart train --save', or of such folders named by version numbers.")
    ],
    name: Annotated[str, typer.Option(help="Of the model, in the API's paths.")] = "model",
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for one that is free.")] = 8501,
    workers: Annotated[int, typer.Option(min=1, help="Processes that classify; they share the cores.")] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve a new version of the model as soon as it is there.")
    ] = False,
    batch_rows: Annotated[int, typer.Option(min=1, max=1024, help="Listings in a batch, at most.")] = 32,
    batch_wait_ms: Annotated[
        float, typer.Option(min=0, max=1000, help="What a batch waits to fill up, while another is classified.")
    ] = 2.0,
    max_wait: Annotated[
        float, typer.Option(min=0.01, help="Seconds of work before a listing at which it is refused with 429.")
    ] = 1.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until a request is given up.")] = 30.0,
    max_body_mb: Annotated[int, typer.Option(min=1, max=1024, help="Of a request, photos in Base64 included.")] = 16,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="File of bearer keys, one a line, read again as it changes; else HEADSTART_API_KEYS. None: open."
        ),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="After SIGTERM, for clients to leave their connections.")
    ] = 2.0,
    error_rate: ErrorRate = 0.02,
    coverage: Coverage = 0.95,
    access_log: Annotated[bool, typer.Option("--access-log", help="A line for each request, on stderr.")] = False,
) -> None:
    """An HTTP API, as TensorFlow Serving's, and a page to try it."""
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise HeadstartError(f"--name {name!r} is a part of the API's paths: give letters, digits, '.', '_' and '-'")
    try:
        from headstart.serve.app import Options, make_app
        from headstart.serve.server import listen, run
    except ImportError as error:
        if error.name == "resource":  # of the standard library, but not of Windows
            raise HeadstartError("'headstart serve' runs on Linux and macOS: take a container, or WSL") from None
        raise HeadstartError(f"'headstart serve' needs {error.name}: pip install 'headstart[serve]'") from None
    from ipaddress import ip_address

    from headstart.progress import say
    from headstart.serve.keys import read_keys
    from headstart.serve.pool import Settings
    from headstart.serve.versions import versions_of

    options = Options(model, name, read_keys(keys), watch, max_body_mb << 20)
    settings = Settings(workers, batch_rows, batch_wait_ms / 1000, max_wait, timeout, error_rate, coverage)
    found = versions_of(model)
    listening = listen(host, port)
    address, taken = listening.getsockname()[:2]
    if not options.keys and not ip_address(address).is_loopback:
        say(f"open to all who reach {host}:{taken}: give --keys")
    say(f"listening at http://{host}:{taken}/, the model is being loaded")
    run(make_app(options, settings, found), listening, drain_seconds, access_log)
