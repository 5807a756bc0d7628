from __future__ import annotations

import os
from pathlib import Path

import pytest

import catalogs
from headstart.files import locked
from serving import trained


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue of 240 listings, three categories, and a calibrated classifier of them in model/.

    Trained once for all processes of a test run.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shop"
    with locked(folder.with_suffix(".lock"), exclusive=True, wait=True):
        if not (folder / "model" / "classifier.json").is_file():
            folder.mkdir(exist_ok=True)
            catalogs.listings(folder, rows=240)
            trained(folder, "model")
    return folder
