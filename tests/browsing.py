"""A browser that is on this machine already, for the tests of pages; none is fetched."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
AXE: Any = importlib.util.find_spec("axe_core_python")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as playwright drives it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        shown = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield shown
        shown.close()
