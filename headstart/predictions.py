"""Predictions on disk: one row a listing, as CSV, Parquet or JSON Lines, written batch by batch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError
from headstart.files import write_atomically
from headstart.heads.calibration import ACCEPT, ALL, PERSON, RARE, SEPARATOR, SUGGEST, Rules
from headstart.progress import progress, say
from headstart.reports import wording

if TYPE_CHECKING:
    from typing import BinaryIO

    from headstart.heads.classifier import Classifier

RANKS = ("", "second_", "third_")
SUFFIXES = (".csv", ".parquet", ".jsonl")
BATCH = 16_384
"""Listings in memory at a time."""


def predictions(
    classifier: Classifier,
    features: Features,
    rules: Rules | None = None,
    texts: Iterable[str | None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """One row a listing, `BATCH` of them at a time; at least one batch.

    Columns:

    * ``id``; ``category`` and ``probability`` of the most probable one;
    * ``decision``: ``accept``, ``suggest`` or ``person``; and ``suggested``: for ``suggest`` the categories to choose
      from, the most probable first, joined by ``" | "``. Not there without rules;
    * ``category`` and ``probability`` of the ``second_`` and ``third_`` best, where there are so many;
    * ``read``, what could be seen of the listing: ``text``, ``image``, ``text+image`` or ``nothing``, where the
      category is a guess without any evidence.

    Args:
        classifier: fitted or loaded.
        features: n listings.
        rules: what decides, from `Classifier.rules`.
        texts: of each listing, where words are a member of the classifier; asked for in order.

    Raises:
        ModelError: what `Classifier.predict_proba` refuses.
    """
    from headstart.heads.members import evidence, members_of

    names = np.array([str(label) for label in classifier.classes_.tolist()], dtype=object)
    given = iter(texts) if texts is not None else None
    for start in range(0, max(1, len(features)), BATCH):
        rows = np.arange(start, min(start + BATCH, len(features)))
        part = features.take(rows) if len(rows) < len(features) else features
        said = list(islice(given, len(rows))) if given is not None else None
        probabilities = classifier.predict_proba(part, said)
        there, has = evidence(part, members_of(classifier.config_), said)
        ranking = np.argsort(-probabilities, axis=1, kind="stable")
        every = np.arange(len(rows))
        columns: dict[str, pa.Array] = {"id": pa.array(list(part.ids), pa.string())}
        for rank, prefix in enumerate(RANKS[: len(names)]):
            codes = ranking[:, rank]
            columns[f"{prefix}category"] = pa.array(names[codes], pa.string())
            shown = probabilities[every, codes].astype(np.float64).round(4)
            columns[f"{prefix}probability"] = pa.array(shown, pa.float64())
            if rank == 0 and rules is not None:
                found = rules.decide(probabilities, np.any(there, axis=0))
                suggested = [""] * len(rows)
                for row in np.flatnonzero(found.action == "suggest").tolist():
                    best = ranking[row]
                    suggested[row] = SEPARATOR.join(names[best[found.sets[row, best]]])
                columns["decision"] = pa.array(found.action.tolist(), pa.string())
                columns["suggested"] = pa.array(suggested, pa.string())
        kinds = sorted(has, reverse=True)
        read = ["+".join(kind for kind in kinds if has[kind][row]) or "nothing" for row in every]
        columns["read"] = pa.array(read, pa.string())
        yield pa.record_batch(columns)


def write_predictions(
    classifier: Classifier,
    features: Features,
    out: Path | None,
    error_rate: float = 0.02,
    coverage: float = 0.95,
    texts: Iterable[str | None] | None = None,
) -> None:
    """Write `predictions` to a file, by its suffix, or as CSV to stdout where there is none.

    Raises:
        HeadstartError: a suffix that is not known, or a file that cannot be written.
    """
    if out is not None:
        check_out(out)
    rules = None
    if classifier.calibration_ is None:
        say("the classifier learnt from too few listings to know its errors: no decision is given")
    else:
        rules = classifier.rules(error_rate, coverage)
        _say_what_holds(classifier, rules, error_rate, coverage)
    decided: Counter[str] = Counter()

    def write(file: BinaryIO) -> None:
        batches = predictions(classifier, features, rules, texts)
        first = next(batches)
        add_to = rows_writer(".csv" if out is None else out.suffix, file, first.schema)
        with add_to as add, progress("classifying", len(features)) as advance:
            for batch in chain([first], batches):
                add(batch)
                advance(len(batch))
                if "decision" in batch.schema.names:
                    decided.update(batch.column("decision").to_pylist())

    if out is None:
        sys.stdout.flush()
        write(sys.stdout.buffer)
    else:
        try:
            write_atomically(out, write)
        except OSError as error:
            raise HeadstartError(f"{out} cannot be written ({error.strerror}): choose another --out") from None
    told = ", ".join(f"{action} {decided[action]:,}" for action in (ACCEPT, SUGGEST, PERSON) if decided)
    say(f"{len(features):,} listings classified{told and ': '}{told}")


def _say_what_holds(classifier: Classifier, rules: Rules, error_rate: float, coverage: float) -> None:
    rate, share = (wording.plain(wording.asked(each)) for each in (error_rate, coverage))
    if rules.accept_from is None and classifier.calibration_ is not None:
        least = wording.plain(wording.percent(classifier.calibration_.lowest_rate))
        say(f"nothing can be accepted at an error rate of {rate}: of the listings held back, it takes {least} or more")
    for promise, told in ((RARE, "on average over these alone"), (ALL, "over all listings, not in these")):
        if few := [str(name) for name in classifier.classes_[rules.conformal.promised == promise]]:
            say(
                f"too few listings seen of {wording.listed(few, 5)}: sets hold the right one {share} of the time {told}"
            )


def check_out(out: Path) -> None:
    """Raise HeadstartError unless rows can be written to a file of this name."""
    if out.suffix not in SUFFIXES:
        raise HeadstartError(f"{out} has no suffix that is known: end it with one of {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise HeadstartError(
            f"{out} cannot be written, there is no folder {out.parent}: make it, or choose another --out"
        )


@contextmanager
def rows_writer(suffix: str, file: BinaryIO, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], object]]:
    """What adds a batch to a file of this kind."""
    if suffix == ".csv":
        import pyarrow.csv

        with pyarrow.csv.CSVWriter(file, schema) as csv:
            yield csv.write_batch
    elif suffix == ".parquet":
        import pyarrow.parquet

        with pyarrow.parquet.ParquetWriter(file, schema) as parquet:
            yield parquet.write_batch
    else:
        yield lambda batch: file.writelines(
            (json.dumps(row, ensure_ascii=False) + "\n").encode() for row in batch.to_pylist()
        )
