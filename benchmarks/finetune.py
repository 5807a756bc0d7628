"""Frozen encoders, their top layers fine-tuned from kept activations, and whole networks fine-tuned, on the same folds.

    python benchmarks/finetune.py listings.csv --text title --image photo --images photos/ --label category --judged 1

Each approach begins with the same head, trained on frozen vectors, and is judged on the same listings: those of the
first ``--judged`` folds. Printed is a Markdown table: accuracy with its 95 % interval, the paired difference to the
frozen approach, the seconds of fine-tuning one fold, how many times as long the training takes, and after it the top
layers beside the whole network. What was fine-tuned before in this store is read, with the seconds that it took then.
Run it with nothing else at work on the machine, or the seconds mislead.
"""

from __future__ import annotations

import math

import numpy as np

from catalog_options import catalog_parser, source
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.extract.registry import encoder
from headstart.heads.finetune import TuneConfig
from headstart.heads.nested import Listings
from headstart.heads.splits import judgeable, repeated_folds
from headstart.heads.tuning import Workshop
from headstart.reports import wording
from headstart.reports.compare import gained
from headstart.reports.judging import Jury, approaches
from headstart.reports.metrics import GroupBootstrap, accuracy
from headstart.reports.tuning import APPROACHES, Bench
from headstart.runtime import machine
from headstart.workflow import Read, read_once

DEPTHS = ("top", "full")


def main() -> None:
    """Measure and print."""
    parser = catalog_parser(__doc__)
    parser.add_argument("--encoder", action="append", default=[])
    parser.add_argument("--approach", action="append", choices=APPROACHES, help="default: all that there are")
    parser.add_argument("--depth", action="append", choices=DEPTHS, help="default: both")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--judged", type=int, default=1, help="of the folds")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    read = read_once(source(given, given.encoder))
    measure(read, given.approach or APPROACHES, given.depth or DEPTHS, given.folds, given.judged, given.seed)


def measure(
    read: Read,
    names: list[str] | tuple[str, ...],
    depths: list[str] | tuple[str, ...],
    folds: int,
    judged: int,
    seed: int,
) -> None:
    """Fine-tune, judge, print."""
    features = read.features
    groups = near_duplicate_groups(features.blocks())
    rows = np.flatnonzero(judgeable(features.labels, groups, folds)[0])
    features, groups = features.take(rows), np.unique(groups[rows], return_inverse=True)[1]
    classes, codes = np.unique([str(label) for label in features.labels], return_inverse=True)
    texts = list(read.texts())
    listings = Listings(features, codes, len(classes), groups, [texts[row] for row in rows.tolist()])
    cut = repeated_folds(np.array(features.labels), groups, folds, 1, seed)
    jury = Jury(listings, approaches(features, words="text" in features.modality.values()), cut, [], seed)
    names = [name for name in names if name in jury.members]
    tested = np.concatenate([fold.test for fold in cut[:judged]])
    bootstrap = GroupBootstrap(groups[tested], seed=seed)

    def right(said: list[np.ndarray]) -> np.ndarray:
        return (np.concatenate(said).argmax(axis=1) == codes[tested])[None]

    frozen = {name: right([jury.fused[name][number].test() for number in range(judged)]) for name in names}
    tuned, benches = {}, {}
    for depth in depths:
        workshop = Workshop(
            read.catalog, read.features, [encoder(name) for name in features.vectors], rows, read.source.store,
            TuneConfig(depth=depth),  # type: ignore[arg-type]
        )  # fmt: skip
        bench = benches[depth] = Bench(jury, names, workshop, seed)
        for number in range(judged):
            bench.tune(number, math.inf, judged)
        for name in bench.names:
            tuned[name, depth] = right([bench.log_probabilities(name, number) for number in range(judged)])

    print(f"\n{len(tested):,} listings judged, {judged} of {folds} folds, seed {seed}; {machine()}\n")
    print("| approach | depth | accuracy (95 %) | gain (95 %) | changed | tuning, a fold | + activations, once |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name in names:
        print(_line(name, "frozen", accuracy(frozen[name], bootstrap), "", "", "", ""))
        for depth in depths:
            if (name, depth) not in tuned:
                continue
            gain = gained(tuned[name, depth], frozen[name], bootstrap)
            told = benches[depth].told(name)
            kept = sum(
                benches[depth].workshop.trunk_seconds.get(each, 0.0) for each in benches[depth].tuned_encoders(name)
            )
            print(
                _line(
                    name,
                    depth,
                    accuracy(tuned[name, depth], bootstrap),
                    f"{wording.signed(gain.mean)} ({wording.ends(gain)})",
                    f"{told['tunings'] - told['unchanged']} of {told['tunings']}",
                    wording.seconds(benches[depth].train_seconds(name)),
                    wording.seconds(kept) if kept else "",
                )
            )
    for name in names:
        if all((name, depth) in tuned for depth in DEPTHS):
            gain = gained(tuned[name, "top"], tuned[name, "full"], bootstrap)
            times = benches["full"].train_seconds(name) / benches["top"].train_seconds(name)
            print(
                wording.plain(
                    f"\n{name}: the top layers against the whole network {wording.points(gain.mean)} "
                    f"({wording.ends(gain)}), {times:.1f} × as fast"
                )
            )


def _line(name: str, depth: str, right: object, *cells: str) -> str:
    return wording.plain(f"| {name} | {depth} | {wording.estimate(right)} | {' | '.join(cells)} |")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
