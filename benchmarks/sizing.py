"""How many cores, how much memory, disk and network for so many listings a day: the tables of docs/sizing.md.

    python benchmarks/sizing.py [--figures FILE] [--write docs/sizing.md]

Nothing is measured here. What was measured, and what is assumed, stands in `Figures`; a JSON file with any of its names
replaces those, so that the tables can be had for another machine.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil, inf
from pathlib import Path

KINDS = ("text", "photo", "both")
DAYS = (1_000_000, 100_000_000)
"""Listings a day that the tables are for."""
MARK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


@dataclass(frozen=True)
class Figures:
    """What the tables are worked from. The first block is measured: put a machine's own figures there."""

    # Measured, on two cores of an AMD EPYC without AVX-512, by serve.py with 32 clients on the same cores.
    cores: int = 2
    api_text: float = 134
    """Requests a second that the API answers, of one listing each, with a text."""
    api_photo: float = 60
    """With a photo."""
    api_both: float = 39
    """With both."""
    batch_text: float = 181
    """Listings a second of `headstart predict`."""
    batch_photo: float = 56
    batch_both: float = 43
    decoded: float = 175
    """Photos a second that one core decodes."""
    worker_mb: float = 1210
    front_mb: float = 138
    text_bytes: float = 507
    """Of a listing, on average: Flipkart's."""
    photo_bytes: float = 150_568
    text_dim: int = 512
    photo_dim: int = 1280

    # Known.
    row_bytes: int = 24
    """Key and check beside each vector."""
    base64: float = 4 / 3

    # Assumed.
    peak: float = 4
    """The busiest minute's listings, as a multiple of the day's mean."""
    busy: float = 0.6
    """Share of the processors that is used then: what is left keeps waiting short."""
    spare: int = 1
    """Replicas that may be away: one being rolled out, or lost."""
    replica_cores: int = 2
    new: float = 0.1
    """Share of a catalogue judged again whose text or photo was not read before."""
    gpu_price: float = 18
    """What an hour of a GPU costs, in hours of a core."""
    gpu_photos: float = 1500
    """Photos a second that the GPU encodes once they are decoded."""


Table = Callable[[Figures], list[str]]


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def said(value: float) -> str:
    """A number as one reads it: whole from ten on."""
    return f"{value:,.0f}" if isinstance(value, int) or value >= 9.95 else f"{value:.1f}"


def per_core(figures: Figures, way: str, kind: str) -> float:
    """Listings a second of one core."""
    return float(getattr(figures, f"{way}_{kind}")) / figures.cores


def cores_at_peak(figures: Figures, day: int, kind: str) -> float:
    """Of the API, that the busiest minute wants."""
    return day / 86_400 * figures.peak / per_core(figures, "api", kind) / figures.busy


def replicas(figures: Figures, day: int, kind: str) -> int:
    """Of the API, with the spare ones."""
    return ceil(cores_at_peak(figures, day, kind) / figures.replica_cores) + figures.spare


def throughput(figures: Figures) -> list[str]:
    """Listings a second of one core."""
    head = ("", "text", "photo", "both")
    ways = (("API", "api"), ("`headstart predict`", "batch"))
    return rows(head, ((name, *(said(per_core(figures, way, kind)) for kind in KINDS)) for name, way in ways))


def assumed(figures: Figures) -> list[str]:
    """What nobody measured."""
    body = (
        ("the busiest minute, as a multiple of the day's mean", f"{figures.peak:g}"),
        ("share of the processors used then; what is left keeps waiting short", f"{figures.busy:.0%}"),
        ("cores of a replica, which has one worker", f"{figures.replica_cores}"),
        ("replicas that may be away, being rolled out or lost", f"{figures.spare}"),
        ("a catalogue's listings with a new text or photo, when it is judged again", f"{figures.new:.0%}"),
        ("price of an hour of a GPU, in hours of a core", f"{figures.gpu_price:g}"),
        ("photos a second that the GPU encodes once they are decoded", f"{figures.gpu_photos:,.0f}"),
    )
    return rows(("assumed", ""), body)


def api(figures: Figures) -> list[str]:
    """Replicas of the API."""
    head = ("listings a day", "of which", "mean, a second", "peak", "cores at peak", "replicas", "memory, GB")
    replica_gb = (figures.worker_mb + figures.front_mb) / 1000
    body = []
    for day in DAYS:
        for kind in KINDS:
            mean, wanted = day / 86_400, replicas(figures, day, kind)
            needed = cores_at_peak(figures, day, kind)
            numbers = map(said, (mean, mean * figures.peak, needed, wanted, wanted * replica_gb))
            body.append((f"{day:,}", kind, *numbers))
    return rows(head, body)


