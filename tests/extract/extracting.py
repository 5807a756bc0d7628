"""What the tests of extraction share: small catalogues, and an extraction that checks what holds for every one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, open_features
from headstart.embeddings.listings import Listings, listings_path
from headstart.embeddings.upkeep import verify
from headstart.extract.encoder import Encoder
from headstart.extract.run import Extraction, extract, open_store

Row = tuple[str, str, str]
"""Id, text, photo."""


def write_catalog(folder: Path, rows: Sequence[Row]) -> Catalog:
    path = folder / "listings.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "photo"), *rows])
    return read_catalog(path, Columns(text=("text",), image="photo"))


def read(catalog: Catalog, root: Path, encoders: Sequence[Encoder]) -> Features:
    """The vectors of a catalogue's listings as last extracted."""
    return open_features(Listings(listings_path(root, catalog.path)), [open_store(root, each) for each in encoders])


def reports(catalog: Catalog, encoders: Sequence[Encoder], root: Path, **options: Any) -> list[Extraction]:
    """Extract, having checked what holds for every extraction."""
    extractions, stores, listings = extract(catalog, encoders, root, **options)
    for report, store in zip(extractions, stores, strict=True):
        keys, there = listings.keys(store.modality)
        rows = store.lookup(keys[:, there])
        assert len(set(rows[rows >= 0])) == report.distinct - report.lost
        assert np.count_nonzero(rows < 0) == len(report.failures)
        assert report.listings == np.count_nonzero(there) == getattr(catalog.counts, f"with_{report.modality}")
        assert verify(store) == []
        assert sorted(path.name for path in store.folder.glob("*.arrow")) == [], "no plan is left"
    return extractions
