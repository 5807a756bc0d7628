"""Runs the protocol: every approach on the same folds of the same listings, and what each costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median

import numpy as np

from headstart.catalog import Catalog
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.embeddings.features import Features
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import HeadstartError
from headstart.extract.run import Extraction
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.classifier import Classifier
from headstart.heads.config import HeadConfig, head_encoders
from headstart.heads.control import SETTINGS, Control, control_fold
from headstart.heads.splits import Fold, judgeable, repeated_folds
from headstart.progress import progress
from headstart.reports import wording
from headstart.reports.compare import compare_all
from headstart.reports.metrics import GroupBootstrap, accuracy, figures, hits
from headstart.reports.result import (
    Approach,
    BenchmarkResult,
    CatalogFigures,
    Comparison,
    Duplicates,
    EncoderFigures,
    Protocol,
    Seconds,
)
from headstart.runtime import cores, machine, now, versions

TIMINGS = 3
"""Each approach is fitted so many times on all judged listings for its seconds to train; the median is told."""
TITLES = {
    "text": "Text alone",
    "image": "Photo alone",
    "fused": "Fused text and photo",
    "control": "TF-IDF control",
}
PAIRS = (("fused", "text"), ("fused", "image"), ("fused", "control"), ("text", "control"))


@dataclass(frozen=True)
class Settings:
    """How to judge. Seeds and settings are written into the result."""

    folds: int = 5
    repeats: int = 2
    seed: int = 0
    cosine: float = 0.95
    """Listings whose text or photo vectors are at least so near are near-duplicates."""
    resamples: int = 2000


@dataclass(frozen=True, eq=False)
class _Judged:
    """The listings that can be judged, and their folds."""

    features: Features
    texts: list[str | None]
    codes: np.ndarray
    classes: list[str]
    groups: np.ndarray
    grouped: list[Fold]
    ungrouped: list[Fold]

    @property
    def all_folds(self) -> list[Fold]:
        return self.grouped + self.ungrouped

    def out_of_fold(self, opinions: Sequence[np.ndarray], folds: list[Fold]) -> np.ndarray:
        """Opinions on each fold's test rows → ``(repeats, n, k)``."""
        repeats = 1 + max(fold.repeat for fold in folds)
        out = np.full((repeats, len(self.codes), len(self.classes)), np.nan)
        for fold, opinion in zip(folds, opinions, strict=True):
            out[fold.repeat, fold.test] = opinion
        return out


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
) -> BenchmarkResult:
    """Judge text, image, fused and control on the same folds.

    Args:
        catalog: read once before, so that it is counted; its texts are read again for the control.
        features: of that catalogue.
        extractions: what `extract` said of it.
        stores: where the vectors are kept; their receipts hold the encoding times.
        title: of the report.
        command: that gives this result again.
        drawn: the listings are drawn, not real.

    Raises:
        HeadstartError: fewer than two categories with as many distinct listings as there are folds.
    """
    groups = near_duplicate_groups(features.blocks(), settings.cosine)
    mask, rare = judgeable(features.labels, groups, settings.folds)
    judged = _judged(catalog, features, groups, mask, settings)
    configs = {name: HeadConfig(encoders) for name, encoders in _heads(features).items()}

    opinions = _head_opinions(judged, configs)
    # Without text vectors near-duplicate texts are not seen, and the control would be judged on copies.
    with_control = "text" in configs
    if with_control:
        opinions["control"] = _control_opinions(judged)
    costs = {name: _head_seconds(judged, config) for name, config in configs.items()}
    if with_control:
        costs["control"] = _control_seconds(judged)

    bootstrap = GroupBootstrap(judged.groups, settings.resamples, settings.seed)
    encoders = _encoder_figures(extractions, stores)
    encoding = {figure.name: figure.seconds for figure in encoders}
    approaches, correct = [], {}
    half = len(judged.grouped)
    for name, opinion in opinions.items():
        grouped = judged.out_of_fold(opinion[:half], judged.grouped)
        leaky = judged.out_of_fold(opinion[half:], judged.ungrouped)
        correct[name] = hits(judged.codes, grouped)
        found = figures(judged.codes, grouped, judged.classes, judged.grouped, bootstrap)
        read = configs[name].encoders if name in configs else ()
        train, predict = costs[name]
        told = asdict(configs[name]) if name in configs else SETTINGS
        approaches.append(
            Approach(
                name=name,
                title=_title(name, len(read)),
                encoders=read,
                settings={key: value for key, value in told.items() if key != "encoders"},
                seconds=Seconds(sum(encoding[encoder] for encoder in read), train, predict),
                ungrouped_accuracy=accuracy(hits(judged.codes, leaky), bootstrap),
                **vars(found),
            )
        )
    alone = [(name.partition(": ")[0], name) for name in correct if ": " in name]
    alone += [(a, b) for (kind, a), (other, b) in combinations(alone, 2) if kind == other]
    pairs = [(a, b) for a, b in (*PAIRS, *alone) if a in correct and b in correct]
    comparisons = compare_all(correct, pairs, bootstrap, judged.grouped)
    sizes = np.bincount(groups)
    counts = catalog.counts
    unreadable = Counter(dict(failure for extraction in extractions for failure in extraction.failures).values())
    return BenchmarkResult(
        title=title,
        verdict=_verdict(approaches, comparisons),
        catalog=CatalogFigures(
            path=str(catalog.path),
            drawn=drawn,
            rows=counts.rows,
            with_text=counts.with_text,
            with_image=counts.with_image,
            with_label=counts.with_label,
            classes=len(judged.classes),
            judged=len(judged.codes),
            class_rows={label: int((judged.codes == code).sum()) for code, label in enumerate(judged.classes)},
            rare=rare,
            problems={**counts.problems, **unreadable},
        ),
        protocol=Protocol(settings.folds, settings.repeats, settings.seed, settings.resamples),
        duplicates=Duplicates(
            cosine=settings.cosine,
            groups=int((sizes > 1).sum()),
            rows=int(sizes[sizes > 1].sum()),
            largest=int(sizes.max()),
        ),
        encoders=encoders,
        approaches=tuple(approaches),
        comparisons=comparisons,
        provenance={"date": now(), "command": command, "machine": machine(), **versions()},
    )


