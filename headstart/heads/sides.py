"""What heads of one training side share: how they centre and scale vectors, and the axes along which they learn.

A head sees nothing of a listing outside its side but what it is asked to classify: centre, scale and axes are those of
the side's own rows.

Plain gradient descent is slow on vectors whose spread differs a thousandfold between directions. Along the principal
axes of the side each direction gets a step of its own, the inverse of its curvature (Böhning 1992, "Multinomial
logistic regression algorithm", bounds it), and some dozen steps do what took hundreds.

* Few listings: coordinates. Vectors of n listings span at most n directions, and their coordinates along those are all
  that a linear head can use: ``(n, r)`` in place of ``(n, D)``, found from the Gram matrix of the vectors, r ≤ n.
* Many: the vectors stay as they are, and the steps along the `TOP` widest axes of a sample are shortened (Ma & Belkin
  2017, "Diving into the shallows", arXiv 1703.10622).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.embeddings.features import Features, Gathered
from headstart.errors import ModelError
from headstart.runtime import cores

LENGTH = 30.0
"""Root-mean-square length to which every encoder's centred vectors are scaled: no encoder outweighs another by its
dimension or its units."""
SMALL = 2048
"""Up to so many listings, heads learn from coordinates."""
SAMPLE = 2048
"""Of a larger side, so many rows say where its vectors spread."""
STATED = 2**25
"""And so many numbers of its vectors say where their centre is and how long they are."""
TOP = 256
HELD = 2**29
"""Bytes up to which an encoder's vectors are kept in memory."""
POWER = 8
"""Rounds of power iteration."""
_NOTHING = 1e-5
"""Directions whose spread is under this share of the widest are noise of single precision."""


