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

import pyarrow as pa

from headstart.answers import answer
from headstart.embeddings.features import Features
from headstart.errors import HeadstartError
from headstart.files import write_atomically
from headstart.heads.calibration import ACCEPT, ALL, PERSON, RARE, SUGGEST, Rules
from headstart.progress import progress, say
from headstart.reports import wording

if TYPE_CHECKING:
    from typing import BinaryIO

    from headstart.heads.classifier import Classifier

PREFIXES = ("", "second_", "third_")
SUFFIXES = (".csv", ".parquet", ".jsonl")
BATCH = 16_384
"""Listings in memory at a time, of however many."""


def predictions(
    classifier: Classifier,
    parts: Iterable[Features],
    rules: Rules | None = None,
    texts: Iterable[str | None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """One row a listing, a batch for each part.

    Columns:

    * ``id``; ``category`` and ``probability`` of the most probable one;
    * ``decision``: ``accept``, ``suggest`` or ``person``; and ``suggested``: for ``suggest`` the categories to choose
      from, the most probable first, joined by ``" | "``. Not there without rules;
    * ``category`` and ``probability`` of the ``second_`` and ``third_`` best, where there are so many;
    * ``read``, what could be seen of the listing: ``text``, ``image``, ``text+image`` or ``nothing``, where the
      category is a guess without any evidence.

    Args:
        classifier: fitted or loaded.
        parts: the listings, some at a time: `Read.parts`.
        rules: what decides, from `Classifier.rules`.
        texts: of each listing, where words are a member of the classifier; asked for in order, part by part.

    Raises:
        ModelError: what `Classifier.predict_proba` refuses.
    """
    given = iter(texts) if texts is not None else None
    for part in parts:
        said = list(islice(given, len(part))) if given is not None else None
        found = answer(classifier, part, rules, said)
        columns: dict[str, pa.Array] = {"id": pa.array(list(part.ids), pa.string())}
        for rank, prefix in enumerate(PREFIXES[: found.top.shape[1]]):
            columns[f"{prefix}category"] = pa.array(found.top[:, rank], pa.string())
            columns[f"{prefix}probability"] = pa.array(found.top_probability[:, rank].round(4), pa.float64())
            if rank == 0 and found.decision is not None:
                columns["decision"] = pa.array(found.decision.tolist(), pa.string())
                columns["suggested"] = pa.array(found.suggested, pa.string())
        columns["read"] = pa.array(found.read, pa.string())
        yield pa.record_batch(columns)


def write_predictions(
    classifier: Classifier,
    parts: Iterable[Features],
    out: Path | None,
    error_rate: float = 0.02,
    coverage: float = 0.95,
    texts: Iterable[str | None] | None = None,
    rows: int | None = None,
) -> None:
    """Write `predictions` to a file, by its suffix, or as CSV to stdout where there is none.

    Args:
        classifier: fitted or loaded.
        parts: the listings, some at a time; at least one part.
        out: the file, or None.
        error_rate: of `Classifier.rules`, as the next is.
        coverage: the same.
        texts: as in `predictions`.
        rows: how many listings they are in all, if that is known, for the progress bar.

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
    classified = 0

    def write(file: BinaryIO) -> None:
        nonlocal classified
        batches = predictions(classifier, parts, rules, texts)
        first = next(batches)
        add_to = rows_writer(".csv" if out is None else out.suffix, file, first.schema)
        with add_to as add, progress("classifying", rows) as advance:
            for batch in chain([first], batches):
                add(batch)
                advance(len(batch))
                classified += len(batch)
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
    say(f"{classified:,} listings classified{told and ': '}{told}")


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
