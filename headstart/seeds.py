"""How much an accuracy moves when the listings are only dealt to folds anew: a difference below that says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headstart.errors import HeadstartError
from headstart.labelled import labelled
from headstart.modelling import judged
from headstart.workflow import Read, refuse_learnt


def over_seeds(
    read: Read, seeds: Sequence[int], folds: int = 5, cosine: float = 0.95, names: Sequence[str] = ()
) -> dict[str, tuple[float, ...]]:
    """Accuracy of each approach on all listings, once for each seed of the folds.

    The approaches share the folds of a seed, so that their differences are paired, and all heads train in one bank. The
    folds of a seed are those of a benchmark with it and one repeat; inner folds differ from seed to seed as well.

    Args:
        read: from `read_once`.
        seeds: of the folds, different ones.
        folds: of each seed.
        cosine: nearer listings are near-duplicates.
        names: of the approaches, as the benchmark calls them; none for all that the listings allow.

    Raises:
        HeadstartError: no seed, one named twice, no such approach, or too few listings.
    """
    from headstart.heads.splits import repeated_folds
    from headstart.reports.judging import Jury, approaches
    from headstart.reports.metrics import hits

    if not seeds or len(set(seeds)) < len(seeds):
        raise HeadstartError(f"seeds {list(seeds)}: give one or more, each once, such as 0 1 2")
    refuse_learnt(read)
    listings = judged(labelled(read, cosine), folds)
    # Without vectors of the texts their copies are not known, and the control would be judged on them.
    there = approaches(listings.features, words="text" in read.features.modality.values())
    if unknown := [name for name in names if name not in there]:
        raise HeadstartError(f"no approach {unknown[0]!r} for these listings; choose among: {', '.join(there)}")
    grouped = [
        replace(fold, repeat=number)
        for number, seed in enumerate(seeds)
        for fold in repeated_folds(listings.codes, listings.groups, folds, 1, seed)
    ]
    chosen = {name: there[name] for name in names or there}
    jury = Jury(listings, chosen, grouped, [], seeds[0])
    found = {name: hits(listings.codes, jury.judge(name, 0.02, 0.95).probabilities) for name in chosen}
    return {name: tuple(right.mean(axis=1).tolist()) for name, right in found.items()}
