"""headstart's folder in the user's cache: weights that were fetched, and small notes of what was learnt once.

Everything in it can be deleted at any time; it is made or fetched again when it is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from headstart.files import write_text_atomically

VARIABLE = "HEADSTART_CACHE"


def cache_folder() -> Path:
    """The folder that HEADSTART_CACHE names, or ours in the user's cache. It need not exist yet."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("headstart", appauthor=False))


def read_note(kind: str, key: str) -> dict[str, Any] | None:
    """What `write_note` kept under this kind and key; None where there is nothing, or nothing legible."""
    try:
        note = json.loads(_place(kind, key).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def write_note(kind: str, key: str, note: dict[str, Any]) -> None:
    """Keep a small JSON note of what was costly to learn.

    A note saves time and nothing else: where the cache cannot be written, nothing is kept and nothing is said.

    Args:
        kind: what it is about, such as "saved-model"; a folder's name.
        key: which one of them, of any length; all that decides what the note says.
        note: JSON.
    """
    place = _place(kind, key)
    text = json.dumps(note, sort_keys=True, indent=1)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(place, text + "\n")
    except OSError:
        return


def _place(kind: str, key: str) -> Path:
    return cache_folder() / "notes" / kind / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
