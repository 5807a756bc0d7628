"""What a benchmark says of misfiled listings: the first suspects, and what correcting them is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headstart.catalog import Catalog
from headstart.embeddings.approximate import available
from headstart.embeddings.neighbours import EXACT, nearest
from headstart.heads.config import HeadConfig
from headstart.heads.members import IMAGE, TEXT, evidence, members_of
from headstart.heads.nested import Listings
from headstart.heads.opinions import FUSED, Opinions
from headstart.heads.splits import Fold
from headstart.progress import say
from headstart.reports.audit import NEIGHBOURS, misfiled, tell, unclear, weigh
from headstart.reports.compare import compare
from headstart.reports.examples import begins, photos_of
from headstart.reports.interval import Interval
from headstart.reports.judging import Jury
from headstart.reports.metrics import GroupBootstrap, accuracy, hits
from headstart.reports.result import Comparison
from headstart.reports.suspects import Misfiled

FIRST = 20
"""Suspects told of."""


def misfiled_listings(
    catalog: Catalog,
    ids: Sequence[str],
    rows: np.ndarray,
    listings: Listings,
    names: Sequence[str],
    likely: Mapping[str, np.ndarray],
    chosen: str,
    config: HeadConfig | None,
    seed: int,
) -> Misfiled | None:
    """Listings judged that are probably misfiled, by the chosen approach, their neighbours and near-duplicates.

    None where they are so many that their neighbours take a library that is not there, which is said.

    Args:
        catalog: read once more for the photos' names.
        ids: of all its listings.
        rows: row numbers of the n that were judged, ascending.
        listings: these n.
        names: of the categories.
        likely: approach → out-of-fold log-probabilities ``(n, K)``.
        chosen: the approach that is believed.
        config: of that approach.
        seed: of the estimate's resamples.
    """
    if len(rows) > EXACT and not available():
        say("misfiled listings are not looked for among so many: pip install 'headstart[audit]'")
        return None
    features = listings.features
    families = {FUSED: likely[chosen], **{kind: likely[kind] for kind in (TEXT, IMAGE) if kind in likely}}
    there = {
        kind: np.any([features.present[name] for name in features.encoders(kind)], axis=0)
        for kind in families
        if kind != FUSED
    }
    readable = np.asarray(evidence(features, members_of(config), listings.texts)[0].any(axis=0))
    said = Opinions(readable, families, {FUSED: readable, **there})
    near = nearest(features.blocks(), listings.groups, NEIGHBOURS)
    found = weigh(listings.codes, listings.groups, said, near)
    suspects = found.ranked()
    first = suspects[:FIRST]
    photos = photos_of(catalog, ids, rows[first])
    pairs = unclear(listings.codes, listings.groups, found, names)
    told = tell(listings, names, said, found, first, [*photos.values()], pairs)
    told = tuple(replace(each, text=begins(each.text)) for each in told)
    estimate = misfiled(listings.codes, listings.groups, said, readable, seed)
    return Misfiled(estimate, len(suspects), told)


def worth_of_decisions(
    listings: Listings,
    names: Sequence[str],
    folds: Sequence[Fold],
    filed: Sequence[str | None],
    config: HeadConfig | None,
    right: np.ndarray,
    bootstrap: GroupBootstrap,
    seed: int,
) -> tuple[Interval, Interval, Comparison]:
    """Accuracy by the corrected categories, learnt from those filed and from the corrected ones, and the two compared.

    Args:
        listings: with the corrected categories.
        names: of the categories.
        folds: that the listings are judged on.
        filed: those that the same listings had before.
        config: of the approach.
        right: what it got right, having learnt from the corrected ones ``(R, n)``.
        bootstrap: over the same listings.
        seed: of the inner folds.
    """
    known = [*names, *sorted({name for name in filed if name is not None} - set(names))]
    numbers = {name: code for code, name in enumerate(known)}
    own = listings.codes.tolist()
    codes = np.array([code if name is None else numbers[name] for code, name in zip(own, filed, strict=True)])
    jury = Jury(replace(listings, codes=codes, classes=len(known)), {"filed": config}, folds, [], seed)
    before = hits(listings.codes, jury.judge("filed", 0.02, 0.95).probabilities)  # no figure of confidence is taken
    comparison = compare("corrected", "filed", right, before, bootstrap, folds)
    return accuracy(before, bootstrap), accuracy(right, bootstrap), comparison
