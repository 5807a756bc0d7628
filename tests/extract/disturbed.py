"""What the tests of faults share: listings whose vectors are known, and `headstart extract` in processes to disturb.

Such a process is forked from one that is ready, so that a hundred of them start in seconds.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from extracting import write_catalog
from small_encoders import TOLD, Letters

from commands import command_line
from headstart.catalog import Catalog
from headstart.embeddings.index import halves
from headstart.embeddings.key import key_rows, text_keys
from headstart.embeddings.store import stores
from headstart.embeddings.upkeep import verify
from headstart.extract.run import open_store

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["headstart.cli", "headstart.workflow", "headstart.extract.engine", "disturbed"])
PATIENCE = 60.0
"""Seconds after which a test that waits for a process gives up."""


def many(folder: Path, count: int = 400) -> Catalog:
    """Listings with a text of their own and no photo."""
    return write_catalog(folder, [(str(n), f"text {n}", "") for n in range(count)])


def check(root: Path, count: int = 400) -> int:
    """How many texts of `many` are kept, having checked that the store is sound and every vector the right one."""
    store = open_store(root, Letters())
    assert verify(store) == []
    texts = [f"text {n}" for n in range(count)]
    keys = halves(key_rows([key for key in text_keys(texts) if key is not None]))
    rows = store.lookup(keys)
    here = np.flatnonzero(rows >= 0)
    assert np.array_equal(store.read(rows[here], keys[:, here]), Letters().vectors([texts[n] for n in here]))
    return len(here)


def register(folder: Path) -> None:
    """Make the folder a package that gives headstart the small encoders, as any other package could."""
    (package := folder / "small_encoders-1.dist-info").mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: small-encoders\nVersion: 1\n")
    names = "letters = small_encoders:letters\npixels = small_encoders:pixels\n"
    (package / "entry_points.txt").write_text(f"[headstart.encoders]\n{names}")


@dataclass
class Run:
    """An extraction at work in a process group of its own."""

    pid: int
    end: Callable[[], int | None]
    """Waits for its exit code, but not for ever."""
    output: Path
    errors: str = field(default="", init=False)
    """All that it wrote, when it has ended."""

    def wait(self) -> int:
        """Its exit code, −9 after a SIGKILL, when it has ended."""
        code = self.end()
        assert code is not None, "it hangs"
        self.errors = self.output.read_text()
        return code

    def signal(self, number: int, everyone: bool = False) -> None:
        """Send a signal to it, or to its group as a terminal's Ctrl-C does."""
        (os.killpg if everyone else os.kill)(self.pid, number)

    def group(self) -> list[int]:
        """Ids of the living processes of its group: itself, its workers, what serves them."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except OSError:  # it has just ended
                continue
            if int(group) == self.pid and state not in "ZX":
                found.append(int(stat.parent.name))
        return sorted(found)

    def workers(self) -> list[int]:
        """Ids of its loky workers."""
        return [pid for pid in self.group() if b"LokyProcess" in command_line(pid)]


def start(package: Path, words: Sequence[object], told: dict[str, object], powerless: bool = False) -> Run:
    """Start ``headstart extract`` with these words in one process; powerless, root is bound by permissions, too.

    Args:
        package: where `register` was.
        told: the arguments of `Letters` or `Pixels`.
    """
    output = package / f"{time.time_ns()}.out"
    output.touch()
    process = CONTEXT.Process(
        target=_extract, args=(_strings(words), str(package), str(output), _json(told), powerless)
    )
    process.start()

    def end() -> int | None:
        process.join(PATIENCE)
        return process.exitcode

    return Run(process.pid or 0, end, output)


def _extract(words: list[str], package: str, output: str, told: str, powerless: bool) -> None:
    os.setpgid(0, 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for each in (1, 2):
        os.dup2(file, each)
    if powerless:
        version_3, none = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(version_3, none) == 0
    os.environ[TOLD] = told
    sys.path[:0] = [package, str(Path(__file__).parent)]
    sys.argv = ["headstart", "extract", *words]
    from headstart.cli import main

    main()


def start_with_workers(package: Path, words: Sequence[object], told: dict[str, object]) -> Run:
    """The same for more than one process: the workers' pool wants an interpreter of its own."""
    output = package / f"{time.time_ns()}.out"
    here = [str(package), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from headstart.cli import main; main()", "extract", *_strings(words)],
        stdout=output.open("w"), stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, here)), TOLD: _json(told)},
    )  # fmt: skip
    return Run(process.pid, lambda: process.wait(PATIENCE), output)


def _strings(words: Sequence[object]) -> list[str]:
    return [str(word) for word in words]


def _json(told: dict[str, object]) -> str:
    return json.dumps(told, default=str)


def kill(run: Run) -> int:
    """kill -9; its exit code, which is another one where it had ended before."""
    with suppress(ProcessLookupError):
        run.signal(signal.SIGKILL)
    return run.wait()


def until(what: Callable[[], object]) -> None:
    """Wait until something is so."""
    for _ in range(int(PATIENCE / 0.005)):
        if what():
            return
        time.sleep(0.005)
    raise AssertionError("it does not come")


def vectors(root: Path) -> int:
    """How many are kept in all stores."""
    return sum(map(len, stores(root)))


def left_behind(root: Path) -> list[Path]:
    """Files that a killed run left."""
    return [path for path in root.rglob("*") if path.name.endswith((".tmp", ".plan.arrow"))]
