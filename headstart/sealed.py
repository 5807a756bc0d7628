"""A folder that is one thing: files named by their content, and a card that lists them.

The card is written last and takes the place of the one before in one step: until then the files of the old thing are
all there, from then on those of the new one. Killed at any time, a save leaves one of the two whole. The card ends with
its own digest and holds that of every file: nothing is believed that has changed. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import HeadstartError
from headstart.files import file_digest, sync, write_text_atomically


@dataclass(frozen=True)
class Kind:
    """What such a folder holds, and how its errors say so."""

    what: str
    """``classifier``"""
    card: str
    """Name of the card's file."""
    format: int
    error: type[HeadstartError]
    make: str
    """The verb, as in ``train the classifier again``."""
    command: str
    """That makes one, as in ``headstart train --save``."""
    parts: str
    """Regular expression of the parts' names, in the files of which eight hexadecimal digits stand before the suffix;
    and of names of older formats, which a new save deletes."""

    @property
    def again(self) -> str:
        """What to do about a damaged one."""
        return f"{self.make} the {self.what} again"


@dataclass(frozen=True)
class Part:
    """A file of such a folder, as read."""

    path: Path
    content: bytes

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of an ``.npz`` file."""
        with np.load(BytesIO(self.content), allow_pickle=False) as arrays:
            return dict(arrays)


def write_folder(
    kind: Kind, folder: Path, card: Mapping[str, Any], parts: Mapping[str, Callable[[Path], object]]
) -> None:
    """Write a folder, or replace the one that is there.

    Args:
        kind: of the folder.
        folder: made if need be.
        card: JSON values.
        parts: name, such as ``"head-0.keras"`` → what writes that file to a path.

    Raises:
        HeadstartError: the kind's; the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: _write_part(folder, name, write) for name, write in parts.items()}
        sync(folder)
        write_text_atomically(folder / kind.card, sealed({"format": kind.format, **card, "files": files}))
        kept = {file["name"] for file in files.values()}
        left = re.compile(rf"({kind.parts})|\.[0-9a-f]{{8}}\.(keras|npz)|\.{re.escape(kind.card)}\.[0-9a-f]{{8}}\.tmp")
        for path in list(folder.iterdir()):
            if left.fullmatch(path.name) and path.name not in kept:
                with suppress(OSError):
                    path.unlink()
    except OSError as error:
        raise kind.error(f"{folder} cannot be written ({error.strerror}): choose another --save") from None


def read_folder(kind: Kind, folder: Path) -> tuple[dict[str, Any], dict[str, Part]]:
    """Read what `write_folder` wrote: its card, and each part by its name.

    Raises:
        HeadstartError: the kind's; a file is missing or has changed, or the format is another.
    """
    card = read_card(kind, folder)
    return card, {name: read_part(kind, folder, file) for name, file in card["files"].items()}


def read_part(kind: Kind, folder: Path, file: Mapping[str, str]) -> Part:
    """Read one file, as the card lists it.

    Raises:
        HeadstartError: the kind's; it is missing or has changed.
    """
    path = folder / file["name"]
    try:
        part = Part(path, path.read_bytes())
    except FileNotFoundError:
        raise kind.error(
            f"{folder} is no whole {kind.what}, it has no {path.name}: {kind.make} it again with '{kind.command}'"
        ) from None
    except OSError as error:
        raise kind.error(f"{path} cannot be read ({error.strerror}): allow it, or {kind.make} again") from None
    if hashlib.sha256(part.content).hexdigest() != file["digest"]:
        raise kind.error(f"{path} is not the one that {kind.card} describes: {kind.again}")
    return part


def read_card(kind: Kind, folder: Path) -> dict[str, Any]:
    """The card alone.

    Raises:
        HeadstartError: the kind's; there is none, it is damaged, or of another format.
    """
    path = folder / kind.card
    if not path.is_file():
        raise kind.error(f"{folder} is no {kind.what}, it has no {kind.card}: {kind.make} one with '{kind.command}'")
    try:
        data = path.read_bytes()
        card = json.loads(data)
        number = card["format"]
        if not isinstance(number, int):
            raise ValueError(f"format {number!r}")
        seal = sealed({name: value for name, value in card.items() if name != "seal"}).encode()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise kind.error(f"{path} is damaged ({error}): {kind.again}") from None
    if number > kind.format:
        raise kind.error(
            f"{path} is of format {number}, this headstart reads {kind.format}: upgrade it, or {kind.make} again"
        )
    if number < kind.format:
        raise kind.error(f"{path} is of format {number}, of an older headstart: {kind.again}")
    card.pop("seal", None)
    if seal != data:
        raise kind.error(f"{path} is damaged (it has changed since it was written): {kind.again}")
    return dict(card)


def sealed(card: Mapping[str, Any]) -> str:
    """A card as text, with the digest of all the rest of it at its end."""
    text = json.dumps(card, indent=1, ensure_ascii=False, default=lambda value: value.item())
    return text[:-2] + f',\n "seal": "{hashlib.sha256(text.encode()).hexdigest()}"\n}}\n'


def _write_part(folder: Path, name: str, write: Callable[[Path], object]) -> dict[str, str]:
    """Write one file under a name that tells its content."""
    stem, _, suffix = name.rpartition(".")
    aside = folder / f".{secrets.token_hex(4)}.{suffix}"
    try:
        write(aside)
        sync(aside)
        digest = file_digest(aside)
        final = f"{stem}-{digest[:8]}.{suffix}"
        aside.replace(folder / final)
    finally:
        aside.unlink(missing_ok=True)
    return {"name": final, "digest": digest}
