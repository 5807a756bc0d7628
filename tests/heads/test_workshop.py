"""Encoders loaded to be fine-tuned, and what is kept of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blinkered import NAME, TOLD, Blinkered, Colourblind, texts, write_catalog
from headstart.catalog import Catalog, Columns, read_catalog
from headstart.embeddings.features import Features, open_features
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.lexical_hash import LexicalHash
from headstart.extract.run import extract
from headstart.heads.bank import HeadBank, HeadTask
from headstart.heads.config import HeadConfig
from headstart.heads.finetune import TuneConfig
from headstart.heads.nested import Listings
from headstart.heads.splits import Fold
from headstart.heads.tuning import FOLDER, Tuned, Workshop

ROWS = 240
TOP = TuneConfig("top", learning_rate=0.01, epochs=30, patience=30, batch=16)
FULL = replace(TOP, depth="full")
ONE = HeadConfig((NAME,))
SOON, NEVER = 0.0, float("inf")


@dataclass
class Shop:
    """Listings with texts and photos, their vectors by these encoders, a fold, and heads that have learnt from it."""

    catalog: Catalog
    root: Path
    encoders: Sequence[Encoder]

    def __post_init__(self) -> None:
        _, stores, read = extract(self.catalog, self.encoders, self.root)
        self.features: Features = open_features(read, stores)
        self.begun: dict[int, list[np.ndarray]] = {}
        codes = np.array([TOLD.index(str(label)) for label in self.features.labels])
        self.listings = Listings(self.features, codes, 3, np.arange(len(codes)))
        order = np.random.default_rng(1).permutation(len(codes))
        self.fold = Fold(*(np.sort(part) for part in np.split(order, [len(codes) // 2, len(codes) * 5 // 8])), 0)

    def workshop(self, config: TuneConfig = TOP) -> Workshop:
        rows = np.arange(len(self.features))
        return Workshop(self.catalog, self.features, self.encoders, rows, self.root, config)

    def head(self, member: HeadConfig) -> tuple[Any, float]:
        """A head, and how often it is right on the test rows."""
        task = HeadTask(member, self.fold.train, self.fold.inner, scout=True)
        bank = HeadBank(self.features, self.listings.codes, 3, [task]).fit()
        return bank.network(0, logits=True), self.accuracy(bank.log_probabilities([self.fold.test])[0])

    def accuracy(self, said: np.ndarray) -> float:
        return float((said.argmax(axis=1) == self.listings.codes[self.fold.test]).mean())

    def tune(self, workshop: Workshop, head: Any, member: HeadConfig = ONE, deadline: float = NEVER) -> Tuned:
        head.set_weights(self.begun.setdefault(id(head), head.get_weights()))  # it is the one that is tuned
        return workshop.tune(self.listings, member, head, self.fold, (0, 0), deadline, "")

    def kept(self, workshop: Workshop) -> bool:
        return workshop.kept(self.listings, ONE, self.fold, (0, 0))

    def files(self) -> list[Path]:
        return sorted((self.root / FOLDER).glob("*"))


def opened(folder: Path, encoders: Sequence[Encoder]) -> Shop:
    columns = Columns(text=("text",), label="category")
    return Shop(read_catalog(folder / "listings.csv", columns, folder / "photos"), folder / "store", encoders)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    write_catalog(folder, *texts(ROWS), photos=True)
    return opened(folder, [Blinkered(), Colourblind(), LexicalHash()])


@pytest.fixture(scope="module")
def head(shop: Shop) -> Any:
    return shop.head(ONE)[0]


@pytest.fixture(scope="module")
def done(shop: Shop, head: Any) -> Tuned:
    """Kept in the store from here on."""
    return shop.tune(shop.workshop(), head)


def same(one: Tuned, other: Tuned) -> bool:
    told = (one.course, one.predict_seconds, one.memory) == (other.course, other.predict_seconds, other.memory)
    inner = one.inner.keys() == other.inner.keys() and all(
        np.array_equal(one.inner[k], other.inner[k]) for k in one.inner
    )
    return told and inner and np.array_equal(one.test, other.test)


@pytest.mark.parametrize("config", [TOP, FULL])
def test_encoders_that_can_be_tuned_are_and_the_others_stay_frozen(shop: Shop, config: TuneConfig) -> None:
    workshop = shop.workshop(config)
    assert list(workshop.sources) == ["blinkered", "colourblind"]
    assert list(workshop.refused) == ["lexical-hash"] and "lexical-hash has no" in workshop.refused["lexical-hash"]
    assert workshop.trunk_seconds.keys() == (workshop.sources.keys() if config == TOP else set())
    member = HeadConfig(("blinkered", "colourblind", "lexical-hash"))
    head, frozen = shop.head(member)
    before = workshop.values("colourblind")
    found = shop.tune(workshop, head, member)
    assert shop.accuracy(found.test) > max(0.6, frozen + 0.2)
    assert len(found.inner[frozenset()]) == len(shop.fold.inner) and found.course.best > 0 and found.memory > 0
    for name, count in (("blinkered", 4), ("colourblind", 4)):
        assert len(workshop.values(name)) == count
    moved = [not np.array_equal(*each) for each in zip(before, workshop.values("colourblind"), strict=True)]
    assert moved == ([False, True, True, True] if config == TOP else [True] * 4), "all, or what lies above the trunk"


def test_where_nothing_can_be_tuned_one_line_says_why(shop: Shop) -> None:
    for config in (TOP, FULL):
        with pytest.raises(EncoderError, match=r"^nothing can be fine-tuned: lexical-hash has no [^\n]*$"):
            replace(shop, encoders=[LexicalHash()]).workshop(config)


def test_what_is_done_is_read_back(shop: Shop, head: Any, done: Tuned) -> None:
    assert done.course.best > 0 and shop.accuracy(done.test) > 0.8
    for workshop in (shop.workshop(), shop.workshop()):
        assert shop.kept(workshop)
        again = shop.tune(workshop, head, deadline=SOON)
        assert same(again, done)


def test_what_the_time_ended_is_not_kept(shop: Shop, head: Any, tmp_path: Path) -> None:
    shutil.copytree(shop.root.parent, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "store" / FOLDER, ignore_errors=True)
    other = opened(tmp_path, shop.encoders)
    workshop = other.workshop()
    found = other.tune(workshop, head, deadline=SOON)
    assert (found.course.stop, found.course.best) == ("budget", 0)
    assert not other.kept(workshop) and not other.files()


def test_a_damaged_one_is_done_again(shop: Shop, head: Any, done: Tuned) -> None:
    workshop = shop.workshop()
    (path,) = [path for path in shop.files() if not kept_without(shop, workshop, path)]
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not shop.kept(workshop)
    for place in rng.integers(0, len(whole), 150).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert not shop.kept(workshop) or same(shop.tune(workshop, head), done), f"byte {place}"
    path.write_bytes(whole[: len(whole) // 2])
    again = shop.tune(workshop, head)
    np.testing.assert_allclose(again.course.losses[0], done.course.losses[0], rtol=1e-4)
    assert shop.accuracy(again.test) > 0.8 and shop.kept(shop.workshop())


def kept_without(shop: Shop, workshop: Workshop, path: Path) -> bool:
    aside = path.rename(path.with_suffix(".aside"))
    try:
        return shop.kept(workshop)
    finally:
        aside.rename(path)


def test_what_is_another_thing_is_not_mistaken_for_it(shop: Shop, done: Tuned) -> None:
    workshop, listings, fold = shop.workshop(), shop.listings, shop.fold
    assert shop.kept(workshop)
    assert not workshop.kept(listings, ONE, fold, (0, 1)) and not workshop.kept(listings, ONE, fold, (1, 0))
    assert not workshop.kept(listings, replace(ONE, l2=1.0), fold, (0, 0))
    assert not workshop.kept(listings, ONE, replace(fold, train=fold.train[1:]), (0, 0))
    assert not workshop.kept(listings, ONE, replace(fold, test=fold.inner, inner=fold.test), (0, 0))
    codes = listings.codes.copy()
    codes[fold.train[:2]] = (codes[fold.train[:2]] + 1) % 3
    assert not workshop.kept(replace(listings, codes=codes), ONE, fold, (0, 0))
    for config in (replace(TOP, epochs=31), replace(TOP, dropout=0.0), FULL):
        assert not shop.kept(shop.workshop(config))


def test_other_texts_under_the_same_ids_are_another_thing(shop: Shop, done: Tuned, tmp_path: Path) -> None:
    """Even where the frozen vectors do not see it: another y for an x is the same to them."""
    shutil.copytree(shop.root.parent, tmp_path, dirs_exist_ok=True)
    moved = opened(tmp_path, shop.encoders)
    assert moved.kept(moved.workshop()), "it goes with its store"
    lines = (tmp_path / "listings.csv").read_text().splitlines()
    number, text, label = lines[1].split(",")
    swapped = text.translate(str.maketrans("xyz", "yzx"))
    (tmp_path / "listings.csv").write_text("\n".join([lines[0], f"{number},{swapped},{label}", *lines[2:]]) + "\n")
    other = opened(tmp_path, shop.encoders)
    assert not other.kept(other.workshop())
    seeded = opened(tmp_path, [Blinkered(seed=1), *shop.encoders[1:]])
    assert not seeded.kept(seeded.workshop())
