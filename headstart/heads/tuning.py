"""Where heads are fine-tuned with the encoders under them, fold after fold; what is done is kept and not done again."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.catalog import Catalog
from headstart.embeddings.features import Features, open_features
from headstart.embeddings.store import EmbeddingStore, stores
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.run import KINDS, extract, open_store
from headstart.extract.trunk import Trunk
from headstart.files import write_atomically
from headstart.heads.config import HeadConfig
from headstart.heads.finetune import Course, Source, TuneConfig, Tuning, variables_of
from headstart.heads.fusion import Pattern
from headstart.heads.inputs import Activations, Contents, KeptVectors
from headstart.heads.nested import Listings
from headstart.heads.splits import Fold
from headstart.memory import Peak
from headstart.progress import progress
from headstart.runtime import machine, tuning_policy, versions

FOLDER = "fine-tuned"
"""Of the stores' folder: a file for each fine-tuning that is done."""
INNER = "inner"
"""Begins the names of `Tuned.inner` in it; what is lost follows."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a head says that was fine-tuned on a fold with its encoders."""

    inner: dict[Pattern, np.ndarray]
    """Modalities lost → log-probabilities of the fold's inner rows had they lost these, float32 ``(rows, K)``: none
    lost and, of a head that reads both, each. Empty where the head stayed as it was."""
    test: np.ndarray
    """Of its test rows; none where the head stayed as it was."""
    course: Course
    predict_seconds: float
    """For the test rows."""
    memory: int
    """Bytes that the process had allocated at most; 0 where the system does not say."""


