"""The load of serve.py, by Locust, in a process of its own: clients that ask a server about listings.

    locust --headless -f benchmarks/serve_load.py --host http://127.0.0.1:8501 --users 32 --spawn-rate 32 \
        --run-time 20s --bodies bodies.jsonl --path /v1/models/model:predict [--each 1.0] --out found.json

Each client asks without a pause, or `--each` times a second whatever the answers, at moments of a Poisson process:
clients do not wait for one another, nor ask in step. `found.json` has the seconds of each answer, by its status.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

SECONDS: dict[str, list[float]] = defaultdict(list)
PLACES = itertools.count()
STRIDE = 17
"""Between the listings that two clients begin with: they are not to ask about the same ones at once."""


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Ours, beside Locust's own."""
    parser.add_argument("--bodies")
    parser.add_argument("--path")
    parser.add_argument("--each", type=float, default=0)
    parser.add_argument("--out")


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    """Read the bodies once."""
    given = environment.parsed_options
    Client.bodies = Path(given.bodies).read_bytes().splitlines()
    if not given.each:
        Client.wait_time = constant(0)  # type: ignore[method-assign]


@events.quitting.add_listener
def end(environment: Any, **_: Any) -> None:
    """Write what was found."""
    Path(environment.parsed_options.out).write_text(json.dumps(SECONDS))


class Client(FastHttpUser):
    """One client, on one connection."""

    bodies: list[bytes] = []  # noqa: RUF012 (set once)

    def on_start(self) -> None:
        """Begin somewhere, and some time."""
        number = next(PLACES)
        self.place, self.random, self.due = number * STRIDE, random.Random(number), time.perf_counter()
        time.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds until it asks again, or none if it is late already."""
        self.due += self.random.expovariate(self.environment.parsed_options.each)
        return max(0.0, self.due - time.perf_counter())

    @task
    def ask(self) -> None:
        """Ask about the next listing."""
        self.place += 1
        body = self.bodies[self.place % len(self.bodies)]
        headers = {"Content-Type": "application/json"}
        started = time.perf_counter()
        path = self.environment.parsed_options.path
        with self.client.post(path, data=body, headers=headers, catch_response=True) as response:
            SECONDS[str(response.status_code)].append(time.perf_counter() - started)
            response.success()
