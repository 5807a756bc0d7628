"""Drawn vectors that resemble embeddings, for benchmarks of many listings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DIM, CATEGORIES = 512, 50
_INTRINSIC, _PER_PRODUCT = 30, 50


def draw_vectors(file: Path, rows: int, seed: int = 0) -> np.ndarray:
    """Write float16 vectors, the same ones every time; returns the category of each ``(rows,)``.

    They are listings of products, and products of categories, each category's in 30 dimensions of its own (of 512), all
    in a narrow cone; one listing in ten is an exact copy of another, one in ten a near copy.
    """
    rng = np.random.default_rng(seed)
    products = max(CATEGORIES, min(20_000, rows // _PER_PRODUCT))
    cone = rng.standard_normal(DIM) * 1.2
    middles = rng.standard_normal((CATEGORIES, DIM)) * 0.5
    spread = np.arange(1, _INTRINSIC + 1) ** -0.5
    spaces = rng.standard_normal((CATEGORIES, _INTRINSIC, DIM)) * spread[:, None] * 0.5
    category = rng.integers(CATEGORIES, size=products)
    centres = np.stack([middles[c] + rng.standard_normal(_INTRINSIC) @ spaces[c] for c in category])
    out = np.lib.format.open_memmap(file, "w+", np.float16, (rows, DIM))
    labels = np.empty(rows, np.int64)
    for start in range(0, rows, 50_000):
        product = rng.integers(products, size=min(50_000, rows - start))
        within = rng.standard_normal((len(product), _INTRINSIC)).astype(np.float32)
        block, codes = (cone + centres[product]).astype(np.float32), category[product]
        for c in range(CATEGORIES):
            here = codes == c
            block[here] += 0.5 * within[here] @ spaces[c].astype(np.float32)
        block += 0.15 * rng.standard_normal(block.shape, dtype=np.float32)
        copies, near = np.split(rng.permutation(len(block))[: len(block) // 5], 2)
        of = rng.integers(len(block), size=len(near))
        block[near], codes[near] = block[of], codes[of]
        block[near] += 0.1 * rng.standard_normal((len(near), DIM), dtype=np.float32)
        of = rng.integers(len(block), size=len(copies))
        block[copies], codes[copies] = block[of], codes[of]
        out[start : start + len(block)], labels[start : start + len(block)] = block, codes
    out.flush()
    return labels
