"""What heads say of the listings of a catalogue that they have not learnt from: each listing out of fold, repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError, ModelError
from headstart.heads.config import HeadConfig, head_encoders
from headstart.heads.members import IMAGE, TEXT, Member, members_of
from headstart.heads.nested import Listings, Panel, Side, cut
from headstart.heads.splits import Fold

FUSED = "fused"


@dataclass(frozen=True, eq=False)
class Opinions:
    """Of n listings in K categories, by families of heads."""

    judged: np.ndarray
    """Listings that heads gave an opinion on, ``(n,)`` bool: not those of a category with one distinct listing, as
    without it nobody knows the category."""
    log_probabilities: dict[str, np.ndarray]
    """Family → calibrated log-probabilities, averaged over the repeats, float32 ``(n, K)``; those of listings that are
    not judged have no meaning."""
    there: dict[str, np.ndarray]
    """Family → whether it could read something of each listing ``(n,)`` bool."""


def opinions(
    listings: Listings,
    families: Mapping[str, Sequence[Member]],
    folds: int = 5,
    repeats: int = 2,
    seed: int = 0,
    apart: np.ndarray | None = None,
) -> Opinions:
    """Ask families of heads about every listing, by heads, weights and frequencies that have not seen it.

    All heads of all folds and repeats train in one bank. Near-duplicates are in one fold: no copy of a listing has a
    say in what it is. The geometric mean of the repeats' probabilities is taken, as members are fused.

    Args:
        listings: n of them, with their categories as filed.
        families: name → the members that are fused.
        folds: of each repeat.
        repeats: with other folds.
        seed: of the folds and of the heads' first weights.
        apart: listings that nothing is learnt from, such as a holdout's ``(n,)`` bool; they are judged like others.

    Raises:
        HeadstartError: too few listings for folds.
    """
    every = np.arange(len(listings.codes))
    sides = [_side(listings, Fold(every, every[:0], every[:0], 0), folds, (seed, n), apart) for n in range(repeats)]
    panel = Panel(listings, sides, [member for members in families.values() for member in members], seed, whole=False)
    judged = np.isin(every, panel.fuse(next(iter(families.values())), 0).rows)
    said: dict[str, np.ndarray] = {}
    there: dict[str, np.ndarray] = {}
    for name, members in families.items():
        total = np.zeros((len(every), listings.classes), np.float32)
        for number in range(repeats):
            fused = panel.fuse(members, number)
            total[fused.rows] += fused.log_probabilities / repeats
            there[name] = np.asarray(fused.there.any(axis=0))
        said[name] = normalised(total)
    return Opinions(judged, said, there)


def families(features: Features, words: bool) -> dict[str, tuple[Member, ...]]:
    """Heads on texts, on photos, and on all there is, by name: `FUSED` and the modalities.

    Args:
        features: of the listings.
        words: whether the words of the texts are a member.
    """
    heads = head_encoders(features)
    if not heads:
        raise ModelError("no listing has a vector to learn from: check --text, --image and --images")
    chosen = {FUSED: heads[list(heads)[-1]], **{name: heads[name] for name in (TEXT, IMAGE) if name in heads}}
    return {
        name: members_of(HeadConfig(encoders, fusion="late", words=words and TEXT in heads and name != IMAGE))
        for name, encoders in chosen.items()
    }


def normalised(scores: np.ndarray) -> np.ndarray:
    """Scores ``(n, K)`` as log-probabilities."""
    found = scores - scores.max(axis=1, keepdims=True)
    found -= np.log(np.exp(found).sum(axis=1, keepdims=True))
    return found


def _side(listings: Listings, fold: Fold, folds: int, seed: Sequence[int], apart: np.ndarray | None) -> Side:
    side = cut(listings, fold, seed, folds)
    if not side.inner:
        raise HeadstartError(f"the listings cannot be cut into folds ({side.why}): give more of them")
    if apart is None or not apart.any():
        return side
    taught = [
        replace(each, train=each.train[~apart[each.train]], inner=each.inner[~apart[each.inner]]) for each in side.inner
    ]
    if any(not len(each.train) for each in taught):
        raise HeadstartError("all listings belong to the holdout, and nothing is left to learn from: name fewer")
    return replace(side, inner=tuple(taught))
