"""What can be said of a classifier's probabilities: which to accept, and which categories to suggest.

Everything is read off predictions of listings that the predicting head had not learnt from. What is promised holds for
further listings drawn like those, *on average over catalogues*, and no more:

- Accepting: that the share of errors among all that is accepted is near the one asked for, from below. Not for each
  category, nor for one seller.
- Sets (split conformal prediction with the least ambiguous sets, Sadinle, Lei & Wasserman 2019, arXiv 1609.00451): that
  they hold the right category as often as asked, within each category that has a threshold of its own (Mondrian: Vovk
  2012, arXiv 1209.2673). Not among the listings that are *suggested*, which are the hard ones: there it is less.

The finite-sample guarantee is split conformal's, for one fixed head. Thresholds found out of fold come from several
heads, each a little weaker than the final one (cross-conformal prediction, Vovk 2015, arXiv 1208.0806), that share the
axes of all rows and the few weights fitted on them: it then holds approximately. Near-duplicates make the listings
worth fewer than they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headstart.errors import HeadstartError, ModelError

PROMISES = OWN, RARE, ALL = "own", "rare", "all"
"""By what a category's coverage is promised: its own listings; those of all rare categories together; all listings, of
which it may be just the part that is missed, so that nothing is promised of it."""
ACCEPT, SUGGEST, PERSON = "accept", "suggest", "person"
BEST = 3
"""Most probable categories that an answer names, where there are so many."""
SEPARATOR = " | "
"""Between the categories that are suggested."""

_FEWEST = 4
"""Listings that must lie at or below a category's own threshold. It exists from 1 on, but is then the lowest
probability of all, moved by a single wrong label. What its sets miss varies from catalogue to catalogue like a Beta, by
1/√4 of what is asked or less: with 4, nineteen times in twenty, at most about twice as much is missed."""
_ROUNDING = 1e-9  # 1 - 0.9 is less than 0.1: a threshold must not hang on it


@dataclass(frozen=True, eq=False)
class Conformal:
    """From which probability on a category is in the set."""

    thresholds: np.ndarray
    """One for each category ``(K,)``."""
    promised: np.ndarray
    """One of `PROMISES` for each category ``(K,)``."""

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Which categories the set of each listing holds: none, one or several. ``(n, K)`` bool.

        A set that holds any holds the most probable one, too, be its own threshold higher: nothing is missed by that.
        """
        found: np.ndarray = probabilities >= self.thresholds
        some = np.flatnonzero(found.any(axis=1))
        found[some, probabilities[some].argmax(axis=1)] = True
        return found


