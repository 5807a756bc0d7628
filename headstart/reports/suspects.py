"""Listings that are probably filed under the wrong category, as people and programs are given them."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reports.interval import Interval

KINDS = ("confident_learning", "fused", "text", "image", "neighbours", "duplicates")
"""Of evidence, in the order in which it is told."""


@dataclass(frozen=True)
class Suspect:
    """One listing to be looked at, and why."""

    id: str
    text: str
    """As it is in the catalogue; empty where it has none."""
    photo: str
    """Its photo's file, as the folder was named; empty where there is none."""
    filed: str
    """The category that it is in."""
    suggested: str
    """Another one, which it should probably be in."""
    probability: float
    """Of the suggested category, out of fold."""
    filed_probability: float
    """Of the category it is in, out of fold."""
    score: float
    """Share of the odds that the suggested category has against the one filed, all evidence together, 0.5 to 1; what
    suspects are ranked by."""
    evidence: tuple[str, ...]
    """Kinds of evidence against the category it is in, of `KINDS`, in their order."""
    unclear: bool
    """The two categories are confused as such: what belongs to which may need a rule, not a decision a listing."""
    reason: str
    """The evidence in words."""
    holdout: bool = False
    """It belongs to a holdout: to be looked at, not to be corrected, or what is judged on it flatters."""


@dataclass(frozen=True)
class Unclear:
    """Two categories that are confused with each other so often that their definition is the likely cause."""

    a: str
    b: str
    listings: int
    """Filed under one of them, that could be either; near-duplicates count once."""


@dataclass(frozen=True)
class Misfiled:
    """What a benchmark says of misfiled listings."""

    estimate: Interval
    """How many of the listings judged look misfiled, with a 95 % interval of sampling."""
    suspects: int
    first: tuple[Suspect, ...]
    """The most suspicious of them."""


@dataclass(frozen=True)
class Audit:
    """What an audit of a catalogue found."""

    title: str
    catalog: str
    """Its file."""
    rows: int
    """Listings read."""
    judged: int
    """Of them, those with a category that others can vouch for, but for a holdout."""
    categories: tuple[str, ...]
    """In alphabetical order."""
    estimate: Interval
    """How many of the listings judged look misfiled, with a 95 % interval of sampling."""
    suspects: tuple[Suspect, ...]
    """The most suspicious first."""
    unclear: tuple[Unclear, ...]
    """The most confused first."""
    provenance: dict[str, str]
    """Date, command, machine, versions."""
