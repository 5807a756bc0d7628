"""What is said of each listing: its most probable categories, what to do with it, and what could be seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.heads.calibration import BEST, PERSON, SEPARATOR, SUGGEST, Rules

if TYPE_CHECKING:
    from headstart.heads.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Answers:
    """What is said of n listings. B is `BEST`, or the number of categories where that is less."""

    top: np.ndarray
    """Names of the most probable categories, best first, ``(n, B)`` object."""
    top_probability: np.ndarray
    """Theirs, ``(n, B)`` float64."""
    decision: np.ndarray | None
    """``"accept"``, ``"suggest"`` or ``"person"``, ``(n,)`` str; None without rules."""
    suggested: list[str]
    """n times the categories to choose from, the most probable first, joined by `SEPARATOR`; empty unless the decision
    is ``"suggest"``."""
    candidates: np.ndarray
    """How many categories the conformal set holds, ``(n,)`` int; −1 without rules."""
    read: list[str]
    """n times what could be seen: ``"text"``, ``"image"``, ``"text+image"`` or ``"nothing"``."""

    def __len__(self) -> int:
        """How many listings there are."""
        return len(self.read)

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary a listing, of strings, floats, ints and lists of them; without rules a person decides."""
        decision = [PERSON] * len(self) if self.decision is None else self.decision.tolist()
        columns = {
            "category": self.top[:, 0].tolist(),
            "probability": self.top_probability[:, 0].tolist(),
            "top": self.top.tolist(),
            "top_probability": self.top_probability.tolist(),
            "decision": decision,
            "suggested": self.suggested,
            "candidates": self.candidates.tolist(),
            "read": self.read,
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def answer(
    classifier: Classifier,
    features: Features,
    rules: Rules | None = None,
    texts: Sequence[str | None] | None = None,
) -> Answers:
    """Ask a classifier about n listings.

    Args:
        classifier: fitted or loaded.
        features: of the listings.
        rules: what decides, from `Classifier.rules`; None where the classifier is not calibrated.
        texts: of each listing, where words are a member of the classifier.

    Raises:
        ModelError: what `Classifier.predict_proba` refuses.
    """
    from headstart.heads.members import evidence, members_of

    names = np.array([str(label) for label in classifier.classes_.tolist()], dtype=object)
    probabilities = classifier.predict_proba(features, texts)
    there, has = evidence(features, members_of(classifier.config_), texts)
    ranking = np.argsort(-probabilities, axis=1, kind="stable")
    best = ranking[:, :BEST]
    rows = len(features)
    decision, suggested, candidates = None, [""] * rows, np.full(rows, -1)
    if rules is not None:
        found = rules.decide(probabilities, np.any(there, axis=0))
        decision, candidates = found.action, found.sets.sum(axis=1)
        for row in np.flatnonzero(found.action == SUGGEST).tolist():
            codes = ranking[row]
            suggested[row] = SEPARATOR.join(names[codes[found.sets[row, codes]]])
    kinds = sorted(has, reverse=True)
    return Answers(
        top=names[best],
        top_probability=np.take_along_axis(probabilities, best, axis=1).astype(np.float64),
        decision=decision,
        suggested=suggested,
        candidates=candidates,
        read=["+".join(kind for kind in kinds if has[kind][row]) or "nothing" for row in range(rows)],
    )