class Rows:
    """The vectors of some listings, read when they are asked for."""

    def __init__(self, features: Features, encoders: Sequence[str]) -> None:
        self.features, self.encoders = features, tuple(encoders)
        self._vectors = Gathered.of(features.vectors)
        self.bits = {name: np.asarray(features.present[name], bool) for name in encoders}
        self._held: dict[str, np.ndarray] = {}
        self._spaces: dict[tuple[tuple[str, ...], bytes], Coordinates] = {}
        for name, dim in self.dims.items():
            if 4 * dim * len(self) <= HELD:
                self._held[name] = self.block(name, np.arange(len(self)))
                if not np.isfinite(self._held[name]).all():
                    raise ModelError(f"vectors of {name} hold numbers that are not finite: leave those listings out")

    def __len__(self) -> int:
        return len(self.features)

    def block(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Vectors of one encoder, float32 ``(rows, dim)``."""
        if name in self._held:
            return self._held[name][rows]
        return np.asarray(self._vectors.take(rows)[name], np.float32)

    @cached_property
    def dims(self) -> dict[str, int]:
        """Encoder name → dimension."""
        return {name: self.block(name, np.arange(1)).shape[1] for name in self.encoders}

    def prepare(self, spaces: Iterable[tuple[tuple[str, ...], np.ndarray]]) -> None:
        """Work out the coordinates of encoders on sides, several at a time, each on one thread."""
        wanted = {(encoders, side.tobytes()): side for encoders, side in spaces}
        _ = self.grams
        with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
            found = pool.map(lambda each: Coordinates.of(self, each[0][0], each[1]), wanted.items())
            self._spaces.update(zip(wanted, found, strict=True))

    def coordinates(self, encoders: tuple[str, ...], side: np.ndarray) -> Coordinates:
        """What `prepare` found."""
        return self._spaces[encoders, side.tobytes()]

    @cached_property
    def grams(self) -> dict[str, np.ndarray]:
        """Encoder name → products of all pairs of vectors ``(n, n)``; for few listings."""
        found = {}
        for name in self.encoders:
            block = self.block(name, np.arange(len(self)))
            block -= block.mean(axis=0)  # changes no centred product, and spares single precision
            found[name] = (block @ block.T).astype(np.float64)
        return found


@dataclass(frozen=True, eq=False)
class Standard:
    """Centre and scale of one encoder's vectors on one side; an absent vector counts as the centre."""

    centre: np.ndarray
    """``(dim,)``."""
    scale: float

    @classmethod
    def of(cls, rows: Rows, name: str, side: np.ndarray) -> Standard:
        there = side[rows.bits[name][side]]
        most = STATED // rows.dims[name]
        if len(there) > most:
            there = np.sort(np.random.default_rng(0).choice(there, most, replace=False))
        block = rows.block(name, there)
        if not len(block):
            return cls(np.zeros(block.shape[1], np.float32), 1.0)
        centre = block.mean(axis=0)
        length = float(np.einsum("nd,nd->n", block, block).mean())
        block -= centre
        spread = float(np.einsum("nd,nd->n", block, block).mean())
        return cls(centre, LENGTH / np.sqrt(max(spread, 1e-6 * length + 1e-12)))


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A small side's principal axes for the vectors of some encoders, and all listings along them."""

    standards: Mapping[str, Standard]
    parts: Mapping[str, np.ndarray]
    """Modality → its share in every listing's coordinates, float32 ``(n, r)``; the coordinates are their sum."""
    dual: np.ndarray
    """Each axis as a sum of the side's vectors ``(side, r)``."""
    side: np.ndarray

    @classmethod
    def of(cls, rows: Rows, encoders: Sequence[str], side: np.ndarray) -> Coordinates:
        standards: dict[str, Standard] = {}
        products: dict[str, np.ndarray] = {}
        for name in encoders:
            standards[name] = standard = Standard.of(rows, name, side)
            bits = rows.bits[name]
            there = side[bits[side]]
            gram = rows.grams[name]
            mean = gram[:, there].mean(axis=1) if len(there) else np.zeros(len(gram))
            centred = gram[:, side] - mean[:, None] - (mean[side] - (mean[there].mean() if len(there) else 0))
            centred *= standard.scale**2 * bits[:, None] * bits[side]
            kind = rows.features.modality[name]
            products[kind] = products.get(kind, 0) + centred
        whole = np.sum([*products.values()], axis=0)
        values, axes = np.linalg.eigh(whole[side])
        kept = values > _NOTHING * max(values[-1], 1e-12)
        kept[-1] = True  # of a side without any vector, one axis of zeros
        values, axes = np.maximum(values[kept], 1e-12), axes[:, kept]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
        dual = axes * np.sign(largest) / np.sqrt(values)  # an axis has no sign; hidden heads start alike only with one
        parts = {kind: (product @ dual).astype(np.float32) for kind, product in products.items()}
        return cls(standards, parts, dual, side)

    def kernel(self, rows: Rows, kernel: np.ndarray) -> dict[str, np.ndarray]:
        """A kernel ``(r, U)`` along the axes as kernels ``(dim, U)`` on each encoder's standardised vectors."""
        weights, found = self.dual @ kernel, {}
        for name, standard in self.standards.items():
            block = standard.scale * (rows.block(name, self.side) - standard.centre)
            found[name] = (block * rows.bits[name][self.side, None]).T @ weights
        return found


@dataclass(frozen=True, eq=False)
class Axes:
    """A large side's widest principal axes, and how far its standardised vectors spread along them and elsewhere."""

    standards: Mapping[str, Standard]
    axes: np.ndarray
    """``(D, k)``, D the dimensions of all its encoders, k = `TOP`; columns of zeros where there are fewer."""
    rest: float
    """Mean square along the widest of all other axes."""
    sampled: np.ndarray
    """Row numbers of the sample, of the side."""
    sample: np.ndarray
    """Its standardised vectors ``(m, D)``."""

    @classmethod
    def of(cls, rows: Rows, encoders: Sequence[str], side: np.ndarray) -> Axes:
        from scipy.linalg import eigh

        standards = {name: Standard.of(rows, name, side) for name in encoders}
        some = side
        if len(some) > SAMPLE:
            some = np.sort(np.random.default_rng(0).choice(side, SAMPLE, replace=False))
        blocks = []
        for name, standard in standards.items():
            block = standard.scale * (rows.block(name, some) - standard.centre)
            blocks.append(block * rows.bits[name][some, None])
        sample = np.concatenate(blocks, axis=1)
        tall = sample.shape[0] > sample.shape[1]
        last = min(sample.shape) - 1
        count = min(TOP, last)
        with threadpool_limits(1):  # more would wait for each other where TensorFlow's have the cores
            products = sample.T @ sample if tall else sample @ sample.T
            values, vectors = eigh(products, subset_by_index=(last - count, last))
        values = np.maximum(values[::-1] / len(some), 1e-12)
        top = vectors[:, ::-1][:, :count]
        if not tall:
            top = sample.T @ top / np.sqrt(values[:count] * len(some))
        axes = np.zeros((sample.shape[1], TOP), np.float32)  # of a small side some are nothing, and change nothing
        axes[:, :count] = top
        return cls(standards, axes, float(values[count]), some, sample)


def step_roots(
    vectors: np.ndarray, weights: np.ndarray, decay: np.ndarray, rates: np.ndarray, axes: Axes | None = None
) -> np.ndarray:
    """Roots of the steps that heads take along each axis: the inverse of its curvature, and short enough together.

    The curvature of the mean cross-entropy is at most half the weighted second moments of the vectors (Böhning 1992),
    plus twice the penalty. As other weights turn the axes, all steps of a head are divided by the largest eigenvalue of
    what they leave of that bound, found by power iteration.

    Args:
        vectors: ``(m, features)``: coordinates, or the sample of `axes`.
        weights: ``(m, H)``: each head's sample weights.
        decay: ``(H,)``: penalties.
        rates: ``(H,)``: learning rates, 1 for the longest step that is sure to descend.
        axes: where heads read vectors.

    Returns:
        ``(features, H)``; with axes ``(k + 1, H)``, the last for all directions but those.
    """
    total = weights.sum(axis=0)
    weights = np.where(total > 0, weights / np.maximum(total, 1e-12), 1 / len(vectors)).astype(np.float32)
    along = vectors if axes is None else vectors @ axes.axes
    moments = (along**2).T @ weights
    if axes is not None:
        moments = np.concatenate([moments, np.full((1, len(total)), axes.rest, np.float32)])
    roots = (0.5 * moments + 2 * decay + 1e-9) ** -0.5

    def scaled(direction: np.ndarray) -> np.ndarray:
        if axes is None:
            return roots * direction
        return roots[-1] * direction + axes.axes @ ((roots[:-1] - roots[-1]) * (axes.axes.T @ direction))

    direction = np.random.default_rng(0).normal(size=(vectors.shape[1], 1)).astype(np.float32) * np.ones_like(total)
    for _ in range(POWER):
        direction /= np.sqrt((direction**2).sum(axis=0))
        step = scaled(direction)
        direction = scaled(0.5 * (vectors.T @ (weights * (vectors @ step))) + 2 * decay * step)
    largest = np.sqrt((direction**2).sum(axis=0))
    return (roots * np.sqrt(rates / np.maximum(1.1 * largest, 1e-12))).astype(np.float32)
