"""Late fusion: the log-probabilities of several members, added with weights, are those of one calibrated classifier.

A logarithmic opinion pool (Genest & Zidek 1986, Statistical Science 1) whose weights are fitted out of fold, like those
of stacking (Wolpert 1992). With one member it is temperature scaling (Guo et al. 2017, arXiv 1706.04599): the weight is
one over the temperature. The log frequency of the categories is one more term, as members that learnt from balanced
categories do not know the catalogue's own mix (Saerens, Latinne & Decaestecker 2002, Neural Computation 14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from headstart.errors import HeadstartError, ModelError

LOWEST = -30.0  # log-probability of what a member rules out: no member alone can make a category impossible
_MOST, _NUMBERS = 50_000, 2**25  # listings, and log-probabilities, that tell a handful of weights well enough
_ENOUGH = 1e-10  # nats by which another step would lower the mean cross-entropy

Pattern = frozenset[str]
"""Modalities that a listing has, or that a member reads: ``{"text"}``, ``{"image"}``, or both."""


@dataclass(frozen=True, eq=False)
class Fusion:
    """Weights of M members for K categories, for each pattern of modalities a listing may have."""

    members: tuple[Pattern, ...]
    """What each member reads."""
    weights: dict[Pattern, np.ndarray]
    """What a listing has → weight of each member, then of the prior, all ≥ 0: ``(M + 1,)``."""
    prior: np.ndarray
    """Log frequency of each category ``(K,)``."""

    def log_probabilities(self, opinions: np.ndarray, there: np.ndarray, has: Mapping[str, np.ndarray]) -> np.ndarray:
        """Fused log-probabilities ``(n, K)``; their exponentials add up to 1 for each listing.

        What a member that is not there would say is not looked at. A listing of which no member could read anything
        gets the frequencies of the categories.

        Args:
            opinions: log-probabilities of each member ``(M, n, K)``.
            there: whether the member could read something of the listing, ``(M, n)`` bool.
            has: modality → whether the listing has it, ``(n,)`` bool.
        """
        share = np.zeros((len(self.members) + 1, there.shape[1]), opinions.dtype)
        read = frozenset[str]().union(*self.members)
        for pattern, weights in self.weights.items():
            share[:, _exactly(pattern, read, has)] = weights[:, None]
        share[:-1] *= there
        share[-1, ~(share[:-1] > 0).any(axis=0)] = 1
        total = share[-1][:, None] * self.prior.astype(opinions.dtype)
        for weight, opinion in zip(share, opinions, strict=False):
            total += weight[:, None] * np.clip(np.where(weight[:, None] > 0, opinion, 0), LOWEST, 0)
        return normalised(total)

    def to_json(self) -> dict[str, Any]:
        """The fusion as JSON values."""
        return {
            "members": [sorted(member) for member in self.members],
            "weights": [{"has": sorted(has), "weights": each.tolist()} for has, each in self.weights.items()],
            "prior": self.prior.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fusion:
        """Read what `to_json` gave.

        Raises:
            ModelError: something is missing, or is not what `to_json` gives.
        """
        try:
            members = tuple(frozenset(map(str, member)) for member in values["members"])
            weights = {frozenset(map(str, one["has"])): np.array(one["weights"], float) for one in values["weights"]}
            prior = np.array(values["prior"], float)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the fusion's weights are damaged ({error}): train the classifier again") from None
        sound = all(each.shape == (len(members) + 1,) and (each >= 0).all() for each in weights.values())
        if not (sound and members and prior.ndim == 1 and np.isfinite([*prior, *np.ravel([*weights.values()])]).all()):
            raise ModelError("the fusion's weights are damaged (not one for each member): train the classifier again")
        return cls(members, weights, prior)


def normalised(scores: np.ndarray) -> np.ndarray:
    """Scores ``(n, K)`` as log-probabilities, in their place."""
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores


def fit_fusion(
    opinions: Mapping[Pattern, np.ndarray],
    there: np.ndarray,
    has: Mapping[str, np.ndarray],
    codes: np.ndarray,
    members: Sequence[Pattern],
    among: np.ndarray | None = None,
    begin: Fusion | None = None,
) -> Fusion:
    """Weights that minimise the mean cross-entropy of the listings that have all of a pattern, for each pattern.

    A listing with a text and a photo also teaches what to make of a text alone: its opinions under that pattern are
    those of members that were not shown the photo. Added to the mean cross-entropy is ``(1/n) Σ (w − w₀)²``, with
    ``w₀ = 1 / members`` (0 for the prior): where the members separate the categories perfectly the weights stay finite,
    and where no listing has the pattern they are w₀.

    Args:
        opinions: pattern → out-of-fold log-probabilities of the M members when listings have no more than that
            ``(M, n, K)``; those of a member that reads nothing of the pattern are not looked at.
        there: whether the member could read something of the listing, ``(M, n)`` bool.
        has: modality → whether the listing has it, ``(n,)`` bool.
        codes: category number of each listing ``(n,)``.
        members: modalities that each member reads.
        among: which listings to learn from, ``(n,)`` bool; all if not given.
        begin: of the same members, fitted on almost the same listings: where to begin, to be done sooner.

    Raises:
        HeadstartError: a log-probability is not a number.
    """
    if not opinions:
        raise HeadstartError("no opinions to fuse: give those of each member under one pattern or more")
    classes = next(iter(opinions.values())).shape[2]
    among = np.ones(len(codes), bool) if among is None else among
    prior = frequencies(codes[among], classes)
    weights: dict[Pattern, np.ndarray] = {}
    most = min(_MOST, _NUMBERS // (max(1, classes) * (len(members) + 1)))
    with _blas().limit(limits=1):  # the products are small: threads of BLAS would only wait for each other
        for pattern, said in opinions.items():
            reads = np.flatnonzero([bool(member & pattern) for member in members])
            rows = np.flatnonzero(among & _has_all(pattern, has) & there[reads].all(axis=0))
            if len(rows) > most:
                rows = np.random.default_rng(0).choice(rows, most, replace=False)
            terms = np.empty((len(reads) + 1, len(rows), classes))
            for place, member in enumerate(reads):
                terms[place] = np.clip(said[member, rows], LOWEST, 0)
            terms[-1] = prior
            if np.isnan(terms).any():
                raise HeadstartError("opinions: some log-probabilities are not numbers; predict each listing once")
            places = [*reads, -1]
            weights[pattern] = np.zeros(len(members) + 1)
            weights[pattern][places] = _fit(
                terms, codes[rows], None if begin is None else begin.weights[pattern][places]
            )
    return Fusion(tuple(members), weights, prior)


@cache
def _blas() -> ThreadpoolController:
    """NumPy's BLAS. To look for it takes milliseconds, as long as several fits."""
    return ThreadpoolController()


