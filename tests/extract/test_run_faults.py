"""Extractions that meet an encoder or a store that fails."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disturbed import check, many
from extracting import reports
from small_encoders import Letters

from headstart.embeddings.part import MOST_ROWS
from headstart.errors import EncoderError, ItemError, StoreError
from headstart.extract.plan import BATCH_ROWS
from headstart.extract.run import extract, open_store


@pytest.mark.parametrize("fault", ["nan", "shape", "raises"])
def test_an_encoder_that_breaks_is_refused_and_what_it_made_before_is_kept(tmp_path: Path, fault: str) -> None:
    class Broken(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            vectors = super().encode(batch)
            if len(self.read) > 20:
                if fault == "raises":
                    raise EncoderError("letters broke")
                vectors = vectors[:, 1:] if fault == "shape" else vectors * np.nan
            return vectors

    root = tmp_path / "store"
    with pytest.raises(EncoderError, match="letters") as caught:
        extract(many(tmp_path), [Broken()], root)
    assert "\n" not in str(caught.value)
    assert check(root) == 20
    reports(many(tmp_path), [Letters()], root)
    assert check(root) == 400


def test_vectors_too_great_for_half_precision_are_refused_and_earlier_parts_are_kept(tmp_path: Path) -> None:
    class Loud(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            vectors = super().encode(batch)
            return vectors * 1e6 if len(self.read) > 200 else vectors

    with pytest.raises(StoreError, match="not finite in float16"):
        extract(many(tmp_path), [Loud()], tmp_path / "store", part_rows=BATCH_ROWS)
    assert check(tmp_path / "store") == 3 * BATCH_ROWS


def test_vectors_too_small_for_half_precision_are_refused(tmp_path: Path) -> None:
    class Faint(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            return super().encode(batch) * np.float32(1e-12)

    with pytest.raises(EncoderError, match="too small to keep"):
        extract(many(tmp_path), [Faint()], tmp_path / "store")


@pytest.mark.parametrize("part_rows", [MOST_ROWS, 10 * MOST_ROWS])
def test_no_part_grows_beyond_what_the_format_allows(tmp_path: Path, part_rows: int) -> None:
    class Picky(Letters):
        batch = 1000

        def prepare(self, item: str) -> Any:
            if item == "text 0":
                raise ItemError("no")  # one batch is shorter, so that the batches do not add up to a part
            return item

        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            return np.ones((len(batch), self.dim), np.float32)

    catalog = many(tmp_path, MOST_ROWS + 2000)
    [text], [store], _ = extract(catalog, [Picky()], tmp_path / "store", part_rows=part_rows)
    assert text.encoded == len(store) == MOST_ROWS + 1999
    assert len(store.receipts) == 2


@pytest.mark.parametrize("place", ["root", "above", "store"])
def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    root = tmp_path / "above" / "root"
    obstacle = {"root": root, "above": root.parent, "store": root / open_store(tmp_path, Letters()).folder.name}[place]
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.touch()
    letters = Letters()
    with pytest.raises(StoreError, match="choose another --store") as caught:
        extract(many(tmp_path), [letters], root)
    assert "\n" not in str(caught.value)
    assert letters.read == []


def test_a_store_that_vanishes_while_it_is_written_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "store"

    class Vandal(Letters):
        def encode(self, batch: Sequence[Any]) -> np.ndarray:
            if len(self.read) > 20:
                shutil.rmtree(root, ignore_errors=True)
            return super().encode(batch)

    with pytest.raises(StoreError, match="cannot be written") as caught:
        extract(many(tmp_path), [Vandal()], root, part_rows=BATCH_ROWS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["*.npy", "*.keys.npy", "*-*.json", "encoder.json"])
def test_what_is_cut_short_is_mended_by_the_next_extraction(tmp_path: Path, file: str) -> None:
    root, catalog = tmp_path / "store", many(tmp_path)
    reports(catalog, [Letters()], root, part_rows=3 * BATCH_ROWS)
    folder = open_store(root, Letters()).folder
    path = sorted(path for path in folder.glob(file) if file != "*.npy" or ".keys" not in path.name)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    letters = Letters()
    [text] = reports(catalog, [letters], root)
    assert text.encoded == len(letters.read)
    if path.suffix == ".json":
        assert text.encoded == 0
    else:
        assert 0 < text.encoded < 3 * BATCH_ROWS / 2 + 8, "only the rows that are cut off"
    assert check(root) == 400
