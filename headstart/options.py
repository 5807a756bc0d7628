"""What several commands take: how a catalogue is read, and which head is meant."""

import functools
import inspect
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.subcommands import Store

if TYPE_CHECKING:
    from headstart.workflow import Request

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


WorkerCount = Annotated[
    int, typer.Option("--workers", min=1, help="Tasks at a time. With 1 the process itself encodes, on all its cores.")
]
Backend = Annotated[BackendName, typer.Option(help="What runs the workers; dask and ray need the extra of that name.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a running Dask or Ray cluster, such as tcp://10.0.0.5:8786.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what could not be encoded before.")]


class HeadName(StrEnum):
    """Which vectors a head reads."""

    text = "text"
    image = "image"
    fused = "fused"


class FusionName(StrEnum):
    """How a head joins vectors."""

    late = "late"
    concat = "concat"
    gated = "gated"


class Depth(StrEnum):
    """How much of an encoder is fine-tuned."""

    top = "top"
    full = "full"


class FineTune(StrEnum):
    """How much of the encoders is fine-tuned."""

    none = "none"
    top = "top"
    full = "full"


FineTuneMinutes = Annotated[
    float, typer.Option(min=0.1, help="For fine-tuning, at most; fewer folds, then fewer epochs where it is short.")
]


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise typer.BadParameter(f"{value:g} is no share: give a number between 0 and 1, such as 0.02 for 2 %")
    return value


ErrorRate = Annotated[
    float, typer.Option(callback=_share, help="Wrong categories allowed among those accepted without a look.")
]
Coverage = Annotated[
    float, typer.Option(callback=_share, help="How often suggested categories are to hold the right one.")
]


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


def takes_catalog(
    command: Callable[..., None], without: Collection[str] = (), catalog_first: bool = False, catalog: Any = None
) -> Callable[..., None]:
    """Give a command the options of `_request`, but for those named, in place of its parameter `request`.

    Args:
        command: to be given them.
        without: those left out.
        catalog_first: the catalogue is the first argument.
        catalog: annotation of an option that names the catalogue, in place of an argument; `request` is None without.
    """
    options = inspect.signature(_request).parameters
    shared = [parameter for name, parameter in options.items() if name not in without]
    if catalog is not None:
        shared[0] = shared[0].replace(annotation=catalog, default=None)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "request"
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        options = {parameter.name: given.pop(parameter.name) for parameter in shared}
        command(request=None if options["catalog"] is None else _request(**options), **given)

    first = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
    rest = [parameter for parameter in own if parameter not in first]
    parameters = [*shared[:1], *first, *shared[1:], *rest] if catalog_first else [*first, *shared, *rest]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run


takes_new_listings = functools.partial(
    takes_catalog, without={"label", "label_level", "label_separator", "encoder", "precision", "weights"}
)
"""For commands whose classifier knows the categories and the encoders."""
takes_check = functools.partial(
    takes_new_listings,
    catalog=Annotated[
        Path | None,
        typer.Option(
            "--check",
            help="Catalogue on which to compare the version with 'headstart predict', which keeps vectors in --store.",
        ),
    ],
)
"""For commands that may look at new listings."""
takes_labels = functools.partial(takes_catalog, without={"encoder", "precision", "weights"}, catalog_first=True)
"""For commands that look at the categories, and at no vector."""


EXAMPLE = "--id sku --text title --text description --image photo --images photos/ --label category"
