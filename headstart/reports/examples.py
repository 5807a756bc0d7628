"""Listings that show what is confused: which ones, and their photos small enough for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.catalog import Catalog
from headstart.errors import CatalogError, ItemError
from headstart.extract.images import decode, upright_size
from headstart.reports.result import Confused, Mistake

PAIRS, EXAMPLES = 6, 3
LETTERS = 120
"""Of a listing's text."""
SIDE, BYTES = 96, 4096
"""Of a thumbnail: its longest side in pixels, and how large its file may be."""
QUALITIES = (70, 50, 30, 15)


def confused(
    catalog: Catalog,
    ids: Sequence[str],
    judged: np.ndarray,
    texts: Sequence[str | None],
    groups: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    sure: np.ndarray,
    classes: Sequence[str],
) -> tuple[Confused, ...]:
    """The pairs of categories confused most often, each with the surest mistakes of different listings.

    Args:
        catalog: read once more for the photos' names.
        ids: of all its listings.
        judged: row numbers of the n that were judged, ascending.
        texts: of these n.
        groups: their near-duplicate groups ``(n,)``.
        labels: their category numbers ``(n,)``.
        predicted: category numbers given ``(repeats, n)``.
        sure: the probabilities of these ``(repeats, n)``.
        classes: the categories' names.
    """
    pair = labels * len(classes) + predicted
    pair[predicted == labels] = -1
    numbers, counts = np.unique(pair[pair >= 0], return_counts=True)
    most = numbers[np.argsort(-counts, kind="stable")[:PAIRS]].tolist()
    taken = {number: _surest(pair == number, sure, groups) for number in most}
    rows = judged[[row for found in taken.values() for row, _ in found]] if most else np.arange(0)
    photos = photos_of(catalog, ids, rows)
    return tuple(
        Confused(
            classes[number // len(classes)],
            classes[number % len(classes)],
            tuple(Mistake(ids[judged[row]], begins(texts[row]), photos[int(judged[row])], p) for row, p in found),
        )
        for number, found in taken.items()
    )


def _surest(mistaken: np.ndarray, sure: np.ndarray, groups: np.ndarray) -> list[tuple[int, float]]:
    """Rows and probabilities, from ``(repeats, n)`` bool: whether the row was mistaken so."""
    rows = np.flatnonzero(mistaken.any(axis=0))
    mean = (sure * mistaken)[:, rows].sum(axis=0) / mistaken[:, rows].sum(axis=0)
    order = np.argsort(-mean, kind="stable")
    first = np.sort(np.unique(groups[rows[order]], return_index=True)[1])[:EXAMPLES]
    return [(int(rows[place]), float(mean[place])) for place in order[first]]


def photos_of(catalog: Catalog, ids: Sequence[str], rows: np.ndarray) -> dict[int, str]:
    """Row number → its photo, as the folder was named, in the order of the rows; empty where there is none."""
    found = dict.fromkeys(rows.tolist(), "")
    if not found or catalog.images is None:
        return found
    with suppress(CatalogError):  # it changed meanwhile: no reason to lose the figures
        for row, path in enumerate(islice(catalog.contents("image", ids), 1 + max(found))):
            if path and row in found:
                found[row] = str(catalog.images / Path(path).relative_to(catalog.images.absolute()))
    return found


def begins(text: str | None, letters: int = LETTERS) -> str:
    """The beginning of a text, on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= letters else line[: letters - 1].rstrip() + "…"


def thumbnail(photo: str, side: int = SIDE, most: int = BYTES) -> str | None:
    """A photo file as a small JPEG in a `data:` address; None where it cannot be read or made small.

    Args:
        photo: the file.
        side: of the JPEG, its longest, in pixels.
        most: bytes that it may have.
    """
    try:
        data = Path(photo).read_bytes()
        pixels = decode(data, side)
        width, height = upright_size(data)
    except (OSError, ItemError, ValueError):  # a name may hold a zero byte
        return None
    scale = side / max(width, height)
    picture = Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    for quality in QUALITIES:
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True)
        if out.tell() <= most:
            return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
    return None
