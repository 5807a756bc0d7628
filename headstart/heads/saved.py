"""A classifier's folder, format 2: arrays and networks in files named by their content, and a card that lists them.

The card, ``classifier.json``, is written last and takes the place of the one before in one step: until then the files
of the old classifier are all there, from then on those of the new one. Killed at any time, a save leaves one of the two
whole. The card ends with its own digest and holds that of every file: nothing is believed that has changed. Nothing is
pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ModelError
from headstart.files import file_digest, write_text_atomically
from headstart.runtime import keras, tensorflow

FORMAT = 2
CARD = "classifier.json"
_MADE = re.compile(
    r"(head-\d+|words|calibration)-[0-9a-f]{8}\.(keras|npz)"
    r"|\.[0-9a-f]{8}\.(keras|npz)|\.classifier\.json\.[0-9a-f]{8}\.tmp|head\.keras"
)
"""Names of files that a save may leave behind: of a classifier replaced, of a save killed, of format 1."""


@dataclass(frozen=True)
class Part:
    """A file of a classifier, as read."""

    path: Path
    content: bytes

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of an ``.npz`` file."""
        with np.load(BytesIO(self.content), allow_pickle=False) as arrays:
            return dict(arrays)

    def network(self, classes: int) -> Any:
        """The Keras model of a ``.keras`` file.

        Raises:
            ModelError: this Keras cannot read it, or it tells another number of classes apart.
        """
        tensorflow()
        with tempfile.TemporaryDirectory() as folder:  # Keras reads nothing but files; this one may be gone by now
            path = Path(folder, "head.keras")
            path.write_bytes(self.content)
            try:
                network = keras().models.load_model(path, compile=False)
            except (OSError, ValueError, KeyError, TypeError):  # what Keras says of it takes many lines
                raise ModelError(
                    f"{self.path} cannot be read by Keras {keras().__version__}: train the classifier again"
                ) from None
        if network.output_shape[-1] != classes:
            raise ModelError(f"{self.path} tells other categories apart than {CARD} names: train the classifier again")
        return network


def write_folder(folder: Path, card: Mapping[str, Any], parts: Mapping[str, Callable[[Path], object]]) -> None:
    """Write a classifier, or replace the one that is there.

    Args:
        folder: made if need be.
        card: JSON values.
        parts: name, such as ``"head-0.keras"`` → what writes that file to a path.

    Raises:
        ModelError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: _write_part(folder, name, write) for name, write in parts.items()}
        _sync(folder)
        whole = {"format": FORMAT, **card, "files": files}
        write_text_atomically(folder / CARD, sealed(whole))
        kept = {file["name"] for file in files.values()}
        for path in list(folder.iterdir()):
            if _MADE.fullmatch(path.name) and path.name not in kept:
                with suppress(OSError):
                    path.unlink()
    except OSError as error:
        raise ModelError(f"{folder} cannot be written ({error.strerror}): choose another --save") from None


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Part]]:
    """Read a classifier that `write_folder` wrote: its card, and each part by its name.

    Raises:
        ModelError: a file is missing or has changed, or the format is another.
    """
    if not (folder / CARD).is_file():
        raise ModelError(f"{folder} is no classifier, it has no {CARD}: train one with 'headstart train --save'")
    card = _read_card(folder / CARD)
    parts = {}
    for name, file in card["files"].items():
        path = folder / file["name"]
        try:
            parts[name] = Part(path, path.read_bytes())
        except FileNotFoundError:
            raise ModelError(
                f"{folder} is no whole classifier, it has no {path.name}: train it again with 'headstart train --save'"
            ) from None
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}): allow it, or train again") from None
        if hashlib.sha256(parts[name].content).hexdigest() != file["digest"]:
            raise ModelError(f"{path} is not the one that {CARD} describes: train the classifier again")
    return card, parts


def sealed(card: Mapping[str, Any]) -> str:
    """A card as text, with the digest of all the rest of it at its end."""
    text = json.dumps(card, indent=1, ensure_ascii=False, default=lambda value: value.item())
    return text[:-2] + f',\n "seal": "{hashlib.sha256(text.encode()).hexdigest()}"\n}}\n'


def _read_card(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        card = json.loads(data)
        number = card["format"]
        if not isinstance(number, int):
            raise ValueError(f"format {number!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}): train the classifier again") from None
    if number > FORMAT:
        raise ModelError(f"{path} is of format {number}, this headstart reads {FORMAT}: upgrade it, or train again")
    if number < FORMAT:
        raise ModelError(f"{path} is of format {number}, of an older headstart: train the classifier again")
    card.pop("seal", None)
    if sealed(card).encode() != data:
        raise ModelError(f"{path} is damaged (it has changed since it was written): train the classifier again")
    return dict(card)


def _write_part(folder: Path, name: str, write: Callable[[Path], object]) -> dict[str, str]:
    """Write one file under a name that tells its content."""
    stem, _, suffix = name.rpartition(".")
    aside = folder / f".{secrets.token_hex(4)}.{suffix}"
    try:
        write(aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        digest = file_digest(aside)
        final = f"{stem}-{digest[:8]}.{suffix}"
        aside.replace(folder / final)
    finally:
        aside.unlink(missing_ok=True)
    return {"name": final, "digest": digest}


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
