"""Catalogues on disk, and what holds for each of them; listings drawn as vectors."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.catalog import Batch, Catalog, Columns
from headstart.embeddings.features import Features
from headstart.errors import CatalogError

TEXT = Columns(text=("text",))
Write = Callable[..., Path]

WORDS = {
    "Montres": "montre bracelet acier quartz cadran étanche",
    "Linge": "drap coton housse couette serviette éponge",
    "Jouets": "puzzle peluche bébé hochet poupée cubes",
}


HEADER = ("sku", "titre", "photo", "rayon")


def listings(folder: Path, rows: int = 45, photos: bool = True, header: tuple[str, ...] = HEADER) -> Path:
    """Write listings.csv and photos/: three categories, told apart by their words and their photos' colours."""
    rng = np.random.default_rng(7)
    (folder / "photos").mkdir(exist_ok=True)
    with (folder / "listings.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(header)
        for row in range(rows):
            code = row % len(WORDS)
            label, words = list(WORDS.items())[code]
            title = " ".join(rng.choice(words.split(), 3)) + f" modèle {row} {rng.integers(10**6)}"
            name = f"{row}.jpg" if photos else ""
            if photos:
                pixels = rng.integers(0, 120, (rng.integers(2, 9), rng.integers(2, 9), 3))
                pixels[:, :, code] += 120
                Image.fromarray(pixels.astype(np.uint8)).resize((96, 96), row % 4).save(folder / "photos" / name)
            out.writerow((f"s{row}", title, name, label))
    return folder / "listings.csv"


def everything(catalog: Catalog, rows: int = 65_536) -> Batch:
    """All listings in one Batch, having checked what holds for every catalogue."""
    batches = list(catalog.batches(rows))
    columns = ("ids", "texts", "photos", "labels")
    whole = Batch(*(list(chain.from_iterable(getattr(batch, name) for batch in batches)) for name in columns))
    counts = catalog.counts
    assert len(whole.ids) == len(whole.texts) == len(whole.photos) == len(whole.labels) == counts.rows
    assert len(set(whole.ids)) == counts.rows
    assert all(map(str.strip, whole.ids))
    assert counts.with_text == counts.rows - whole.texts.count(None)
    assert counts.with_image == counts.rows - whole.photos.count(None)
    assert counts.with_label == counts.rows - whole.labels.count(None)
    lacking = counts.left_out
    lacking += counts.rows - counts.with_text if catalog.columns.text else 0
    lacking += counts.rows - counts.with_image if catalog.images else 0
    lacking += counts.rows - counts.with_label if catalog.columns.label else 0
    assert sum(counts.problems.values()) == lacking, "every row that lacks something has exactly one reason"
    assert counts.problems.keys() == counts.examples.keys()
    return whole


def refusal(work: Callable[[], object]) -> str:
    """The message of the CatalogError that the work ends in."""
    with pytest.raises(CatalogError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


NAMES = ("Bijoux", 'Linge, "fin"', "Montres", "Vélos")


def draw_features(rows: int, seed: int = 0) -> Features:
    """Listings of four categories, some easy to tell apart and some not; some lack a text or a photo."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(4, size=rows)
    noise = np.where(rng.random(rows) < 0.4, 4.0, 0.5)[:, None]
    lacks = rng.choice(["", "texts", "photos"], rows, p=[0.8, 0.1, 0.1])
    present = {name: lacks != name for name in ("texts", "photos")}
    vectors = {
        name: ((3 * np.eye(4, 8)[codes] + noise * rng.normal(size=(rows, 8))) * mask[:, None]).astype(np.float16)
        for name, mask in present.items()
    }
    labels = tuple(NAMES[code] for code in codes)
    kinds = {"texts": "text", "photos": "image"}
    return Features(tuple(f"s{row}" for row in range(rows)), labels, vectors, present, kinds)


def texts_of(features: Features) -> list[str | None]:
    return [f"un {label[:3]}" if row % 3 else None for row, label in enumerate(features.labels)]
