"""Content → key: the same text or photo has the same key wherever it stands, and is encoded once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import numpy as np

from headstart.embeddings.index import KeyMap, halves
from headstart.files import write_atomically
from headstart.photos import THREADS, file_stats

KEY_BYTES = 16
PHOTO_LIMIT = 256 << 20
"""Bytes. No product photo is larger, and a file that is would not go well into memory."""
PHOTO_NOTE = "photo-keys.note"
"""Name of the note of `PhotoKeys` beside the stores."""
_READ = 64  # photos that one thread reads before it takes more: they are small, and to hand out each costs more


def content_key(modality: str, content: bytes) -> bytes:
    """The first 16 bytes of SHA-256 over ``modality | content``.

    `content` is what the encoder reads: a text's UTF-8 after templating and NFC, or a photo file's bytes.
    """
    return sha256(modality.encode() + b"|" + content).digest()[:KEY_BYTES]


def text_keys(texts: Sequence[str | None]) -> list[bytes | None]:
    """One key a text; None where there is no text."""
    return [None if text is None else sha256(b"text|" + text.encode()).digest()[:KEY_BYTES] for text in texts]


def path_key(path: str) -> bytes:
    """The key under which a photo that cannot be read is listed."""
    return content_key("path", os.fsencode(path))  # a folder's name need not be valid UTF-8


def key_rows(keys: Sequence[bytes]) -> np.ndarray:
    """Keys as uint8 of shape ``(n, 16)``, the form in which parts hold them."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


class PhotoKeys:
    """Keys of photo files, remembered for each path, size and modification time.

    A photo that is noted is not read again. A file changed within the last two seconds is not noted: a second change
    in the same tick of the file system's clock would go unseen.

    The note is two maps from `_marks` to keys, what was used of late and what was used before. After `_TURN_NS` the
    older one is forgotten and the newer takes its place, so that photos which changed or went away are gone after two
    turns at most. The file holds the sorted runs of both as they lie in memory, uint64; then each run's length, how
    many runs there are, how many of them are of late, when the turn began; and the SHA-256 of all that. It is mapped
    into memory, not loaded.
    """

    _SETTLED_NS = 2 * 10**9
    _TURN_NS = 30 * 86_400 * 10**9
    _UNSAVED = 1 << 22  # each time that so many were learnt they are saved, and leave memory

    def __init__(self, note: Path) -> None:
        """Open the note at `note`. One that is missing or damaged counts as empty: it only saves time."""
        self._note = note
        self._open()

    def _open(self) -> None:
        self._learnt = 0
        self._began, runs, late = time.time_ns(), list[np.ndarray](), 0
        with suppress(OSError, ValueError):
            numbers = np.memmap(self._note, np.uint64, "r")
            contents, digest = numbers[:-4], numbers[-4:]
            if sha256(contents.data).digest() == digest.tobytes():
                count, late, began = contents[-3:].tolist()
                ends = 4 * np.cumsum(contents[-3 - count : -3], dtype=np.int64)
                runs = [run.reshape(4, -1) for run in np.split(contents, ends)[:count]]
                if self._began - began > self._TURN_NS:
                    runs, late = runs[:late], 0
                else:
                    self._began = began
        self._late, self._before = KeyMap(runs[:late], values=2), KeyMap(runs[late:], values=2)

    def keys(self, photos: Sequence[str | None], stats: np.ndarray | None = None) -> list[bytes | None]:
        """One key a photo; None where there is none, or its file cannot be read or has more than `PHOTO_LIMIT` bytes.

        Args:
            photos: absolute paths.
            stats: what `file_stats` said of them just now, where it was asked already.
        """
        paths = [photo for photo in photos if photo is not None]
        if stats is None:
            stats = file_stats(paths)
        elif len(paths) < len(photos):
            stats = stats[:, [photo is not None for photo in photos]]
        marks = _marks(paths, stats)
        known, numbers = self._late.get(marks)
        older = np.flatnonzero(~known)
        known[older], numbers[:, older] = self._before.get(marks[:, older])
        used = older[known[older]]
        self._learn(marks[:, used], numbers[:, used])

        rows = np.ascontiguousarray(numbers.T).tobytes()
        found: list[bytes | None] = [rows[start : start + KEY_BYTES] for start in range(0, len(rows), KEY_BYTES)]
        unknown = np.flatnonzero(~known).tolist()
        sizes = stats[0].tolist()
        read = self._read([paths[i] for i in unknown if 0 <= sizes[i] <= PHOTO_LIMIT])
        for i in unknown:
            found[i] = read.get(paths[i])
        each = iter(found)
        return [None if photo is None else next(each) for photo in photos]

    def _read(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The keys of those files that can be read; they are noted."""
        different = list(dict.fromkeys(paths))
        groups = [different[start : start + _READ] for start in range(0, len(different), _READ)]
        with ThreadPoolExecutor(THREADS) as pool:
            read = [photo for group in pool.map(_keys_and_stats, groups) for photo in group]
        now = time.time_ns()
        settled = [photo for photo in read if now - photo[3] > self._SETTLED_NS]
        if settled:
            paths, keys, *stats = zip(*settled, strict=True)
            self._learn(_marks(paths, np.array(stats, np.int64)), halves(key_rows(keys)))
        return {path: key for path, key, *_ in read}

    def _learn(self, marks: np.ndarray, numbers: np.ndarray) -> None:
        self._late.add(np.concatenate([marks, numbers]))
        before, self._learnt = self._learnt, self._learnt + marks.shape[1]
        if self._learnt // self._UNSAVED > before // self._UNSAVED:
            self.save()

    def save(self) -> None:
        """Write the note, if anything was learnt. A disk that does not take it costs time only, as above."""
        if not self._learnt:
            return
        runs = [*self._late.runs, *self._before.runs]
        lengths = [run.shape[1] for run in runs]
        end = np.array([*lengths, len(runs), len(self._late.runs), self._began], np.uint64)

        def write(file: BinaryIO) -> None:
            digest = sha256()
            for numbers in (*runs, end):
                digest.update(numbers.reshape(-1).data)
                file.write(numbers.reshape(-1).data)
            file.write(digest.digest())

        with suppress(OSError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._note, write)
            self._open()


def _marks(paths: Sequence[str], stats: np.ndarray) -> np.ndarray:
    """What files are noted by, uint64 of shape ``(2, n)``: a digest of the path, XOR size and modification time.

    Two states of one file never share a mark, and two paths do so no more often than two keys of 16 bytes are alike.
    """
    digests = b"".join([sha256(os.fsencode(path)).digest() for path in paths])
    return np.frombuffer(digests, np.uint64).reshape(-1, 4)[:, :2].T ^ stats.view(np.uint64)


def _keys_and_stats(paths: Sequence[str]) -> list[tuple[str, bytes, int, int]]:
    """Path, key, size and modification time in ns of each of these photos that can be read."""
    read = []
    for path in paths:
        with suppress(OSError), open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a Path for each takes time)
            stat = os.fstat(file.fileno())
            if stat.st_size > PHOTO_LIMIT:  # it has grown since it was asked for
                continue
            digest = sha256(b"image|")
            while chunk := file.read(1 << 18):
                digest.update(chunk)
            read.append((path, digest.digest()[:KEY_BYTES], stat.st_size, stat.st_mtime_ns))
    return read
