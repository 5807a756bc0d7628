"""Nested cross-validation: all that is chosen for a fold is chosen on its training side.

A training side is cut into inner folds. What heads say of inner folds that they have not learnt from decides how
members are weighed, how sure a probability must be, and which settings are best; the fold's test rows are then
classified once, by heads that learnt from the whole side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headstart.embeddings.features import Features
from headstart.errors import HeadstartError, ModelError
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.calibration import Calibration
from headstart.heads.config import HeadConfig
from headstart.heads.control import control_fold
from headstart.heads.fusion import Pattern, fit_fusion, frequencies
from headstart.heads.members import Member, evidence, reads
from headstart.heads.splits import Fold, holdout, repeated_folds
from headstart.progress import progress
from headstart.runtime import cores

INNER_FOLDS = 4
FEW = 20_000
"""Texts to learn from, over all folds, that one process learns in the time in which workers start."""
INNER_SHARE = 0.125
"""Of the rows a head learns from, how many say when to stop."""


@dataclass(frozen=True, eq=False)
class Side:
    """A fold, and the inner folds of its training side."""

    fold: Fold
    inner: tuple[Fold, ...] = ()
    why: str = ""
    """Why there are no inner folds, if there are none."""
    silent: np.ndarray = field(default_factory=lambda: np.arange(0))
    """Rows that inner folds judge and whose labels nothing learns from, not even weights and frequencies."""


@dataclass(frozen=True, eq=False)
class Listings:
    """What heads learn from."""

    features: Features
    codes: np.ndarray
    """Category number of each of the n listings ``(n,)``."""
    classes: int
    groups: np.ndarray
    """Near-duplicate group of each ``(n,)``."""
    texts: Sequence[str | None] | None = field(default=None)
    """Of each, for words."""
    learnt: np.ndarray | None = field(default=None)
    """Those that an encoder was fine-tuned on ``(n,)`` bool; None for none. What heads say of them is too sure."""


def cut(listings: Listings, fold: Fold, seed: Sequence[int], folds: int = INNER_FOLDS) -> Side:
    """Inner folds of a fold's training side; none, and the reason, where its categories are too small.

    A category with one group of listings cannot be held back: it is learnt from in every inner fold that tests none of
    that group. So are listings that an encoder has learnt from.
    """
    rows = fold.side
    codes, groups = listings.codes[rows], np.unique(listings.groups[rows], return_inverse=True)[1]
    free = np.ones(len(rows), bool) if listings.learnt is None else ~listings.learnt[rows]
    pairs = np.unique(codes[free] * (groups.max() + 1) + groups[free])
    several = free & (np.bincount(pairs // (groups.max() + 1), minlength=codes.max() + 1)[codes] > 1)
    judged, alone = np.flatnonzero(several), np.flatnonzero(~several)
    if len(np.unique(codes[judged])) < 2:
        learnt = "" if free.all() else " that no fine-tuned encoder has learnt from"
        return Side(fold, (), f"fewer than two categories have two distinct listings{learnt}")
    folds = min(folds, len(np.unique(groups[judged])))
    try:
        found = repeated_folds(codes[judged], groups[judged], folds, 1, seed, INNER_SHARE)
    except HeadstartError as error:
        return Side(fold, (), str(error))
    inner = []
    for each in found:
        test = judged[each.test]
        beside = alone[~np.isin(groups[alone], groups[test])]
        inner.append(
            Fold(rows[np.sort(np.concatenate([judged[each.train], beside]))], rows[judged[each.inner]], rows[test], 0)
        )
    return Side(fold, tuple(inner))


def whole_side(listings: Listings, seed: int) -> Side:
    """All listings as one training side, with nothing to test, and its inner folds."""
    train, inner = holdout(listings.codes, listings.groups, INNER_SHARE, seed)
    return cut(listings, Fold(train, inner, np.arange(0), 0), (seed,))


class Panel:
    """Members fitted on training sides and, apart, on their inner folds: all heads in one bank."""

    def __init__(
        self,
        listings: Listings,
        sides: Sequence[Side],
        members: Sequence[Member],
        seed: int = 0,
        scouts: bool = False,
        whole: bool = True,
    ) -> None:
        """Fit them.

        Args:
            listings: what to learn from.
            sides: the training sides.
            members: each once.
            seed: of the initial weights.
            scouts: to compare settings, and nothing else: heads of the inner folds alone, that learn from their train
                rows alone; half the work.
            whole: heads of the whole sides, too; without, only what is said of the inner folds can be asked for.

        Raises:
            ModelError: no vectors of an encoder, no texts for the words, or no rows.
        """
        self.listings, self.sides, self.members = listings, list(sides), list(dict.fromkeys(members))
        self._places: dict[tuple[Member, int, int], int] = {}
        tasks: list[HeadTask] = []
        words: list[tuple[np.ndarray, np.ndarray]] = []
        for member in self.members:
            for number, side in enumerate(self.sides):
                # The head of the whole side is number −1, so that it is found whatever inner folds there are.
                for place, fold in [*enumerate(side.inner), *([(-1, side.fold)] if whole and not scouts else [])]:
                    if member is None:
                        self._places[member, number, place] = len(words)
                        words.append((fold.train if scouts else fold.side, fold.test))
                    else:
                        self._places[member, number, place] = len(tasks)
                        tasks.append(HeadTask(member, fold.train, fold.inner, seed, side.fold.side, scouts))
        if words and listings.texts is None:
            raise ModelError("words are a member, and there are no texts to learn them from: give texts")
        self.bank = HeadBank(listings.features, listings.codes, listings.classes, tasks).fit() if tasks else None
        self._tested = [self.tested(side, place) for member, side, place in self._places if member]
        self._words = _learn_words(listings, words)
        self._heads: dict[Pattern, list[np.ndarray]] = {}
        self.priors = [frequencies(listings.codes[side.fold.side], listings.classes) for side in self.sides]

    def tested(self, side: int, place: int) -> np.ndarray:
        """Test rows of an inner fold of a side, or of the side's own fold for −1."""
        return self.sides[side].fold.test if place < 0 else self.sides[side].inner[place].test

    def opinions(self, member: Member, side: int, place: int, lost: Pattern = frozenset()) -> np.ndarray:
        """Log-probabilities of a fold's test rows, had they lost some modalities, float32 ``(rows, K)``.

        Args:
            member: whose.
            side: number of the training side.
            place: number of its inner fold, or −1 for the side's own fold.
            lost: the modalities; what a member says that reads nothing else has no meaning.
        """
        number = self._places[member, side, place]
        if member is None:
            return self._words[number]
        kinds = reads(member, self.listings.features.modality)
        if not lost & kinds or kinds <= lost:
            lost = frozenset()
        if lost not in self._heads:
            absent = {kind: np.ones(len(self.listings.codes), bool) for kind in lost}
            assert self.bank is not None
            self._heads[lost] = self.bank.log_probabilities(self._tested, absent)
        return self._heads[lost][number]

    def network(self, member: HeadConfig, side: int) -> Any:
        """The head of a whole side as a Keras model."""
        assert self.bank is not None
        return self.bank.network(self._places[member, side, -1])

    def fuse(self, members: Sequence[Member], side: int, met: bool = False) -> Fused:
        """Members weighed by what they say of a side's inner folds; `met`: for such listings as are in them alone."""
        return Fused(self, tuple(members), side, met)


