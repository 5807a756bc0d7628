"""From evidence to suspects: which listings are probably filed under the wrong category, and why.

The evidence is what heads say that have not learnt from a listing, nor from its near-duplicates (`heads.opinions`),
what its nearest neighbours are filed under, and what its near-duplicates are. Near-duplicates and neighbours of its own
group never speak for the category that a listing is in: whoever posts an article ten times under the wrong one would
be believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from headstart.embeddings.neighbours import Neighbours
from headstart.errors import HeadstartError
from headstart.heads.nested import Listings
from headstart.heads.opinions import FUSED, Opinions
from headstart.reports import wording
from headstart.reports.interval import Interval
from headstart.reports.metrics import GroupBootstrap
from headstart.reports.suspects import KINDS, Suspect, Unclear

NEIGHBOURS = 10
"""Looked at of each listing; each of another group of near-duplicates."""
VOTE, COPY = 0.5, 2.0
"""What counts beside a nat of the heads' log-probabilities: a nat of the neighbours' votes, and a near-duplicate in
another category. Chosen on flips of other seeds, and other drawn samples, than those that are reported."""
TORN = 0.2
"""Probability that both the category filed and another one have of a listing that could be either."""
UNCLEAR, UNCLEAR_SHARE = 5, 0.02
"""Distinct listings, and share of the two categories', that are torn between them where their definition is unclear."""
BLOCK = 1 << 25
"""Probabilities worked on at a time."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """The evidence on n listings."""

    margin: np.ndarray
    """Log-odds of the suggested category against the one filed, in nats ``(n,)``; −∞ where it is not judged."""
    suggested: np.ndarray
    """Category number ``(n,)``: the likeliest other than the one filed."""
    torn: np.ndarray
    """Listings that could be either, by the heads ``(n,)`` bool."""
    votes: np.ndarray
    """Neighbours that are filed as suggested ``(n,)``; a group of near-duplicates filed in several categories is a
    fraction of each."""
    asked: np.ndarray
    """Neighbours there are ``(n,)``."""
    copies: np.ndarray
    """Near-duplicates that are filed as suggested ``(n,)``."""
    against: dict[str, np.ndarray]
    """Kind of evidence → listings whose filed category it speaks against ``(n,)`` bool."""

    @property
    def score(self) -> np.ndarray:
        """Share of the odds that the suggested category has, 0 to 1 ``(n,)``; 0 where it is not judged."""
        from scipy.special import expit

        return np.asarray(expit(self.margin.astype(np.float64)))

    def ranked(self) -> np.ndarray:
        """Suspects, the most suspicious first: those whose odds are against the category filed."""
        order = np.argsort(-self.margin, kind="stable")
        return order[: int((self.margin > 0).sum())]


def weigh(
    codes: np.ndarray, groups: np.ndarray, said: Opinions, near: Neighbours, apart: np.ndarray | None = None
) -> Weighed:
    """Put the evidence on every listing together.

    Listings are ranked by a margin: log-odds of the likeliest other category against the one filed, each with the fused
    heads' log-probability, `VOTE` times the logarithm of its share of the neighbours' votes, and `COPY` where a
    near-duplicate is filed there.

    Args:
        codes: category of each listing as filed ``(n,)``.
        groups: near-duplicate group of each ``(n,)``, numbered from 0.
        said: what heads say; `FUSED` is one of the families.
        near: the neighbours of each.
        apart: those whose own category says nothing of others, such as a holdout's ``(n,)`` bool.
    """
    from scipy.sparse import csr_array

    fused = said.log_probabilities[FUSED]
    n, classes = fused.shape
    heard = np.ones(n, bool) if apart is None else ~apart
    shape = int(groups.max()) + 1, classes
    filed = csr_array((np.ones(heard.sum(), np.float32), (groups[heard], codes[heard])), shape=shape)
    sizes = np.maximum(filed.sum(axis=1), 1)
    shares = csr_array(filed.multiply(1 / sizes[:, None]))
    families = [name for name in said.log_probabilities if name != FUSED]
    out = {name: np.zeros(n, np.float32) for name in ("margin", "votes", "asked", "copies")}
    suggested, torn = np.zeros(n, np.int64), np.zeros(n, bool)
    against = {name: np.zeros(n, bool) for name in (FUSED, *families, "neighbours", "duplicates")}
    step = max(1, BLOCK // classes)
    for rows in (np.arange(*ends) for ends in pairwise([*range(0, n, step), n])):
        every, own = np.arange(len(rows)), codes[rows]
        others = np.ones((len(rows), classes), bool)
        others[every, own] = False
        votes, asked = _votes(near.rows[rows], groups, shares)
        copies = np.where(others, filed[groups[rows]].toarray(), 0)
        total = fused[rows] + VOTE * np.log((votes + 0.5) / (asked[:, None] + 0.5 * classes))
        total += COPY * (copies > 0)
        best = np.where(others, total, -np.inf).argmax(axis=1)
        out["margin"][rows] = np.where(said.judged[rows], total[every, best] - total[every, own], -np.inf)
        suggested[rows] = best
        out["votes"][rows], out["asked"][rows], out["copies"][rows] = votes[every, best], asked, copies[every, best]
        likely = np.exp(fused[rows])
        torn[rows] = (likely[every, own] >= TORN) & (likely[every, best] >= TORN) & said.judged[rows]
        for name, opinion in said.log_probabilities.items():
            against[name][rows] = (opinion[rows].argmax(axis=1) == best) & said.there[name][rows]
        against["neighbours"][rows] = (votes[every, best] > 0.5 * asked) & (asked > 0)
        against["duplicates"][rows] = copies[every, best] > 0
    for kind in against.values():
        kind &= said.judged
    return Weighed(suggested=suggested, torn=torn, against=against, **out)


def _votes(near: np.ndarray, groups: np.ndarray, shares: Any) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours' votes for each category ``(rows, K)``, and how many neighbours there are ``(rows,)``."""
    from scipy.sparse import csr_array

    there = near >= 0
    place, column = np.nonzero(there)
    of = groups[near[place, column]]
    sums = csr_array((np.ones(len(of), np.float32), (place, of)), shape=(len(near), shares.shape[0])) @ shares
    votes: np.ndarray = sums.toarray()
    return votes, votes.sum(axis=1)


