"""Extractions whose disk is full or may not be written, or whose photos go away: one line, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disturbed import Run, left_behind, register, start, until, vectors
from extracting import reports, write_catalog
from PIL import Image
from small_encoders import Letters, Pixels

from headstart.catalog import Catalog
from headstart.embeddings.store import stores
from headstart.embeddings.upkeep import verify
from headstart.extract.run import LEAST_ROWS, extract, open_store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk, looks for processes in /proc")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
PHOTOS, TEXTS = 300, 1500
PART = LEAST_ROWS["image"]
"""Photos in each part of so small a catalogue."""
Extract = Callable[..., Run]


def paint(folder: Path) -> Path:
    """As many photos, each of a colour of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(PHOTOS):
        Image.new("RGB", (4, 4), (n % 256, n // 256, 7)).save(folder / f"{n}.png")
    return folder


def listed(folder: Path) -> Catalog:
    """Listings of TEXTS texts; the first of them have a photo, in the folder ``photos``."""
    rows = [(f"id {n}", f"text {n}", f"photos/{n}.png" if n < PHOTOS else "") for n in range(TEXTS)]
    return write_catalog(folder, rows)


@pytest.fixture
def shop(tmp_path: Path) -> Extract:
    """Starts ``headstart extract`` of the listings into a store, by these encoders."""
    register(tmp_path / "package")
    paint(tmp_path / "photos")
    listed(tmp_path)

    def shop(root: Path, *encoders: str, powerless: bool = False, **told: object) -> Run:
        words = [tmp_path / "listings.csv", "--text", "text", "--image", "photo", "--store", root]
        for each in encoders or ("letters", "pixels"):
            words += ["--encoder", each]
        return start(tmp_path / "package", words, told, powerless)

    return shop


def refused(run: Run, *words: str) -> str:
    """The one line in which it ended."""
    assert run.wait() == 1, run.errors
    last = run.errors.splitlines()[-1]
    assert last.startswith("error: "), run.errors
    assert "Traceback" not in run.errors
    for word in words:
        assert word in last
    return last


def check(root: Path) -> None:
    """What is kept is sound."""
    for store in stores(root):
        assert verify(store) == []


def resume(folder: Path, root: Path) -> list[int]:
    """Extract what is missing, having checked that nothing is after it; how many vectors that were."""
    found = reports(listed(folder), [Letters(), Pixels()], root)
    assert [(report.distinct, report.lost) for report in found] == [(TEXTS, 0), (PHOTOS, 0)]
    assert vectors(root) == TEXTS + PHOTOS
    assert left_behind(root) == []
    return [report.encoded for report in found]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of so many bytes, or makes it that large."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int) -> Path:
        remount = (
            ["-o", f"remount,size={size}"] if folder.is_mount() else ["-o", f"size={size}", "-t", "tmpfs", "tmpfs"]
        )
        done = subprocess.run(["mount", *remount, folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"may not mount: {done.stderr.strip()}")
        return folder

    if not ROOT or not shutil.which("mount"):
        pytest.skip("only root may mount a small disk")
    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_one_line_wherever_it_happens(
    tmp_path: Path, shop: Extract, small_disk: Callable[[int], Path]
) -> None:
    disk, page, kept = small_disk(1 << 20), 4096, []
    for pages in (1, 2, 3, 6, 12, 24, 36, 48, 60, 72, 84, 96):
        root = small_disk(pages * page) / "store"
        run = shop(root)
        if run.wait() == 0:
            break
        refused(run, "cannot be written")
        check(root)
        kept.append(vectors(root))
        small_disk(64 << 20)
        assert sum(resume(tmp_path, root)) == TEXTS + PHOTOS - kept[-1]
        shutil.rmtree(root)
    assert len(set(kept)) > 3, "full before anything is kept, among the texts, among the photos"
    assert kept == sorted(kept)
    assert disk.is_mount()


@pytest.mark.parametrize("some", [0, PHOTOS], ids=["nothing kept", "something kept"])
def test_a_store_that_may_not_be_written_is_one_line(tmp_path: Path, shop: Extract, some: int) -> None:
    root = tmp_path / "store"
    root.mkdir()
    if some:
        assert shop(root, "pixels").wait() == 0
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    refused(shop(root, powerless=True), "cannot be written", "choose another --store")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    assert resume(tmp_path, root) == [TEXTS, PHOTOS - some]


@pytest.mark.parametrize("way", ["moved", "unmounted"])
def test_photos_that_go_away_in_the_middle(tmp_path: Path, shop: Extract, way: str, request: object) -> None:
    root, diary, photos = tmp_path / "store", tmp_path / "diary", tmp_path / "photos"
    if way == "unmounted":
        mount = request.getfixturevalue("small_disk")  # type: ignore[attr-defined]
        shutil.rmtree(photos)
        photos.symlink_to(mount(8 << 20) / "photos")
        paint(mount(8 << 20) / "photos")
    run = shop(root, "pixels", diary=diary, stop=PART + 1)
    until((tmp_path / "waiting").exists)
    elsewhere = tmp_path / "elsewhere"
    if way == "moved":
        photos.rename(elsewhere)
    else:
        shutil.copytree(photos, elsewhere)
        photos.unlink()
        subprocess.run(["umount", "--lazy", tmp_path / "disk"], check=True)
        photos.symlink_to(tmp_path / "disk" / "photos")
    (tmp_path / "go").touch()
    refused(run, f"the photo folder {photos} is gone")
    check(root)
    kept = vectors(root)
    assert PART < kept == diary.stat().st_size < PHOTOS
    assert left_behind(root) == []
    photos.unlink(missing_ok=True)
    elsewhere.rename(photos)
    assert resume(tmp_path, root) == [TEXTS, PHOTOS - kept]


def test_a_photo_deleted_in_the_middle_is_tried_again_without_being_asked(tmp_path: Path, shop: Extract) -> None:
    root, diary, photos = tmp_path / "store", tmp_path / "diary", tmp_path / "photos"
    run = shop(root, "pixels", diary=diary, stop=PART + 1)
    until((tmp_path / "waiting").exists)
    last = photos / f"{PHOTOS - 1}.png"
    content = last.read_bytes()
    last.unlink()
    (tmp_path / "go").touch()
    assert run.wait() == 0, run.errors
    assert f"1 × photo is not there any more (first: id 'id {PHOTOS - 1}')" in run.errors
    [failure] = open_store(root, Pixels()).failures().values()
    assert (failure.kind, failure.listing, failure.attempts) == ("unreadable", f"id {PHOTOS - 1}", 1)
    last.write_bytes(content)
    assert resume(tmp_path, root) == [TEXTS, 1]
    assert open_store(root, Pixels()).failures() == {}


def test_known_failures_are_tried_again_only_when_asked(tmp_path: Path) -> None:
    photos, root = paint(tmp_path / "photos"), tmp_path / "store"
    (photos / "5.png").write_text("<html>")
    for flag, tries, passed_over in ((False, 1, 0), (False, 1, 1), (True, 2, 0), (False, 2, 1)):
        [image] = reports(listed(tmp_path), [Pixels()], root, retry_failed=flag)
        assert (image.lost, image.passed_over, len(image.failures)) == (1, passed_over, 1)
        [failure] = open_store(root, Pixels()).failures().values()
        assert (failure.kind, failure.attempts) == ("damaged", tries)
    assert vectors(root) == PHOTOS - 1


def test_an_unreadable_photo_that_stays_so_is_counted_each_time(tmp_path: Path) -> None:
    photos, root = paint(tmp_path / "photos"), tmp_path / "store"
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that no one can read, not even root")
    (photos / "5.png").unlink()
    (photos / "5.png").symlink_to("/proc/self/mem")
    for tries in (1, 2, 3):
        [image], [store], _ = extract(listed(tmp_path), [Pixels()], root)
        [failure] = store.failures().values()
        assert (failure.kind, failure.attempts, image.lost, image.passed_over) == ("unreadable", tries, 1, 0)
