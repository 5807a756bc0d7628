"""The members of a classifier, and what each of them reads of a listing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headstart.embeddings.features import Features
from headstart.heads.config import HeadConfig
from headstart.heads.fusion import Pattern

TEXT, IMAGE = "text", "image"

Member = HeadConfig | None
"""A head by itself, or None for the words of the TF-IDF control."""


def members_of(config: HeadConfig | None) -> tuple[Member, ...]:
    """The members of a head: its heads, then its words; of None, the control, the words alone."""
    if config is None:
        return (None,)
    return (*config.members(), *([None] if config.words else []))


def reads(member: Member, modality: Mapping[str, str]) -> Pattern:
    """The modalities that a member reads; `modality` says it of each encoder."""
    return frozenset({TEXT} if member is None else (modality[name] for name in member.encoders))


def evidence(
    features: Features, members: Sequence[Member], texts: Sequence[str | None] | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What there is to read of each of n listings.

    Returns:
        Whether each member can read something of it, ``(M, n)`` bool; and modality → whether the listing has it,
        ``(n,)`` bool, for the modalities that some member reads.
    """
    there: list[np.ndarray] = []
    has: dict[str, np.ndarray] = {}
    for member in members:
        if member is None:
            seen = [(TEXT, np.fromiter((bool(text) for text in texts or ()), bool, len(features)))]
        else:
            seen = [(features.modality[name], np.asarray(features.present[name], bool)) for name in member.encoders]
        there.append(np.any([mask for _, mask in seen], axis=0))
        for kind, mask in seen:
            has[kind] = has.get(kind, False) | mask
    return np.array(there), has
