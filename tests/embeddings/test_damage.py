"""Show 3 of the promise "extract once": whatever bit turns over, it is found, harms nobody, and costs only itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from keeping import check_kept, failure, flip, halves_of, keep, keys_of, missing, new_store, vectors_of

from headstart.embeddings import generations
from headstart.embeddings.features import open_features
from headstart.embeddings.listings import Listings, ListingsWriter, listings_path
from headstart.embeddings.store import EmbeddingStore, store_folders
from headstart.embeddings.upkeep import mend, verify
from headstart.errors import DamageError, HeadstartError, StoreError

DIM = 5
ROWS = 12
HEADER_BYTES = 128
PARTS = [[f"text {part} {row}" for row in range(ROWS)] for part in range(4)]
TEXTS = [text for part in PARTS for text in part]
FAILED = {0: [], 1: [failure("torn")], 2: [failure("torn"), failure("trop grand", kind="too large")], 3: []}
IDS = [f"listing {number}" for number in range(len(TEXTS))]


def write_listings(root: Path) -> None:
    keys: list[bytes | None] = [key.tobytes() for key in keys_of(*TEXTS)]
    with ListingsWriter(root, root.parent / "catalogue.csv") as writer:
        writer.add(IDS, [text[:6] for text in TEXTS], {"text": keys})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four parts, two of them in a generation of the index, with failures, and a catalogue's listings."""
    root = tmp_path_factory.mktemp("whole") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "WORTH_KEEPING", 1)
        store = new_store(root, dim=DIM)
        for number, texts in enumerate(PARTS):
            keep(store, *texts, failed=FAILED[number])
            if number == 2:
                store.refresh()
                store.settle()
    write_listings(root)
    return root


def told(root: Path) -> list[str]:
    """What `headstart store verify` and opening the catalogue's listings tell."""
    found = []
    for folder in store_folders(root):
        try:
            found += [problem.what for problem in verify(EmbeddingStore(folder))]
        except StoreError as error:
            found.append(str(error))
    try:
        Listings(listings_path(root, root.parent / "catalogue.csv"))
    except StoreError as error:
        found.append(str(error))
    return found


def read_all(root: Path) -> list[type[HeadstartError]]:
    """Read everything in every way; what is given is right, or there is an error. The errors' types."""
    errors: list[type[HeadstartError]] = []
    keys, vectors = halves_of(*TEXTS), vectors_of(*TEXTS, dim=DIM)
    try:
        [folder] = store_folders(root)
        store = EmbeddingStore(folder)
        places = store.lookup(keys)
        for each in store.failures().values():
            assert each.attempts <= 2 and (each.kind, each.reason) in [(f.kind, f.reason) for f in FAILED[2]]
    except StoreError as error:
        return [type(error)]
    there = np.flatnonzero(places >= 0)
    for rows in [there, *there[:, None]]:
        try:
            assert np.array_equal(store.read(places[rows], keys[:, rows]), vectors[rows])
        except StoreError as error:
            errors.append(type(error))
    try:
        listings = Listings(listings_path(root, root.parent / "catalogue.csv"))
        assert listings.ids == IDS
        features = open_features(listings, [EmbeddingStore(folder)])
        present = features.present["letters"]
        assert np.array_equal(features.vectors["letters"], np.where(present[:, None], vectors, 0))
    except StoreError as error:
        errors.append(type(error))
    return errors


def rows_lost(path: Path, cut: int | None, place: int) -> int:
    """How many rows a damage to this file costs: cut to this length, or a bit flipped at this place."""
    if path.parent.name == "listings" or path.suffix == ".json" or ".index." in path.name:
        return 0
    row_bytes = 24 if path.name.endswith(".keys.npy") else 2 * DIM
    if cut is not None:
        return ROWS - max(0, cut - HEADER_BYTES) // row_bytes
    return int(place >= HEADER_BYTES)


@pytest.mark.parametrize("seed", range(4))
def test_fifty_damages_are_found_never_misread_and_cost_only_what_they_hit(
    whole: Path, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != "lock")
    files.sort(key=lambda path: path.suffixes)
    refused = 0
    for number in range(50):
        root = shutil.copytree(whole, tmp_path / str(number) / "store")
        # The catalogue's path is part of the name of its listings.
        for path in (root / "listings").iterdir():
            path.rename(path.with_name(listings_path(root, root.parent / "catalogue.csv").stem + path.suffix))
        named = dict(zip(sorted(p.name for p in (whole / "listings").iterdir()), sorted((root / "listings").iterdir())))  # noqa: B905
        chosen = files[(50 * seed + number) % len(files)]
        path = root / chosen if chosen.parent.name != "listings" else named[chosen.name]
        size = path.stat().st_size
        place, cut = int(rng.integers(size)), int(rng.integers(size)) if rng.random() < 0.3 else None
        if cut is None:
            flip(path, place, int(rng.integers(8)))
        else:
            path.write_bytes(path.read_bytes()[:cut])
        what = f"{chosen}: {f'cut to {cut}' if cut is not None else f'bit flipped in byte {place}'} of {size}"

        assert told(root), what
        refused += bool(read_all(root))

        store = new_store(root, dim=DIM)  # as an extraction begins
        _, lost = mend(store)
        gone = missing(store, TEXTS)
        assert lost == len(gone) == rows_lost(path, cut, place), what
        if gone:
            keep(store, *gone)
        failures = [each for part in FAILED.values() for each in part]
        again = [each for each in failures if each.key not in store.failures()]
        if again:  # they went with their receipt, and fail again
            keep(store, failed=again)
        if path.parent.name == "listings":
            write_listings(root)
        assert told(root) == [], what
        store.refresh()
        check_kept(store, TEXTS)
        assert Listings(listings_path(root, root.parent / "catalogue.csv")).ids == IDS
        assert len(store) == len(TEXTS), what
        assert store.failures().keys() == {each.key for each in failures}
        shutil.rmtree(root.parent)
    assert refused > 25, "most damages are met when everything is read"


def test_damage_is_told_as_such(whole: Path, tmp_path: Path) -> None:
    """What can be mended is a DamageError: no damage may pass for a newer format or a missing file."""
    root = shutil.copytree(whole, tmp_path / "store")
    [folder] = store_folders(root)
    for path in (folder / "encoder.json", EmbeddingStore(folder).receipt_paths()[0]):
        content = path.read_bytes()
        number = content.index(b"2")  # of the format
        for place in (*range(0, 40, 3), number):
            for bit in range(8):
                flip(path, place, bit)
                with pytest.raises(DamageError):
                    EmbeddingStore(folder).parts  # noqa: B018
                path.write_bytes(content)
