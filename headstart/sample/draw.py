"""Draws "Les Bonnes Affaires", the sample catalogue: what is sold, who files it wrongly, and the files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from headstart.errors import CatalogError
from headstart.files import write_atomically, write_text_atomically
from headstart.progress import progress
from headstart.sample.pen import COLOURS
from headstart.sample.photos import USELESS, jpeg, photo, retake, useless_photo
from headstart.sample.things import CATEGORIES, PRICES
from headstart.sample.writing import rewrite, write

VERSION = 1
"""Goes up when the same seed draws something else."""

# The share of listings with each fault. No listing has two, so that a vague text never meets a useless photo.
FAULTS = {"vague text": 0.08, "no text": 0.03, "useless photo": 0.11, "no photo": 0.04}
REPOSTED = 0.055
MISFILED = 0.03


@dataclass(frozen=True)
class SampleColumns:
    """The columns of listings.csv."""

    id: str = "id"
    texts: tuple[str, ...] = ("titre", "description")
    photo: str = "photo"
    label: str = "categorie"
    truth: str = "vraie_categorie"


COLUMNS = SampleColumns()


@dataclass(frozen=True)
class Listing:
    """One row of listings.csv, its fields in the columns' order."""

    id: str
    titre: str
    description: str
    prix: int
    photo: str
    categorie: str
    vraie_categorie: str


@dataclass(frozen=True)
class _Post:
    """What to draw for one row. A re-post has the `item` of the listing that it repeats."""

    item: int
    category: str
    filed_under: str
    fault: str
    again: bool


def draw_sample(folder: Path, rows: int = 1050, seed: int = 2026) -> Path:
    """Writes ``listings.csv`` and ``photos/<id>.jpg`` into a folder and returns the path of the CSV.

    The same rows and seed give the same bytes, whatever the machine. A folder that already holds exactly this
    sample is left as it is; `sample.json`, written last, says what it holds.

    Raises:
        CatalogError: fewer rows than categories, a folder that holds another listings.csv or cannot be written.
    """
    if rows < len(CATEGORIES):
        raise CatalogError(f"rows is {rows}: ask for {len(CATEGORIES)} or more, one a category")
    table, photos, receipt = folder / "listings.csv", folder / "photos", folder / "sample.json"
    wanted = {"version": VERSION, "rows": rows, "seed": seed}
    if _holds(folder, wanted):
        return table
    if table.exists() and not receipt.exists() and not table.read_bytes().startswith(_csv([])):
        raise CatalogError(f"{table} is not of a sample and would be overwritten: name another --folder")
    try:
        photos.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(f"{folder} cannot hold the sample ({error.strerror}): name another --folder") from None
    write_text_atomically(receipt, "{}\n")  # the folder is the sample's from here on; what it holds is said last
    for old in photos.glob("lba-*.jpg"):
        old.unlink()
    listings = []
    with progress("drawing the sample", rows) as advance:
        for row, post in enumerate(_plan(rows, seed)):
            listing, picture = _listing(seed, row, post)
            listings.append(listing)
            if picture is not None:
                (photos / listing.photo).write_bytes(picture)
            advance(1)
    text = _csv(listings)
    write_atomically(table, lambda file: file.write(text))
    made = {**wanted, "photos": sum(bool(listing.photo) for listing in listings), **_digest(text)}
    write_text_atomically(receipt, json.dumps(made, indent=2) + "\n")
    return table


def _holds(folder: Path, wanted: dict[str, int]) -> bool:
    """Whether the folder holds this sample, whole."""
    try:
        made = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        text = (folder / "listings.csv").read_bytes()
    except (OSError, ValueError):
        return False
    found = {"photos": len(list((folder / "photos").glob("lba-*.jpg"))), **_digest(text), **wanted}
    return bool(made == found)


def _digest(text: bytes) -> dict[str, str]:
    return {"listings_sha256": hashlib.sha256(text).hexdigest()}


def _plan(rows: int, seed: int) -> list[_Post]:
    """Who sells what: categories of one size, exact shares of every fault, re-posts anywhere after."""
    rng = np.random.default_rng([seed, 0])
    names = list(CATEGORIES)
    repeated = round(rows * REPOSTED)
    fresh = rows - repeated
    faults = [fault for fault, share in FAULTS.items() for _ in range(round(share * rows))]
    faults = (faults + ["none"] * fresh)[:fresh]
    order = rng.permutation(fresh)
    posts = [
        _Post(item, names[item % len(names)], names[item % len(names)], faults[order[item]], False)
        for item in range(fresh)
    ]
    posts += [replace(posts[i], again=True) for i in rng.integers(0, fresh, repeated).tolist()]
    posts = [posts[i] for i in rng.permutation(rows)]
    for i in rng.permutation(rows)[: round(rows * MISFILED)].tolist():
        others = [name for name in names if name != posts[i].category]
        posts[i] = replace(posts[i], filed_under=others[int(rng.integers(len(others)))])
    return posts


def _listing(seed: int, row: int, post: _Post) -> tuple[Listing, bytes | None]:
    """One row and its JPEG photo, drawn from the item's chance; a re-post differs by the row's own."""
    rng, own = np.random.default_rng([seed, 1, post.item]), np.random.default_rng([seed, 2, row])
    things = CATEGORIES[post.category]
    thing = things[int(rng.integers(len(things)))]
    colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    low, high = PRICES[post.category]
    price = round(low * (high / low) ** float(rng.random()))

    title, description = "", ""
    if post.fault != "no text":
        title, description = write(rng, None if post.fault == "vague text" else thing, colour, price)
        if post.again:
            price = max(1, round(price * float(own.uniform(0.7, 0.95))))
            title, description = rewrite(own, title, description, price)

    picture = None
    if post.fault != "no photo":
        if post.fault == "useless photo":
            kind = USELESS[int(rng.integers(len(USELESS)))]
            image = useless_photo(rng, kind, thing.drawing, COLOURS[colour])
        else:
            image = photo(rng, thing.drawing, COLOURS[colour])
        quality = int(rng.integers(45, 92))
        if post.again and own.random() < 0.6:
            image, quality = retake(own, image), quality - int(own.integers(0, 10))
        picture = jpeg(image, quality)

    name = f"lba-{row + 1:05d}"
    file = f"{name}.jpg" if picture is not None else ""
    return Listing(name, title, description, price, file, post.filed_under, post.category), picture


def _csv(listings: list[Listing]) -> bytes:
    """The rows as a UTF-8 CSV file with a header."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(column.name for column in fields(Listing))
    writer.writerows(astuple(listing) for listing in listings)
    return buffer.getvalue().encode()
