"""Runs the protocol: every approach on the same folds of the same listings, and what each costs."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from statistics import median
from typing import Literal

import numpy as np

from headstart.catalog import Catalog
from headstart.decisions import Decision, correct
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.embeddings.features import Features
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import HeadstartError
from headstart.extract.registry import encoder
from headstart.extract.run import Extraction
from headstart.heads.classifier import Classifier
from headstart.heads.config import HeadConfig
from headstart.heads.control import SETTINGS, Control
from headstart.heads.finetune import Depth, TuneConfig
from headstart.heads.fusion import normalised
from headstart.heads.members import IMAGE, TEXT
from headstart.heads.nested import INNER_FOLDS, Listings, Panel, whole_side
from headstart.heads.splits import Fold, judgeable, repeated_folds
from headstart.heads.tuning import Workshop
from headstart.reports.compare import compare_all
from headstart.reports.confidence import confidence
from headstart.reports.examples import confused
from headstart.reports.judging import PAIRS, Judgement, Jury, approaches, split_in_half, title
from headstart.reports.learning import learning_curve
from headstart.reports.metrics import GroupBootstrap, accuracy, figures, hits
from headstart.reports.misfiling import misfiled_listings, worth_of_decisions
from headstart.reports.packing import fold_numbers, packed_listings, packed_right
from headstart.reports.result import (
    Approach,
    BenchmarkResult,
    CatalogFigures,
    Corrected,
    Duplicates,
    EncoderFigures,
    Missing,
    Protocol,
    Seconds,
)
from headstart.reports.tuning import fine_tuning
from headstart.reports.verdict import verdict
from headstart.runtime import machine, now, versions

TIMINGS = 3
"""Each approach is fitted so many times on all judged listings for its seconds to train; the median is told."""
ENOUGH = 5.0
"""Seconds of fitting after which no further fit is timed: what takes long needs no repetition to be told."""


@dataclass(frozen=True)
class Settings:
    """How to judge. Seeds and settings are written into the result."""

    folds: int = 5
    repeats: int = 2
    seed: int = 0
    cosine: float = 0.95
    """Listings whose text or photo vectors are at least so near are near-duplicates."""
    error_rate: float = 0.02
    """Wrong categories allowed among what is accepted."""
    coverage: float = 0.95
    """How often a set of suggestions is to hold the right category."""
    resamples: int = 2000
    fine_tune: Depth | Literal["none"] = "none"
    """``none``, or the depth to which encoders are fine-tuned as well: ``top`` or ``full``."""
    minutes: float = 20.0
    """For fine-tuning, at most."""


@dataclass(frozen=True, eq=False)
class _Judged:
    """The listings that can be judged, and their folds."""

    listings: Listings
    names: list[str]
    """Of the categories."""
    grouped: list[Fold]
    ungrouped: list[Fold]


def benchmark(
    catalog: Catalog,
    features: Features,
    extractions: Sequence[Extraction],
    stores: Sequence[EmbeddingStore],
    settings: Settings,
    *,
    title: str,
    command: str,
    drawn: bool = False,
    alike: Features | None = None,
    decisions: Sequence[Decision] = (),
) -> BenchmarkResult:
    """Judge text, image, their fusions and the control on the same folds.

    Args:
        catalog: read once before, so that it is counted; its texts are read again for the control.
        features: of that catalogue.
        extractions: what `extract` said of it.
        stores: where the vectors are kept; their receipts hold the encoding times.
        settings: how to judge.
        title: of the report.
        command: that gives this result again.
        drawn: the listings are drawn, not real.
        alike: by whose vectors near-duplicates are told; None for those of `features`.
        decisions: about misfiled listings, which are judged by the categories decided on.

    Raises:
        HeadstartError: fewer than two categories with as many distinct listings as there are folds, or decisions on
            other listings.
    """
    filed, changed = features.labels, np.arange(0)
    if decisions:
        labels, changed = correct(features.ids, filed, decisions)
        features = replace(features, labels=labels)
    groups = near_duplicate_groups((features if alike is None else alike).blocks(), settings.cosine)
    mask, rare = judgeable(features.labels, groups, settings.folds)
    judged = _judged(catalog, features, groups, mask, settings)
    began = time.perf_counter()
    workshop = _workshop(catalog, features, stores, np.flatnonzero(mask), settings)
    spent = time.perf_counter() - began
    listings, bootstrap = judged.listings, GroupBootstrap(judged.listings.groups, settings.resamples, settings.seed)
    # Without text vectors near-duplicate texts are not seen, and the control would be judged on copies.
    configs = approaches(listings.features, words=any(kind == TEXT for kind in features.modality.values()))
    jury = Jury(listings, configs, judged.grouped, judged.ungrouped, settings.seed)
    encoders = _encoder_figures(extractions, stores)
    encoding = {figure.name: figure.seconds for figure in encoders}
    found, right, losses, said, likely = [], {}, [], {}, {}
    for name, config in configs.items():
        judgement = jury.judge(name, settings.error_rate, settings.coverage)
        right[name] = hits(listings.codes, judgement.probabilities)
        losses.append(judgement.inner_losses)
        said[name] = judgement.probabilities.argmax(axis=2), judgement.probabilities.max(axis=2)
        likely[name] = normalised(np.log(np.maximum(judgement.probabilities, 1e-13)).mean(axis=0, dtype=np.float32))
        cost = _seconds(listings, config, encoding)
        found.append(_approach(name, config, judgement, judged, bootstrap, cost, settings.seed))
    chosen = min(found, key=lambda approach: approach.inner_loss).name
    choosing = accuracy(_by_choice(list(right.values()), np.stack(losses), judged.grouped), bootstrap)
    alone = [(name.partition(": ")[0], name) for name in right if ": " in name]
    alone += [(a, b) for (kind, a), (other, b) in combinations(alone, 2) if kind == other]
    usual = {frozenset(pair) for pair in PAIRS}
    asked = [
        (chosen, other) for other in (TEXT, "control") if frozenset((chosen, other)) not in usual and chosen != other
    ]
    pairs = [(a, b) for a, b in (*PAIRS, *asked, *alone) if a in right and b in right]
    comparisons = compare_all(right, pairs, bootstrap, judged.grouped)
    sizes = np.bincount(groups)
    counts = catalog.counts
    unreadable = Counter(dict(failure for extraction in extractions for failure in extraction.failures).values())
    tuning = None
    if workshop is not None:
        ends = time.perf_counter() + 60 * settings.minutes - spent
        costs = {each.name: each.seconds for each in found}
        titles = {each.name: each.title for each in found}
        tuning = fine_tuning(jury, titles, costs, workshop, settings.minutes, ends, settings.resamples, settings.seed)
    corrected = None
    if any(decision.binding for decision in decisions):
        before = [filed[row] for row in np.flatnonzero(mask).tolist()]
        corrected = Corrected(
            sum(decision.binding for decision in decisions),
            int(mask[changed].sum()),
            *worth_of_decisions(
                judged.listings,
                judged.names,
                judged.grouped,
                before,
                configs[chosen],
                right[chosen],
                bootstrap,
                settings.seed,
            ),
        )
    # `chosen` may be one of several encoders, or a fusion of another kind.
    learnt = dict.fromkeys(name for name in (TEXT, IMAGE, "late", "control", chosen) if name in configs)
    learning, doublings = learning_curve(jury, list(learnt), bootstrap, settings.seed)
    result = BenchmarkResult(
        title=title,
        verdict=(),
        catalog=CatalogFigures(
            path=str(catalog.path),
            drawn=drawn,
            rows=counts.rows,
            with_text=counts.with_text,
            with_image=counts.with_image,
            with_label=counts.with_label,
            classes=len(judged.names),
            judged=len(listings.codes),
            class_rows={label: int((listings.codes == code).sum()) for code, label in enumerate(judged.names)},
            rare=rare,
            problems={**counts.problems, **unreadable},
        ),
        protocol=Protocol(
            settings.folds,
            settings.repeats,
            settings.seed,
            settings.resamples,
            INNER_FOLDS,
            settings.error_rate,
            settings.coverage,
            _digest(judged),
        ),
        listings=packed_listings(listings.groups, judged.grouped),
        duplicates=Duplicates(
            cosine=settings.cosine,
            groups=int((sizes > 1).sum()),
            rows=int(sizes[sizes > 1].sum()),
            largest=int(sizes.max()),
        ),
        encoders=encoders,
        approaches=tuple(found),
        comparisons=comparisons,
        chosen=chosen,
        choosing=choosing,
        learning=learning,
        doublings=doublings,
        tuning=tuning,
        misfiled=misfiled_listings(
            catalog,
            features.ids,
            np.flatnonzero(mask),
            listings,
            judged.names,
            likely,
            chosen,
            configs[chosen],
            settings.seed,
        ),
        corrected=corrected,
        confused=confused(
            catalog,
            features.ids,
            np.flatnonzero(mask),
            listings.texts or [],
            listings.groups,
            listings.codes,
            *said[chosen],
            judged.names,
        ),
        provenance={"date": now(), "command": command, "machine": machine(), **versions()},
    )
    return replace(result, verdict=verdict(result))


def _digest(judged: _Judged) -> str:
    """`Protocol.splits`."""
    listings, digest = judged.listings, hashlib.sha256()
    places = zip(*fold_numbers(judged.grouped).tolist(), strict=True)
    for name, code, group, folds in zip(listings.features.ids, listings.codes, listings.groups, places, strict=True):
        digest.update(json.dumps([name, judged.names[code], int(group), *folds]).encode() + b"\n")
    return digest.hexdigest()


def _by_choice(correct: Sequence[np.ndarray], losses: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """What is right where each fold takes the approach with the lowest loss on its own training side, ``(R, n)``."""
    out = np.zeros_like(correct[0])
    for fold, best in zip(folds, losses.argmin(axis=0).tolist(), strict=True):
        out[fold.repeat, fold.test] = correct[best][fold.repeat, fold.test]
    return out


def _approach(
    name: str,
    config: HeadConfig | None,
    judgement: Judgement,
    judged: _Judged,
    bootstrap: GroupBootstrap,
    seconds: Seconds,
    seed: int,
) -> Approach:
    listings = judged.listings
    found = figures(listings.codes, judgement.probabilities, judged.names, judged.grouped, bootstrap)
    told = asdict(config) if config else SETTINGS
    return Approach(
        name=name,
        title=title(name, config, listings.features),
        encoders=config.encoders if config else (),
        settings={key: value for key, value in told.items() if key != "encoders"},
        seconds=seconds,
        right=packed_right(hits(listings.codes, judgement.probabilities)),
        ungrouped_accuracy=accuracy(hits(listings.codes, judgement.ungrouped), bootstrap),
        confidence=confidence(listings.codes, judged.names, judgement, bootstrap),
        missing=_missing(listings.codes, judgement, bootstrap, seed),
        inner_loss=float(judgement.inner_losses.mean()),
        weights=judgement.weights,
        **vars(found),
    )


def _missing(codes: np.ndarray, judgement: Judgement, bootstrap: GroupBootstrap, seed: int) -> Missing:
    without = {kind: hits(codes, said) for kind, said in judgement.without.items()}
    half = np.where(split_in_half(len(codes), seed), without[IMAGE], without[TEXT])
    return Missing(*(accuracy(each, bootstrap) for each in (without[IMAGE], without[TEXT], half)))


def _judged(catalog: Catalog, features: Features, groups: np.ndarray, mask: np.ndarray, settings: Settings) -> _Judged:
    rows = np.flatnonzero(mask)
    _, first, group = np.unique(groups[rows], return_index=True, return_inverse=True)
    own = np.unique(first[group], return_inverse=True)[1]  # in the order of what is judged, as the packed ones are
    chosen = features.take(rows)
    classes = sorted({label for label in chosen.labels if label is not None})
    if len(classes) < 2:
        raise HeadstartError(
            f"two categories with {settings.folds} distinct listings each are needed, there are {len(classes)}: near-"
            "duplicates count as one (the largest group has "
            f"{np.bincount(groups).max()}): check --label and --label-level, give fewer --folds or a higher "
            "--duplicate-cosine"
        )
    number = {label: code for code, label in enumerate(classes)}
    codes = np.array([number[label] for label in chosen.labels if label is not None])
    texts = list(catalog.texts(features.ids))
    names = np.array(list(chosen.labels))
    return _Judged(
        Listings(chosen, codes, len(classes), own, [texts[row] for row in rows]),
        classes,
        grouped=repeated_folds(names, own, settings.folds, settings.repeats, settings.seed),
        ungrouped=repeated_folds(names, np.arange(len(rows)), settings.folds, 1, settings.seed),
    )


def _seconds(listings: Listings, config: HeadConfig | None, encoding: dict[str, float]) -> Seconds:
    """Seconds to encode, to fit the approach on all judged listings, and to classify them all from their vectors.

    To fit is for all alike to learn from inner folds, too, what the probabilities are worth. The control counts its
    words anew each time: it has no vectors to keep.
    """
    texts = listings.texts or []
    encode = sum(encoding[name] for name in config.encoders) if config else 0.0
    fits, predictions = [], []
    for seed in range(TIMINGS):
        if config is None:
            control = Control()
            fits.append(_time(partial(_fit_control, control, listings, seed)))
            predictions.append(_time(partial(control.probabilities, texts)))
        else:
            classifier = Classifier.of(config, seed)
            fits.append(_time(partial(classifier.fit, listings.features, None, listings.groups, texts)))
            predictions.append(_time(partial(classifier.predict_proba, listings.features, texts)))
        if sum(fits) > ENOUGH:
            break
    return Seconds(encode, median(fits), median(predictions))


def _fit_control(control: Control, listings: Listings, seed: int) -> None:
    """What a Classifier of words alone would do."""
    Panel(listings, [whole_side(listings, seed)], [None], seed).fuse([None], 0)
    control.fit(listings.texts or [], listings.codes)


def _workshop(
    catalog: Catalog, features: Features, stores: Sequence[EmbeddingStore], rows: np.ndarray, settings: Settings
) -> Workshop | None:
    """Where encoders are fine-tuned; made before all else, as it may refuse. None where that is not asked for.

    Raises:
        EncoderError: not one of the encoders can be fine-tuned, or not in that time.
    """
    if settings.fine_tune == "none":
        return None
    encoders, config = [encoder(store.name) for store in stores], TuneConfig(depth=settings.fine_tune)
    return Workshop(catalog, features, encoders, rows, stores[0].folder.parent, config, 60 * settings.minutes)


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _encoder_figures(extractions: Sequence[Extraction], stores: Sequence[EmbeddingStore]) -> tuple[EncoderFigures, ...]:
    """What each encoder's vectors took when they were made, by the receipts."""
    found = []
    for extraction, store in zip(extractions, stores, strict=True):
        vectors = extraction.distinct - extraction.lost
        machines = sorted({str(receipt.info.get("machine", "")) for receipt in store.receipts})
        found.append(
            EncoderFigures(
                name=store.name,
                modality=store.modality,
                dim=store.dim,
                fingerprint=store.fingerprint,
                vectors=vectors,
                seconds=round(store.seconds_per_row() * vectors, 3),
                machine=", ".join(machines),
            )
        )
    return tuple(found)
