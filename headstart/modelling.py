"""Train a classifier on a catalogue, search for its settings, and classify listings with it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.extract.backends import Workers
from headstart.extract.registry import encoder
from headstart.labelled import Labelled, apart, labelled, say_judges
from headstart.progress import say
from headstart.tables import Table
from headstart.workflow import Read, Request, Source, read_once, refuse_learnt

if TYPE_CHECKING:
    from headstart.extract.encoder import Encoder
    from headstart.heads.classifier import Classifier
    from headstart.heads.config import HeadConfig
    from headstart.heads.nested import Listings
    from headstart.reports import tables
    from headstart.reports.compare import Duel
    from headstart.reports.metrics import Figures
    from headstart.reports.result import Acceptance, Interval


CONTROLLED = 20_000
"""The control takes seconds to learn from so many listings, and minutes from many more."""


@dataclass
class Training:
    """What `train` found: the classifier's figures on listings it had not seen."""

    head: str
    config: HeadConfig
    train_rows: int
    test_rows: int
    figures: Figures
    log_loss: Interval
    accepted: Acceptance | None
    """Of the listings held out, what would be accepted; None where too few were there to say."""
    control: Duel | None
    """Beside the TF-IDF control on the same listings; None without an encoder of texts, or with more than `CONTROLLED`
    to learn from."""
    fit_seconds: float
    predict_seconds: float
    rare: dict[str, int] = field(default_factory=dict)
    """Categories with one distinct listing: learnt, but not judged."""
    uncalibrated: str = ""
    """Why `accepted` is None, where it is."""
    lowest_rate: float = 1.0
    """The lowest error rate at which something would be accepted."""


def choose(features: Features, head: str | None, settings: dict[str, Any]) -> tuple[str, HeadConfig]:
    """A head that these listings allow, and its settings.

    Args:
        features: of the listings.
        head: ``"text"``, ``"image"`` or ``"fused"``; None for all that there is.
        settings: of the HeadConfig. Without a fusion, ``late`` with words as a member for fused heads, and plain
            concatenation for the others.

    Raises:
        ModelError: no such head for these listings.
    """
    from headstart.heads.config import HeadConfig, head_encoders

    heads = head_encoders(features)
    if not heads:
        raise ModelError("no listing has a vector to learn from: check --text, --image and --images")
    head = head or list(heads)[-1]
    if head not in heads:
        raise ModelError(f"no head {head!r} for these listings; choose one of: {', '.join(heads)}")
    fusion = settings.get("fusion") or ("late" if head == "fused" else "concat")
    reads_text = any(features.modality[name] == "text" for name in heads[head])
    words = settings.get("words")
    if words is None:
        words = fusion == "late" and reads_text
    return head, HeadConfig(heads[head], **{**settings, "fusion": fusion, "words": words})


def train(
    read: Read,
    head: str | None,
    settings: dict[str, Any],
    share: float,
    seed: int,
    save: Path | None,
    error_rate: float,
    cosine: float = 0.95,
) -> Training:
    """Train a classifier, judge it on a holdout, and save it, trained again on everything, where asked.

    Args:
        read: from `read_once`.
        head: see `choose`.
        settings: see `choose`.
        share: of the listings to hold out, near-duplicates kept whole.
        seed: of the holdout, the inner splits and the initial weights.
        save: folder for the Classifier, or None.
        error_rate: wrong categories allowed among what is accepted.
        cosine: nearer listings are near-duplicates.
    """
    from headstart.heads.classifier import Classifier
    from headstart.heads.splits import Fold, judgeable
    from headstart.reports.confidence import acceptance, log_loss
    from headstart.reports.metrics import GroupBootstrap, figures, hits
    from headstart.reports.render import writable

    found = labelled(read, cosine)
    listings, names = found.listings, found.names
    features, codes, groups, texts = listings.features, listings.codes, listings.groups, listings.texts or []
    if save is not None:
        writable(save)
    head, config = choose(read.features, head, settings)
    _, rare = judgeable(features.labels, groups, 2)
    seen, held = apart(found, np.arange(len(codes)), share, seed)
    learnt = found.learnt
    say_judges(found, held)
    if len(held) == 0:
        raise ModelError(
            f"a holdout of {share} leaves no listing to judge: give more listings; near-duplicates count as one, and "
            f"the largest group has {np.bincount(groups).max()} of {len(groups)}"
        )
    classifier = Classifier.of(config, seed)
    classifier.fit(features.take(seen), names[codes[seen]], groups[seen], [texts[row] for row in seen], learnt[seen])
    test, words = features.take(held), [texts[row] for row in held]
    started = time.perf_counter()
    probabilities = classifier.predict_proba(test, words)[None]
    predicted = time.perf_counter() - started
    fold = Fold(np.arange(0), np.arange(0), np.arange(len(held)), 0)
    bootstrap = GroupBootstrap(groups[held], seed=seed)
    right = np.searchsorted(classifier.classes_, names[codes[held]])
    accepted = None
    if classifier.calibrated_:
        decided = classifier.decide(test, error_rate, texts=words)
        accepted = acceptance(hits(right, probabilities), (decided.action == "accept")[None], bootstrap)
    result = Training(
        head,
        config,
        len(seen),
        len(held),
        figures(right, probabilities, classifier.classes_.tolist(), [fold], bootstrap),
        log_loss(right, probabilities, bootstrap),
        accepted,
        # Without vectors of the texts copies of them are not known as such, and the control would be judged on them.
        beside_the_control(listings, seen, held, hits(right, probabilities)[0])
        if features.encoders("text") and len(seen) <= CONTROLLED
        else None,
        classifier.seconds_,
        predicted,
        rare,
        "" if classifier.calibrated_ else classifier.uncalibrated_,
        1.0 if classifier.calibration_ is None else classifier.calibration_.lowest_rate,
    )
    if save is not None and keep(config, seed, read, found, save).calibrated_ and accepted is None:
        say("the classifier saved has listings to tell by what to accept, the one judged had none: that is not judged")
    return result


