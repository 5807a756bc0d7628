"""What each choice of encoders is worth on one catalogue: accuracy on the same folds, and items a second.

    python benchmarks/choices.py listings.csv --text title --image photo --images photos/ --label category \\
        --set use-multilingual-v3 --set use-multilingual-v3+lexical-hash --set control

A set is one encoder, several joined by "+" that a head sees side by side, or the TF-IDF control. Near-duplicates are
found by the first set alone or by ``--groups``, so that every choice is judged on the same folds of the same listings.
Printed is a Markdown table: accuracy with its 95 % interval, the difference to the first set with the verdict of a
paired comparison (Holm's rule over all of them), and the rate at which this machine made the vectors, by the receipts.
"""

from __future__ import annotations

import numpy as np

from catalog_options import catalog_parser, source
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.control import control_fold
from headstart.heads.splits import Fold, judgeable, repeated_folds
from headstart.reports import wording
from headstart.reports.compare import compare_all
from headstart.reports.metrics import GroupBootstrap, accuracy, hits
from headstart.runtime import machine
from headstart.workflow import Read, read_once

CONTROL = "control"


def main() -> None:
    """Measure and print."""
    parser = catalog_parser(__doc__)
    parser.add_argument("--set", action="append", required=True, dest="sets", help="encoders joined by +, or control")
    parser.add_argument("--groups", help="encoders joined by + that tell near-duplicates; default: the first set")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sets = {name: tuple(name.split("+")) for name in given.sets}
    telling = tuple((given.groups or given.sets[0]).split("+"))
    encoders = tuple(dict.fromkeys([*telling, *(e for name, each in sets.items() if name != CONTROL for e in each)]))
    read = read_once(source(given, encoders))
    compare_sets(read, sets, telling, given.folds, given.repeats, given.seed)


def compare_sets(
    read: Read, sets: dict[str, tuple[str, ...]], telling: tuple[str, ...], folds: int, repeats: int, seed: int
) -> None:
    """Judge every set on the same folds; print the table."""
    features = read.features
    groups = near_duplicate_groups([(features.vectors[name], features.present[name]) for name in telling])
    rows = np.flatnonzero(judgeable(features.labels, groups, folds)[0])
    features, groups = features.take(rows), groups[rows]
    texts = [text for batch in read.catalog.batches() for text in batch.texts]
    classes, codes = np.unique([str(label) for label in features.labels], return_inverse=True)
    cut = repeated_folds(np.array(features.labels), groups, folds, repeats, seed)
    bootstrap = GroupBootstrap(groups, seed=seed)

    heads = {name: HeadConfig(encoders) for name, encoders in sets.items() if name != CONTROL}
    tasks = [HeadTask(config, fold.train, fold.inner, at) for config in heads.values() for at, fold in enumerate(cut)]
    bank = HeadBank(features, codes, len(classes), tasks).fit()
    every = [np.exp(said) for said in bank.log_probabilities([fold.test for _ in heads for fold in cut])]
    opinions = {name: every[place * len(cut) : (place + 1) * len(cut)] for place, name in enumerate(heads)}
    if CONTROL in sets:
        judged = [texts[row] for row in rows]
        opinions[CONTROL] = [
            control_fold(judged, codes, np.concatenate([fold.train, fold.inner]), fold.test) for fold in cut
        ]
    correct = {name: hits(codes, out_of_fold(opinions[name], cut, len(codes), len(classes))) for name in sets}
    first = next(iter(sets))
    found = compare_all(correct, [(name, first) for name in sets if name != first], bootstrap, cut)
    verdicts = {comparison.a: comparison for comparison in found}

    print(f"{len(codes):,} listings, {folds} folds × {repeats}, seed {seed}; {machine()}\n")
    print("| encoders | numbers | items/s | accuracy (95 %) | against the first |\n|---|---:|---:|---:|---|")
    for name, encoders in sets.items():
        right = accuracy(correct[name], bootstrap)
        against = verdicts.get(name)
        told = f"{wording.points(against.difference.mean)}, {against.verdict}" if against else ""
        dim = "" if name == CONTROL else f"{sum(features.vectors[e].shape[1] for e in encoders):,}"
        pace = "" if name == CONTROL else f"{1 / sum(seconds(read, e) for e in encoders):,.0f}"
        cells = (" + ".join(encoders), dim, pace, f"{right.mean:.3f} ({right.low:.3f}–{right.high:.3f})", told)
        print(wording.plain(f"| {' | '.join(cells)} |"))


def out_of_fold(opinions: list[np.ndarray], folds: list[Fold], rows: int, classes: int) -> np.ndarray:
    """Each fold's opinions on its test rows → ``(repeats, rows, classes)``."""
    out = np.full((1 + max(fold.repeat for fold in folds), rows, classes), np.nan)
    for fold, opinion in zip(folds, opinions, strict=True):
        out[fold.repeat, fold.test] = opinion
    return out


def seconds(read: Read, encoder: str) -> float:
    """What one vector of this encoder took, decoding included, by the receipts."""
    return next(store.seconds_per_row() for store in read.stores if store.name == encoder)


if __name__ == "__main__":
    main()
