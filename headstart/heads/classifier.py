"""Classifier: members fused and calibrated, with all it needs to be used again; a scikit-learn estimator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.calibration import Calibration, Decisions, Rules
from headstart.heads.config import HeadConfig
from headstart.heads.control import Control
from headstart.heads.fusion import Fusion
from headstart.heads.members import evidence, members_of
from headstart.heads.nested import Listings, Panel, whole_side
from headstart.heads.network import traced
from headstart.heads.saved import CARD, CLASSIFIER, read_network
from headstart.runtime import now, versions
from headstart.sealed import read_folder, write_folder

ARRAY = "X"
"""What the one encoder of plain arrays is called."""
_BATCH = 8192


class Classifier(ClassifierMixin, BaseEstimator):
    """Vectors → categories, with probabilities that are frequencies. `fit` it or `load` it.

    X is `Features`, or an array ``(n, D)``, which counts as the vectors of one encoder of texts.

    Args:
        encoders: whose vectors it reads, in this order; all that there are if None.
        fusion: ``"late"``, ``"concat"`` or ``"gated"``; this and the next are those of `HeadConfig`.
        seed: of the inner folds and the initial weights.

    Attributes:
        classes_: the K categories in order, the columns of `predict_proba`.
        config_: the head's settings.
        fusion_: the members' weights.
        calibrated_: whether listings could be held back to learn the fusion's weights and what to accept.
        calibration_: what was seen of those, or None.
        uncalibrated_: why none could be, where `calibrated_` is False.
        out_of_fold_: probabilities ``(n, K)`` that heads gave which had not learnt from the listing; NaN for listings
            without a category, or in one that cannot be held back. Not of a loaded classifier.
        fingerprints_: encoder name → fingerprint of the encoder whose vectors it was fitted on.
        seconds_: what the fit took.
        columns_: how the catalogue it was fitted on was read, for `headstart predict`; JSON values.
    """

    def __init__(
        self,
        encoders: Sequence[str] | None = None,
        fusion: str = "late",
        hidden: int = 0,
        dropout: float = 0.0,
        l2: float = 8.0,
        learning_rate: float = 1.0,
        balanced: bool = True,
        absent: float = 0.2,
        words: bool = False,
        seed: int = 0,
    ) -> None:
        self.encoders = encoders
        self.fusion = fusion
        self.hidden = hidden
        self.dropout = dropout
        self.l2 = l2
        self.learning_rate = learning_rate
        self.balanced = balanced
        self.absent = absent
        self.words = words
        self.seed = seed

    @classmethod
    def of(cls, config: HeadConfig, seed: int = 0) -> Self:
        """One with the settings of `config`."""
        return cls(**vars(config), seed=seed)

    def fit(
        self,
        X: Features | np.ndarray,
        y: Sequence[Any] | np.ndarray | None = None,
        groups: np.ndarray | None = None,
        texts: Sequence[str | None] | None = None,
        learnt: np.ndarray | None = None,
    ) -> Self:
        """Learn from the listings that have a category.

        Heads of some inner folds, near-duplicates kept whole, show how to weigh the members and what to accept; then
        every member learns from all listings.

        Args:
            X: n listings.
            y: n categories, strings, numbers or bools; for Features None where a listing has none, and those of the
                Features if not given.
            groups: near-duplicate group of each listing ``(n,)``; if not given found among all pairs of Features, and
                each row of an array by itself.
            texts: of each listing, where words are a member.
            learnt: listings that an encoder was fine-tuned on ``(n,)`` bool, which are not held back; None for none.

        Raises:
            ModelError: fewer than two categories, or no vectors of an encoder.
            ValueError: an array that scikit-learn refuses.
        """
        started = time.perf_counter()
        for name in ("n_features_in_", "feature_names_in_"):  # of an array fitted before
            self.__dict__.pop(name, None)
        features, labels = self._given(X, y)
        if texts is not None and len(texts) != len(features):
            raise ModelError(f"{len(texts)} texts for {len(features)} listings: give one, or None, for each")
        if groups is None:
            groups = near_duplicate_groups(features.blocks()) if isinstance(X, Features) else np.arange(len(features))
        elif len(groups) != len(features):
            raise ModelError(f"{len(groups)} groups for {len(features)} listings: give one for each")
        known = np.fromiter((label is not None for label in labels), bool, len(labels))
        self.classes_, codes = _categories(labels if known.all() else [label for label in labels if label is not None])
        if not known.all():
            rows = np.flatnonzero(known)
            features, groups = features.take(rows), np.asarray(groups)[rows]
            texts = texts if texts is None else [texts[row] for row in rows.tolist()]
            learnt = learnt if learnt is None else learnt[rows]

        names = tuple(features.vectors) if self.encoders is None else tuple(self.encoders)
        settings = {name: value for name, value in self.get_params().items() if name not in ("encoders", "seed")}
        self.config_ = HeadConfig(names, **settings)
        if unknown := [name for name in names if name not in features.vectors]:
            raise ModelError(f"no vectors of {unknown[0]}; there are those of: {', '.join(features.vectors)}")
        listings = Listings(features, codes, len(self.classes_), np.asarray(groups), texts, learnt)
        members, side = members_of(self.config_), whole_side(listings, self.seed)
        panel = Panel(listings, [side], members, self.seed)
        fused = panel.fuse(members, 0)
        self._networks = [panel.network(member, 0) for member in members if member is not None]
        self._functions: list[Callable[..., np.ndarray]] = []
        self._control = (
            Control().fit(texts, codes, listings.classes) if self.config_.words and texts is not None else None
        )
        self.fusion_, self.calibration_ = fused.fusion, fused.calibration
        self.calibrated_ = self.calibration_ is not None
        self.uncalibrated_ = side.why or "there is nothing to read of the listings that could be held back"
        self.out_of_fold_ = np.full((len(known), len(self.classes_)), np.nan, np.float32)
        self.out_of_fold_[np.flatnonzero(known)[fused.rows]] = np.exp(fused.log_probabilities)
        self.fingerprints_ = {name: features.fingerprints.get(name, "") for name in names}
        self.columns_: dict[str, Any] = {}
        self.seconds_ = time.perf_counter() - started
        return self

    def predict_proba(self, X: Features | np.ndarray, texts: Sequence[str | None] | None = None) -> np.ndarray:
        """Probability of each category, float32 ``(n, K)``.

        Args:
            X: n listings, in the form that it was fitted on.
            texts: of each listing, where words are a member.

        Raises:
            ModelError: the vectors are missing, or of another encoder than it was fitted on; or there are no texts.
        """
        check_is_fitted(self)
        features = self._read(X)
        if self.config_.words and texts is None:
            raise ModelError("this classifier reads words as well: give the texts of the listings")
        if self.config_.words and len(texts or ()) != len(features):
            raise ModelError(f"{len(texts or ())} texts for {len(features)} listings: give one, or None, for each")
        out = np.empty((len(features), len(self.classes_)), np.float32)
        for rows in _batches(len(features)):
            part = features if len(rows) == len(features) else features.take(rows)
            said = texts[rows[0] : rows[-1] + 1] if self.config_.words and texts is not None else None
            there, has = evidence(part, members_of(self.config_), said)
            out[rows] = np.exp(self.fusion_.log_probabilities(self._opinions(part, said), there, has))
        return out

    def predict(self, X: Features | np.ndarray, texts: Sequence[str | None] | None = None) -> np.ndarray:
        """The most probable category of each listing, ``(n,)``."""
        codes = self.predict_proba(X, texts).argmax(axis=1)
        return np.asarray(self.classes_[codes])

    def rules(self, error_rate: float = 0.02, coverage: float = 0.95) -> Rules:
        """What decides about further listings; see `Calibration.rules`.

        Raises:
            ModelError: nothing is known of its errors, as too few listings could be held back.
        """
        check_is_fitted(self)
        if self.calibration_ is None:
            raise ModelError(
                f"nobody knows how often this classifier errs ({self.uncalibrated_}): let it learn from more listings"
            )
        return self.calibration_.rules(error_rate, coverage)

    def decide(
        self,
        X: Features | np.ndarray,
        error_rate: float = 0.02,
        coverage: float = 0.95,
        texts: Sequence[str | None] | None = None,
    ) -> Decisions:
        """Accept the most probable category, suggest a few, or send the listing to a person; see `Rules.decide`.

        Raises:
            ModelError: as `predict_proba` and `rules`.
        """
        rules = self.rules(error_rate, coverage)
        there, _ = evidence(self._read(X), members_of(self.config_), texts)
        return rules.decide(self.predict_proba(X, texts), np.any(there, axis=0))

    def save(self, folder: str | Path) -> None:
        """Write the classifier into a folder; see `headstart.heads.saved`.

        Raises:
            ModelError: the folder cannot be written, or the categories are of a type that JSON does not know.
        """
        check_is_fitted(self)
        folder = Path(folder)
        if self.classes_.dtype.kind not in "OUiufb" or not isinstance(self.classes_.tolist()[0], (str, int, float)):
            raise ModelError(f"categories of type {self.classes_.dtype} cannot be saved: make them strings or numbers")
        card = {
            "classes": self.classes_.tolist(),
            "type": self.classes_.dtype.str,
            "parameters": {**self.get_params(), "encoders": self.encoders and list(self.encoders)},
            "config": asdict(self.config_),
            "fingerprints": self.fingerprints_,
            "columns": self.columns_,
            "fusion": self.fusion_.to_json(),
            "uncalibrated": self.uncalibrated_,
            "array": [self.n_features_in_] if hasattr(self, "n_features_in_") else [],
            "names": getattr(self, "feature_names_in_", np.arange(0)).tolist(),
            "seconds": self.seconds_,
            "created": now(),
            "versions": versions(),
        }
        parts: dict[str, Any] = {f"head-{number}.keras": each.save for number, each in enumerate(self.networks_)}
        if self._control is not None:
            arrays = self._control.arrays()
            parts["words.npz"] = lambda path: np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        if self.calibration_ is not None:
            seen = self.calibration_.to_arrays()
            parts["calibration.npz"] = lambda path: np.savez_compressed(path, **seen)  # type: ignore[arg-type]
        write_folder(CLASSIFIER, folder, card, parts)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a classifier that `save` wrote. No pickle, no code: networks, arrays and JSON.

        Raises:
            ModelError: a file is missing or has changed, or the folder is of another format.
        """
        folder = Path(folder)
        card, parts = read_folder(CLASSIFIER, folder)
        try:
            given = card["parameters"]["encoders"]
            made = cls(**{**card["parameters"], "encoders": given and tuple(given)})
            made.config_ = HeadConfig(**{**card["config"], "encoders": tuple(card["config"]["encoders"])})
            made.classes_ = np.array([*card["classes"]], dtype=card["type"])
            made.fingerprints_ = {name: str(card["fingerprints"][name]) for name in made.config_.encoders}
            made.columns_, made.seconds_ = dict(card["columns"]), card["seconds"]
            made.uncalibrated_ = str(card["uncalibrated"])
            made.fusion_ = Fusion.from_json(card["fusion"])
            if card["array"]:
                (made.n_features_in_,) = card["array"]
            if card["names"]:
                made.feature_names_in_ = np.array(card["names"], object)
            made._kept = [parts[f"head-{number}.keras"] for number in range(len(made.config_.members()))]
            made._networks, made._functions = [], []
            words, seen = parts.get("words.npz"), parts.get("calibration.npz")
            made._control = Control.from_arrays(words.arrays()) if words else None
            made.calibration_ = Calibration.from_arrays(seen.arrays()) if seen else None
            made.calibrated_ = made.calibration_ is not None
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder / CARD} is damaged ({error}): train the classifier again") from None
        return made

    @property
    def networks_(self) -> list[Any]:
        """The Keras model of each head; of a loaded classifier, read when it is first needed: Keras takes seconds.

        Raises:
            ModelError: this Keras cannot read one, or it does not fit the classes.
        """
        if not self._networks:
            self._networks = [read_network(part, len(self.classes_)) for part in self._kept]
        return self._networks

    def _asking(self) -> list[Callable[..., np.ndarray]]:
        """Each network as a function."""
        if not self._functions:
            self._functions += map(traced, self.networks_)
        return self._functions

    def __getstate__(self) -> dict[str, Any]:
        """Without what TensorFlow has traced, which is traced again where it is needed."""
        return {**super().__getstate__(), "_functions": []}

    @property
    def control_(self) -> Control | None:
        """The words of the TF-IDF control; None where they are no member."""
        return self._control

    def _given(self, X: Features | np.ndarray, y: Any) -> tuple[Features, Sequence[Any]]:
        """What `fit` is given, as Features and as many labels."""
        if isinstance(X, Features):
            labels = X.labels if y is None else y
            if len(labels) != len(X):
                raise ModelError(f"{len(labels)} categories for {len(X)} listings: give one, or None, for each")
            return X, labels.tolist() if isinstance(labels, np.ndarray) else labels
        array, labels = validate_data(self, X, y, dtype=(np.float32, np.float16), ensure_min_samples=2)
        check_classification_targets(labels)
        return _as_features(array), labels

    def _read(self, X: Features | np.ndarray) -> Features:
        """Features that it can read, or a refusal."""
        if not isinstance(X, Features):
            if not hasattr(self, "n_features_in_"):
                read = ", ".join(self.config_.encoders)
                raise ModelError(f"the classifier learnt from vectors of {read}: give Features, not an array")
            return _as_features(validate_data(self, X, reset=False, dtype=(np.float32, np.float16)))
        for name, learnt in self.fingerprints_.items():
            if name not in X.vectors:
                raise ModelError(f"the classifier reads {name}, there are vectors of: {', '.join(X.vectors)}")
            if (found := X.fingerprints.get(name, "")) != learnt:
                raise ModelError(
                    f"the classifier learnt from {name} {learnt[:12]}, these vectors are of {found[:12]}: "
                    "train it again"
                )
        return X

    def _opinions(self, features: Features, texts: Sequence[str | None] | None) -> np.ndarray:
        """Log-probabilities of each member, float32 ``(M, n, K)``."""
        said = []
        for member, ask in zip(self.config_.members(), self._asking(), strict=True):
            inputs = [np.asarray(features.vectors[name], np.float32) for name in member.encoders]
            inputs.append(np.stack([features.present[name] for name in member.encoders], axis=1).astype(np.float32))
            said.append(np.log(np.maximum(ask(*inputs), 1e-30)))
        if self._control is not None and texts is not None:
            said.append(self._control.log_probabilities(texts).astype(np.float32))
        return np.array(said)


def _categories(labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The categories in order, and the number of each listing's."""
    if not isinstance(labels, np.ndarray) and len(kinds := {type(label).__name__ for label in labels}) > 1:
        raise ModelError(
            f"categories of several types, {' and '.join(sorted(kinds))}: make them all of one, such as str"
        )
    classes, codes = np.unique(labels if isinstance(labels, np.ndarray) else list(labels), return_inverse=True)
    if len(classes) < 2:
        found = f"only {classes.tolist()[0]!r}" if len(classes) else "none"
        raise ModelError(f"a classifier tells two or more categories apart, there is {found}: check --label")
    return classes, codes


def _as_features(X: np.ndarray) -> Features:
    rows = len(X)
    return Features(("",) * rows, (None,) * rows, {ARRAY: X}, {ARRAY: np.ones(rows, bool)}, {ARRAY: "text"})


def _batches(rows: int) -> Iterator[np.ndarray]:
    for start in range(0, rows, _BATCH):
        yield np.arange(start, min(start + _BATCH, rows))
