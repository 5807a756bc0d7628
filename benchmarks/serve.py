"""What `headstart serve` can do, beside a plain FastAPI handler that calls the classifier for each request.

    python benchmarks/serve.py CATALOG --model MODEL --text COLUMN --image COLUMN --images FOLDER --label COLUMN …

Locust (serve_load.py) asks over the loopback from a process of its own, so that it takes a part of the same cores: all
figures are of a machine that also makes its own load. The listings of the catalogue that have a text and a photo are
asked about in turn, one a request. First seconds and memory until a server is ready, with one worker and two. Then, for
texts, photos and both, requests a second and latency with 1 and 32 clients, ours and the plain handler (serve_plain.py)
in turn, `--repeats` times `--seconds`; nothing is refused. Then ten times as many requests as can be answered, for each
`--max-wait`, the last for `--overload` seconds: how soon it refuses, the latency of what it takes, and its memory.
"""

from __future__ import annotations

import base64
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from catalog_options import catalog_parser, source
from headstart.runtime import machine
from headstart.workflow import Source

HERE = Path(__file__).parent
KINDS = ("text", "photo", "both")
CLIENTS = 32
TIMES = 10
LISTINGS = 400
"""Asked about, at most: their photos are held in memory by the clients."""
OURS, PLAIN = "headstart serve", "plain handler"


@dataclass(frozen=True)
class Load:
    """What clients saw."""

    seconds: dict[str, list[float]]
    """Of each answer, by status."""
    took: float

    @property
    def rate(self) -> float:
        """Listings classified a second."""
        return len(self.of("200")) / self.took

    def of(self, status: str) -> list[float]:
        """Seconds of the answers of a status."""
        return self.seconds.get(status, [])

    def ms(self, share: float, status: str = "200") -> float:
        """A quantile of the latency, in milliseconds."""
        found = sorted(self.of(status))
        return 1000 * found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


def main() -> None:
    """Measure and print."""
    parser = catalog_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--overload", type=int, default=600)
    parser.add_argument("--max-wait", type=float, nargs="+", default=[0.1, 1.0])
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(source(given, ()), Path(folder))
        starts(given.model)
        model = str(given.model)
        with running("serve", model, "--max-wait", "60") as ours, running_plain(given.model) as plain:
            capacity = compare(ours, plain, bodies, given.seconds, given.repeats)
        for wait in given.max_wait:
            with running("serve", model, "--max-wait", str(wait)) as ours:
                seconds = given.overload if wait == given.max_wait[-1] else 4 * given.seconds
                overload(ours, bodies["both"], capacity, seconds, given.seconds, wait)


def write_bodies(catalog: Source, folder: Path) -> dict[str, Path]:
    """A file of request bodies for each kind, a line each."""
    found: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for batch in catalog.open().batches(LISTINGS):
        for text, photo in zip(batch.texts, batch.photos, strict=True):
            if not text or not photo or len(found["both"]) == LISTINGS:
                continue
            instance = {"text": text, "image_bytes": {"b64": base64.b64encode(Path(photo).read_bytes()).decode()}}
            one = {"text": {"text": text}, "photo": {"image_bytes": instance["image_bytes"]}, "both": instance}
            for kind in KINDS:
                found[kind].append(json.dumps({"instances": [one[kind]]}).encode())
    for kind, bodies in found.items():
        (folder / kind).write_bytes(b"\n".join(bodies))
    return {kind: folder / kind for kind in KINDS}


class Server:
    """A server's process and its address."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url

    def memory(self) -> tuple[float, float]:
        """Resident memory of the server and of all its workers, in MB."""
        own = self.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in [own, *children]]
        size = os.sysconf("SC_PAGE_SIZE") / 1e6
        return pages[0] * size, sum(pages[1:]) * size


@contextmanager
def running(*words: str, ready: int = 1) -> Iterator[Server]:
    """`headstart` with those words, once so many workers are ready."""
    command = [sys.executable, "-c", "from headstart.cli import main; main()", *words, "--port", "0"]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            while not (found := re.search(r"listening at (http://[^/]+)/", said := Path(log.name).read_text())):
                if process.poll() is not None:
                    sys.exit(said)
                time.sleep(0.02)
            while workers_ready(found[1]) < ready:
                if process.poll() is not None:
                    sys.exit(Path(log.name).read_text())
                time.sleep(0.05)
            yield Server(process, found[1])
        finally:
            process.kill()
            process.wait()


def workers_ready(url: str) -> float:
    """By the server's own metrics."""
    with suppress(OSError), urllib.request.urlopen(f"{url}/metrics") as answer:
        found = re.search(rb"^headstart_workers_ready (\S+)", answer.read(), re.M)
        return float(found[1]) if found else 0
    return 0


