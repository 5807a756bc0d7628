from __future__ import annotations

from pathlib import Path

import pytest

import catalogs
from serving import trained


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue of 240 listings, three categories, and a calibrated classifier of them in model/."""
    folder = tmp_path_factory.mktemp("shop")
    catalogs.listings(folder, rows=240)
    trained(folder, "model")
    return folder
