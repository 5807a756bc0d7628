"""Files that are either wholly there or not at all, and their digests."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


class Aside:
    """A file that is written beside `path` and takes its place when it is whole."""

    def __init__(self, path: Path) -> None:
        """Open it, in the same folder.

        Raises:
            OSError: it cannot be made.
        """
        self.path = path
        self.name = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        self.file: BinaryIO = self.name.open("xb")

    def commit(self) -> None:
        """Sync it to disk and rename it into place; the folder is synced as well."""
        with self.file:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.name.replace(self.path)
        sync(self.path.parent)

    def discard(self) -> None:
        """Leave no trace of it."""
        with suppress(OSError):  # what is buffered may not fit on the disk either
            self.file.close()
        self.name.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on disk before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write `path` aside, sync it to disk, then rename it into place.

    A reader sees the old file or the new one, never a part of it, even after a kill or a power cut.
    """
    aside = Aside(path)
    try:
        write(aside.file)
        aside.commit()
    except BaseException:
        aside.discard()
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """`write_atomically` for a UTF-8 text."""
    write_atomically(path, lambda file: file.write(text.encode()))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, exclusive: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold a lock that is free again when this process ends, however it ends.

    A shared lock is waited for; an exclusive one is tried once, unless told to `wait`.

    Yields:
        Whether it is held. It is not where others hold it, or where the file system has no locks.
    """
    try:
        import fcntl

        file = path.open("ab")
    except (ImportError, OSError):
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB) if exclusive else fcntl.LOCK_SH)
        except OSError:
            yield False
        else:
            yield True
