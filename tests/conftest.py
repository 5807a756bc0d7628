from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from browsing import browser  # noqa: F401 (for the tests of pages)
from catalogs import Write

LONGEST = (
    "test_cli.py",
    "test_bank.py",
    "test_benchmark.py",
    "test_engine.py",
    "test_estimator.py",
    "test_fine_tuning.py",
    "test_flipkart.py",
    "test_keras_application.py",
    "test_notebook.py",
    "test_readme.py",
    "test_run_kills.py",
    "test_hub.py",
    "test_faults.py",
    "test_rollout.py",
    "test_server.py",
    "test_sellers_page.py",
    "test_export.py",
    "test_in_graph.py",
)

MEMORY, ROOM = Path("/dev/shm"), 4 << 30
"""A file system in memory, and bytes that must be free there: a run leaves some hundred megabytes."""


def pytest_configure() -> None:
    """Temporary files go to memory: the store syncs to disk thousands of times, and no test pulls the plug."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or one worker is left alone with them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes and weights go to a folder of the tests' own, here and in the commands they run."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["HEADSTART_CACHE"] = str(folder)
    os.environ.pop("TFHUB_CACHE_DIR", None)
    return folder


@pytest.fixture
def timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark times each approach once, not three times: half of its time, and only its seconds differ."""
    monkeypatch.setattr("headstart.reports.benchmark.TIMINGS", 1)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of this content into the test's folder."""

    def write(content: str | bytes, name: str = "c.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
