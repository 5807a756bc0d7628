"""What the tests of the store share: small stores, their damage, and what must still hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from headstart.embeddings.index import halves
from headstart.embeddings.key import content_key, key_rows
from headstart.embeddings.part import Failure
from headstart.embeddings.store import EmbeddingStore
from headstart.errors import StoreError

FINGERPRINT = "0123456789abcdef" * 4


def new_store(root: Path, name: str = "letters", fingerprint: str = FINGERPRINT, dim: int = 3) -> EmbeddingStore:
    return EmbeddingStore.create(root, name, fingerprint, "text", dim, {"weights": "5" * 64})


def keys_of(*texts: str) -> np.ndarray:
    """Content keys, uint8 of shape ``(n, 16)``."""
    return key_rows([content_key("text", text.encode()) for text in texts])


def halves_of(*texts: str) -> np.ndarray:
    """Content keys as they are looked up."""
    return halves(keys_of(*texts))


def vectors_of(*texts: str, dim: int = 3) -> np.ndarray:
    """A vector of each text's own, in half precision."""
    rows = [np.random.default_rng(list(text.encode())).standard_normal(dim) for text in texts]
    return np.array(rows, np.float16).reshape(-1, dim)


def keep(store: EmbeddingStore, *texts: str, failed: Sequence[Failure] = ()) -> str:
    """Append these texts as one part; the part's id."""
    return store.append(keys_of(*texts), vectors_of(*texts, dim=store.dim), {"seconds": 1.0}, failed).id


def failure(text: str, attempts: int = 1, kind: str = "damaged") -> Failure:
    return Failure(keys_of(text).tobytes().hex(), f"listing of {text}", kind, f"{text} is torn", attempts)


def check_kept(store: EmbeddingStore, texts: Sequence[str]) -> None:
    """Every text has its vector."""
    keys = halves_of(*texts)
    rows = store.lookup(keys)
    assert [text for text, row in zip(texts, rows, strict=True) if row < 0] == []
    assert np.array_equal(store.read(rows, keys), vectors_of(*texts, dim=store.dim))


def missing(store: EmbeddingStore, texts: Sequence[str]) -> list[str]:
    """The texts without a vector."""
    return [text for text, row in zip(texts, store.lookup(halves_of(*texts)), strict=True) if row < 0]


def refusal(work: Callable[[], object], kind: type[StoreError] = StoreError) -> str:
    """The message of the error that the work ends in."""
    with pytest.raises(kind) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


def flip(path: Path, place: int, bit: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def seal(record: dict[str, object]) -> str:
    """A record with its seal, as all formats write it."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return json.dumps({**record, "seal": digest}, indent=1)


def write_old_store(root: Path, *parts: Sequence[str], dim: int = 3) -> Path:
    """A store of format 1 as headstart 0.1 wrote it; its folder."""
    folder = root / f"letters-{FINGERPRINT[:12]}"
    folder.mkdir(parents=True)
    header = {
        "format": 1, "name": "letters", "modality": "text", "dim": dim, "dtype": "float16",
        "fingerprint": FINGERPRINT, "spec": {"weights": "5" * 64},
    }  # fmt: skip
    (folder / "encoder.json").write_text(seal(header))
    for number, texts in enumerate(parts):
        name = f"{number:016x}-0badcafe"
        digests = {}
        for ending, array in ((".npy", vectors_of(*texts, dim=dim)), (".keys.npy", keys_of(*texts))):
            path = folder / f"{name}{ending}"
            np.save(path, array, allow_pickle=False)
            digests[ending] = hashlib.sha256(path.read_bytes()).hexdigest()
        receipt = {
            "format": 1, "id": name, "fingerprint": FINGERPRINT, "rows": len(texts), "dim": dim, "dtype": "float16",
            "digests": digests, "info": {"seconds": 2.0, "machine": "x86"},
        }  # fmt: skip
        (folder / f"{name}.json").write_text(seal(receipt))
    return folder
