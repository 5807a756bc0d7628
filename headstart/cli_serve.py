"""The commands that bring a classifier into production."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.options import Coverage, ErrorRate, takes_check

if TYPE_CHECKING:
    from headstart.workflow import Request

EXPORT = "Example: headstart export model serving --check listings.csv"


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

    With --check and the number of a version that is there already, nothing is written.
    """
    from headstart.serve import export as exporting
    from headstart.serve.checking import check

    there = request is not None and version is not None and (folder / str(version)).exists()
    place = folder / str(version) if there else exporting.export(model, folder, version, error_rate, coverage)
    if not there:
        typer.echo(str(place))
    if request is not None:
        typer.echo(check(model, place, request))
