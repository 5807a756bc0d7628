"""Is anything lost or done twice when an extraction is killed? It is killed at random moments, and resumed.

    python benchmarks/faults.py --kills 25 --worker-kills 10 --parent-kills 5
    python benchmarks/faults.py listings.csv --text title --image photo --images photos/

Each kill has a store of its own: `headstart extract` starts from nothing, SIGKILL comes at a moment drawn from the
duration of an undisturbed run (one in five while the networks start, the others while they encode), and the same
command runs again. Killed are the process that encodes; one of two loky workers while their parent lives; and the
parent of two workers, which must then end as well. Then the store must be sound, lack no vector, agree with the
undisturbed run's to 1e-3, and hold no vector twice. A worker that dies takes the other one with it: what is lost then,
and what any kill can cost, are the parts in flight, one being encoded and one being written for each worker. Needs
Linux's /proc. Exit 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from headstart.embeddings.features import Features, open_features
from headstart.embeddings.listings import Listings, listings_path
from headstart.embeddings.store import stores
from headstart.embeddings.upkeep import verify
from headstart.runtime import machine

FLIPKART = Path(__file__).resolve().parents[2] / "shared" / "flipkart"
TOLERANCE = 1e-3
PATIENCE = 10.0
"""Seconds that the workers of a killed parent have to end."""


@dataclass
class Outcome:
    """One kill and what became of it; a line of the table."""

    killed: str
    at: str
    kept: int
    """Vectors in the store when it was killed."""
    resumed: int
    """Vectors made after that: by the resumed run, or by the other workers and the resumed run."""
    twice: int
    """Vectors in the store beyond the distinct contents."""
    lacking: int
    problems: int
    left: int
    """Files of killed runs that are still there."""
    largest: float
    """Difference to the undisturbed run's vectors."""
    orphans: float
    """Seconds that processes outlived the one that was killed; 0 where it was a worker."""

    @property
    def well(self) -> bool:
        faults = self.twice or self.lacking or self.problems or self.left
        return not faults and self.largest <= TOLERANCE and self.orphans <= PATIENCE


