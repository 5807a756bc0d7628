from __future__ import annotations

from pathlib import Path

import pytest

from catalogs import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of this content into the test's folder."""

    def write(content: str | bytes, name: str = "c.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
