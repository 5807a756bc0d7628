"""What a million listings would take on the machine that judged these."""

from __future__ import annotations

from headstart.reports import wording
from headstart.reports.result import BenchmarkResult, CatalogFigures, FineTuned, Seconds
from headstart.reports.tables import NONE, Table, by_accuracy

MILLION = 1_000_000


def per_million(seconds: Seconds, catalog: CatalogFigures) -> Seconds:
    """Seconds to encode and to classify a million such listings; to train is told as it was measured.

    The first two grow with the listings: all that were read, and those that were judged. A copy of a text or a photo is
    read once, so a catalogue with fewer copies takes longer. Training goes with the listings that have a label, which
    stay as many.
    """
    return Seconds(MILLION * seconds.encode / catalog.rows, seconds.train, MILLION * seconds.predict / catalog.judged)


def table(result: BenchmarkResult) -> Table:
    """Machine time of each approach for a million listings, frozen and, where it was tried, fine-tuned."""
    found = [(a.title, per_million(a.seconds, result.catalog)) for a in by_accuracy(result)]
    if result.tuning:
        found += [(f"{each.title}, fine-tuned", _tuned(each, result.catalog)) for each in result.tuning.approaches]
    return Table(
        ("Approach", "Encode, once", "Predict", "Both, in hours", f"Train, on {wording.count(result.catalog.judged)}"),
        tuple(
            (
                title,
                wording.seconds(each.encode) if each.encode else NONE,
                wording.seconds(each.predict),
                wording.hours(each.encode + each.predict),
                wording.seconds(each.train),
            )
            for title, each in found
        ),
    )


def _tuned(each: FineTuned, catalog: CatalogFigures) -> Seconds:
    """What fine-tuning adds to encode, the activations of the layers that stay frozen, is of the judged alone."""
    frozen = per_million(each.frozen_seconds, catalog)
    added = MILLION * (each.seconds.encode - each.frozen_seconds.encode) / catalog.judged
    return Seconds(frozen.encode + added, each.seconds.train, MILLION * each.seconds.predict / catalog.judged)