def need_cleanlab() -> None:
    """Raise HeadstartError where it is not there, before the work that needs it."""
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        raise HeadstartError("an audit needs cleanlab: pip install 'headstart[audit]'") from None


def confident_issues(codes: np.ndarray, said: Opinions, among: np.ndarray) -> np.ndarray:
    """Listings that confident learning takes for misfiled ``(n,)`` bool, as cleanlab does by default.

    Northcutt, Jiang & Chuang 2021, Confident Learning, J. Artificial Intelligence Research 70: pruning by the noise
    rates of pairs of categories.

    Args:
        codes: category of each listing as filed ``(n,)``.
        said: what heads say.
        among: listings to look at ``(n,)`` bool.

    Raises:
        HeadstartError: cleanlab is not there.
    """
    need_cleanlab()
    from cleanlab.filter import find_label_issues

    found = np.zeros(len(codes), bool)
    names, own = np.unique(codes[among], return_inverse=True)
    likely = np.exp(said.log_probabilities[FUSED][among][:, names].astype(np.float64))
    found[among] = find_label_issues(own, likely / likely.sum(axis=1, keepdims=True), n_jobs=1)
    return found


def misfiled(codes: np.ndarray, groups: np.ndarray, said: Opinions, among: np.ndarray, seed: int = 0) -> Interval:
    """How many listings look misfiled, with a 95 % interval of sampling.

    The calibrated confident joint (Northcutt et al. 2021, equations 1 to 3): a listing is counted under the likeliest
    of the categories whose probability reaches what their own listings have on average; of those counted in a category,
    the share counted under others, times its listings. The interval is over resampled groups of near-duplicates, with
    the heads as they are. Where categories overlap, so that their own listings look like others', too many are counted;
    where a category's listings are misfiled together, too few.

    Args:
        codes: category of each listing as filed ``(n,)``.
        groups: near-duplicate group of each ``(n,)``.
        said: what heads say.
        among: listings to count ``(n,)`` bool.
        seed: of the resamples.
    """
    rows = np.flatnonzero(among)
    own = codes[rows]
    likely = np.exp(said.log_probabilities[FUSED][rows])
    classes = likely.shape[1]
    sizes = np.bincount(own, minlength=classes)
    mine = likely[np.arange(len(rows)), own]
    thresholds = np.bincount(own, mine, classes) / np.maximum(sizes, 1)
    sure = (likely >= thresholds - 1e-6) & (sizes > 0)
    counted = sure.any(axis=1)
    elsewhere = counted & (np.where(sure, likely, -1).argmax(axis=1) != own)

    from scipy.sparse import csr_array, hstack

    def by_class(mask: np.ndarray) -> Any:
        return csr_array((mask.astype(float), (np.arange(len(rows)), own)), shape=(len(rows), classes))

    def share(sums: np.ndarray) -> np.ndarray:
        there, sure, off = np.split(sums, 3, axis=1)
        return (there * off / np.maximum(sure, 1)).sum(axis=1) / there.sum(axis=1)

    values = hstack([by_class(np.ones(len(rows), bool)), by_class(counted), by_class(elsewhere)], format="csr")
    bootstrap = GroupBootstrap(groups[rows], 2000 if len(rows) <= 20_000 else 200, seed)
    found = bootstrap.interval(values, share)
    return Interval(*(len(rows) * value for value in (found.mean, found.low, found.high)))