class Fused:
    """Members of one training side with the weights that its inner folds give them.

    Attributes:
        members: M of them.
        there: whether each could read something of each listing, ``(M, n)`` bool.
        has: modality → whether each listing has it, ``(n,)`` bool.
        rows: those of the inner folds.
        log_probabilities: of those, float32 ``(rows, K)``: by heads, weights and frequencies that had not seen it.
        fusion: the weights; where nothing could be held back, all members weigh the same.
    """

    def __init__(self, panel: Panel, members: tuple[Member, ...], side: int, met: bool = False) -> None:
        self.panel, self.members, self.side = panel, members, side
        listings, inner = panel.listings, panel.sides[side].inner
        self.kinds = [reads(member, listings.features.modality) for member in members]
        self.there, self.has = evidence(listings.features, members, listings.texts)
        order = np.concatenate([fold.test for fold in inner]) if inner else np.arange(0)
        place = np.argsort(order, kind="stable")
        self.rows = order[place]
        patterns = self._patterns()
        if met:
            masks = np.unique(np.stack([mask[self.rows] for mask in self.has.values()], axis=1), axis=0).tolist()
            seen = {frozenset(kind for kind, there in zip(self.has, mask, strict=True) if there) for mask in masks}
            patterns = [each for each in patterns if each in seen | {frozenset(self.has)}]
        said = {pattern: self._said(panel, pattern, range(len(inner)), side)[:, place] for pattern in patterns}
        there, has = self.there[:, self.rows], {kind: mask[self.rows] for kind, mask in self.has.items()}
        heard = ~np.isin(self.rows, panel.sides[side].silent)
        # Categories that no fold tests would seem never to occur: the weights are those that tell the others apart.
        tested = np.unique(listings.codes[self.rows[heard]])
        codes = np.minimum(np.searchsorted(tested, listings.codes[self.rows]), max(0, len(tested) - 1))
        among = {
            pattern: each[..., tested] if len(tested) < listings.classes else each for pattern, each in said.items()
        }
        self.fusion = replace(fit_fusion(among, there, has, codes, self.kinds, heard), prior=panel.priors[side])
        self.log_probabilities = np.empty((len(self.rows), listings.classes), np.float32)
        for fold in inner:
            held = np.isin(self.rows, fold.test)
            apart = replace(
                fit_fusion(among, there, has, codes, self.kinds, ~held & heard, self.fusion),
                prior=frequencies(listings.codes[self.rows[~held & heard]], listings.classes),
            )
            self.log_probabilities[held] = apart.log_probabilities(
                said[frozenset(self.has)][:, held], there[:, held], {kind: each[held] for kind, each in has.items()}
            )

    @property
    def calibration(self) -> Calibration | None:
        """What was seen of the listings of which something could be read; None where there were none."""
        seen = self.there[:, self.rows].any(axis=0)
        if not seen.any():
            return None
        return Calibration.of(self.log_probabilities[seen], self.panel.listings.codes[self.rows][seen])

    def losses(self) -> np.ndarray:
        """Cross-entropy of each of `rows`, out of fold, in nats ``(rows,)``."""
        found: np.ndarray = -np.take_along_axis(
            self.log_probabilities, self.panel.listings.codes[self.rows, None], axis=1
        )[:, 0]
        return found

    def test(self, lost: Pattern = frozenset(), side: int | None = None, panel: Panel | None = None) -> np.ndarray:
        """Log-probabilities of the side's test rows, had they lost some modalities, ``(rows, K)``.

        With another `side`, maybe of another `panel`, those of its test rows by its own heads, which are weighed as
        here; the frequencies of the categories are those of that side.
        """
        side, panel = self.side if side is None else side, panel or self.panel
        rows = panel.sides[side].fold.test
        kept = {kind: mask[rows] & (kind not in lost) for kind, mask in self.has.items()}
        there = np.array([self.there[n, rows] & bool(kinds - lost) for n, kinds in enumerate(self.kinds)])
        said = self._said(panel, frozenset(self.has) - lost, [-1], side)
        fusion = replace(self.fusion, prior=panel.priors[side])
        found: np.ndarray = fusion.log_probabilities(said, there, kept)
        return found

    def _patterns(self) -> list[Pattern]:
        kinds = sorted(self.has)
        return [frozenset([kind]) for kind in kinds] + ([frozenset(kinds)] if len(kinds) > 1 else [])

    def _said(self, panel: Panel, pattern: Pattern, places: Sequence[int], side: int) -> np.ndarray:
        """The members' opinions of some folds' test rows, in their order, if listings had no more than a pattern."""
        lost = frozenset(self.has) - pattern
        classes = panel.listings.classes
        if not places:
            return np.zeros((len(self.members), 0, classes), np.float32)
        return np.stack(
            [np.concatenate([panel.opinions(member, side, place, lost) for place in places]) for member in self.members]
        )


def _learn_words(listings: Listings, sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """The control's log-probabilities of the rows after it learnt from others, for each pair of rows."""
    if not sides or listings.texts is None:
        return []
    from joblib import Parallel, delayed

    # A side without test rows has nothing to say; workers take longer to start than a few small ones take.
    texts, codes, classes = listings.texts, listings.codes, listings.classes
    jobs = (delayed(control_fold)(texts, codes, train, test, classes) for train, test in sides)
    workers = min(cores(), len(sides)) if len(sides) * len(texts) > FEW else 1
    said = []
    with progress("training the control", len(sides)) as advance:
        for opinion in Parallel(n_jobs=workers, return_as="generator")(jobs):
            said.append(np.log(np.maximum(opinion, 1e-30)).astype(np.float32))
            advance(1)
    return said