def main() -> None:
    """Kill, resume, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path, nargs="?", help="default: the Flipkart sample beside the repository")
    parser.add_argument("--kills", type=int, default=25, help="of the process that encodes")
    parser.add_argument("--worker-kills", type=int, default=10, help="of one of two workers")
    parser.add_argument("--parent-kills", type=int, default=5, help="of the parent of two workers")
    parser.add_argument("--seed", type=int, default=0)
    given, options = parser.parse_known_args()
    if given.catalog is None:
        given.catalog = FLIPKART / "flipkart_com-ecommerce_sample.csv"
        options += ["--id", "uniq_id", "--text", "product_name", "--text", "description", "--image", "image"]
        options += ["--images", str(FLIPKART / "images")]
    if not given.catalog.is_file():
        print(f"skipped: there is no {given.catalog}")
        return
    extraction = [
        sys.executable,
        "-c",
        "from headstart.cli import main; main()",
        "extract",
        str(given.catalog),
        *options,
    ]
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [
            outcome
            for what, kills, words in (
                ("process", given.kills, []),
                ("worker", given.worker_kills, ["--workers", "2"]),
                ("parent", given.parent_kills, ["--workers", "2"]),
            )
            if kills
            for outcome in killed(what, kills, [*extraction, *words], given.catalog, Path(folder) / what, draw)
        ]
    print(f"\n{machine()}; {given.catalog.name}, seed {given.seed}\n")
    print_table(outcomes)
    wrong = sum(not outcome.well for outcome in outcomes)
    print(f"\n{len(outcomes)} kills, {wrong} went wrong")
    sys.exit(bool(wrong))


def killed(
    what: str, kills: int, command: list[str], catalog: Path, folder: Path, draw: random.Random
) -> Iterator[Outcome]:
    """Kill as many runs at moments drawn from an undisturbed one, each with a store of its own."""
    undisturbed, began = folder / "undisturbed", time.time()
    subprocess.run([*command, "--store", str(undisturbed)], check=True, stderr=subprocess.DEVNULL)
    duration = time.time() - began
    parts = [receipt for store in stores(undisturbed) for receipt in store.receipts]
    first = min(path.stat().st_mtime for store in stores(undisturbed) for path in store.receipt_paths()) - began
    wanted = lined_up(undisturbed, catalog)
    print(
        f"{what}: undisturbed {duration:.1f} s, the first part kept after {first:.1f} s; "
        f"{sum(map(len, stores(undisturbed))):,} vectors in {len(parts)} parts of at most "
        f"{max(receipt.rows for receipt in parts)}",
        flush=True,
    )
    done = 0
    while done < kills:
        moment = draw.uniform(0.1, first) if done % 5 == 0 else draw.uniform(first, duration)
        root = folder / "killed"
        outcome = kill_and_resume(what, moment, [*command, "--store", str(root)], root, catalog, wanted)
        shutil.rmtree(root, ignore_errors=True)
        if outcome:
            done += 1
            print(f"  {done:2}/{kills}", "well" if outcome.well else "WRONG", *astuple(outcome)[1:], flush=True)
            yield outcome


def kill_and_resume(
    what: str, moment: float, command: list[str], root: Path, catalog: Path, wanted: Features
) -> Outcome | None:
    """Run, kill after so many seconds, resume and compare; None where there was nothing to kill at that moment."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(moment)
    victims = group(process.pid, lambda words: "LokyProcess" in words) if what == "worker" else [process.pid]
    if process.poll() is not None or not victims:
        process.wait()
        return None
    at = f"{time.perf_counter() - started:.1f} s"
    os.kill(victims[0], signal.SIGKILL)
    kept = sum(map(len, stores(root)))
    died = time.perf_counter()
    process.wait()
    orphans = 0.0
    if what != "worker":
        while group(process.pid) and time.perf_counter() - died < 6 * PATIENCE:
            time.sleep(0.05)
        orphans = round(time.perf_counter() - died, 1)
    elif process.returncode:
        raise SystemExit(f"the parent of a killed worker ended with {process.returncode}")
    told = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    resumed = sum(int(count.replace(",", "")) for count in re.findall(r": ([\d,]+) of [\d,]+ distinct", told))

    found = list(stores(root))
    distinct = sum(len(np.unique(np.concatenate([part.keys for part in s.parts], axis=1), axis=1).T) for s in found)
    vectors = sum(map(len, found))
    features = lined_up(root, catalog)
    same = features.ids == wanted.ids
    lacking = sum(int((wanted.present[name] & ~features.present[name]).sum()) for name in wanted.present)
    return Outcome(
        what,
        at,
        kept,
        vectors - kept if what == "worker" else resumed,  # the parent of a killed worker does it
        vectors - distinct,
        lacking if same else len(wanted),
        sum(len(verify(store)) for store in found),
        sum(path.name.endswith((".tmp", ".plan.arrow")) for path in root.rglob("*")),
        max(float(np.abs(features.vectors[n] - wanted.vectors[n].astype(np.float32)).max()) for n in wanted.vectors),
        orphans,
    )


def lined_up(root: Path, catalog: Path) -> Features:
    """Every encoder's kept vectors of the catalogue."""
    return open_features(Listings(listings_path(root, catalog)), stores(root))


def group(leader: int, which: Callable[[str], bool] = lambda words: True) -> list[int]:
    """The living processes of a process group, by their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if int(its_group) == leader and state != "Z" and which(words):
            found.append(int(folder.name))
    return sorted(found)


def print_table(outcomes: list[Outcome]) -> None:
    """All kills as a Markdown table."""
    print(f"| {' | '.join(field.name for field in fields(Outcome))} |\n|{'---|' * len(fields(Outcome))}")
    for outcome in outcomes:
        cells = [f"{cell:.2g}" if isinstance(cell, float) else str(cell) for cell in astuple(outcome)]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