@dataclass(frozen=True, eq=False)
class Decisions:
    """What to do with each of n listings."""

    action: np.ndarray
    """``"accept"``, ``"suggest"`` or ``"person"``, ``(n,)`` str."""
    sets: np.ndarray
    """Categories that `Conformal` suggests, ``(n, K)`` bool."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What decides about each listing, settled once for an error rate and a coverage: `Calibration.rules`."""

    accept_from: float | None
    """Lowest probability that is accepted; None if nothing is."""
    conformal: Conformal
    largest: int
    """Categories a person is willing to choose from."""

    def decide(self, probabilities: np.ndarray, there: np.ndarray) -> Decisions:
        """Accept the most probable category, suggest a few, or send the listing to a person.

        Accepted where the highest probability reaches `accept_from`. Otherwise suggested where the set of `conformal`
        holds 1 to `largest` categories. The rest, and listings of which nothing could be read, go to a person.

        Args:
            probabilities: of each category ``(n, K)``.
            there: whether something of the listing could be read, ``(n,)`` bool.
        """
        sets = self.conformal.sets(probabilities)
        sizes = sets.sum(axis=1)
        action = np.where((sizes >= 1) & (sizes <= self.largest), SUGGEST, PERSON)
        if self.accept_from is not None:
            action = np.where(probabilities.max(axis=1) >= self.accept_from, ACCEPT, action)
        return Decisions(np.where(there, action, PERSON), sets)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was seen of n listings that the head had not learnt from and of which something could be read."""

    codes: np.ndarray
    """True category number ``(n,)`` int."""
    true: np.ndarray
    """Probability given to the true category ``(n,)``."""
    top: np.ndarray
    """Highest probability ``(n,)``."""
    right: np.ndarray
    """Whether the most probable category was the true one ``(n,)`` bool."""
    classes: int
    """Number of categories K."""

    @classmethod
    def of(cls, log_probabilities: np.ndarray, codes: np.ndarray) -> Calibration:
        """Keep what matters of out-of-fold log-probabilities ``(n, K)`` of listings in the categories ``(n,)``."""
        true = np.take_along_axis(log_probabilities, codes[:, None], axis=1)[:, 0]
        return cls(
            codes=codes,
            true=np.exp(true),
            top=np.exp(log_probabilities.max(axis=1)),
            right=log_probabilities.argmax(axis=1) == codes,
            classes=log_probabilities.shape[1],
        )

    def accept_from(self, error_rate: float) -> float | None:
        """The lowest probability to accept from, if about ``error_rate`` of what is accepted may be wrong.

        The lowest with ``(errors + 1) / (accepted + 1)`` at most the rate, among the listings seen at or above it. The
        error added makes up, on average over catalogues, for picking the best of many thresholds, where a catalogue
        with nothing to accept counts as one without errors. One catalogue may have bad luck: simulated at 0.02 with 840
        listings, 95 % of them right, 1.9 % of what is accepted is wrong, between 1.3 and 2.5 % in eight of ten.

        Args:
            error_rate: above 0 and below 1.

        Returns:
            None where no threshold does: nothing can be accepted. At 0.02 that takes at least 49 listings.

        Raises:
            HeadstartError: not a rate.
        """
        _check("error rate", error_rate, "0.02")
        thresholds, rates = self._cuts()
        enough = np.flatnonzero(rates <= error_rate + _ROUNDING)
        return float(thresholds[enough[-1]]) if len(enough) else None

    @property
    def lowest_rate(self) -> float:
        """The lowest error rate at which `accept_from` accepts something."""
        return float(self._cuts()[1].min(initial=1))

    def _cuts(self) -> tuple[np.ndarray, np.ndarray]:
        """Every probability one could accept from, falling, and ``(errors + 1) / (accepted + 1)`` there."""
        order = np.argsort(-self.top, kind="stable")
        top = self.top[order]
        rates = (np.cumsum(~self.right[order]) + 1) / (np.arange(len(top)) + 2)
        last = np.append(top[1:] != top[:-1], True)[: len(top)]  # equally probable ones are accepted together
        return top[last], rates[last]

    def conformal(self, coverage: float) -> Conformal:
        """From which probability on a category is in a set, so that sets hold the right one as often as asked.

        Among m listings, the threshold is the k-th lowest probability of the true category, where k is
        ``(1 - coverage)(m + 1)`` rounded down: one more listing drawn like them falls below it with probability
        ``k / (m + 1)`` at most. A category has a threshold of its own where its k is 4 or more (79 listings at 0.95);
        the others share one, that of all their listings together, or of all listings where those are too few as well.

        Args:
            coverage: above 0 and below 1.

        Raises:
            HeadstartError: not a share.
        """
        _check("coverage", coverage, "0.95")
        missed = 1 - coverage
        rows = np.bincount(self.codes, minlength=self.classes)
        own = _place(rows, missed) >= _FEWEST
        rare = self.true[~own[self.codes]]
        together = _place(len(rare), missed) >= _FEWEST
        thresholds = np.full(self.classes, _threshold(rare if together else self.true, missed))
        for code in np.flatnonzero(own):
            thresholds[code] = _threshold(self.true[self.codes == code], missed)
        return Conformal(thresholds, np.where(own, OWN, RARE if together else ALL))

    def rules(self, error_rate: float = 0.02, coverage: float = 0.95, largest: int = 3) -> Rules:
        """What decides about further listings.

        Args:
            error_rate: share of wrong categories among what is accepted.
            coverage: how often a set holds the right category.
            largest: categories a person is willing to choose from.

        Raises:
            HeadstartError: an error rate or a coverage that is not between 0 and 1, or a ``largest`` below 1.
        """
        if largest < 1:
            raise HeadstartError(f"largest set {largest}: a suggestion names at least 1 category, such as 3")
        return Rules(self.accept_from(error_rate), self.conformal(coverage), largest)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fields as arrays, for ``numpy.savez``."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Calibration:
        """Read what `to_arrays` gave.

        Raises:
            ModelError: an array is missing, or they do not fit together.
        """
        try:
            codes, true, top, right = (arrays[name] for name in ("codes", "true", "top", "right"))
            classes = int(arrays["classes"])
            sound = codes.shape == true.shape == top.shape == right.shape == (len(codes),)
            sound = (
                sound
                and codes.dtype.kind == "i"
                and right.dtype.kind == "b"
                and true.dtype.kind == top.dtype.kind == "f"
            )
            sound = sound and bool(((codes >= 0) & (codes < classes)).all() and np.isfinite([true, top]).all())
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the calibration is damaged ({error}): train the classifier again") from None
        if not sound:
            raise ModelError("the calibration is damaged (its arrays do not fit together): train the classifier again")
        return cls(codes, true, top, right, classes)


def _place(rows: np.ndarray | int, missed: float) -> np.ndarray:
    """How many of the rows' probabilities may lie at or below the threshold, it among them."""
    return np.floor(missed * (np.asarray(rows) + 1) + _ROUNDING).astype(int)


def _threshold(true: np.ndarray, missed: float) -> float:
    """The probability in that place; 0, which leaves out nothing, where there is no such place."""
    place = min(int(_place(len(true), missed)), len(true))
    return float(np.sort(true)[place - 1]) if place else 0.0


def _check(what: str, value: float, such_as: str) -> None:
    if not 0 < value < 1:  # also false for NaN
        raise HeadstartError(f"{what} {value}: it lies between 0 and 1, such as {such_as}")