@contextmanager
def running_plain(model: Path) -> Iterator[Server]:
    """The plain handler."""
    process = subprocess.Popen([sys.executable, str(HERE / "serve_plain.py"), str(model)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().decode().strip())
    finally:
        process.kill()
        process.wait()


def load(server: Server, bodies: Path, users: int, seconds: int, each: float = 0) -> Load:
    """What Locust's clients see in that time."""
    path = "/v1/models/model:predict"
    with tempfile.NamedTemporaryFile("r") as out:
        subprocess.run(
            [
                *(sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", str(HERE / "serve_load.py")),
                *("--host", server.url, "--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s"),
                *("--bodies", str(bodies), "--path", path, "--each", str(each), "--out", out.name),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        return Load(json.loads(Path(out.name).read_text()), seconds)


def starts(model: Path) -> None:
    """Seconds and memory until it is ready, with one worker and two."""
    print("\nworkers   seconds to ready   server MB   workers MB")
    for workers in (1, 2):
        started = time.perf_counter()
        with running("serve", str(model), "--workers", str(workers), ready=workers) as server:
            seconds = time.perf_counter() - started
            own, theirs = server.memory()
            print(f"{workers:7} {seconds:18.1f} {own:11.0f} {theirs:12.0f}")


def compare(ours: Server, plain: Server, bodies: dict[str, Path], seconds: int, repeats: int) -> float:
    """Ours beside the plain handler; what ours can answer a second, of both."""
    load(ours, bodies["both"], CLIENTS, 5)
    load(plain, bodies["both"], CLIENTS, 5)
    capacity = 0.0
    print("\nkind    clients   server            requests/s   p50 ms   p99 ms")
    for kind in KINDS:
        for clients in (1, CLIENTS):
            rates: dict[str, list[float]] = {OURS: [], PLAIN: []}
            for _ in range(repeats):
                for name, server in ((OURS, ours), (PLAIN, plain)):
                    found = load(server, bodies[kind], clients, seconds)
                    rates[name].append(found.rate)
                    others = {status: len(times) for status, times in found.seconds.items() if status != "200"}
                    told = f"{found.rate:11.1f} {found.ms(0.5):8.1f} {found.ms(0.99):8.1f}   {others or ''}"
                    print(f"{kind:8} {clients:6}   {name:16} {told}", flush=True)
            ratios = [one / other for one, other in zip(rates[OURS], rates[PLAIN], strict=True)]
            print(
                f"{kind:8} {clients:6}   {statistics.median(ratios):.2f} × the plain handler "
                f"({min(ratios):.2f} – {max(ratios):.2f})"
            )
            if (kind, clients) == ("both", CLIENTS):
                capacity = statistics.median(rates[OURS])
    return capacity


def overload(server: Server, bodies: Path, capacity: float, seconds: int, quiet: int, wait: float) -> None:
    """Many times as many requests as it can answer."""
    unloaded = load(server, bodies, 1, quiet)
    rate = TIMES * capacity
    memory: list[tuple[float, float]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(5):
            with suppress(OSError):  # a worker ended since it was listed
                memory.append(server.memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    found = load(server, bodies, int(rate), seconds, 1.0)
    ended.set()
    watcher.join()
    asked = sum(map(len, found.seconds.values()))
    asking = f"{asked / seconds:.0f} requests a second for {seconds} s"
    print(f"\n--max-wait {wait:g}: {asking}, {capacity:.1f} a second can be answered")
    print(f"statuses: { {status: len(times) for status, times in found.seconds.items()} }")
    print(f"taken: {found.rate:.1f}/s, p50 {found.ms(0.5):.0f} ms, p99 {found.ms(0.99):.0f} ms")
    print(f"refused: p50 {found.ms(0.5, '429'):.1f} ms, p99 {found.ms(0.99, '429'):.1f} ms")
    print(f"one client alone: p50 {unloaded.ms(0.5):.0f} ms, p99 {unloaded.ms(0.99):.0f} ms")
    print(f"p99 of what is taken: {found.ms(0.99) / unloaded.ms(0.99):.2f} × that of one client alone")
    for name, values in zip(("server", "workers"), zip(*memory, strict=True), strict=True):
        tenth = max(1, len(values) // 10)
        first, last = statistics.mean(values[:tenth]), statistics.mean(values[-tenth:])
        told = f"{first:.0f} MB in the first tenth of the time, {last:.0f} in the last, at most {max(values):.0f}"
        print(f"memory of the {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
