"""Read every listing once: plan what is missing, encode it, keep it.

One pass over the catalogue lists the contents whose vectors are not kept yet; where there are none, nothing else
happens and TensorFlow is never imported. Else workers encode them a part at a time, and a run that is killed resumes
where the last part ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headstart.catalog import Catalog
from headstart.embeddings.key import PHOTO_NOTE, PhotoKeys
from headstart.embeddings.listings import FOLDER as LISTINGS
from headstart.embeddings.listings import Listings
from headstart.embeddings.part import MOST_ROWS
from headstart.embeddings.store import LOCK, EmbeddingStore
from headstart.embeddings.upkeep import Problem, mend
from headstart.errors import StoreError
from headstart.extract.backends import Workers
from headstart.extract.encoder import Encoder
from headstart.extract.engine import encode, receipts_of
from headstart.extract.plan import BATCH_ROWS, Plan, make_plans
from headstart.files import locked
from headstart.progress import progress, say

PARTS = 64
"""Of a catalogue, if they are not too small or too large: what a kill can cost is a part for each worker."""
LEAST_ROWS = {"text": 512, "image": 128}
"""Smaller parts would spend their time on being written; about a second's work."""
PART_ROWS = 4096
"""About half a minute of photos on two cores."""
KINDS = {"text": "texts", "image": "photos"}


@dataclass
class Extraction:
    """What one encoder did with a catalogue."""

    encoder: str
    modality: str
    listings: int = 0
    """Listings that have this modality."""
    distinct: int = 0
    """Distinct contents among them: one content, one vector. A photo that cannot be opened counts as its own."""
    encoded: int = 0
    """Vectors made by this run; the others were kept before."""
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of each listing whose text or photo could not be encoded, now or before."""
    lost: int = 0
    """Distinct contents that could not be encoded."""
    failed: int = 0
    """Of these, how many were tried by this run."""
    passed_over: int = 0
    """Of these, how many were not tried again."""


def open_store(root: Path, encoder: Encoder, dtype: str = "float16") -> EmbeddingStore:
    """The store of this encoder under `root`, made if it is not there. See `EmbeddingStore.create`."""
    return EmbeddingStore.create(
        root, encoder.name, encoder.fingerprint, encoder.modality, encoder.dim, encoder.spec(), dtype
    )


def extract(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    root: Path,
    *,
    workers: Workers | None = None,
    retry_failed: bool = False,
    part_rows: int | None = None,
    also: Sequence[str] = (),
) -> tuple[list[Extraction], list[EmbeddingStore], Listings]:
    """Keep a vector of every listing's text and photo; what is kept already is not encoded again.

    Args:
        catalog: the listings; read once, in a stream.
        encoders: the frozen encoders, of either modality.
        root: the folder of the stores, made if it is not there.
        workers: who encodes; None is this process.
        retry_failed: try contents again that could not be encoded before.
        part_rows: vectors a part, at most 65,536; None chooses by how many there are to make.
        also: modalities whose keys are noted though no encoder here reads them, as others of the catalogue's do.

    Returns:
        What each encoder did, its store, and the listings with their keys.

    Raises:
        CatalogError: the catalogue cannot be read.
        StoreError: a store is damaged, of another encoder, or cannot be written; what was kept before is safe.
        EncoderError: an encoder's package is missing, or its output is not finite.
    """
    stores = [open_store(root, encoder) for encoder in encoders]
    for store in stores:
        _mend(store)
    _sweep(root)
    photo_keys = PhotoKeys(root / PHOTO_NOTE)
    reports = [Extraction(encoder.name, encoder.modality) for encoder in encoders]
    with ExitStack() as stack:
        stack.enter_context(locked(root / LOCK))
        for store in stores:
            stack.enter_context(store.in_use())
            store.refresh()  # from here on nobody compacts it
            store.settle()
        plans = [stack.enter_context(Plan(store, min(BATCH_ROWS, part_rows or BATCH_ROWS))) for store in stores]
        seen, listings = make_plans(catalog, stores, plans, photo_keys, root, retry_failed, also)
        photo_keys.save()
        for encoder, store, plan, report in zip(encoders, stores, plans, reports, strict=True):
            if plan.rows:
                started = time.perf_counter()
                rows = part_rows or min(max(plan.rows // PARTS, LEAST_ROWS[encoder.modality]), PART_ROWS)
                what = f"{encoder.name}: encoding {plan.rows:,} {KINDS[encoder.modality]}"
                with progress(what, plan.rows) as advance:
                    encode(encoder, store, plan, plan.ranges(min(rows, MOST_ROWS)), workers or Workers(), advance)
                report.seconds = time.perf_counter() - started
                store.refresh()
                store.settle()
                _account(store, plan, report)
    for store, plan, report in zip(stores, plans, reports, strict=True):
        found = seen[store.modality]
        report.listings, report.distinct = found.listings, found.distinct
        _tell_failures(report, store, plan, listings)
    return reports, stores, listings


def _mend(store: EmbeddingStore) -> None:
    """Take out of use what is plainly damaged, and delete what killed runs left, unless others are at work here."""
    problems: list[Problem] = []
    lost = 0
    try:
        problems, lost = mend(store, touched_only=True)
    except StoreError:
        store.receipts  # noqa: B018  # raises what is wrong with it, if anything
    for problem in problems:
        say(f"mended: {problem.what}" if problem.part else f"problem: {problem.what}")
    if problems:
        say(f"{store.name}: {lost:,} damaged vectors are taken out of use, those needed are encoded again")


def _sweep(root: Path) -> None:
    """Delete what killed runs left half written beside the stores, unless others are at work here."""
    with locked(root / LOCK, exclusive=True) as alone, suppress(OSError):
        for path in (*root.glob(".*.tmp"), *(root / LISTINGS).glob(".*.tmp")) if alone else ():
            path.unlink(missing_ok=True)


def _account(store: EmbeddingStore, plan: Plan, report: Extraction) -> None:
    """Every item that was planned must be in a receipt, with a vector or with a reason."""
    receipts = receipts_of(store, plan)
    report.encoded = sum(receipt.rows for receipt in receipts)
    report.failed = sum(len(receipt.failures) for receipt in receipts)
    lacking = plan.rows - report.encoded - report.failed
    if lacking > 0:
        raise StoreError(
            f"{store.folder} lacks {lacking:,} of the {plan.rows:,} that were to be encoded: extract again"
        )


def _tell_failures(report: Extraction, store: EmbeddingStore, plan: Plan, listings: Listings) -> None:
    """The listings without a vector, each with its reason."""
    failures = store.failures()
    if not failures:
        return
    lacking: set[str] = set()
    start = 0
    for keys, there in listings.batches(store.modality):
        rows = np.flatnonzero(there)
        rows = rows[store.lookup(keys[:, rows]) < 0]
        names = [key.tobytes().hex() for key in np.ascontiguousarray(keys[:, rows].T)]
        for listing, name in zip(listings.ids.take(start + rows), names, strict=True):
            if name in failures:
                lacking.add(name)
                report.failures.append((str(listing), failures[name].reason))
        start += len(there)
    report.lost = len(lacking)
    tried = {failure.key for receipt in receipts_of(store, plan) for failure in receipt.failures}
    report.passed_over = len(lacking - tried)