class Workshop:
    """The encoders of a catalogue, loaded to be fine-tuned, and the listings they learn from.

    Attributes:
        sources: encoder name → what heads are given of it, for those that can be tuned.
        refused: encoder name → why it cannot be; heads read its frozen vectors.
        trunk_seconds: encoder name → what keeping its trunk's activations takes, where only the top is tuned.
    """

    def __init__(
        self,
        catalog: Catalog,
        features: Features,
        encoders: Sequence[Encoder],
        rows: np.ndarray,
        root: Path,
        config: TuneConfig,
        limit: float = math.inf,
    ) -> None:
        """Load the encoders; where only the top is tuned, keep the activations of their trunks.

        Args:
            catalog: with the listings.
            features: of all of them.
            encoders: those whose vectors the heads read.
            rows: which listings are learnt from and judged.
            root: folder of the stores.
            config: how to tune.
            limit: seconds that there are for all of it: where keeping the activations would take longer, it is refused.

        Raises:
            EncoderError: not one of the encoders can be tuned.
        """
        self.config, self._root, self._ids, self._features = config, root, features.ids, features.take(rows)
        self._fingerprints = {encoder.name: encoder.fingerprint for encoder in encoders}
        self._tunings: dict[HeadConfig, Tuning] = {}
        self.sources: dict[str, Activations | Contents] = {}
        self.refused: dict[str, str] = {}
        self.trunk_seconds: dict[str, float] = {}
        trunks = self._trunks_of(encoders, limit) if config.depth == "top" else []
        _, stores, read = extract(catalog, [*encoders, *trunks], root)
        keys = {encoder.modality: read.keys(encoder.modality) for encoder in encoders}
        self._contents: dict[str, str] = {
            kind: _digest(its[:, rows], there[rows]) for kind, (its, there) in keys.items()
        }
        if config.depth == "top":
            self._load_tops(trunks, stores[len(encoders) :], open_features(read, stores).take(rows))
        else:
            self._load_whole(catalog, encoders, rows, limit)
        if not self.sources:
            raise EncoderError(f"nothing can be fine-tuned: {'; '.join(self.refused.values())}")

    def tune(
        self,
        listings: Listings,
        member: HeadConfig,
        head: Any,
        fold: Fold,
        seed: Sequence[int],
        deadline: float,
        what: str,
    ) -> Tuned:
        """Fine-tune a head on a fold; one that was tuned so before, and to its end, is read instead.

        Args:
            listings: those of `rows`.
            member: the head's settings; at least one of its encoders is in `sources`.
            head: it, from vectors to logits, after it has learnt from the fold's train rows.
            fold: what to learn from, what to stop by, and what to judge.
            seed: of all that is random.
            deadline: by `time.perf_counter`.
            what: for the progress bar.

        Raises:
            ModelError: a loss is not finite.
        """
        path = self._path(listings, member, fold, seed)
        if (kept := _read(path)) is not None:
            return kept
        with Peak() as peak, progress(what, self.config.epochs * len(fold.train)) as advance:
            weights = head.get_weights()  # now: the first head is the one that is trained
            tuning = self.tuning(listings, member, head)
            kinds = {listings.features.modality[name] for name in member.encoders}
            lost = [frozenset[str](), *(frozenset([kind]) for kind in sorted(kinds) if len(kinds) > 1)]
            later = len(lost) * len(fold.inner) + len(fold.test)
            course = tuning.fit(weights, fold.train, fold.inner, seed, deadline, advance, later=later)
            inner = {each: tuning.log_probabilities(fold.inner, each) for each in lost if course.best}
            started = time.perf_counter()
            test = tuning.log_probabilities(fold.test if course.best else fold.test[:0])
        tuned = Tuned(inner, test, course, time.perf_counter() - started, peak.bytes)
        if course.stop != "budget":
            _write(path, tuned)
        return tuned

    def kept(self, listings: Listings, member: HeadConfig, fold: Fold, seed: Sequence[int]) -> bool:
        """Whether `tune` would find it done."""
        return _read(self._path(listings, member, fold, seed)) is not None

    def tuning(self, listings: Listings, member: HeadConfig, head: Any) -> Tuning:
        """The member with the networks of its encoders; made once, as TensorFlow takes seconds to trace it."""
        if member not in self._tunings:
            sources: list[Source] = [
                self.sources.get(name) or KeptVectors(self._features, name) for name in member.encoders
            ]
            self._tunings[member] = Tuning(member, head, sources, listings, self.config)
        return self._tunings[member]

    def values(self, name: str) -> list[np.ndarray]:
        """What the variables of an encoder's whole network are now, in its own order."""
        return [each.numpy() for each in variables_of(self.sources[name].whole)]

    def _trunks_of(self, encoders: Sequence[Encoder], limit: float) -> list[Trunk]:
        trunks = []
        for encoder in encoders:
            with self._refusing(encoder):
                trunk = Trunk(encoder)
                _ = encoder.takes, trunk.shape
                limit -= self._cost(trunk, limit)
                trunks.append(trunk)
        return trunks

    def _load_tops(self, trunks: Sequence[Trunk], stores: Sequence[EmbeddingStore], features: Features) -> None:
        for trunk, store in zip(trunks, stores, strict=True):
            self.trunk_seconds[trunk.base.name] = store.seconds_per_row() * int(features.present[store.name].sum())
            self.sources[trunk.base.name] = Activations(features, trunk)

    def _cost(self, trunk: Trunk, limit: float) -> float:
        """Seconds to keep the activations that are lacking: a trunk takes about as long as its whole network took."""
        there = next((len(store) for store in stores(self._root) if store.fingerprint == trunk.fingerprint), 0)
        return self._affordable(trunk.base, there, limit, "keeping the activations of")

    def _affordable(self, encoder: Encoder, there: int, limit: float, what: str) -> float:
        """Seconds that its network takes for all but so many of the listings, at the rate that this machine had.

        Raises:
            EncoderError: that is more than the limit.
        """
        rows = max(0, int(self._features.present[encoder.name].sum()) - there)
        expected = rows * open_store(self._root, encoder).seconds_per_row(machine())
        if expected > limit:
            raise EncoderError(
                f"{encoder.name}: {what} {rows:,} {KINDS[encoder.modality]} takes about {expected / 60:,.1f} minutes, "
                f"{limit / 60:,.1f} are left: allow more, or give fewer listings"
            )
        return expected

    def _load_whole(self, catalog: Catalog, encoders: Sequence[Encoder], rows: np.ndarray, limit: float) -> None:
        contents: dict[str, list[str | None]] = {}
        for encoder in encoders:
            if encoder.modality not in contents:
                contents[encoder.modality] = list(catalog.contents(encoder.modality, self._ids))
            with self._refusing(encoder):
                self._affordable(encoder, 0, limit, "one look at")
                chosen = [contents[encoder.modality][row] for row in rows.tolist()]
                self.sources[encoder.name] = Contents(encoder, chosen, self._root)

    @contextmanager
    def _refusing(self, encoder: Encoder) -> Iterator[None]:
        try:
            yield
        except EncoderError as error:
            self.refused[encoder.name] = str(error)

    def _path(self, listings: Listings, member: HeadConfig, fold: Fold, seed: Sequence[int]) -> Path:
        """Named by all that decides the outcome."""
        known = {
            "machine": [machine(), versions()],  # its seconds are told, too
            "member": asdict(member),
            "encoders": [self._fingerprints[name] for name in member.encoders],
            "contents": [self._contents[listings.features.modality[name]] for name in member.encoders],
            "policy": tuning_policy(),
            "tuned": [name in self.sources for name in member.encoders],
            "config": asdict(self.config),
            "seed": list(seed),
        }
        whole = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
        ids = list(listings.features.ids)
        for rows in (fold.train, fold.inner, fold.test):
            whole.update("\n".join(f"{ids[row]}\t{listings.codes[row]}" for row in rows.tolist()).encode() + b"\0")
        for name in member.encoders:
            whole.update(np.packbits(listings.features.present[name]).tobytes())
        return self._root / FOLDER / f"{whole.hexdigest()[:32]}.npz"


def _write(path: Path, tuned: Tuned) -> None:
    """Keep what was found; it only saves time."""
    told = {**asdict(tuned.course), "predict_seconds": tuned.predict_seconds, "memory": tuned.memory}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {" ".join([INNER, *lost]): said for lost, said in tuned.inner.items()}
        arrays |= {"test": tuned.test, "told": np.array(json.dumps(told))}
        write_atomically(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _read(path: Path) -> Tuned | None:
    """What was kept; None where there is nothing, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            course = Course(tuple(told["losses"]), *(told[name] for name in ("best", "share", "stop", "seconds")))
            names = [name.split() for name in arrays.files]
            inner = {frozenset(lost): arrays[" ".join([kind, *lost])] for kind, *lost in names if kind == INNER}
            return Tuned(inner, arrays["test"], course, told["predict_seconds"], told["memory"])
    except Exception:  # zipfile and numpy raise many kinds on damaged files
        return None


def _digest(*arrays: np.ndarray) -> str:
    whole = hashlib.sha256()
    for each in arrays:
        whole.update(np.ascontiguousarray(each).tobytes())
    return whole.hexdigest()
