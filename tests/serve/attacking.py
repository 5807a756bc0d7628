"""Bad requests sent to a server, and what becomes of them and of a client beside them."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bad_requests import Requests
from raw_requests import GOOD, KEY, Bad, request
from serving import PREDICT, Server

ALLOWED = frozenset({200, 206, 304, 400, 401, 404, 405, 408, 413, 415, 416, 429, 503, 504})
"""Statuses that the API documents, and those of static files."""
KEYLESS = 20
"""One in so many has no key, where one is wanted."""
PATIENCE = 90.0
"""Seconds until a connection that was neither answered nor ended is one that hangs."""


@dataclass
class Outcome:
    """What became of one."""

    kind: str
    statuses: tuple[int, ...]
    seconds: float
    hung: bool
    unanswered: bool
    problem: str = ""


@dataclass
class Tally:
    """Of all of them."""

    outcomes: list[Outcome]
    good: Counter[str]
    """Answers to the client beside them, by status; "wrong" where one is not as it was before."""
    before: dict[str, int]
    """Bytes of memory of the server's processes."""
    after: dict[str, int]
    restarts: int
    ready: bool

    def by_kind(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for each in self.outcomes:
            told = "+".join(map(str, sorted(set(each.statuses)))) or "ended"
            found.setdefault(each.kind, Counter())["hung" if each.hung else told] += 1
        return found

    def wrong(self) -> list[Outcome]:
        """Those that hung, got no answer that they were owed, or one that is not documented."""
        return [
            each
            for each in self.outcomes
            if each.hung or each.unanswered or each.problem or not set(each.statuses) <= ALLOWED
        ]


def send(server: Server, bad: Bad) -> Outcome:
    """Send one; wait until the server has answered and ended the connection."""
    started, got, hung = time.monotonic(), b"", False
    with server.connect() as connection:
        connection.settimeout(PATIENCE)
        try:
            for number, piece in enumerate(bad.pieces):
                if number and bad.pause:
                    time.sleep(bad.pause)
                connection.sendall(piece)
        except TimeoutError:
            hung = True
        except OSError:  # it has heard enough
            pass
        try:
            while True:
                if bad.may_end and not select.select([connection], [], [], 1)[0]:
                    connection.shutdown(socket.SHUT_WR)
                if not (piece := connection.recv(1 << 16)):
                    break
                got += piece
        except TimeoutError:
            hung = True
        except OSError:  # hung up on while something was still on its way
            pass
    statuses, problem = read(got)
    if bad.keyless and any(status < 400 for status in statuses):
        problem = f"{statuses} without a key: {bad.pieces[0][:200]!r}"
    seconds = time.monotonic() - started
    return Outcome(bad.kind, statuses, seconds, hung, not statuses and not bad.may_end, problem)


def read(got: bytes) -> tuple[tuple[int, ...], str]:
    """The statuses of the answers in what a server has sent, and what is wrong with its refusals, if anything is."""
    statuses, problem = [], ""
    while got.startswith(b"HTTP/1."):
        head, _, got = got.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = int(first.split(b" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if status >= 200:
            statuses.append(status)
        size = int(headers.get(b"content-length", b"0"))
        body, rest = got[:size], got[size:]
        if status >= 400 and body and b"ange" not in body[:20]:  # of ranges of a static file Starlette tells itself
            try:
                (told,) = json.loads(body).items()
                if told[0] != "error" or "\n" in told[1] or len(told[1]) > 1000:
                    problem = f"{status}: {body[:200]!r}"
            except (ValueError, AttributeError):
                problem = f"{status}: {body[:200]!r}"
        got = rest if status not in (304,) and (body or not size) else b""
    return tuple(statuses), problem


GUARDED = (PREDICT, PREDICT, "/v1/models/model/versions/1:predict", "/v1/models/model")
"""Paths that want a key."""
DISGUISES: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.title,
    lambda path: path.replace("/", "//"),
    lambda path: path.replace("/", "/./"),
    lambda path: path.replace("/", "%2F"),
    lambda path: path.replace("/", "\\"),
    lambda path: path.replace(":", "%3A"),
    lambda path: path.replace("p", "%70"),
    lambda path: path.replace("/models", "/models/x/.."),
    lambda path: f"/static/..{path}",
    lambda path: f"/static/%2e%2e{path}",
    lambda path: f"/livez/..{path}",
    lambda path: f"http://a{path}",
)
TAILS = ("", "%0A", "%0D%0A", "%00", "%09", "%20", "%2F", "%3F", "%23", "%C2%85", "%E2%80%A8", "?", "?a=b",
         "#a", "/", "//", "/.", ";a", "\x85", "\\", ":predict")  # fmt: skip
NO_KEYS = (
    "Authorization:", "Authorization: Bearer", "Authorization: Bearer *", "Authorization: Bearer \xff",
    f"Authorization: {KEY}", f"Authorization: Basic {KEY}", f"Authorization: Bearer {KEY[:-1]}",
    f"Authorization: Bearer {KEY}x", f"Authorization: Bearer {KEY.upper()}", f"Authorization: Bearer {KEY},{KEY}",
    f"Authorization: Bearer {KEY}\0", f"Authorization: Bearer {KEY.replace('-', '%2D')}",
    f"Authorization: Basic a\r\nAuthorization: Basic {KEY}", f"Cookie: Authorization=Bearer {KEY}",
    f"Proxy-Authorization: Bearer {KEY}", f"X-Api-Key: {KEY}", "X-Original-URL: /livez", "X-Forwarded-For: 127.0.0.1",
)  # fmt: skip


def keyless(draw: random.Random) -> Bad:
    """A request for the model, by its path or one much like it, without a key or with another one."""
    path, tail = draw.choice(GUARDED), draw.choice(TAILS)
    path = draw.choice((path, path + tail, draw.choice(DISGUISES)(path) + tail))
    method = draw.choice(("POST", "POST", "POST", "POST", "GET", "HEAD", "PUT", "post"))
    asked = request(GOOD, path, method, (draw.choice(NO_KEYS),), key=None)
    return Bad("key: none, or another", (asked,), may_end=True, keyless=True)


def asked(requests: Requests, number: int, keys: bool, seed: int) -> Iterator[Bad]:
    """So many, some of them without a key where the server wants one."""
    draw = random.Random(seed)
    for place, bad in enumerate(requests.draw(number), 1):
        yield keyless(draw) if keys and place % KEYLESS == 0 else bad


def attack(server: Server, number: int, seed: int = 0, clients: int = 8) -> Tally:
    """Send so many, from several clients at once, while another one asks what it should and checks each answer.

    The server may admit `KEY` alone, or everybody; then nobody asks without a key.
    """
    keys = server.http.post(PREDICT).status_code == 401
    server.http.headers["Authorization"] = f"Bearer {KEY}"
    requests = Requests(seed, server.http.get("/openapi.json").json())
    right = server.predict({"text": "puzzle"}).json()
    for each in Requests(seed + 1, requests.document).draw(40):  # what takes memory once
        send(server, each)
    before, restarts = memory(server), server.metric("headstart_worker_restarts_total")
    good: Counter[str] = Counter()
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE, headers=server.http.headers) as client:
            while not ended.wait(0.05):
                response = client.post(PREDICT, json={"instances": [{"text": "puzzle"}]})
                told = response.status_code != 200 or same(response.json(), right)
                good[str(response.status_code) if told else "wrong"] += 1

    beside = threading.Thread(target=ask)
    beside.start()
    try:
        with ThreadPoolExecutor(clients) as pool:
            outcomes = list(pool.map(lambda each: send(server, each), asked(requests, number, keys, seed)))
    finally:
        ended.set()
        beside.join()
    again = server.metric("headstart_worker_restarts_total")
    return Tally(outcomes, good, before, memory(server), int(again - restarts), server.ready())


def same(answer: Any, right: Any) -> bool:
    """Whether a listing got the answer that it gets by itself; beside others its probability may differ by a little."""
    (one,), (other,) = answer["predictions"], right["predictions"]
    return one["category"] == other["category"] and abs(one["probability"] - other["probability"]) < 1e-3


def memory(server: Server) -> dict[str, int]:
    """Resident bytes of the server and of its workers."""

    def resident(process: int) -> int:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    return {"server": resident(server.process.pid), "workers": sum(map(resident, server.workers()))}
