"""Encoders that have learnt from some of the listings: what they are judged on, and what must not be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blinkered import Blinkered, registered, texts, write_catalog
from headstart import fine_tuning
from headstart.catalog import Columns
from headstart.embeddings.duplicates import near_duplicate_groups
from headstart.embeddings.features import Features
from headstart.embeddings.listings import Listings, listings_path
from headstart.errors import EncoderError, ModelError
from headstart.extract.registry import encoder
from headstart.extract.tuned import save_tuned
from headstart.heads import nested
from headstart.heads.finetune import variables_of
from headstart.heads.splits import holdout
from headstart.labelled import Labelled, apart
from headstart.workflow import Read, Source, read_once

ROWS = 60
NONE = np.zeros((2, 0), np.uint64)


@pytest.fixture(scope="module", autouse=True)
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with registered(tmp_path_factory.mktemp("package")):
        yield


def test_an_encoder_is_not_saved_over_one_that_it_is_made_of(tmp_path: Path) -> None:
    base = Blinkered()
    for name in "abc":
        save_tuned(tmp_path / name, base, [np.zeros(3)], NONE, {})
        base = encoder(f"tuned:{tmp_path / name}")
    (tmp_path / "linked").symlink_to("a")
    source = Source(Path("unread.csv"), Columns("id", ("text",)), encoders=(f"tuned:{tmp_path / 'c'}",))
    for name in (*"abc", "linked", "c/../b"):
        with pytest.raises(EncoderError, match="which the new encoder would be made of: give another --save"):
            fine_tuning.check(source, "full", tmp_path / name)
    fine_tuning.check(source, "full", tmp_path / "d")
    fine_tuning.check(Source(source.path, source.columns, encoders=("blinkered",)), "full", tmp_path / "a")


def some(codes: np.ndarray, learnt: np.ndarray) -> Labelled:
    """Listings, each by itself, of which an encoder has learnt from some."""
    features = Features((), (), {}, {}, {})
    listings = nested.Listings(features, codes, int(codes.max()) + 1, np.arange(len(codes)), None, learnt)
    return Labelled(listings, np.unique(codes).astype(str), np.arange(len(codes)), learnt)


def test_a_share_is_held_out_of_what_was_not_learnt() -> None:
    rows, codes = np.arange(1000), np.arange(1000) % 4
    few, most = rows < 3, rows < 900
    seen, held = apart(some(codes, few), rows, 0.2, 0)
    assert abs(len(held) - 200) < 5 and not few[held].any() and len(seen) + len(held) == 1000
    assert np.ptp(np.bincount(codes[held])) < 3
    np.testing.assert_array_equal(apart(some(codes, most), rows, 0.2, 0)[1], np.flatnonzero(~most))
    _, half = apart(some(codes, most), rows, 0.2, 0, most=0.5)
    assert len(half) == 50 and not most[half].any()
    for made, as_before in zip(apart(some(codes, rows < 0), rows, 0.2, 7), holdout(codes, rows, 0.2, 7), strict=True):
        np.testing.assert_array_equal(made, as_before)
    with pytest.raises(ModelError, match="have learnt from all 1,000 listings"):
        apart(some(codes, rows >= 0), rows, 0.2, 0)


def test_a_category_that_nothing_else_teaches_is_not_judged() -> None:
    rows = np.arange(100)
    codes = np.where(rows < 90, rows % 2, np.where(rows < 95, 0, 2))
    seen, held = apart(some(codes, rows < 90), rows, 0.2, 0)
    np.testing.assert_array_equal(held, np.arange(90, 95))
    assert set(codes[held]) <= set(codes[seen]) and len(seen) == 95


def test_it_is_said_that_an_encoder_has_learnt_from_what_could_be_held_back() -> None:
    rows = np.arange(40)
    for learnt, why in ((rows >= 0, "distinct listings that no fine-tuned encoder has learnt from"), (rows < 0, "")):
        assert nested.whole_side(some(rows % 2, learnt).listings, 0).why.endswith(why)
    assert nested.whole_side(some(rows, rows < 0).listings, 0).why.endswith("two distinct listings")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts and photos; the last text is the first one again, and the last photo but one the second."""
    folder = tmp_path_factory.mktemp("shop")
    said, codes = texts(ROWS)
    said[-1], codes[-1] = said[0], codes[0]
    write_catalog(folder, said, codes, photos=True)
    (folder / "photos" / f"{ROWS - 2}.png").write_bytes((folder / "photos" / "1.png").read_bytes())
    return folder


def read(shop: Path, *encoders: str, store: str = "store") -> Read:
    columns = Columns("id", ("text",), None, "category")
    source = Source(shop / "listings.csv", columns, shop / "photos", store=shop / store, encoders=encoders)
    return read_once(source)


def tuned(shop: Path, name: str, rows: slice, base: str = "blinkered") -> str:
    """An encoder that is said to have learnt from these listings."""
    before, made = read(shop, base), encoder(base)
    values = [each.numpy() * 1.01 for each in variables_of(made.trainable())]
    save_tuned(shop / name, made, values, before.keys.keys(made.modality)[0][:, rows], {})
    return f"tuned:{shop / name}"


@pytest.mark.parametrize("other", ["blinkered", "colourblind"])
def test_copies_are_seen_beside_the_encoder_in_the_beginning_and_beside_one_of_photos(shop: Path, other: str) -> None:
    name = tuned(shop, "copied", slice(10))
    frozen = read(shop, *dict.fromkeys(("blinkered", other)))
    found = read(shop, name, other)
    groups = near_duplicate_groups(found.alike.blocks(), 0.9999)
    np.testing.assert_array_equal(groups, near_duplicate_groups(frozen.features.blocks(), 0.9999))
    assert groups[-1] == groups[0] and (other == "blinkered" or groups[-2] == groups[1])
    noted = Listings(listings_path(shop / "store", shop / "listings.csv"))
    assert noted.unread == ([] if other == "colourblind" else ["image"])


def test_tuned_further_it_is_stopped_and_judged_by_what_it_has_not_learnt_from(shop: Path) -> None:
    name = tuned(shop, "further", slice(40))
    found = fine_tuning.fine_tune(read(shop, name), "full", 0.2, 5, 1.0, None, 1.0, {"epochs": 1})
    assert 8 <= found.test_rows <= 10 and found.train_rows + found.test_rows == ROWS
    name = tuned(shop, "all", slice(None))
    with pytest.raises(ModelError, match="have learnt from all 60 listings, none is left"):
        fine_tuning.fine_tune(read(shop, name), "full", 0.2, 5, 1.0, None, 1.0)


def test_a_network_that_cannot_be_cut_is_refused_before_a_listing_is_read(tmp_path: Path) -> None:
    source = Source(tmp_path / "unread.csv", Columns("id", ("text",)), encoders=("unlayered",))
    with pytest.raises(EncoderError, match="unlayered cannot be cut"):
        fine_tuning.check(source, "top")
    fine_tuning.check(source, "full")
