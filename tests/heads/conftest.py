"""Drawn features: the categories are clouds of vectors, seen by an encoder of texts and one of photos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from headstart.embeddings.features import Features

DIMS = {"words": 12, "pixels": 20}
NAMES = ("bags", "lamps", "rugs", "toys", "vases")


def draw(
    sizes: tuple[int, ...] = (40, 40, 40),
    seed: int = 0,
    noise: float = 1.0,
    missing: float = 0.1,
) -> Features:
    """Listings of as many categories as there are sizes, in random order; some lack a text or a photo, none both."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    lacks = rng.choice(["", *DIMS], size=len(codes), p=[1 - missing, missing / 2, missing / 2])
    present = {name: lacks != name for name in DIMS}
    vectors = {}
    for name, dim in DIMS.items():
        # Each encoder has units and an origin of its own, as real ones do.
        means = rng.normal(size=(len(sizes), dim))
        block = means[codes] + noise * rng.normal(size=(len(codes), dim))
        block = (3 + block) * (0.05 if name == "words" else 4)
        vectors[name] = np.where(present[name][:, None], block, 0).astype(np.float16)
    return Features(
        ids=tuple(f"listing {row}" for row in range(len(codes))),
        labels=tuple(NAMES[code] for code in codes),
        vectors=vectors,
        present=present,
        modality={"words": "text", "pixels": "image"},
        fingerprints={"words": "a1" * 32, "pixels": "b2" * 32},
    )


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Features]:
    return draw
