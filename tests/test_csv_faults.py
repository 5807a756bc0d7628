"""CSV files damaged in many ways: every row ends as a listing or is counted under a reason, or the file is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogs import Write, everything, refusal
from headstart.catalog import Catalog, Columns, read_catalog
from headstart.corrections import apply
from headstart.decisions import Decision
from headstart.errors import CatalogError

COLUMNS = Columns(text=("title", "text"), image="photo", label="label")
CELLS = ["Robe d'été", '"deux\nlignes"', '"citée ""ici"""', "", " ", '"a,b"', "5 cm", "café"]


def table(rng: random.Random) -> bytes:
    """A few rows as a spreadsheet writes them."""
    rows = [",".join([f"s{i}", *(rng.choice(CELLS) for _ in range(4))]) for i in range(rng.randint(1, 12))]
    return ("id,title,text,photo,label\n" + "\n".join(rows) + rng.choice(["", "\n", "\r\n"])).encode()


def flip(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def cut(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice([1, 1, 7, 60])]


def repeat(content: bytearray, rng: random.Random) -> None:
    start, place = rng.randrange(len(content)), rng.randrange(len(content))
    content[place:place] = content[start : start + 30]


def insert(*pieces: bytes) -> Callable[[bytearray, random.Random], None]:
    def work(content: bytearray, rng: random.Random) -> None:
        place = rng.randrange(len(content) + 1)
        content[place:place] = rng.choice(pieces)

    return work


FAULTS = {
    "flipped bits": flip,
    "deletions": cut,
    "repetitions": repeat,
    "quotes": insert(b'"', b'""', b',"', b'",', b'\n"', b'"\n'),
    "separators": insert(b",", b"\n", b"\r", b"\r\n", b"\n\n", b",,,,", b"\t"),
    "zero bytes": insert(b"\0", b"\0" * 50),
    "what is not UTF-8": insert(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "é".encode("latin-1")),
    "marks and odd spaces": insert(b"\xef\xbb\xbf", b"\xff\xfe", "\u2028".encode(), "\x85".encode(), b"\x1a", b"\x0b"),
    "long cells": insert(b"x" * 5000, b"a,b\n" * 500, b'"' * 999),
}


def readable(path: Path) -> Catalog | None:
    try:
        catalog = read_catalog(path, COLUMNS)
        everything(catalog)
    except CatalogError:
        return None
    return catalog


def damaged(fault: str, seed: int) -> tuple[bytes, random.Random]:
    rng = random.Random(seed)
    content = bytearray(table(rng))
    for _ in range(rng.choice([1, 1, 2, 5])):
        if content:
            FAULTS.get(fault, rng.choice(list(FAULTS.values())))(content, rng)
    return bytes(content), rng


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fault", [*FAULTS, "everything at once"])
def test_every_row_is_a_listing_or_counted_or_the_file_is_refused(write: Write, fault: str) -> None:
    refused = read = 0
    for seed in range(60):
        content, rng = damaged(fault, seed)
        path = write(content)
        try:
            everything(read_catalog(path, COLUMNS), rows=rng.choice([1, 3, 65_536]))
            read += 1
        except CatalogError as error:
            assert "\n" not in str(error), f"seed {seed}"
            refused += 1
    assert read > 5 or fault == "what is not UTF-8", "most damage leaves something to read"
    assert refused + read == 60


@pytest.mark.parametrize("fault", [*FAULTS, "everything at once"])
def test_a_correction_changes_nothing_else_in_a_damaged_file(write: Write, tmp_path: Path, fault: str) -> None:
    corrected = 0
    for seed in range(12):
        content, rng = damaged(fault, seed)
        catalog, out = readable(write(content)), tmp_path / f"{seed}.csv"
        if catalog is None:
            continue
        before = everything(catalog)
        moved = {listing for listing in before.ids if rng.random() < 0.5}
        filed = zip(before.ids, before.labels, strict=True)
        made = [Decision(listing, label or "", "other", "=B") for listing, label in filed if listing in moved]
        apply(catalog, made, out, new_categories=True)
        new = read_catalog(out, COLUMNS)
        after = everything(new)
        assert (after.ids, after.texts) == (before.ids, before.texts), f"seed {seed}"
        expected = ["=B" if i in moved else label for i, label in zip(before.ids, before.labels, strict=True)]
        assert after.labels == expected, f"seed {seed}"
        assert new.counts.left_out == catalog.counts.left_out, f"seed {seed}"
        corrected += 1
    assert corrected > 2 or fault == "what is not UTF-8"


def test_a_broken_row_that_is_not_utf_8_is_refused_without_a_traceback(
    write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(b"id,text,more\n1,a,b\n2,caf\xe9\n3,c,d\n")
    message = refusal(lambda: everything(read_catalog(path, Columns(text=("text",)))))
    assert "line 3 has the byte 0xe9" in message
    assert capfd.readouterr().err == ""
