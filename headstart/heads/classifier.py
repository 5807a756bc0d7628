"""Classifier: the head chosen, with all it needs to be used again: classes, encoders, columns."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.files import file_digest, write_text_atomically
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.splits import holdout
from headstart.runtime import keras, now, tensorflow, versions

FORMAT = 1
INNER_SHARE = 0.125
_HEAD, _CARD = "head.keras", "classifier.json"
_BATCH = 8192


class Classifier:
    """Vectors → categories with one dense head. `fit` it or `load` it.

    Attributes:
        config: the head's settings.
        seed: of the inner split and the initial weights.
        classes_: category names in alphabetical order; the columns of `predict_proba`.
        fingerprints_: encoder name → fingerprint of the encoder whose vectors it was fitted on.
        seconds_: what the fit took.
        columns: how the catalogue it was fitted on was read, for `headstart predict`; JSON values.
    """

    def __init__(self, config: HeadConfig, seed: int = 0) -> None:
        self.config = config
        self.seed = seed
        self.columns: dict[str, Any] = {}
        self._network: Any = None
        self._folder: Path | None = None

    def fit(
        self, features: Features, labels: Sequence[str | None] | None = None, groups: np.ndarray | None = None
    ) -> Classifier:
        """Learn from the listings that have a label.

        An eighth of them, near-duplicates kept whole, is held back to find when to stop; then the head learns from
        all of them for as many steps.

        Args:
            features: n listings.
            labels: n categories, None where there is none; those of `features` if not given.
            groups: near-duplicate group of each listing ``(n,)``; found among all pairs if not given.

        Raises:
            ModelError: fewer than two categories, or no vectors of an encoder.
        """
        labels = features.labels if labels is None else labels
        self.classes_ = sorted({label for label in labels if label is not None})
        if len(self.classes_) < 2:
            found = f"only {self.classes_[0]!r}" if self.classes_ else "none"
            raise ModelError(f"a head learns to tell two or more categories apart, there is {found}: check --label")
        number = {label: code for code, label in enumerate(self.classes_)}
        rows = np.array([row for row, label in enumerate(labels) if label is not None])
        known = features.take(rows)
        codes = np.array([number[label] for label in labels if label is not None])
        if groups is None:
            groups = near_duplicate_groups(features.blocks())
        train, inner = holdout(codes, groups[rows], INNER_SHARE, self.seed)
        bank = HeadBank(known, codes, len(self.classes_), [HeadTask(self.config, train, inner, self.seed)]).fit()
        self.seconds_ = bank.seconds
        self._network = bank.network(0)
        self.fingerprints_ = {name: features.fingerprints.get(name, "") for name in self.config.encoders}
        return self

    def predict_proba(self, features: Features) -> np.ndarray:
        """Probability of each category, float32 ``(n, k)``.

        Raises:
            ModelError: the vectors are missing, or of another encoder than the head learnt from.
        """
        for name in self.config.encoders:
            if name not in features.vectors:
                raise ModelError(f"the classifier reads {name}, there are vectors of: {', '.join(features.vectors)}")
            if features.fingerprints.get(name, "") != self.fingerprints_[name]:
                raise ModelError(
                    f"the classifier learnt from {name} {self.fingerprints_[name][:12]}, these vectors are of "
                    f"{features.fingerprints.get(name, '')[:12]}: train it again"
                )
        out = np.empty((len(features), len(self.classes_)), np.float32)
        present = np.stack([features.present[name] for name in self.config.encoders], axis=1).astype(np.float32)
        for start in range(0, len(features), _BATCH):
            rows = slice(start, start + _BATCH)
            inputs = [np.asarray(features.vectors[name][rows], np.float32) for name in self.config.encoders]
            out[rows] = self.network_([*inputs, present[rows]], training=False).numpy()
        return out

    def predict(self, features: Features) -> list[str]:
        """The most probable category of each listing."""
        return [self.classes_[code] for code in self.predict_proba(features).argmax(axis=1)]

    def save(self, folder: Path) -> None:
        """Write the classifier: ``head.keras`` and then ``classifier.json``, which holds the former's digest.

        Raises:
            ModelError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f".{secrets.token_hex(4)}.keras"
            self.network_.save(aside)
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(folder / _HEAD)
            card = {
                "format": FORMAT,
                "classes": self.classes_,
                "config": asdict(self.config),
                "seed": self.seed,
                "fingerprints": self.fingerprints_,
                "columns": self.columns,
                "head": file_digest(folder / _HEAD),
                "created": now(),
                "versions": versions(),
            }
            write_text_atomically(folder / _CARD, json.dumps(card, indent=1, ensure_ascii=False))
        except OSError as error:
            raise ModelError(f"{folder} cannot be written ({error.strerror}): choose another --save") from None

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read a classifier that `save` wrote. No pickle, no code: weights and JSON.

        Raises:
            ModelError: a file is missing or damaged, or the format is newer than this headstart.
        """
        for name in (_CARD, _HEAD):
            if not (folder / name).is_file():
                raise ModelError(
                    f"{folder} is no classifier, it has no {name}: train one with 'headstart train --save'"
                )
        try:
            card = json.loads((folder / _CARD).read_bytes())
            if card["format"] > FORMAT:
                raise ModelError(f"{folder} is of format {card['format']}, this headstart reads {FORMAT}: upgrade it")
            config = HeadConfig(**{**card["config"], "encoders": tuple(card["config"]["encoders"])})
            classifier = cls(config, card["seed"])
            classifier.classes_ = [str(label) for label in card["classes"]]
            classifier.fingerprints_ = {name: str(card["fingerprints"][name]) for name in config.encoders}
            classifier.columns, digest = dict(card["columns"]), card["head"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder / _CARD} is damaged ({error}): train the classifier again") from None
        if file_digest(folder / _HEAD) != digest:
            raise ModelError(f"{folder / _HEAD} is not the one that {_CARD} describes: train the classifier again")
        classifier._folder = folder
        return classifier

    @property
    def network_(self) -> Any:
        """The Keras model of the head; of a loaded classifier, read when it is first needed: Keras takes seconds.

        Raises:
            ModelError: this Keras cannot read it, or it does not fit the classes.
        """
        if self._network is None and self._folder is not None:
            head = self._folder / _HEAD
            tensorflow()
            try:
                network = keras().models.load_model(head, compile=False)
            except (OSError, ValueError, KeyError, TypeError):  # what Keras says of it takes many lines
                raise ModelError(
                    f"{head} cannot be read by Keras {keras().__version__}: train the classifier again"
                ) from None
            if network.output_shape[-1] != len(self.classes_):
                raise ModelError(f"{head} tells other categories apart than {_CARD} names: train the classifier again")
            self._network = network
        return self._network
