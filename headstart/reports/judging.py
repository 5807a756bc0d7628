"""What every approach says of the listings it is judged on: the same folds for all, all heads from one bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError
from headstart.heads.calibration import PERSON, PROMISES
from headstart.heads.config import HeadConfig, head_encoders
from headstart.heads.members import IMAGE, TEXT, Member, members_of
from headstart.heads.nested import Fused, Listings, Panel, cut
from headstart.heads.splits import Fold

TITLES = {
    "text": "Text alone",
    "image": "Photo alone",
    "concat": "Text and photo, concatenated",
    "gated": "Text and photo, gated",
    "late": "Text, photo and words, late fusion",
    "control": "TF-IDF control",
}
FUSED = ("late", "gated", "concat")
PAIRS = (
    ("late", "text"),
    ("late", "image"),
    ("late", "control"),
    ("late", "written"),
    ("concat", "text"),
    ("text", "control"),
)
"""Compared with each other; few, as every comparison more asks more evidence of all."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """One approach on R repeats of the folds over n listings in K categories."""

    probabilities: np.ndarray
    """Calibrated, each row by heads that had not learnt from it, ``(R, n, K)``."""
    ungrouped: np.ndarray
    """On folds that ignore near-duplicates, in all that is chosen, too; of one repeat, ``(1, n, K)``."""
    without: Mapping[str, np.ndarray]
    """Modality lost by all listings → ``(R, n, K)``."""
    action: np.ndarray
    """``accept``, ``suggest`` or ``person``, by thresholds of each fold's training side, ``(R, n)`` str."""
    sets: np.ndarray
    """``(R, n, K)`` bool."""
    promised: np.ndarray
    """By what the coverage of each category is promised, as in `Conformal`; the least that a training side could,
    ``(K,)`` str."""
    inner_losses: np.ndarray
    """Mean cross-entropy on the inner folds of each training side, in nats ``(F,)``."""
    weights: dict[str, float]
    """Mean weight of each member and of the prior, for listings that have all."""


def approaches(features: Features, words: bool) -> dict[str, HeadConfig | None]:
    """The approaches that these listings allow, by name; None for the control.

    Args:
        features: of the listings.
        words: whether the control takes part, alone and as a member of the late fusion.
    """
    heads = head_encoders(features)
    found: dict[str, HeadConfig | None] = {name: HeadConfig(heads[name]) for name in (TEXT, IMAGE) if name in heads}
    if "fused" in heads:
        both = heads["fused"]
        found["concat"], found["gated"] = HeadConfig(both), HeadConfig(both, fusion="gated")
        found["late"] = HeadConfig(both, fusion="late", words=words)
        if words:
            found["written"] = HeadConfig(heads[TEXT], fusion="late", words=True)
    elif words and TEXT in heads:
        found["late"] = HeadConfig(heads[TEXT], fusion="late", words=True)
    if words:
        found["control"] = None
    for modality in (TEXT, IMAGE):
        several = heads.get(modality, ())
        found |= {f"{modality}: {name}": HeadConfig((name,)) for name in several if len(several) > 1}
    return found


def title(name: str, config: HeadConfig | None, features: Features) -> str:
    """What a report calls an approach."""
    modality, colon, encoder = name.partition(": ")
    kind = "Text" if modality == TEXT else "Photo"
    if colon:
        return f"{kind}, {encoder} only"
    if config is not None and name in (TEXT, IMAGE) and len(config.encoders) > 1:
        return f"{kind}, {len(config.encoders)} encoders"
    if config is not None and name in ("late", "written"):
        kinds = {features.modality[encoder] for encoder in config.encoders}
        named = [
            word
            for word, there in (("text", TEXT in kinds), ("photo", IMAGE in kinds), ("words", config.words))
            if there
        ]
        return f"{', '.join(named[:-1]).capitalize()} and {named[-1]}, late fusion"
    return TITLES[name]


class Jury:
    """Approaches and the sides they are judged on."""

    def __init__(
        self,
        listings: Listings,
        configs: Mapping[str, HeadConfig | None],
        grouped: Sequence[Fold],
        ungrouped: Sequence[Fold],
        seed: int,
    ) -> None:
        """Train all there is to train.

        Args:
            listings: those to be judged.
            configs: the approaches, from `approaches`.
            grouped: folds with near-duplicates on one side.
            ungrouped: others, of one repeat, that ignore them.
            seed: of the inner folds.
        """
        self.listings, self.grouped = listings, list(grouped)
        sides = [cut(listings, fold, (seed, fold.repeat, number)) for number, fold in enumerate(grouped)]
        if short := next((side for side in sides if not side.inner), None):
            raise HeadstartError(
                f"the training sides cannot be cut into inner folds ({short.why}): give more listings, or more --folds"
            )
        apart = replace(listings, groups=np.arange(len(listings.codes)))
        sides += [cut(apart, fold, (seed, 1, number)) for number, fold in enumerate(ungrouped)]
        self.members = {name: members_of(config) for name, config in configs.items()}
        self.panel = Panel(listings, sides, [member for members in self.members.values() for member in members], seed)
        self.fused = {
            name: [self.panel.fuse(members, side) for side in range(len(sides))]
            for name, members in self.members.items()
        }

    def judge(self, name: str, error_rate: float, coverage: float) -> Judgement:
        """One approach, with thresholds for an error rate among what is accepted and a coverage of its sets."""
        repeats = 1 + max(fold.repeat for fold in self.grouped)
        shape = repeats, len(self.listings.codes), self.listings.classes
        probabilities, ungrouped = np.full(shape, np.nan), np.full((1, *shape[1:]), np.nan)
        without = {kind: np.full(shape, np.nan) for kind in (TEXT, IMAGE)}
        action, sets = np.full(shape[:2], PERSON, "<U7"), np.zeros(shape, bool)
        least = np.zeros(shape[2], int)
        every = self.fused[name]
        judged, others = every[: len(self.grouped)], every[len(self.grouped) :]
        for fold, fused in zip(self.grouped, judged, strict=True):
            at = fold.repeat, fold.test
            probabilities[at] = np.exp(fused.test())
            for kind, out in without.items():
                out[at] = np.exp(fused.test(frozenset([kind])))
            if (calibration := fused.calibration) is not None:
                rules = calibration.rules(error_rate, coverage)
                decided = rules.decide(probabilities[at], np.any(fused.there[:, fold.test], axis=0))
                action[at], sets[at] = decided.action, decided.sets
                least = np.maximum(least, [PROMISES.index(each) for each in rules.conformal.promised])
            else:
                least[:] = len(PROMISES) - 1
        for fused in others:
            ungrouped[0, self.panel.sides[fused.side].fold.test] = np.exp(fused.test())
        losses = np.array([fused.losses().mean() for fused in judged])
        weights = _mean_weights(judged)
        return Judgement(probabilities, ungrouped, without, action, sets, np.array(PROMISES)[least], losses, weights)


def _mean_weights(fused: Sequence[Fused]) -> dict[str, float]:
    weights = np.mean([each.fusion.weights[frozenset(each.has)] for each in fused], axis=0).tolist()
    return dict(zip([*map(_named, fused[0].members), "prior"], weights, strict=True))


def _named(member: Member) -> str:
    return "TF-IDF words" if member is None else ", ".join(member.encoders)


def split_in_half(rows: int, seed: int) -> np.ndarray:
    """Which listings lose their photo, and not their text, when each loses one: half of them, ``(rows,)`` bool."""
    return np.random.default_rng((seed, 5)).permutation(rows) < rows / 2
