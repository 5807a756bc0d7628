"""Catalogues to be corrected, and what is read of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from catalogs import everything
from headstart import corrections
from headstart.catalog import Catalog, Columns, read_catalog
from headstart.decisions import Decision

apply = partial(corrections.apply, new_categories=True)
"""Most of these tests file listings under what nothing is in."""

COLUMNS = Columns(text=("text",), label="label")
MOVE = Decision("2", "A", "agree", "B", "Zoé", "2026-03-01")
HEAD, MORE = "id,text,label", "filed_before,decision,decided_by,decided_at"


def opened(path: Path, columns: Columns = COLUMNS, **options: str) -> Catalog:
    return read_catalog(path, columns, **options)


def labels(catalog: Catalog) -> dict[str, str | None]:
    read = everything(catalog)
    return dict(zip(read.ids, read.labels, strict=True))