def beside_the_control(listings: Listings, seen: np.ndarray, held: np.ndarray, right: np.ndarray) -> Duel:
    """The control, trained on the same listings; `right` is whether the classifier was, of each one held out."""
    from headstart.heads.control import control_fold
    from headstart.reports.compare import Duel, mcnemar

    said = control_fold(listings.texts or [], listings.codes, seen, held, listings.classes)
    control = said.argmax(axis=1) == listings.codes[held]
    return Duel(float(control.mean()), *mcnemar(right, control, listings.groups[held]))


def keep(config: HeadConfig, seed: int, read: Read, found: Labelled, folder: Path) -> Classifier:
    """Train a classifier on all labelled listings and save it, with what `predict` needs to read others alike."""
    from headstart.heads.classifier import Classifier

    listings = found.listings
    final = Classifier.of(config, seed)
    final.fit(listings.features, found.names[listings.codes], listings.groups, listings.texts, listings.learnt)
    final.columns_ = _what_it_reads(read.source.options(), listings.features, config.encoders)
    final.save(folder)
    return final


def _what_it_reads(options: dict[str, Any], features: Features, encoders: tuple[str, ...]) -> dict[str, Any]:
    """Of how a catalogue was read, what matters to a classifier: no labels, no folder, no texts for an image head."""
    kinds = {features.modality[name] for name in encoders}
    wanted = {"id", "delimiter", "encoding", *kinds}
    return {name: value for name, value in options.items() if name in wanted}


@dataclass(frozen=True)
class Entry:
    """One of the settings that a sweep tried, on inner folds."""

    config: HeadConfig
    log_loss: Interval
    accuracy: Interval
    behind: Interval
    """Its log-loss less that of the best, on the same listings."""


