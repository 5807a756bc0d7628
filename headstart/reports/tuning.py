"""Frozen against fine-tuned: the same approaches on the same folds, and what the difference costs.

Each head first learns on frozen vectors, then once more with the encoders under it, until the fold's inner rows say
stop. Where those find nothing better, the frozen head is kept, as whoever fine-tunes would keep it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.control import control_fold
from headstart.heads.fusion import Pattern, fit_fusion
from headstart.heads.members import Member, evidence, reads
from headstart.heads.splits import Fold
from headstart.heads.tuning import Tuned, Workshop
from headstart.progress import say
from headstart.reports.compare import compare, gained, holm, mcnemar, verdict
from headstart.reports.confidence import log_loss
from headstart.reports.judging import Jury
from headstart.reports.metrics import GroupBootstrap, accuracy, hits
from headstart.reports.result import Comparison, FineTuned, FineTuning, Seconds

APPROACHES = ("text", "image", "concat", "written", "late")
"""Those that are fine-tuned; the others have the same heads, or none with an encoder."""


def fine_tuning(
    jury: Jury,
    titles: Mapping[str, str],
    costs: Mapping[str, Seconds],
    workshop: Workshop,
    minutes: float,
    ends: float,
    resamples: int,
    seed: int,
) -> FineTuning:
    """Fine-tune the approaches on as many folds as the time allows, and judge them beside the frozen ones.

    That is all folds, those of the first repeat, or the first fold alone, as a holdout. After the first fold is tuned
    it is known what the others will take.

    Args:
        jury: the frozen approaches and their folds.
        titles: of the approaches.
        costs: of the frozen approaches.
        workshop: the encoders to be tuned.
        minutes: allowed in all.
        ends: when they are over, by `time.perf_counter`.
        resamples: of the bootstrap.
        seed: of all that is random.

    Raises:
        HeadstartError: a loss is not finite, or the folds are too small to have inner rows.
    """
    names = [name for name in APPROACHES if name in jury.members]
    bench = Bench(jury, names, workshop, seed)
    first = [fold for fold in jury.grouped if fold.repeat == 0]
    done, planned = 0, 1
    while done < planned:
        bench.tune(done, ends, planned)
        done += 1
        if done == 1 and not bench.cut_short:
            planned = next(
                (
                    many
                    for many in (len(jury.grouped), len(first))
                    if bench.expected(many) <= max(0.0, ends - time.perf_counter())  # what is kept takes none
                ),
                1,
            )
        if done == 1:
            say(_plan(planned, len(jury.grouped), minutes))
    return FineTuning(
        depth=workshop.config.depth,
        settings={key: value for key, value in asdict(workshop.config).items() if key != "depth"},
        minutes=minutes,
        seconds=bench.seconds,
        folds=planned,
        of=len(jury.grouped),
        rows=len(jury.listings.codes) if planned > 1 else len(first[0].test),
        refused=workshop.refused,
        approaches=bench.compared(planned, titles, costs, resamples),
    )


def _plan(planned: int, every: int, minutes: float) -> str:
    if planned == every:
        return f"fine-tuning: all {every} folds fit into {minutes:g} min"
    what = "the first fold alone, a holdout," if planned == 1 else f"{planned} of {every} folds, one repeat,"
    return f"fine-tuning: {what} fit into {minutes:g} min: give more --fine-tune-minutes"


class Bench:
    """What is fine-tuned of the approaches, fold after fold.

    Attributes:
        names: the approaches of which an encoder can be fine-tuned.
        workshop: where.
        found: for each fold that is done, what came of each member.
    """

    def __init__(self, jury: Jury, names: Sequence[str], workshop: Workshop, seed: int) -> None:
        """Train what the heads begin with: they have not seen the inner rows, by which fine-tuning stops."""
        self.jury, self.workshop, self.seed = jury, workshop, seed
        self.every = list(dict.fromkeys(member for name in names for member in jury.members[name] if member))
        self.members = [each for each in self.every if any(name in workshop.sources for name in each.encoders)]
        self.names = [name for name in names if any(member in self.members for member in jury.members[name])]
        listings = jury.listings
        tasks = [
            HeadTask(member, fold.train, fold.inner, seed, fold.side, scout=True)
            for fold in jury.grouped
            for member in self.every
        ]
        self._bank = HeadBank(listings.features, listings.codes, listings.classes, tasks).fit()
        self._inner = self._bank.log_probabilities([task.inner for task in tasks])
        self.found: list[dict[HeadConfig, Tuned]] = []

    def tune(self, number: int, ends: float, planned: int) -> None:
        """Fine-tune every member on a fold, leaving time for what else is planned."""
        fold, made = self.jury.grouped[number], {}
        for place, member in enumerate(self.members):
            now, after = time.perf_counter(), self.members[place + 1 :]
            left = ends - now
            even = left / (1 + len(after) + (planned - number - 1) * len(self.members))
            reserved = sum(map(self._cost, after)) + (planned - number - 1) * sum(map(self._cost, self.members))
            deadline = now + (even if not self.found else max(even, left - reserved))
            head = self._bank.network(number * len(self.every) + self.every.index(member), logits=True)
            what = f"fine-tuning {' and '.join(member.encoders)}, fold {number + 1} of {planned if number else '…'}"
            made[member] = self.workshop.tune(
                self.jury.listings, member, head, fold, (self.seed, number), deadline, what
            )
        self.found.append(made)

    def expected(self, planned: int) -> float:
        """Seconds that the folds up to `planned` will still take, less those that are kept from another run."""
        listings, folds = self.jury.listings, self.jury.grouped
        return sum(
            self._cost(member)
            for number in range(len(self.found), planned)
            for member in self.members
            if not self.workshop.kept(listings, member, folds[number], (self.seed, number))
        )

    @property
    def cut_short(self) -> bool:
        """The time was up before some head was done: what more folds would take is not known, but too much."""
        return any(tuned.course.stop == "budget" for made in self.found for tuned in made.values())

    def _cost(self, member: HeadConfig) -> float:
        """Mean seconds of a member's tunings so far."""
        took = [made[member].course.seconds + made[member].predict_seconds for made in self.found]
        return float(np.mean(took)) if took else 0.0

    @property
    def seconds(self) -> float:
        """What all that was fine-tuned took, when it was."""
        every = [tuned for made in self.found for tuned in made.values()]
        trunks = sum(self.workshop.trunk_seconds.values())
        return trunks + sum(tuned.course.seconds + tuned.predict_seconds for tuned in every)

    def log_probabilities(self, name: str, number: int) -> np.ndarray:
        """What the tuned approach says of a fold's test rows ``(rows, K)``."""
        jury, fold, made = self.jury, self.jury.grouped[number], self.found[number]
        members, listings = jury.members[name], jury.listings
        better = {member for member, tuned in made.items() if tuned.course.best}
        if not better.intersection(members):
            return jury.fused[name][number].test()
        kinds = [reads(member, listings.features.modality) for member in members]
        there, has = evidence(listings.features, members, listings.texts)
        test = np.stack(
            [made[each].test if each in better else jury.panel.opinions(each, number, -1) for each in members]
        )
        patterns = jury.fused[name][number].fusion.weights
        fusion = fit_fusion(
            {pattern: np.stack([self._of_inner(each, number, pattern) for each in members]) for pattern in patterns},
            there[:, fold.inner],
            {kind: mask[fold.inner] for kind, mask in has.items()},
            listings.codes[fold.inner],
            kinds,
        )
        fusion = replace(fusion, prior=jury.panel.priors[number])
        return fusion.log_probabilities(
            test, there[:, fold.test], {kind: mask[fold.test] for kind, mask in has.items()}
        )

    def _of_inner(self, member: Member, number: int, pattern: Pattern) -> np.ndarray:
        """What a member, tuned if that was better, says of a fold's inner rows if they have no more than a pattern."""
        tuned = self.found[number].get(member) if member else None
        if tuned is None or not tuned.course.best:
            return self._frozen(member, number)
        kinds = reads(member, self.jury.listings.features.modality)
        return tuned.inner[kinds - pattern if kinds & pattern else frozenset()]

    def _frozen(self, member: Member, number: int) -> np.ndarray:
        """What a member says of a fold's inner rows that has learnt from its train rows, its encoder as it was."""
        listings, fold = self.jury.listings, self.jury.grouped[number]
        if member is not None:
            return self._inner[number * len(self.every) + self.every.index(member)]
        said = control_fold(listings.texts or [], listings.codes, fold.train, fold.inner, listings.classes)
        return np.log(np.maximum(said, 1e-30)).astype(np.float32)

    def compared(
        self, planned: int, titles: Mapping[str, str], costs: Mapping[str, Seconds], resamples: int
    ) -> tuple[FineTuned, ...]:
        """Every approach beside itself with frozen encoders, on the same listings; p-values adjusted by `holm`."""
        listings, folds = self.jury.listings, self.jury.grouped[:planned]
        rows = np.arange(len(listings.codes)) if planned > 1 else folds[0].test
        judged = folds if planned > 1 else [Fold(np.arange(0), np.arange(0), np.arange(len(rows)), 0)]
        codes, groups = listings.codes[rows], listings.groups[rows]
        bootstrap = GroupBootstrap(groups, resamples, self.seed)
        found = []
        for name in self.names:
            frozen, tuned = (np.empty((1 + judged[-1].repeat, len(rows), listings.classes)) for _ in range(2))
            for number, fold in enumerate(judged):
                frozen[fold.repeat, fold.test] = np.exp(self.jury.fused[name][number].test())
                tuned[fold.repeat, fold.test] = np.exp(self.log_probabilities(name, number))
            right = hits(codes, tuned), hits(codes, frozen)
            comparison = compare(name, name, *right, bootstrap, judged) if planned > 1 else None
            found.append(
                FineTuned(
                    approach=name,
                    title=titles[name],
                    encoders=self.tuned_encoders(name),
                    frozen=accuracy(right[1], bootstrap),
                    tuned=accuracy(right[0], bootstrap),
                    frozen_loss=log_loss(codes, frozen, bootstrap),
                    tuned_loss=log_loss(codes, tuned, bootstrap),
                    comparison=comparison or _on_a_holdout(name, right[0][0], right[1][0], groups, bootstrap),
                    frozen_seconds=costs[name],
                    seconds=self._seconds(name, costs[name]),
                    **self.told(name),
                )
            )
        adjusted = holm([each.comparison.p_value for each in found])
        return tuple(
            replace(
                each, comparison=replace(each.comparison, p_value=p, verdict=verdict(each.comparison.difference, p))
            )
            for each, p in zip(found, adjusted, strict=True)
        )

    def _own(self, name: str) -> list[HeadConfig]:
        return [each for each in self.jury.members[name] if each in self.members]

    def tuned_encoders(self, name: str) -> tuple[str, ...]:
        """Those of an approach that are fine-tuned."""
        every = dict.fromkeys(encoder for member in self._own(name) for encoder in member.encoders)
        return tuple(encoder for encoder in every if encoder in self.workshop.sources)

    def told(self, name: str) -> dict[str, Any]:
        """How an approach's tunings went, by the names of `FineTuned`'s fields."""
        courses = [(made[member].course, made[member].memory) for made in self.found for member in self._own(name)]
        return {
            "tunings": len(courses),
            "unchanged": sum(course.best == 0 for course, _ in courses),
            "cut_short": sum(course.stop == "budget" for course, _ in courses),
            "epochs": float(np.mean([course.best for course, _ in courses])),
            "memory": max(memory for _, memory in courses),
        }

    def train_seconds(self, name: str) -> float:
        """To fine-tune an approach's members on one fold, on average."""
        return float(np.mean([sum(made[member].course.seconds for member in self._own(name)) for made in self.found]))

    def _seconds(self, name: str, frozen: Seconds) -> Seconds:
        """The frozen approach comes first: its vectors and its heads are needed, too."""
        every = [[made[member] for member in self._own(name)] for made in self.found]
        one = [sum(each.predict_seconds / max(1, len(each.test)) for each in fold) for fold in every]
        encode = sum(self.workshop.trunk_seconds.get(encoder, 0.0) for encoder in self.tuned_encoders(name))
        return Seconds(
            frozen.encode + encode,
            frozen.train + self.train_seconds(name),
            frozen.predict + float(np.mean(one)) * len(self.jury.listings.codes),
        )


def _on_a_holdout(
    name: str, tuned: np.ndarray, frozen: np.ndarray, groups: np.ndarray, bootstrap: GroupBootstrap
) -> Comparison:
    """Both on the same holdout: the paired bootstrap for the interval, McNemar's exact test for the p-value."""
    difference = gained(tuned[None], frozen[None], bootstrap)
    p_value = mcnemar(tuned, frozen, groups)[2]
    return Comparison(name, name, difference, p_value, verdict(difference, p_value))
