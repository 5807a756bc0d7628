from __future__ import annotations

from pathlib import Path

import pytest

import catalogs
import commands
from serving import READING


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue of 240 listings, three categories, and a calibrated classifier of them in model/."""
    folder = tmp_path_factory.mktemp("shop")
    catalogs.listings(folder, rows=240)
    trained(folder, "model")
    return folder


def trained(folder: Path, name: str, *options: str) -> Path:
    """Train a classifier of the folder's listings, and save it there under that name."""
    done = commands.headstart_here(
        "train", "listings.csv", *READING, "--label", "rayon", "--encoder", "lexical-hash",
        "--encoder", "efficientnet-lite0#size=32", "--save", name, *options, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / name
