"""A server as a person starts it, in a process of its own, and a client that knows nothing of it but HTTP."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

import commands

READING = ("--id", "sku", "--text", "titre", "--image", "photo", "--images", "photos")
HEADSTART = (sys.executable, "-c", "from headstart.cli import main; main()")
PREDICT = "/v1/models/model:predict"


def head(size: int) -> bytes:
    """Of a request to classify, whose body has so many bytes."""
    return f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()


def until(true: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until that is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class Server:
    """A running `headstart serve`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log
        found = self.until(lambda: re.search(r"listening at (http://[^/]+)/", self.said))
        self.url = found[1]
        self.address = ("127.0.0.1", int(self.url.rpartition(":")[2]))
        self.http = httpx.Client(base_url=self.url, timeout=180)

    @property
    def said(self) -> str:
        """What it has written to stderr."""
        return self._log.read_text()

    def until(self, true: Callable[[], Any], seconds: float = 180) -> Any:
        """Wait until that is true, while the server runs; its value. Beside other tests a worker starts slowly."""
        end = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < end and self.process.poll() is None, self.said
            time.sleep(0.05)
        return found

    def connect(self) -> socket.socket:
        """A connection, for what is said byte by byte."""
        return socket.create_connection(self.address, 60)

    def ready(self) -> bool:
        """Whether /readyz says yes."""
        return self.http.get("/readyz").status_code == 200

    def predict(self, *instances: dict[str, Any], path: str = PREDICT, **options: Any) -> httpx.Response:
        """Ask about listings."""
        return self.http.post(path, json={"instances": list(instances)}, **options)

    def workers(self) -> list[int]:
        """Ids of the processes of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(each) for each in children if b"headstart.serve.worker" in commands.command_line(int(each))]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Its worker answers nothing meanwhile. What was asked before is over by then: it would have others refused."""
        self.until(lambda: self.workers() and self.metric("headstart_queue_listings") == 0)
        (worker,) = self.workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def metric(self, name: str) -> float:
        """A metric's value, added up over its labels; 0 where nothing was counted."""
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{|\s)", line))

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait; its exit status."""
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def serving(
    model: Path, *options: str, wait: bool = True, under: Sequence[str] = (), **variables: str
) -> Iterator[Server]:
    """A server of that model on a free port, ready if not told otherwise; `under` is a command that starts it."""
    log = model.parent / f"serve-{time.monotonic_ns()}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*under, *HEADSTART, "serve", str(model), "--port", "0", *options],
            stderr=stderr, env={**os.environ, **variables},
        )  # fmt: skip
    try:
        server = Server(process, log)
        if wait:
            server.until(server.ready)
        yield server
    finally:
        process.kill()
        process.wait()


def photo(path: Path) -> dict[str, str]:
    """A photo as JSON has it."""
    return {"b64": base64.b64encode(path.read_bytes()).decode()}


def trained(folder: Path, name: str, *options: str) -> Path:
    """Train a classifier of the folder's listings, and save it there under that name."""
    done = commands.headstart_here(
        "train", "listings.csv", *READING, "--label", "rayon", "--encoder", "lexical-hash",
        "--encoder", "efficientnet-lite0#size=32", "--save", name, *options, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / name
