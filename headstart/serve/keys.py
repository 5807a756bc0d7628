"""Bearer keys: who may ask. Only their digests are kept in memory, and all are compared in constant time."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from headstart.errors import HeadstartError
from headstart.progress import say

VARIABLE = "HEADSTART_API_KEYS"
SHORTEST = 16
"""Characters: a shorter key can be guessed."""
LOOK = 2.0
"""Seconds between two looks into their file."""


class Keys:
    """The keys that are admitted; without any, everybody is."""

    def __init__(self, keys: Iterable[str] = (), file: Path | None = None) -> None:
        """Admit these; `file` is where they were read, which may change."""
        self._digests, self._file = [sha256(key.encode()).digest() for key in keys], file

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, header: str | None) -> bool:
        """Whether an ``Authorization`` header holds one of them."""
        if not self._digests:
            return True
        scheme, _, key = (header or "").partition(" ")
        given = sha256(key.strip().encode("utf-8", "replace")).digest()
        found = False
        for digest in self._digests:  # each of them, whichever it is: time tells nothing
            found |= hmac.compare_digest(digest, given)
        return found and scheme.lower() == "bearer"

    async def watch(self) -> None:
        """Take the keys of their file as it changes; where it has none, that is told once, and those before stay."""
        told, seen = "", self._digests
        while self._file is not None:
            await asyncio.sleep(LOOK)
            try:
                read = await asyncio.to_thread(read_keys, self._file)
            except HeadstartError as error:
                if str(error) != told:
                    say(f"{error}; the keys before stay")
                told = str(error)
                continue
            if read._digests == seen != self._digests:  # twice: the file was not just being written
                say(f"the keys in {self._file} have changed: {len(seen)} are admitted now")
                self._digests = seen
            seen, told = read._digests, ""


def read_keys(file: Path | None) -> Keys:
    """Keys from a file, one a line, or from the environment's ``HEADSTART_API_KEYS``, also parted by commas.

    Raises:
        HeadstartError: the file cannot be read, it holds none, or one is short or not of one line's visible ASCII.
    """
    if file is not None:
        try:
            text, source = file.read_text(), f"--keys {file}"
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise HeadstartError(f"--keys {file} cannot be read ({reason}): give a file with a key a line") from None
        keys = [line.strip() for line in text.splitlines()]
    else:
        text, source = os.environ.get(VARIABLE, ""), VARIABLE
        keys = [key.strip() for line in text.splitlines() for key in line.split(",")]
    keys = [key for key in keys if key]
    if not keys and (file is not None or VARIABLE in os.environ):
        raise HeadstartError(f"{source} holds no key: everybody would be admitted; leave it out if that is meant")
    for place, key in enumerate(keys, 1):  # the key itself is not shown: this may end in a log
        if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise HeadstartError(
                f"key {place} of {source} is no key: give {SHORTEST} or more letters and digits, such as "
                "python -c 'import secrets; print(secrets.token_urlsafe())' prints"
            )
    return Keys(keys, file)
