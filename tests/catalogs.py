"""A small catalogue on disk, for tests that go through files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

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
