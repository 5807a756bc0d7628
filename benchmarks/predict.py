"""`headstart predict` on catalogues of any size: what a listing costs, and what memory does as they grow.

    python benchmarks/predict.py [--rows 20000 400000] [--workers 1] [--folder FOLDER]

A small classifier learns from 600 drawn listings of eight categories (`lexical-hash` and the TF-IDF words). It then
names catalogues of short drawn texts, each text once, into a Parquet file: first into an empty store, so that all is
encoded; then again, with all vectors kept; then the kept ones in one part, with one `predict_proba` for the whole
catalogue, the way of any loop that does not stream, whose file must be the same. The folder needs 5 KB a listing; all
is deleted at the end. Every run is a process of its own; its seconds hold all but the start of Python: TensorFlow, too.
Memory is what that process had allocated at most (the kernel's RssAnon, 50 looks a second; workers are others), and the
growth of a listing that of the largest catalogue over the smallest, by their difference in rows.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
from million import fresh

from headstart import modelling
from headstart.catalog import Columns
from headstart.extract.backends import Workers
from headstart.memory import Peak
from headstart.runtime import machine
from headstart.workflow import Request, Source, read_once

ENCODER = "lexical-hash"
LEARNT = 600
COLUMNS = {"text": ["text"]}
CATEGORIES = {
    "Montres": "montre quartz cadran bracelet acier étanche chronographe aiguille",
    "Linge": "drap housse couette taie coton percale éponge serviette",
    "Jouets": "puzzle peluche poupée cubes hochet toupie figurine dînette",
    "Bijoux": "bague collier pendentif boucles argent plaqué perle jonc",
    "Vélos": "vélo cadre pédalier guidon selle dérailleur fourche pneu",
    "Tapis": "tapis laine berbère franges tissé runner sisal jute",
    "Lampes": "lampe abat-jour ampoule applique suspension lampadaire halogène veilleuse",
    "Cuisine": "poêle casserole couteau spatule wok moule passoire louche",
}


@dataclass
class Outcome:
    """Of one run."""

    seconds: float
    memory: float
    """MB."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 400_000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for catalogues and stores; else a temporary one")
    given = parser.parse_args()
    print(machine())
    runs: dict[str, dict[int, Outcome]] = {"encoding": {}, "kept": {}, "kept, in one part": {}}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        draw(folder / "learnt.csv", LEARNT, seed=0)
        fresh(learn, folder)
        for rows in given.rows:
            draw(folder / "new.csv", rows, seed=1)
            store = folder / f"store-{rows}"
            runs["encoding"][rows] = fresh(streamed, folder, store, folder / "first.parquet", given.workers)
            runs["kept"][rows] = fresh(streamed, folder, store, folder / "again.parquet", given.workers)
            runs["kept, in one part"][rows] = fresh(at_once, folder, store, folder / "whole.parquet")
            for kind, found in runs.items():
                told(f"{rows:,} listings, {kind}", rows, found[rows])
            ratio = runs["kept, in one part"][rows].seconds / runs["kept"][rows].seconds
            print(f"{rows:,} listings: streamed is {ratio:.2f} × as fast as in one part; {same(folder)}")
    least, most = min(given.rows), max(given.rows)
    for kind, found in runs.items() if least < most else ():
        growth = 1e6 * (found[most].memory - found[least].memory) / (most - least)
        seconds = 1e6 * (found[most].seconds - found[least].seconds) / (most - least)
        print(f"{kind}: a listing more takes {growth:,.0f} bytes of memory and {seconds:.0f} µs")


def told(what: str, rows: int, outcome: Outcome) -> None:
    """Print a line."""
    rate = rows / outcome.seconds
    print(f"{what}: {outcome.seconds:.1f} s, {rate:,.0f} listings/s, peak memory {outcome.memory:,.0f} MB")


def learn(folder: Path) -> None:
    """Train the classifier and save it."""
    columns = Columns(text=("text",), label="label")
    source = Source(folder / "learnt.csv", columns, store=folder / "store-learnt", encoders=(ENCODER,))
    modelling.train(read_once(source), None, {}, 0.2, 0, folder / "model", 0.02)


def streamed(folder: Path, store: Path, out: Path, workers: int) -> Outcome:
    """As `headstart predict` does it."""
    started = time.perf_counter()
    with Peak() as peak:
        from headstart.heads.classifier import Classifier

        request = Request(folder / "new.csv", store, COLUMNS)
        modelling.predict(Classifier.load(folder / "model"), request, out, 0.02, 0.95, Workers(workers))
    return Outcome(time.perf_counter() - started, peak.bytes / 1e6)


def at_once(folder: Path, store: Path, out: Path) -> Outcome:
    """All listings in one part."""
    started = time.perf_counter()
    with Peak() as peak:
        from headstart.heads.classifier import Classifier
        from headstart.predictions import write_predictions

        classifier = Classifier.load(folder / "model")
        read = read_once(Source(folder / "new.csv", Columns(text=("text",)), store=store, encoders=(ENCODER,)))
        write_predictions(classifier, [read.features], out, texts=read.texts())
    return Outcome(time.perf_counter() - started, peak.bytes / 1e6)


def same(folder: Path) -> str:
    """What of the three files differs."""
    first, *others = (pyarrow.parquet.read_table(folder / f"{name}.parquet") for name in ("first", "again", "whole"))
    return "the files are the same" if all(first.equals(other) for other in others) else "THE FILES DIFFER"


def draw(path: Path, rows: int, seed: int) -> None:
    """A catalogue of that many short texts, numbered, most words of each from its category."""
    draws, everything = random.Random(seed), " ".join(CATEGORIES.values()).split()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        for row in range(rows):
            label, words = draws.choice(list(CATEGORIES.items()))
            text = " ".join(draws.choices(words.split(), k=2) + draws.choices(everything, k=4))
            writer.writerow([f"s{row}", f"{text} {row}", label])


if __name__ == "__main__":
    main()
