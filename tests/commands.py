"""The command line as a person runs it: in a process of its own, or in this one, where TensorFlow is up already."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

from headstart.cli import main


def headstart(*words: str, cwd: Path, timeout: int = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with these environment variables beside the others."""
    return subprocess.run(
        [sys.executable, "-c", "from headstart.cli import main; main()", *words],
        cwd=cwd, capture_output=True, text=True, timeout=timeout, env={**os.environ, **variables},
    )  # fmt: skip


def headstart_here(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: the same `main`, seconds sooner.

    What only a process of its own can show is not seen: what is imported, what C++ prints, warnings, signals.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.ExitStack() as stack:
        for number, handler in handlers.items():
            stack.callback(signal.signal, number, handler)
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(patch.object(sys, "argv", ["headstart", *words]))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(["headstart", *words], code, out.getvalue(), err.getvalue())


def command_line(pid: int) -> bytes:
    """What a process was started with; nothing where it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """It ended with exit 1 and one line that names the value and the fix; no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last
