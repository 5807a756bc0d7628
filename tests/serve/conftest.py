from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import catalogs
import commands
from headstart.files import locked
from serving import trained


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once for all processes of a test run."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with locked(folder.with_suffix(".lock"), exclusive=True, wait=True):
        if not (folder / "made").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue of 240 listings, three categories, and a calibrated classifier of them in model/."""

    def make(folder: Path) -> None:
        catalogs.listings(folder, rows=240)
        trained(folder, "model")

    return once(tmp_path_factory, "shop", make)


@pytest.fixture(scope="session")
def texts(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classifiers of its texts alone, model/ and other/: their workers start in half of the time."""

    def make(folder: Path) -> None:
        for name, penalty in (("model", "8"), ("other", "2")):
            done = commands.headstart_here(
                "train", str(shop / "listings.csv"), "--id", "sku", "--text", "titre", "--label", "rayon",
                "--encoder", "lexical-hash", "--l2", penalty, "--save", name, cwd=folder,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr

    return once(tmp_path_factory, "texts", make)