def _heads(features: Features) -> dict[str, tuple[str, ...]]:
    """The heads to judge; where a modality has several encoders, each of them alone as well."""
    heads = head_encoders(features)
    several = [modality for modality in ("text", "image") if len(heads.get(modality, ())) > 1]
    return heads | {f"{modality}: {name}": (name,) for modality in several for name in heads[modality]}


def _title(name: str, encoders: int) -> str:
    modality, colon, encoder = name.partition(": ")
    kind = "Text" if modality == "text" else "Photo"
    if colon:
        return f"{kind}, {encoder} only"
    return f"{kind}, {encoders} encoders" if name in ("text", "image") and encoders > 1 else TITLES[name]


def _judged(catalog: Catalog, features: Features, groups: np.ndarray, mask: np.ndarray, settings: Settings) -> _Judged:
    rows = np.flatnonzero(mask)
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
    texts: list[str | None] = []
    ids: list[str] = []
    for batch in catalog.batches():
        texts += batch.texts
        ids += batch.ids
    if tuple(ids) != features.ids:
        raise HeadstartError(f"{catalog.path} changed while it was read: run the command again")
    names, share = np.array(list(chosen.labels)), (settings.folds, settings.repeats, settings.seed)
    return _Judged(
        features=chosen,
        texts=[texts[row] for row in rows],
        codes=codes,
        classes=classes,
        groups=groups[rows],
        grouped=repeated_folds(names, groups[rows], *share),
        ungrouped=repeated_folds(names, np.arange(len(rows)), *share),
    )


def _head_opinions(judged: _Judged, configs: dict[str, HeadConfig]) -> dict[str, list[np.ndarray]]:
    """Each head's probabilities for the test rows of every fold, all heads from one bank."""
    tasks = [
        HeadTask(config, fold.train, fold.inner, seed)
        for config in configs.values()
        for seed, fold in enumerate(judged.all_folds)
    ]
    every = HeadBank(judged.features, judged.codes, len(judged.classes), tasks).fit().probabilities()
    opinions = {}
    for place, name in enumerate(configs):
        heads = every[place * len(judged.all_folds) :]
        opinions[name] = [head[fold.test] for head, fold in zip(heads, judged.all_folds, strict=False)]
    return opinions


def _control_opinions(judged: _Judged) -> list[np.ndarray]:
    """The control's probabilities for the test rows of every fold; it learns from train and inner rows, as heads do."""
    from joblib import Parallel, delayed

    folds = judged.all_folds
    jobs = (
        delayed(control_fold)(judged.texts, judged.codes, np.concatenate([fold.train, fold.inner]), fold.test)
        for fold in folds
    )
    opinions = []
    with progress("training the control", len(folds)) as advance:
        for opinion in Parallel(n_jobs=min(cores(), len(folds)), return_as="generator")(jobs):
            opinions.append(opinion)
            advance(1)
    return opinions


def _head_seconds(judged: _Judged, config: HeadConfig) -> tuple[float, float]:
    """Seconds to fit this head alone on all judged listings, and to classify them all from their vectors."""
    fits, predictions = [], []
    for seed in range(TIMINGS):
        classifier = Classifier(config, seed).fit(judged.features, groups=judged.groups)
        fits.append(classifier.seconds_)
        predictions.append(_time(lambda classifier=classifier: classifier.predict_proba(judged.features)))  # type: ignore[misc]
    return median(fits), median(predictions)


def _control_seconds(judged: _Judged) -> tuple[float, float]:
    """The same for the control, its words counted again each time: it has no vectors to keep."""
    control = Control()
    fits = [_time(lambda: control.fit(judged.texts, judged.codes)) for _ in range(TIMINGS)]
    return median(fits), median(_time(lambda: control.probabilities(judged.texts)) for _ in range(TIMINGS))


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


def _verdict(approaches: list[Approach], comparisons: tuple[Comparison, ...]) -> tuple[str, ...]:
    """The result in words: which approach is best, whether that can be told, and what it costs."""
    best = max(approaches, key=lambda approach: approach.accuracy.mean)
    by_name = {approach.name: approach for approach in approaches}
    sentences = [
        f"{best.title}: {wording.percent(best.accuracy.mean)} of the listings get their right category "
        f"(95 % interval {wording.interval(best.accuracy)}), the most of {len(approaches)} approaches."
    ]
    for other, against in (("text", "text alone"), ("control", "the TF-IDF control")):
        found = next((c for c in comparisons if (c.a, c.b) == ("fused", other)), None)
        if found is None:
            continue
        gain = wording.points(found.difference.mean)
        if found.verdict == "not distinguishable":
            told = f"Fused text and photo cannot be told from {against}: {gain}, which may be chance."
        else:
            told = f"Fused text and photo is {found.verdict} than {against}: {gain}, more than chance explains."
        sentences.append(told)
    heads = [by_name[name] for name in ("fused", "text", "image") if name in by_name]
    if heads:
        sentences.append(
            f"Reading every listing took {wording.seconds(heads[0].seconds.encode)}, once; a head then trains in "
            f"{wording.seconds(heads[0].seconds.train)}."
        )
    return tuple(sentences)
