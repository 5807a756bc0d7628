"""What an audit takes on many listings, and what decisions on its suspects are worth.

    python benchmarks/audit.py scale [--rows 1000000]
    python benchmarks/audit.py decisions CATALOG --label COLUMN … [--share 0.05] [--seeds 0 1 2 3 4]

`scale` files 5 % of drawn listings (drawn_vectors.py) wrongly, and looks for them: seconds of each step, the peak of
memory (the kernel's, the pages of the memory-mapped vectors among it), and what was found.

`decisions` sets a fold of a catalogue's listings apart, files a share of the others wrongly, audits these alone, and
decides on every suspect by the truth, as a person would who is never wrong. A late fusion learns from the categories as
filed, as decided, and as they were before any flip, and is judged on the fold set apart, whose categories nobody
touched; every fold of every seed. Intervals resample near-duplicate groups. Seeds of flips and folds are those given.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from catalog_options import catalog_parser, source
from drawn_vectors import CATEGORIES, draw_vectors
from headstart.auditing import Looking, Prepared
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.embeddings.features import Features
from headstart.embeddings.neighbours import nearest
from headstart.heads.classifier import Classifier
from headstart.heads.config import HeadConfig
from headstart.heads.nested import Listings
from headstart.heads.opinions import families, opinions
from headstart.heads.splits import repeated_folds
from headstart.labelled import Labelled, labelled
from headstart.reports import wording
from headstart.reports.audit import NEIGHBOURS, Weighed, confident_issues, misfiled, weigh
from headstart.reports.compare import gained
from headstart.reports.flips import flip
from headstart.reports.metrics import GroupBootstrap, accuracy
from headstart.runtime import machine, tensorflow
from headstart.workflow import read_once

FOLDS = 5


def main() -> None:
    """Measure and print."""
    print(machine())
    if sys.argv[1:2] == ["decisions"]:
        parser = catalog_parser(__doc__)
        parser.add_argument("--share", type=float, default=0.05)
        parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
        given = parser.parse_args(sys.argv[2:])
        decisions(labelled(read_once(source(given, ()))), given.share, given.seeds)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["scale", "decisions"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for the vectors (1 GB for a million); else a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        scale(Path(name) / "vectors.npy", given.rows)


def scale(file: Path, rows: int) -> None:
    """Every step of an audit on drawn listings."""
    codes = draw_vectors(file, rows)
    wrong, filed = flip(codes, rows // 20, None, (0,), CATEGORIES)
    vectors = np.load(file, mmap_mode="r")
    there = {"text": np.ones(rows, bool)}
    features = Features([str(row) for row in range(rows)], ["?"] * rows, {"text": vectors}, there, {"text": "text"})
    with step("starting TensorFlow"):
        tensorflow()
    began = time.perf_counter()
    with step("near-duplicate groups"):
        groups = near_duplicate_groups(features.blocks())
    with step("neighbours"):
        near = nearest(features.blocks(), groups, NEIGHBOURS)
    with step("opinions out of fold"):
        listings = Listings(features, filed, CATEGORIES, groups)
        said = opinions(listings, families(features, words=False), repeats=1)
    with step("evidence"):
        found = weigh(filed, groups, said, near)
    with step("confident learning"):
        pruned = confident_issues(filed, said, said.judged)
    with step("estimate"):
        estimate = misfiled(filed, groups, said, said.judged)
    print(f"{rows:,} listings in all: {wording.plain(wording.seconds(time.perf_counter() - began))}")
    from sklearn.metrics import roc_auc_score

    mask = np.isin(np.arange(rows), wrong)
    suspects = found.ranked()
    print(f"flipped {len(wrong):,}; estimate {wording.plain(wording.number_of(estimate))}")
    for name, chosen in (("suspects", suspects), ("pruned by confident learning", np.flatnonzero(pruned))):
        hit = mask[chosen]
        print(f"{len(chosen):,} {name}: {hit.mean():.3f} of them flipped, {hit.sum() / len(wrong):.3f} of the flipped")
    print(f"AUROC {roc_auc_score(mask, found.score):.4f}")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tell how long a step took and the most memory so far."""
    began = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = wording.plain(wording.seconds(time.perf_counter() - began))
    print(f"{name:24} {seconds:>14}   peak {wording.plain(wording.gigabytes(peak))}", flush=True)


def decisions(found: Labelled, share: float, seeds: list[int]) -> None:
    """Accuracy on untouched categories, having learnt from others as filed, as decided, and as they were."""
    listings = found.listings
    truth, groups = listings.codes, listings.groups
    right = {name: np.zeros((len(seeds), len(truth)), bool) for name in ("as filed", "as decided", "never flipped")}
    met, flipped, missed = 0, 0, 0
    for number, seed in enumerate(seeds):
        for place, fold in enumerate(repeated_folds(truth, groups, FOLDS, 1, seed)):
            side = fold.side
            some, own = _part(listings, side), truth[side]
            wrong, filed = flip(own, round(share * len(side)), None, (seed, place), listings.classes)
            weighed = _look(found, some, filed, seed)
            decided = filed.copy()
            suspects = weighed.ranked()
            decided[suspects] = own[suspects]
            met, flipped = met + len(suspects), flipped + len(wrong)
            missed += int((decided != own).sum())
            for name, codes in (("as filed", filed), ("as decided", decided), ("never flipped", own)):
                right[name][number, fold.test] = _learn(listings, side, codes, fold.test, seed)
    print(f"{flipped:,} flips over all folds: {flipped - missed:,} corrected by {met:,} decisions")
    bootstrap = GroupBootstrap(groups, 2000, 0)
    for name, each in right.items():
        print(f"{name:14} {wording.plain(wording.estimate(accuracy(each, bootstrap)))}")
    for name, other in (("as decided", "as filed"), ("never flipped", "as decided")):
        gain = gained(right[name], right[other], bootstrap)
        print(f"{name} against {other}: {wording.plain(f'{wording.points(gain.mean)} ({wording.ends(gain)})')}")


def _part(listings: Listings, rows: np.ndarray) -> Listings:
    texts = listings.texts and [listings.texts[row] for row in rows.tolist()]
    groups = np.unique(listings.groups[rows], return_inverse=True)[1]
    return replace(
        listings,
        features=listings.features.take(rows),
        codes=listings.codes[rows],
        groups=groups,
        texts=texts,
        learnt=None,
    )


def _look(found: Labelled, some: Listings, filed: np.ndarray, seed: int) -> Weighed:
    near = nearest(some.features.blocks(), some.groups, NEIGHBOURS)
    nobody = np.zeros(len(filed), bool)
    return Prepared(replace(found, listings=some), near, nobody, Looking(seed=seed)).look(filed)[1]


def _learn(listings: Listings, side: np.ndarray, codes: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """What a late fusion gets right of the test rows."""
    names, texts = tuple(listings.features.vectors), listings.texts or []
    classifier = Classifier.of(HeadConfig(names, fusion="late", words=True), seed)
    classifier.fit(listings.features.take(side), codes, listings.groups[side], [texts[row] for row in side.tolist()])
    said = classifier.predict(listings.features.take(test), [texts[row] for row in test.tolist()])
    return np.asarray(said == listings.codes[test])


if __name__ == "__main__":
    main()
