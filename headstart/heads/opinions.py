"""What heads say of the listings of a catalogue that they have not learnt from: each listing out of fold, repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError, ModelError
from headstart.heads.config import HeadConfig, head_encoders
from headstart.heads.fusion import normalised
from headstart.heads.members import IMAGE, TEXT, Member, members_of
from headstart.heads.nested import Listings, Panel, Side, cut
from headstart.heads.splits import Fold

FUSED = "fused"


@dataclass(frozen=True, eq=False)
class Opinions:
    """Of n listings in K categories, by families of heads."""

    judged: np.ndarray
    """Listings of which something can be read, and whose category is learnt from others, ``(n,)`` bool: not those of a
    category with one distinct listing."""
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
    sides = [cut(listings, Fold(every, every[:0], every[:0], 0), (seed, number), folds) for number in range(repeats)]
    if short := next((side for side in sides if not side.inner), None):
        raise HeadstartError(f"the listings cannot be cut into folds: {short.why}")
    if apart is not None and apart.any():
        sides = [side_apart(side, apart) for side in sides]
    return ask(listings, families, sides, seed)


def ask(listings: Listings, families: Mapping[str, Sequence[Member]], sides: Sequence[Side], seed: int = 0) -> Opinions:
    """The same on given cuts: the inner folds of each side are those of one repeat."""
    panel = Panel(listings, sides, [member for members in families.values() for member in members], seed, whole=False)
    said: dict[str, np.ndarray] = {}
    there: dict[str, np.ndarray] = {}
    for name, members in families.items():
        total = np.zeros((len(listings.codes), listings.classes), np.float32)
        for number in range(len(sides)):
            fused = panel.fuse(members, number)
            total[fused.rows] += fused.log_probabilities / len(sides)
            there[name] = np.asarray(fused.there.any(axis=0))
        said[name] = normalised(total)
    judged = np.zeros(len(listings.codes), bool)
    judged[np.concatenate([fold.test for fold in sides[0].inner])] = True
    judged &= _vouched(listings, sides[0].silent) & there[next(iter(families))]
    return Opinions(judged, said, there)


def _vouched(listings: Listings, silent: np.ndarray) -> np.ndarray:
    """Listings in a category that heads learn from another group of listings ``(n,)`` bool."""
    heard = np.ones(len(listings.codes), bool)
    heard[silent] = False
    pair = listings.codes * (int(listings.groups.max()) + 1) + listings.groups
    taught = np.unique(pair[heard])
    groups_of = np.bincount(taught // (int(listings.groups.max()) + 1), minlength=listings.classes)
    others: np.ndarray = groups_of[listings.codes] - np.isin(pair, taught)
    return others > 0


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


def side_apart(side: Side, apart: np.ndarray) -> Side:
    """A cut of all listings from whose labels nothing of those set apart ``(n,)`` bool is learnt; they are judged.

    Raises:
        HeadstartError: nothing is left to learn from.
    """
    taught = [
        replace(each, train=each.train[~apart[each.train]], inner=each.inner[~apart[each.inner]]) for each in side.inner
    ]
    if any(not len(each.train) for each in taught):
        raise HeadstartError("the holdout leaves too few listings to learn from: name fewer")
    return Side(replace(side.fold, train=np.flatnonzero(~apart)), tuple(taught), silent=np.flatnonzero(apart))
