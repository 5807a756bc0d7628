"""Content → key: the same text or photo has the same key wherever it stands, and is encoded once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.files import write_atomically

KEY_BYTES = 16


def content_key(modality: str, content: bytes) -> bytes:
    """The first 16 bytes of SHA-256 over ``modality | content``.

    `content` is what the encoder reads: a text's UTF-8 after templating and NFC, or a photo file's bytes.
    """
    return hashlib.sha256(modality.encode() + b"|" + content).digest()[:KEY_BYTES]


def text_keys(texts: Sequence[str | None]) -> list[bytes | None]:
    """One key a text; None where there is no text."""
    return [None if text is None else content_key("text", text.encode()) for text in texts]


def key_rows(keys: Sequence[bytes]) -> np.ndarray:
    """Keys as uint8 of shape ``(n, 16)``, the form in which parts hold them."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


class PhotoKeys:
    """Keys of photo files, remembered beside each file's size and modification time.

    A photo whose size and time are as noted is not read again. A file changed within the last two seconds is not
    noted: a second change in the same tick of the file system's clock would go unseen.
    """

    _SETTLED_NS = 2_000_000_000

    def __init__(self, note: Path) -> None:
        """Read the note at `note`. One that is missing or damaged counts as empty: it only saves time."""
        self._note = note
        self._known: dict[bytes, tuple[int, int, bytes]] = {}
        self._changed = False
        try:
            columns = pq.read_table(note, page_checksum_verification=True).to_pydict()
            entries = zip(columns["size"], columns["mtime_ns"], columns["key"], strict=True)
            self._known = dict(zip(columns["path"], entries, strict=True))
        except (OSError, ValueError, KeyError, pa.ArrowException):
            self._known = {}

    def keys(self, photos: Sequence[Path | None]) -> list[bytes | None]:
        """One key a photo; None where there is none or its file cannot be read."""
        return [None if photo is None else self._key(photo) for photo in photos]

    def _key(self, photo: Path) -> bytes | None:
        path = os.fsencode(photo.absolute())  # a folder's name need not be valid UTF-8
        try:
            stat = photo.stat()
            known = self._known.get(path)
            if known and known[:2] == (stat.st_size, stat.st_mtime_ns):
                return known[2]
            key = content_key("image", photo.read_bytes())
        except OSError:
            return None
        if time.time_ns() - stat.st_mtime_ns > self._SETTLED_NS:
            self._known[path] = (stat.st_size, stat.st_mtime_ns, key)
            self._changed = True
        return key

    def save(self) -> None:
        """Write the note, if anything was learnt. A disk that does not take it costs time only, as above."""
        if not self._changed:
            return
        sizes, times, keys = zip(*self._known.values(), strict=True)
        table = pa.table(
            {
                "path": pa.array(self._known, pa.binary()),
                "size": pa.array(sizes, pa.int64()),
                "mtime_ns": pa.array(times, pa.int64()),
                "key": pa.array(keys, pa.binary(KEY_BYTES)),
            }
        )
        with suppress(OSError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            # Without checksums a bit that flips on disk would go unseen, and make a key that fits no photo.
            write_atomically(self._note, lambda file: pq.write_table(table, file, write_page_checksum=True))
            self._changed = False
