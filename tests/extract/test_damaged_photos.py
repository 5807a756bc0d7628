"""A thousand photos as shops have them and as nobody should: one extraction takes them all.

    python test_damaged_photos.py CATALOG PHOTOS STORE

extracts three times, the last time trying again what failed, and tells as JSON what each did and the peak of memory.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_encoders import Pixels

from damaged_photos import bombs, damaged, largest, no_photos, turned, whole_photos, with_damaged_exif
from headstart.catalog import Columns, read_catalog
from headstart.embeddings.listings import Listings, listings_path
from headstart.embeddings.part import Failure
from headstart.extract.run import extract, open_store

AT_MOST_MB = 1_100
"""More than the largest photo allowed takes in any format; two of them at once would take more."""
SECONDS = 240
"""Until what hangs is taken to hang."""


@dataclass
class Shop:
    """What became of the photos."""

    whole: set[str]
    bombs: set[str]
    names: list[str]
    missing: set[str]
    """In the catalogue, and no files."""
    vectors: dict[str, np.ndarray]
    failures: dict[str, Failure]
    all_may_be_read: bool
    told: dict[str, Any]
    complaints: str


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    photos, root, draw = folder / "photos", folder / "store", random.Random(0)
    photos.mkdir()
    whole = whole_photos()
    refused = bombs(whole)
    upright = {f"upright.{name}": data for name, data in whole.items()}
    contents = (
        upright | refused | damaged(whole, draw) | no_photos(draw) | turned() | with_damaged_exif(draw) | largest()
        | {f"{name}.{ending}": data for name, data in whole.items() for ending in ("jpg", "png")}
    )  # fmt: skip
    for name, data in contents.items():
        (photos / name).write_bytes(data)
    (photos / "folder.jpg").mkdir()
    (photos / "nowhere.jpg").symlink_to(photos / "gone")
    os.mkfifo(photos / "pipe.jpg")
    missing = {"folder.jpg", "nowhere.jpg", "pipe.jpg", "never.jpg"}
    with (photos / "sparse.jpg").open("wb") as sparse:
        sparse.truncate(10 << 30)
    (photos / "locked.jpg").write_bytes(whole["baseline.jpg"] + b"\0")
    (photos / "locked.jpg").chmod(0)
    names = [*contents, *missing, "sparse.jpg", "locked.jpg"]
    catalog = folder / "photos.csv"
    catalog.write_text("\n".join(["id,photo", *(f"{name},{name}" for name in names)]) + "\n")

    program = [sys.executable, __file__, str(catalog), str(photos), str(root)]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        program, capture_output=True, text=True, timeout=SECONDS, check=False, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    store, listings = open_store(root, Pixels()), Listings(listings_path(root, catalog))
    keys, there = listings.keys("image")
    rows, failures = store.lookup(keys), store.failures()
    found = np.flatnonzero(there & (rows >= 0))
    ids = list(map(str, listings.ids))
    lacking = {ids[i]: np.ascontiguousarray(keys[:, i]).tobytes().hex() for i in np.flatnonzero(there & (rows < 0))}
    yield Shop(
        set(upright), set(refused), names, missing,
        dict(zip([ids[i] for i in found], store.read(rows[found], keys[:, found]).astype(float), strict=True)),
        {name: failures[key] for name, key in lacking.items() if key in failures},
        os.access(photos / "locked.jpg", os.R_OK), json.loads(done.stdout), done.stderr,
    )  # fmt: skip
    (photos / "sparse.jpg").unlink()


def test_each_listing_has_a_vector_or_its_reason(shop: Shop) -> None:
    assert len(shop.names) > 1_000
    assert shop.vectors.keys() | shop.failures.keys() | shop.missing == set(shop.names)
    assert len(shop.vectors) + len(shop.failures) + len(shop.missing) == len(shop.names)
    assert sum(shop.told["problems"].values()) == len(shop.missing)
    assert "Traceback" not in shop.complaints
    for name, failure in shop.failures.items():
        assert failure.kind in ("damaged", "too large", "unreadable"), name
        assert re.fullmatch(r"(photo|not an image)[^\n]{5,120}", failure.reason), name


def test_whole_photos_have_their_vectors(shop: Shop) -> None:
    assert shop.whole <= shop.vectors.keys()
    assert {name for name in shop.names if name.startswith("largest")} <= shop.vectors.keys()
    expected = shop.vectors["upright.rgb.png"]
    bright = expected.reshape(-1, 3) @ [0.299, 0.587, 0.114]
    for name in shop.whole:
        if "bits" in name:
            continue
        grey = "grey" in name or "16" in name or "float" in name
        seen = shop.vectors[name].reshape(-1, 3).mean(1) if grey else shop.vectors[name]
        assert np.abs(seen - (bright if grey else expected)).max() < 40, name


def test_a_wrong_suffix_changes_nothing(shop: Shop) -> None:
    for name in shop.whole:
        for ending in ("jpg", "png"):
            assert (shop.vectors[f"{name[8:]}.{ending}"] == shop.vectors[name]).all()


def test_what_is_damaged_or_no_photo_is_told_so(shop: Shop) -> None:
    for name in ["zero.jpg", "one.jpg", *no_photos(random.Random(0))]:
        assert shop.failures[name].kind == "damaged"
    assert shop.failures["zero.jpg"].reason == "photo is empty (0 bytes)"
    assert shop.failures["page.jpg"].reason.startswith("not an image")
    for name in shop.names:
        if (
            name.startswith("truncated-")
            and name[-3:] in ("jpg", "png", "bmp", "ppm")
            and "mpo" not in name
            and "animated" not in name
        ):
            assert shop.failures[name].kind == "damaged", name
        if name.startswith(("header-random", "header-zero")):
            assert shop.failures[name].kind == "damaged", name


def test_what_memory_does_not_allow_is_refused(shop: Shop) -> None:
    for name in shop.bombs | {"sparse.jpg"}:
        assert shop.failures[name].kind == "too large", (name, shop.failures[name].reason)
    assert shop.failures["sparse.jpg"].reason == "photo of 10,240 MB, the limit is 256"
    assert shop.failures["60000.png"].reason == "photo of 3600.0 million pixels, the limit is 50"
    if shop.told["mb"] is None:
        pytest.skip("only Linux tells the peak of memory")
    assert shop.told["mb"] < AT_MOST_MB


def test_photos_are_turned_upright(shop: Shop) -> None:
    expected = shop.vectors["upright.rgb.png"]
    names = [name for name in shop.names if name.startswith(("turned-", "exif-"))]
    assert len(names) >= 40
    for name in names:
        assert np.abs(shop.vectors[name] - expected).max() < 25, name


def test_failures_are_not_tried_again_unless_asked(shop: Shop) -> None:
    first, second, third = shop.told["runs"]
    lost = len({failure.key for failure in shop.failures.values()})
    again = sum(failure.kind == "unreadable" for failure in shop.failures.values())
    assert first["lost"] == second["lost"] == third["lost"] == lost
    assert first["distinct"] == first["encoded"] + lost
    assert second["encoded"] == third["encoded"] == 0
    assert (first["passed_over"], second["passed_over"], third["passed_over"]) == (0, lost - again, 0)
    for failure in shop.failures.values():
        assert failure.attempts == (3 if failure.kind == "unreadable" else 2)


def test_a_photo_that_may_not_be_read(shop: Shop) -> None:
    if shop.all_may_be_read:
        pytest.skip("root may read everything")
    assert shop.failures["locked.jpg"].kind == "unreadable"
    assert shop.failures["locked.jpg"].reason == "photo cannot be read (Permission denied)"


def peak_mb() -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def main(catalog: Path, photos: Path, root: Path) -> None:
    listings = read_catalog(catalog, Columns(image="photo"), photos)
    before, runs = peak_mb(), []
    for retry_failed in (False, False, True):
        (report,), _, _ = extract(listings, [Pixels()], root, retry_failed=retry_failed)
        runs.append(asdict(report))
    peak = peak_mb()
    told = {"runs": runs, "problems": listings.counts.problems, "mb": peak - before if peak and before else None}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
