"""Fine-tune one encoder on a catalogue, judge it on a holdout beside its frozen self, and save it as an encoder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.errors import EncoderError, HeadstartError, ModelError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.trunk import Trunk
from headstart.extract.tuned import TunedEncoder, save_tuned
from headstart.labelled import Labelled, apart, labelled, say_judges
from headstart.progress import progress
from headstart.workflow import Read, Source

if TYPE_CHECKING:
    from headstart.heads.finetune import Course, Depth
    from headstart.reports.result import Interval


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning an encoder was worth, on listings it had not seen."""

    encoder: str
    depth: Depth
    course: Course
    train_rows: int
    """Those that said when to stop included."""
    test_rows: int
    frozen: Interval
    """Accuracy of a head on the frozen encoder, which learnt from all of these."""
    tuned: Interval
    only_tuned: int
    """Listings that only the tuned one got right, one of each near-duplicate group."""
    only_frozen: int
    p_value: float
    """McNemar's exact test."""
    saved: bool


def beside(source: Source) -> list[str]:
    """The usual encoders of what the catalogue has besides: a head of the fine-tuned one alone would not read it."""
    kinds = {encoder(name).modality for name in source.names()}
    return [name for name in replace(source, encoders=()).names() if encoder(name).modality not in kinds]


def check(source: Source, depth: Depth, save: Path | None = None) -> None:
    """Refuse what can be refused before a listing is read.

    Raises:
        EncoderError: not one encoder is named, or it has no network to train or to cut, or would be lost by being
            saved over.
    """
    names = source.names()
    if len(names) != 1:
        raise EncoderError(
            f"one encoder at a time is fine-tuned, here are {' and '.join(names) or 'none'}: give --encoder once"
        )
    made = encoder(names[0])
    _ = made.takes
    for each in made.lineage if isinstance(made, TunedEncoder) else ():
        if save is not None and save.expanduser().resolve() == each.folder.resolve():
            raise EncoderError(f"{save} holds {each.name}, which the new encoder would be made of: give another --save")
    if depth == "top":
        _ = Trunk(made).shape  # builds the network, once


def fine_tune(
    read: Read,
    depth: Depth,
    share: float,
    seed: int,
    minutes: float,
    save: Path | None,
    cosine: float = 0.95,
    settings: dict[str, Any] | None = None,
) -> FineTuned:
    """Fine-tune the one encoder that was read.

    The best so far is saved whenever it gets better, so that a run that is killed leaves it.

    Args:
        read: from `read_once`, with one encoder.
        depth: ``"top"`` or ``"full"``.
        share: of the listings to hold out, near-duplicates kept whole.
        seed: of the holdout and of all that is random.
        minutes: at most.
        save: folder for the encoder, or None.
        cosine: nearer listings are near-duplicates.
        settings: others of the TuneConfig.

    Raises:
        HeadstartError: several encoders, one that cannot be tuned, too few listings, or a loss that is not finite.
            A note says what is saved, as on whatever else ends the work early.
    """
    from headstart.heads.bank import HeadBank, HeadTask
    from headstart.heads.config import HeadConfig
    from headstart.heads.finetune import TuneConfig
    from headstart.heads.nested import INNER_SHARE
    from headstart.heads.tuning import Workshop
    from headstart.reports.compare import mcnemar
    from headstart.reports.metrics import GroupBootstrap, accuracy

    check(read.source, depth, save)
    deadline = time.perf_counter() + 60 * minutes
    (name,) = read.features.vectors
    found = labelled(read, cosine)
    listings = found.listings
    there = np.flatnonzero(listings.features.present[name])
    # Of what the encoder has not learnt from before, half is left to say when to stop: what it remembers cannot.
    seen, held = apart(found, there, share, seed, most=0.5)
    train, inner = apart(found, seen, INNER_SHARE, seed)
    say_judges(found, held)
    if not len(held) or not len(inner):
        raise ModelError(f"{len(there)} listings are too few to hold some out, and to stop by others: give more")
    base, member, config = encoder(name), HeadConfig((name,)), TuneConfig(depth=depth, **(settings or {}))
    workshop = Workshop(read.catalog, read.features, [base], found.rows, read.source.store, config, 60 * minutes)
    tasks = [HeadTask(member, train, inner, seed), HeadTask(member, train, inner, seed, scout=True)]
    bank = HeadBank(listings.features, listings.codes, listings.classes, tasks).fit()
    head = bank.network(1, logits=True)
    tuning, saved = workshop.tuning(listings, member, head), 0

    def keep(epoch: int, finished: bool = False) -> None:
        nonlocal saved
        if save is not None:
            told = {**asdict(config), "seed": seed, "epoch": epoch, "finished": finished}
            save_tuned(save, base, workshop.values(name), learnt, told)
            saved = epoch

    learnt = _learnt(read, found, seen, base)
    try:
        with progress(f"fine-tuning {name}", config.epochs * len(train)) as advance:
            course = tuning.fit(head.get_weights(), train, inner, (seed, 0), deadline, advance, keep, len(held))
        right = bank.log_probabilities([held, held])[0].argmax(axis=1) == listings.codes[held]
        tuned = right
        if course.best:
            keep(course.best, finished=True)
            tuned = tuning.log_probabilities(held).argmax(axis=1) == listings.codes[held]
    except BaseException as error:
        if saved:
            error.add_note(f"the best so far, of epoch {saved}, is in {save}")
        elif not isinstance(error, HeadstartError):
            error.add_note("nothing is saved")
        raise
    bootstrap = GroupBootstrap(listings.groups[held], seed=seed)
    return FineTuned(
        name,
        depth,
        course,
        len(seen),
        len(held),
        accuracy(right[None], bootstrap),
        accuracy(tuned[None], bootstrap),
        *mcnemar(tuned, right, listings.groups[held]),
        bool(saved),
    )


def _learnt(read: Read, found: Labelled, rows: np.ndarray, base: Encoder) -> np.ndarray:
    """Keys of the contents of these listings, and of those that the base has learnt from before."""
    keys, _ = read.keys.keys(read.stores[0].modality)
    new = keys[:, found.rows[rows]]
    return np.unique(np.concatenate([new, base.learnt], axis=1) if isinstance(base, TunedEncoder) else new, axis=1)


def in_words(found: FineTuned) -> str:
    """What came of it, in two lines."""
    from headstart.reports import wording
    from headstart.reports.result import ALPHA

    course = found.course
    ended = {
        "inner rows": "as the listings that say when to stop got no better",
        "epochs": "as all epochs were done",
        "budget": "as the time was up",
    }[course.stop]
    took = f"{len(course.losses) - 1} epochs in {wording.seconds(course.seconds)}, ended {ended}"
    if not course.best:
        return f"nothing that was tried did better: the frozen encoder is kept\n{took}"
    told = "not distinguishable"
    if found.p_value < ALPHA:
        told = "better" if found.only_tuned > found.only_frozen else "worse"
    return (
        f"fine-tuned alone is right {found.only_tuned} times, frozen alone {found.only_frozen} times: {told} "
        f"({wording.p_value(found.p_value)}, McNemar)\nepoch {course.best} is kept; {took}; learnt from "
        f"{found.train_rows:,} listings, judged on {found.test_rows:,} others"
    )