def unclear(codes: np.ndarray, groups: np.ndarray, found: Weighed, names: Sequence[str]) -> tuple[Unclear, ...]:
    """Pairs of categories that are confused as such, the most confused first.

    Many listings that could be either are a sign that nobody said what belongs where; a misfiled one is out of place
    instead. They must be more than if all such listings were spread evenly over the pairs, as those are that are hard
    for reasons of their own (Poisson, at 5 % for all pairs together: Bonferroni). Near-duplicates count once.
    """
    from scipy.stats import poisson

    classes = len(names)
    pair = np.minimum(codes, found.suggested) * classes + np.maximum(codes, found.suggested)
    distinct = np.unique(np.stack([pair[found.torn], groups[found.torn]]), axis=1)[0]
    numbers, listings = np.unique(distinct, return_counts=True)
    kinds = np.unique(np.stack([codes, groups]), axis=1)[0]
    sizes = np.bincount(kinds, minlength=classes)
    least = np.maximum(UNCLEAR, UNCLEAR_SHARE * (sizes[numbers // classes] + sizes[numbers % classes]))
    pairs = classes * (classes - 1) / 2
    stands_out = (pairs == 1) | (poisson.sf(listings - 1, len(distinct) / pairs) < 0.05 / pairs)
    order = np.argsort(-listings, kind="stable")
    return tuple(
        Unclear(names[numbers[at] // classes], names[numbers[at] % classes], int(listings[at]))
        for at in order.tolist()
        if listings[at] >= least[at] and stands_out[at]
    )


def tell(
    listings: Listings,
    names: Sequence[str],
    said: Opinions,
    found: Weighed,
    rows: np.ndarray,
    photos: Sequence[str],
    confused: Sequence[Unclear],
    apart: np.ndarray | None = None,
) -> tuple[Suspect, ...]:
    """What people and programs are told of some listings.

    Args:
        listings: all of them.
        names: of the categories.
        said: what heads say.
        found: the evidence.
        rows: of the listings to tell of.
        photos: files of the photos of the first of them; empty where there is none.
        confused: pairs of categories, from `unclear`.
        apart: listings of a holdout ``(n,)`` bool.
    """
    pairs = {frozenset((pair.a, pair.b)) for pair in confused}
    likely, score = said.log_probabilities[FUSED], found.score
    texts, ids = listings.texts, listings.features.ids
    out = []
    for place, row in enumerate(rows.tolist()):
        filed, other = names[listings.codes[row]], names[found.suggested[row]]
        torn = bool(found.torn[row]) and frozenset((filed, other)) in pairs
        out.append(
            Suspect(
                id=ids[row],
                text=(texts[row] if texts is not None else None) or "",
                photo=photos[place] if place < len(photos) else "",
                filed=filed,
                suggested=other,
                probability=float(np.exp(likely[row, found.suggested[row]])),
                filed_probability=float(np.exp(likely[row, listings.codes[row]])),
                score=float(score[row]),
                evidence=tuple(kind for kind in KINDS if kind in found.against and found.against[kind][row]),
                unclear=torn,
                reason=reason(found, row, other, filed if torn else ""),
                holdout=apart is not None and bool(apart[row]),
            )
        )
    return tuple(out)


SPOKEN = {"text": "text", "image": "photo"}


def reason(found: Weighed, row: int, suggested: str, torn: str = "") -> str:
    """The evidence against the category of a listing, in words.

    Args:
        found: the evidence.
        row: of the listing.
        suggested: the category's name.
        torn: that of the category filed, where the two are confused as such.
    """
    told = []
    speak = [word for name, word in SPOKEN.items() if name in found.against and found.against[name][row]]
    if speak:
        told.append(f"text and photo both say {suggested}" if len(speak) > 1 else f"the {speak[0]} says {suggested}")
    elif found.against[FUSED][row]:
        told.append(f"all that can be read says {suggested}")
    if found.against["neighbours"][row]:
        votes, asked = wording.count(found.votes[row]), wording.count(found.asked[row])
        told.append(f"{votes} of {asked} neighbours are {suggested}")
    if copies := int(found.copies[row]):
        told.append(f"{wording.counted(copies, 'near-copy is', 'near-copies are')} filed under {suggested}")
    if torn:
        told.append(f"{suggested} and {torn} are often confused")
    return wording.plain("; ".join(told) or f"{suggested} is a little likelier than what it is filed under")
