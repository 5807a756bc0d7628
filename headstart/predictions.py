"""Predictions on disk: one row a listing, as CSV, Parquet or JSON Lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError
from headstart.files import write_atomically

if TYPE_CHECKING:
    from typing import BinaryIO

    from headstart.heads.classifier import Classifier

RANKS = ("", "second_", "third_")
SUFFIXES = (".csv", ".parquet", ".jsonl")


def predictions(classifier: Classifier, features: Features) -> pa.Table:
    """One row a listing.

    Columns: ``id``; ``category`` and ``probability``; the same for the ``second_`` and ``third_`` best, where there
    are so many categories; ``read``, what the head could see of the listing: ``text``, ``image``, ``text+image`` or
    ``nothing``, where the category is a guess without any evidence.
    """
    probabilities = classifier.predict_proba(features)
    ranking = np.argsort(-probabilities, axis=1, kind="stable")
    classes = np.array(classifier.classes_, dtype=object)
    rows = np.arange(len(features))
    columns: dict[str, object] = {"id": list(features.ids)}
    for rank, prefix in enumerate(RANKS[: len(classes)]):
        codes = ranking[:, rank]
        columns[f"{prefix}category"] = classes[codes].tolist()
        columns[f"{prefix}probability"] = probabilities[rows, codes].astype(np.float64).round(4)
    kinds = sorted({features.modality[name] for name in classifier.config.encoders}, reverse=True)
    seen = {
        kind: np.any([features.present[n] for n in classifier.config.encoders if features.modality[n] == kind], axis=0)
        for kind in kinds
    }
    columns["read"] = ["+".join(kind for kind in kinds if seen[kind][row]) or "nothing" for row in rows]
    return pa.table(columns)


def write_predictions(classifier: Classifier, features: Features, out: Path | None) -> None:
    """Write `predictions` to a file, by its suffix, or as CSV to stdout where there is none.

    Raises:
        HeadstartError: a suffix that is not known, or a file that cannot be written.
    """
    if out is not None:
        check_out(out)
    table = predictions(classifier, features)
    if out is None:
        sys.stdout.flush()
        _write(table, ".csv", sys.stdout.buffer)
        return
    try:
        write_atomically(out, lambda file: _write(table, out.suffix, file))
    except OSError as error:
        raise HeadstartError(f"{out} cannot be written ({error.strerror}): choose another --out") from None


def check_out(out: Path) -> None:
    """Raise HeadstartError unless predictions can be written to a file of this name."""
    if out.suffix not in SUFFIXES:
        raise HeadstartError(f"{out} has no suffix that is known: end it with one of {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise HeadstartError(
            f"{out} cannot be written, there is no folder {out.parent}: make it, or choose another --out"
        )


def _write(table: pa.Table, suffix: str, file: BinaryIO) -> None:
    if suffix == ".csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(table, file)
    elif suffix == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, file)
    else:
        import json

        for row in table.to_pylist():
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
