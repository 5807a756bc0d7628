"""Features: a catalogue's listings as aligned matrices of vectors, with masks of what is present."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headstart.catalog import Catalog
from headstart.embeddings.key import PhotoKeys, key_rows, text_keys
from headstart.embeddings.store import EmbeddingStore


@dataclass(frozen=True)
class Features:
    """n listings, lined up row by row.

    A listing without a text or a photo, or whose photo could not be read, has a zero row and a False there; it is
    never dropped.
    """

    ids: tuple[str, ...]
    labels: tuple[str | None, ...]
    vectors: dict[str, np.ndarray]
    """Encoder name → float array of shape ``(n, dim)``."""
    present: dict[str, np.ndarray]
    """Encoder name → bool array of shape ``(n,)``."""
    modality: dict[str, str]
    """Encoder name → ``"text"`` or ``"image"``."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Encoder name → the fingerprint of the encoder that made the vectors."""

    def __len__(self) -> int:
        """How many listings there are."""
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Features:
        """The listings of these row numbers, in this order."""
        return Features(
            ids=tuple(self.ids[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            vectors={name: vectors[rows] for name, vectors in self.vectors.items()},
            present={name: present[rows] for name, present in self.present.items()},
            modality=self.modality,
            fingerprints=self.fingerprints,
        )

    def blocks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Vectors and presence of each encoder, as `near_duplicate_groups` takes them."""
        return [(self.vectors[name], self.present[name]) for name in self.vectors]

    def encoders(self, modality: str) -> tuple[str, ...]:
        """Names of the encoders of one modality."""
        return tuple(name for name, kind in self.modality.items() if kind == modality)


def listing_keys(
    modality: str, texts: Sequence[str | None], photos: Sequence[Path | None], photo_keys: PhotoKeys
) -> tuple[np.ndarray, np.ndarray]:
    """Keys of one modality for consecutive listings.

    Returns:
        The rows that have that modality, int64 of shape ``(m,)``, and their keys, uint8 of shape ``(m, 16)``.
    """
    keys = text_keys(texts) if modality == "text" else photo_keys.keys(photos)
    rows = [row for row, key in enumerate(keys) if key is not None]
    return np.array(rows, np.int64), key_rows([key for key in keys if key is not None])


def read_features(catalog: Catalog, stores: Iterable[EmbeddingStore], photo_keys: PhotoKeys) -> Features:
    """Line up the kept vectors with a catalogue, by content key.

    Args:
        catalog: the listings; read once, in a stream.
        stores: one for each encoder wanted.
        photo_keys: the note of photo keys that spares reading the photos again.

    Raises:
        CatalogError: the catalogue cannot be read.
        StoreError: a store is damaged.
    """
    stores = list(stores)
    ids: list[str] = []
    labels: list[str | None] = []
    blocks: dict[str, list[np.ndarray]] = {store.name: [] for store in stores}
    masks: dict[str, list[np.ndarray]] = {store.name: [] for store in stores}
    for batch in catalog.batches():
        ids += batch.ids
        labels += batch.labels
        keys = {
            modality: listing_keys(modality, batch.texts, batch.photos, photo_keys)
            for modality in {store.modality for store in stores}
        }
        for store in stores:
            listed, wanted = keys[store.modality]
            rows = store.lookup(wanted)
            kept = rows >= 0
            vectors = np.zeros((len(batch.ids), store.dim), store.dtype)
            present = np.zeros(len(batch.ids), bool)
            vectors[listed[kept]] = store.read(rows[kept])
            present[listed[kept]] = True
            blocks[store.name].append(vectors)
            masks[store.name].append(present)
    return Features(
        ids=tuple(ids),
        labels=tuple(labels),
        vectors={
            store.name: np.concatenate([np.empty((0, store.dim), store.dtype), *blocks[store.name]]) for store in stores
        },
        present={store.name: np.concatenate([np.empty(0, bool), *masks[store.name]]) for store in stores},
        modality={store.name: store.modality for store in stores},
        fingerprints={store.name: store.fingerprint for store in stores},
    )