@dataclass(frozen=True)
class Leaderboard:
    """What `sweep` found."""

    entries: tuple[Entry, ...]
    """The best first."""
    accuracy: Interval
    """On the outer folds, each by the settings that its own training side chose."""
    log_loss: Interval
    chosen: tuple[HeadConfig, ...]
    """By the training side of each outer fold."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def sweep(
    read: Read,
    heads: list[str],
    given: dict[str, tuple[Any, ...]],
    draws: int,
    folds: int,
    cosine: float,
    seed: int,
    save: Path | None,
) -> Leaderboard:
    """Try many settings; see `headstart.heads.sweep`.

    Args:
        read: from `read_once`.
        heads: ``"text"``, ``"image"``, ``"fused"``; none for all that there are.
        given: values of settings, in place of the usual ones.
        draws: how many settings to try, drawn from the grid of all.
        folds: outer folds.
        cosine: nearer listings are near-duplicates.
        seed: of folds, draws and initial weights.
        save: folder for the best, trained on everything, or None.

    Raises:
        HeadstartError: no such head, or too few listings.
    """
    from headstart.heads.config import head_encoders
    from headstart.heads.splits import repeated_folds
    from headstart.heads.sweep import drawn, grid
    from headstart.heads.sweep import sweep as try_all
    from headstart.reports.confidence import log_loss, mean
    from headstart.reports.metrics import GroupBootstrap, accuracy, hits
    from headstart.reports.render import writable

    refuse_learnt(read)
    found = labelled(read, cosine)
    if save is not None:
        writable(save)
    there = head_encoders(read.features)
    if unknown := [name for name in heads if name not in there]:
        raise ModelError(f"no head {unknown[0]!r} for these listings; choose one of: {', '.join(there)}")
    chosen = {name: encoders for name, encoders in there.items() if not heads or name in heads}
    words = "text" in read.features.modality.values()
    configs = drawn(grid(chosen, read.features.modality, given, words), draws, seed)
    listings = judged(found, folds)
    outer = repeated_folds(listings.codes, listings.groups, folds, 1, seed)
    swept = try_all(listings, configs, outer, seed, say)
    bootstrap = GroupBootstrap(listings.groups, seed=seed)
    inner = np.isfinite(swept.losses[0])
    among = GroupBootstrap(listings.groups[inner], seed=seed)
    every = np.ones((1, inner.sum()), bool)
    entries = tuple(
        Entry(
            config,
            mean(loss[None, inner], every, among),
            accuracy(right[None, inner], among),
            mean((loss - swept.losses[0])[None, inner], every, among),
        )
        for config, loss, right in zip(swept.configs, swept.losses, swept.right, strict=True)
    )
    probabilities = swept.probabilities[None]
    result = Leaderboard(
        entries,
        accuracy(hits(listings.codes, probabilities), bootstrap),
        log_loss(listings.codes, probabilities, bootstrap),
        swept.chosen,
    )
    if save is not None:
        keep(swept.configs[0], seed, read, found, save)
    return result


def judged(found: Labelled, folds: int) -> Listings:
    """The listings in categories that have as many distinct ones as there are folds.

    Raises:
        ModelError: fewer than two such categories.
    """
    from headstart.heads.nested import Listings
    from headstart.heads.splits import judgeable

    whole = found.listings
    mask, rare = judgeable(found.names[whole.codes].tolist(), whole.groups, folds)
    rows = np.flatnonzero(mask)
    kept, codes = np.unique(whole.codes[rows], return_inverse=True)
    if len(kept) < 2:
        raise ModelError(
            f"two categories with {folds} distinct listings each are needed, there are {len(kept)}: give fewer --folds"
        )
    if rare:
        say(f"left out, as they have fewer than {folds} distinct listings: {', '.join(list(rare)[:5])}, …")
    texts = whole.texts or [None] * len(whole.codes)
    return Listings(
        whole.features.take(rows), codes, len(kept), whole.groups[rows], [texts[row] for row in rows.tolist()]
    )


def leaderboard(found: Leaderboard) -> tables.Table:
    """The settings tried, the best first."""
    from headstart.reports import wording
    from headstart.reports.tables import Table

    rows = [
        (
            wording.head(entry.config),
            f"{entry.config.l2:g}",
            str(entry.config.hidden or ""),
            f"{entry.config.absent:g}",
            f"{entry.log_loss.mean:.4f}",
            f"{entry.behind.low:+.4f} – {entry.behind.high:+.4f}" if place else "the best",
            wording.plain(wording.percent(entry.accuracy.mean)),
            wording.plain(wording.interval(entry.accuracy)),
        )
        for place, entry in enumerate(found.entries)
    ]
    header = ("Head", "L2", "Hidden", "Absent", "Log-loss", "Behind, 95 %", "Accuracy", "95 % interval")
    return Table(header, tuple(rows))


def predict(
    classifier: Classifier,
    request: Request,
    out: Path | None,
    error_rate: float,
    coverage: float,
    workers: Workers | None = None,
    retry_failed: bool = False,
) -> None:
    """Classify a catalogue's listings with a saved classifier; see `headstart.predictions` for what is written.

    Vectors that are not kept yet are made and kept first, by these workers. Memory goes with `predictions.BATCH`, not
    with the catalogue.
    """
    from headstart.predictions import BATCH, write_predictions

    read = read_new(classifier, request, workers, retry_failed)
    texts = read.texts() if classifier.config_.words else None
    write_predictions(classifier, read.parts(BATCH), out, error_rate, coverage, texts, len(read.keys))


def read_new(
    classifier: Classifier, request: Request, workers: Workers | None = None, retry_failed: bool = False
) -> Read:
    """Read new listings as a saved classifier wants them.

    Raises:
        HeadstartError: they cannot be read, or as `encoders_of`.
    """
    encoders = encoders_of(classifier)
    return read_once(_without_absent(request.resolve(classifier.columns_), request), encoders, workers, retry_failed)


def encoders_of(classifier: Classifier) -> list[Encoder]:
    """The encoders that a classifier reads the vectors of.

    Raises:
        ModelError: it learnt from plain arrays, or from another version of an encoder.
        EncoderError: one cannot be had here.
    """
    from headstart.heads.classifier import ARRAY

    if classifier.config_.encoders == (ARRAY,):
        raise ModelError("the classifier learnt from plain arrays, and no encoder makes them: train it on a catalogue")
    encoders = [encoder(name) for name in classifier.config_.encoders]
    for each in encoders:
        if each.fingerprint != classifier.fingerprints_[each.name]:
            raise ModelError(
                f"the classifier learnt from {each.name} {classifier.fingerprints_[each.name][:12]}, here it is "
                f"{each.fingerprint[:12]}: train it again with this version"
            )
    return encoders


def _without_absent(source: Source, request: Request) -> Source:
    """A classifier's columns of texts or photos that new listings do not have are read as missing, and told."""
    if not source.path.is_file():
        return source  # read_catalog says so
    there = Table(source.path, source.delimiter, source.encoding).names()
    columns = source.columns
    wanted = [*(columns.text if "text" not in request.given else ()), columns.image or ""]
    absent = {name for name in wanted if name and name not in there and request.given.get("image") != name}
    if not absent or absent >= {*columns.text, *([columns.image] if columns.image else [])}:
        return source
    say(f"{source.path} has no column {', '.join(map(repr, sorted(absent)))}: its listings are read without")
    text = tuple(name for name in columns.text if name not in absent)
    image = None if columns.image in absent else columns.image
    return replace(source, columns=replace(columns, text=text, image=image))