def batch(figures: Figures) -> list[str]:
    """Core hours of a day."""
    head = ("listings a day", "of which", "API, core hours", "`predict`, core hours", f"… {figures.new:.0%} new")
    body = []
    for day in DAYS:
        for kind in KINDS:
            held = replicas(figures, day, kind) * figures.replica_cores * 24
            read = day / per_core(figures, "batch", kind) / 3600
            body.append((f"{day:,}", kind, *map(said, (held, read, read * figures.new))))
    return rows(head, body)


def saved_by_gpu(figures: Figures) -> float:
    """Core seconds that a photo no longer takes when a GPU encodes it; decoding stays."""
    return 1 / per_core(figures, "api", "photo") - 1 / figures.decoded


def crossover(figures: Figures) -> float:
    """Photos a second, as a mean of the hours that the GPU is paid for, from which it is cheaper; or infinity."""
    most = saved_by_gpu(figures) * figures.gpu_photos
    return figures.gpu_photos * figures.gpu_price / most if most >= figures.gpu_price else inf


def gpu(figures: Figures) -> list[str]:
    """What encoding photos costs, in cores."""
    head = ("photos a second", "photos a day", "processors alone", "GPUs", "with GPUs: decoding + GPUs", "cheaper")
    body = []
    equal = crossover(figures)
    for rate in sorted({50, 200, 500, equal, 1000, 1500, 5000} - {inf}):
        alone, decoding = rate / per_core(figures, "api", "photo"), rate / figures.decoded
        gpus = max(1, ceil(rate / figures.gpu_photos))
        together = decoding + gpus * figures.gpu_price
        cheaper = "equal" if rate == equal else "GPU" if together < alone else "processors"
        told = f"{said(decoding)} + {said(gpus * figures.gpu_price)} = {said(together)}"
        body.append((said(rate), f"{rate * 86_400 / 1e6:,.0f} million", said(alone), f"{gpus}", told, cheaper))
    return rows(head, body)


def storage(figures: Figures) -> list[str]:
    """Bytes of the kept vectors."""
    each = {
        "text": 2 * figures.text_dim + figures.row_bytes,
        "photo": 2 * figures.photo_dim + figures.row_bytes,
    }
    each["both"] = each["text"] + each["photo"]
    head = ("", "bytes a listing", *(f"{day:,} listings, GB" for day in DAYS))
    return rows(head, ((kind, f"{size:,}", *(said(day * size / 1e9) for day in DAYS)) for kind, size in each.items()))


def network(figures: Figures) -> list[str]:
    """What comes in at the proxy."""
    photo = figures.photo_bytes * figures.base64
    each = {"text": figures.text_bytes, "photo": photo, "both": figures.text_bytes + photo}
    head = ("", "kB a listing", *(f"{day:,} a day: GB a day, Mbit/s at peak" for day in DAYS))
    body = []
    for kind, size in each.items():
        told = [f"{said(day * size / 1e9)}, {said(day / 86_400 * figures.peak * size * 8 / 1e6)}" for day in DAYS]
        body.append((kind, said(size / 1e3), *told))
    return rows(head, body)


TABLES: dict[str, Table] = {each.__name__: each for each in (throughput, assumed, api, batch, gpu, storage, network)}


def rewritten(page: str, figures: Figures) -> str:
    """The page with each table, between its marks, as the figures have it."""
    return MARK.sub(lambda found: found[1] + "\n".join(TABLES[found[2]](figures)) + "\n" + found[3], page)


def given_figures(file: Path | None) -> Figures:
    """The figures, some of them replaced by a JSON file's."""
    given = json.loads(file.read_text()) if file else {}
    if unknown := sorted(set(given) - {each.name for each in fields(Figures)}):
        raise SystemExit(f"{file} names no figure with {', '.join(unknown)}: see Figures in {Path(__file__).name}")
    return replace(Figures(), **given)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, help="a JSON object with figures of your own")
    parser.add_argument("--write", type=Path, help="put the tables into this page instead of printing them")
    given = parser.parse_args()
    figures = given_figures(given.figures)
    if given.write:
        given.write.write_text(rewritten(given.write.read_text(), figures))
        return
    for name, table in TABLES.items():
        print(f"{name}:", *table(figures), "", sep="\n")


if __name__ == "__main__":
    main()