def frequencies(codes: np.ndarray, classes: int) -> np.ndarray:
    """Log frequency of each category ``(K,)``, one listing added to each: none is impossible."""
    counts = np.bincount(codes, minlength=classes) + 1.0
    found: np.ndarray = np.log(counts / counts.sum())
    return found


def _fit(terms: np.ndarray, codes: np.ndarray, begin: np.ndarray | None) -> np.ndarray:
    """Weights ≥ 0 of the terms ``(T, n, K)``, the last of which is the prior.

    A convex problem in a handful of weights: Newton's steps, projected (Bertsekas 1982, SIAM J. Control Optim. 20).
    """
    usual = np.append(np.full(len(terms) - 1, 1 / max(1, len(terms) - 1)), 0.0)
    if not len(codes):
        return usual
    # Measured from the true category's, whose log-probability is then minus the log of a sum.
    lead = terms - np.take_along_axis(terms, codes[None, :, None], axis=2)
    shape, flat = lead.shape[1:], lead.reshape(len(terms), -1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Of these weights, and the odds of every category against the true one's."""
        score = (weights @ flat).reshape(shape)
        top = score.max(axis=1, keepdims=True)
        odds = np.exp(score - top)
        total = odds.sum(axis=1, keepdims=True)
        odds /= total
        return float((np.log(total) + top).sum() + ((weights - usual) ** 2).sum()), odds

    weights = usual if begin is None else begin
    value, odds = loss(weights)
    while True:
        weighed = flat * odds.ravel()
        slope = weighed.sum(axis=1) + 2 * (weights - usual)
        means = weighed.reshape(lead.shape).sum(axis=2)
        curvature = weighed @ flat.T - means @ means.T + 2 * np.eye(len(weights))
        free = (weights > 0) | (slope < 0)
        step = np.zeros(len(weights))
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        share = 1.0
        while True:
            new = np.maximum(weights - share * step, 0)
            lower, odds = loss(new)
            if value - lower >= 1e-4 * slope @ (weights - new) or share < _ENOUGH:
                break
            share /= 2
        gain, weights, value = value - lower, new, lower
        if gain <= _ENOUGH * len(codes):
            return weights


def _has_all(pattern: Pattern, has: Mapping[str, np.ndarray]) -> np.ndarray:
    """Listings with every modality of the pattern, ``(n,)`` bool."""
    return np.logical_and.reduce([has[modality] for modality in pattern])


def _exactly(pattern: Pattern, read: Pattern, has: Mapping[str, np.ndarray]) -> np.ndarray:
    """Listings that have, of the modalities read, those of the pattern, ``(n,)`` bool."""
    return np.logical_and.reduce([has[modality] == (modality in pattern) for modality in read])
