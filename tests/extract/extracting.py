"""What the tests of extraction share: small catalogues, and an extraction that checks what holds for every one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, listing_keys, read_features
from headstart.embeddings.key import PhotoKeys
from headstart.extract.encoder import Encoder
from headstart.extract.run import PHOTO_NOTE, Extraction, extract, open_store

Row = tuple[str, str, str]
"""Id, text, photo."""


def write_catalog(folder: Path, rows: Sequence[Row]) -> Catalog:
    path = folder / "listings.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "photo"), *rows])
    return read_catalog(path, Columns(text=("text",), image="photo"))


def read(catalog: Catalog, root: Path, encoders: Sequence[Encoder]) -> Features:
    return read_features(catalog, [open_store(root, each) for each in encoders], PhotoKeys(root / PHOTO_NOTE))


def reports(catalog: Catalog, encoders: Sequence[Encoder], root: Path, **options: int) -> list[Extraction]:
    """Extract, having checked what holds for every extraction."""
    extractions, stores = extract(catalog, encoders, root, **options)
    photo_keys = PhotoKeys(root / PHOTO_NOTE)
    for report, store in zip(extractions, stores, strict=True):
        keys = [listing_keys(store.modality, each.texts, each.photos, photo_keys)[1] for each in catalog.batches()]
        rows = store.lookup(np.concatenate(keys))
        assert len(set(rows[rows >= 0])) == report.distinct - len(report.failures)
        assert report.listings == getattr(catalog.counts, f"with_{report.modality}")
        assert store.verify() == []
    return extractions
