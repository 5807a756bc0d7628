"""The command line as a person runs it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def headstart(*words: str, cwd: Path, timeout: int = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with these environment variables beside the others."""
    return subprocess.run(
        [sys.executable, "-c", "from headstart.cli import main; main()", *words],
        cwd=cwd, capture_output=True, text=True, timeout=timeout, env={**os.environ, **variables},
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """It ended with exit 1 and one line that names the value and the fix; no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last
