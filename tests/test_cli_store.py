"""What ``headstart store`` says and does, and the options of ``headstart extract`` that go with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from catalogs import listings
from commands import headstart_here, refused

COLUMNS = ("--id", "sku", "--text", "titre", "--label", "rayon", "--encoder", "lexical-hash")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a catalogue of 45 texts, extracted."""
    listings(tmp_path, photos=False)
    done = headstart_here("extract", "listings.csv", *COLUMNS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def store_of(shop: Path) -> Path:
    [folder] = (shop / "store").glob("lexical-hash-*")
    return folder


def extract(shop: Path, *more: str) -> str:
    done = headstart_here("extract", "listings.csv", *more, cwd=shop)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_flipped_bit_is_found_taken_out_and_encoded_again(shop: Path) -> None:
    assert "all is well" in headstart_here("store", "verify", cwd=shop).stdout
    [vectors] = (path for path in store_of(shop).glob("*.npy") if ".keys" not in path.name)
    data = bytearray(vectors.read_bytes())
    data[5000] ^= 4
    vectors.write_bytes(data)
    done = headstart_here("store", "verify", "--dry-run", cwd=shop)
    assert vectors.name in done.stdout
    refused(done, "problems in store: 1", "without --dry-run")
    done = headstart_here("store", "verify", cwd=shop)
    assert vectors.name in done.stdout
    refused(done, "1 vectors taken out of use", "extract again")
    assert "all is well" in headstart_here("store", "verify", cwd=shop).stdout
    assert "1 of 45 distinct texts encoded" in extract(shop, "--encoder", "lexical-hash")
    assert "nothing new" in extract(shop, "--encoder", "lexical-hash")


def test_damaged_listings_are_found_and_written_anew(shop: Path) -> None:
    [path] = (shop / "store" / "listings").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    done = headstart_here("store", "verify", cwd=shop)
    assert path.name in done.stdout
    refused(done, "problems in store: 1", "extract again")
    assert "nothing new" in extract(shop, "--encoder", "lexical-hash")
    assert headstart_here("store", "verify", cwd=shop).returncode == 0


def test_extraction_itself_mends_what_was_changed_on_disk(shop: Path) -> None:
    [keys] = store_of(shop).glob("*.keys.npy")
    keys.write_bytes(keys.read_bytes()[:-24])
    told = extract(shop, "--encoder", "lexical-hash")
    assert "mended" in told and keys.name in told
    assert "1 of 45 distinct texts encoded" in told
    assert "all is well" in headstart_here("store", "verify", cwd=shop).stdout


def test_compact_merges_parts_and_drops_what_no_catalogue_holds(shop: Path) -> None:
    lines = (shop / "listings.csv").read_text().splitlines()
    (shop / "listings.csv").write_text("\n".join([*lines[:31], "new,un nouveau titre,,Linge"]) + "\n")
    extract(shop, "--encoder", "lexical-hash")
    done = headstart_here("store", "compact", cwd=shop)
    assert done.returncode == 0, done.stderr
    assert "46 → 46" in done.stdout and "2 → 1" in done.stdout
    assert "46 → 31" in headstart_here("store", "compact", "--drop-unused", cwd=shop).stdout
    assert "nothing new" in extract(shop, "--encoder", "lexical-hash")
    info = json.loads(headstart_here("store", "info", "--json", cwd=shop).stdout)
    assert [(each["vectors"], each["parts"]) for each in info] == [(31, 1)]


def test_what_fails_is_in_a_table_and_tried_again_only_when_told(tmp_path: Path) -> None:
    path = listings(tmp_path, rows=9)
    (tmp_path / "photos" / "4.jpg").write_bytes(b"\xff\xd8no photo")
    columns = ("--id", "sku", "--image", "photo", "--images", "photos", "--encoder", "efficientnet-lite0")

    def again(*more: str) -> str:
        done = headstart_here("extract", path.name, "--encoder", "efficientnet-lite0", *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "8 of 9 distinct photos encoded" in headstart_here("extract", path.name, *columns, cwd=tmp_path).stderr
    for attempts, more in ((1, ()), (2, ("--retry-failed",))):
        told = again(*more)
        assert ("--retry-failed does" in told) == (not more)
        [failure] = json.loads(headstart_here("store", "failures", "--json", cwd=tmp_path).stdout)
        assert (failure["listing"], failure["kind"], failure["attempts"]) == ("s4", "damaged", attempts)
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "4.jpg")
    assert "1 of 9 distinct photos encoded" in again()
    assert headstart_here("store", "failures", cwd=tmp_path).stdout == "none\n"


def test_workers_of_the_command_line(shop: Path) -> None:
    told = extract(shop, "--encoder", "lexical-hash", "--store", "other", "--workers", "2", *COLUMNS[:4])
    assert "45 of 45 distinct texts encoded" in told
    refused(headstart_here("extract", "listings.csv", "--scheduler", "tcp://x:1", cwd=shop), "loky has no scheduler")
    assert headstart_here("extract", "listings.csv", "--backend", "spark", cwd=shop).returncode == 2


@pytest.mark.parametrize("command", ["verify", "compact", "failures", "info"])
def test_where_nothing_is_kept_commands_say_so(tmp_path: Path, command: str) -> None:
    refused(headstart_here("store", command, cwd=tmp_path), "no vectors are kept in store", "headstart extract")
