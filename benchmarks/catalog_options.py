"""The options by which a benchmark's script is told what to read, as those of ``headstart``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from headstart.catalog import Columns
from headstart.workflow import Source


def catalog_parser(description: str) -> ArgumentParser:
    """A parser that knows the catalogue, its columns and the store."""
    parser = ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--id", default="id")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--image")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--label", required=True)
    parser.add_argument("--label-level", type=int)
    parser.add_argument("--store", type=Path, default=Path("store"))
    return parser


def source(given: Namespace, encoders: Sequence[str]) -> Source:
    """The catalogue that those options name, to be read by these encoders."""
    columns = Columns(given.id, tuple(given.text), given.image, given.label, given.label_level)
    return Source(given.catalog, columns, given.images, store=given.store, encoders=tuple(encoders))
