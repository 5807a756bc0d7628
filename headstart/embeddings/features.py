"""Features: a catalogue's listings as aligned matrices of vectors, with masks of what is present."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from headstart.embeddings.listings import Column, Listings
from headstart.embeddings.store import EmbeddingStore

BATCH = 65_536
"""Listings looked up or gathered at a time: what is worked on stays in the processor's cache."""


@dataclass(frozen=True)
class Features:
    """n listings, lined up row by row.

    A listing without a text or a photo, or whose photo could not be read, has a zero row and a False there; it is
    never dropped.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    vectors: Mapping[str, np.ndarray]
    """Encoder name → float array of shape ``(n, dim)``."""
    present: Mapping[str, np.ndarray]
    """Encoder name → bool array of shape ``(n,)``."""
    modality: dict[str, str]
    """Encoder name → ``"text"`` or ``"image"``."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Encoder name → the fingerprint of the encoder that made the vectors."""

    def __len__(self) -> int:
        """How many listings there are."""
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Features:
        """The listings of these row numbers, in this order. Vectors on disk stay there until they are asked for."""
        return Features(
            ids=_taken(self.ids, rows),
            labels=_taken(self.labels, rows),
            vectors=Gathered.of(self.vectors).take(rows),
            present=Gathered.of(self.present).take(rows),
            modality=self.modality,
            fingerprints=self.fingerprints,
        )

    def blocks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Vectors and presence of each encoder, as `near_duplicate_groups` takes them."""
        return [(self.vectors[name], self.present[name]) for name in self.vectors]

    def encoders(self, modality: str) -> tuple[str, ...]:
        """Names of the encoders of one modality."""
        return tuple(name for name, kind in self.modality.items() if kind == modality)


def _taken(values: Sequence[Any], rows: np.ndarray) -> Sequence[Any]:
    return values.take(rows) if isinstance(values, Column) else tuple(values[row] for row in rows)


class Gathered(Mapping[str, np.ndarray]):
    """Matrices by name, each gathered when it is asked for, and once."""

    def __init__(self, sources: Mapping[str, Callable[[np.ndarray | None], np.ndarray]]) -> None:
        """Take what gives each matrix: all of it for None, else the rows of these numbers."""
        self._sources = sources
        self._made: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, matrices: Mapping[str, np.ndarray]) -> Gathered:
        """A mapping of matrices as this class."""
        if isinstance(matrices, Gathered):
            return matrices
        return cls({name: partial(_rows_of, matrix) for name, matrix in matrices.items()})

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._made:
            self._made[name] = self._sources[name](None)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sources  # a Mapping's own would gather the matrix to say so

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def take(self, rows: np.ndarray) -> Gathered:
        """The rows of these numbers of every matrix; none is gathered yet."""
        return Gathered({name: partial(self._rows, name, rows) for name in self})

    def _rows(self, name: str, rows: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
        rows = rows if chosen is None else rows[chosen]
        return self._made[name][rows] if name in self._made else self._sources[name](rows)


def _rows_of(matrix: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return matrix if rows is None else matrix[rows]


class _Kept:
    """One store's vectors for the listings of a catalogue."""

    def __init__(self, store: EmbeddingStore, listings: Listings) -> None:
        self._store, self._listings = store, listings

    @cached_property
    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        return self._listings.keys(self._store.modality)

    @cached_property
    def _rows(self) -> np.ndarray:
        """The store's row of each listing, −1 where there is no vector of it."""
        keys, there = self._keys
        rows = np.full(len(there), -1, np.int64)
        for start in range(0, len(there), BATCH):
            chosen = start + np.flatnonzero(there[start : start + BATCH])
            rows[chosen] = self._store.lookup(keys[:, chosen])
        return rows

    def present(self, chosen: np.ndarray | None) -> np.ndarray:
        there: np.ndarray = self._rows >= 0
        return there if chosen is None else there[chosen]

    def vectors(self, chosen: np.ndarray | None) -> np.ndarray:
        listed = np.arange(len(self._rows)) if chosen is None else np.asarray(chosen)
        out = np.zeros((len(listed), self._store.dim), self._store.dtype)
        for start in range(0, len(listed), BATCH):
            here = listed[start : start + BATCH]
            there = self._rows[here] >= 0
            here = here[there]
            out[start + np.flatnonzero(there)] = self._store.read(self._rows[here], self._keys[0][:, here])
        return out


def open_features(listings: Listings, stores: Iterable[EmbeddingStore]) -> Features:
    """Line up the kept vectors with the listings of a catalogue. Nothing is read before it is asked for.

    Args:
        listings: as the last extraction found them.
        stores: one for each encoder wanted.

    Raises:
        StoreError: by ``vectors`` and ``present``, when a store turns out to be damaged.
    """
    kept = {store.name: (store, _Kept(store, listings)) for store in stores}
    return Features(
        ids=listings.ids,  # type: ignore[arg-type]
        labels=listings.labels,
        vectors=Gathered({name: each.vectors for name, (_, each) in kept.items()}),
        present=Gathered({name: each.present for name, (_, each) in kept.items()}),
        modality={name: store.modality for name, (store, _) in kept.items()},
        fingerprints={name: store.fingerprint for name, (store, _) in kept.items()},
    )
