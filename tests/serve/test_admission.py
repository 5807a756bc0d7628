"""Who is let in, and when: before a body is read, and for no longer than somebody waits."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from headstart.serve.app import SMALL
from serving import Server, head, photo, serving

SECONDS = 10
"""Of work that may wait, and that a request is counted for while its body does not come."""
ROWS = 64
HEADS = 3 * ROWS


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Server]:
    with serving(shop / "model", "--max-wait", str(SECONDS), "--timeout", "300") as found:
        yield found


def padded(*instances: dict[str, Any]) -> bytes:
    """A body as large as of a photo."""
    return json.dumps({"instances": instances}).encode() + b" " * SMALL


def waiting(server: Server) -> float:
    return server.metric("headstart_queue_listings")


def fill(server: Server, instance: dict[str, Any], connections: ExitStack) -> None:
    """Have listings wait, until less than `ROWS` of them find a place."""
    body = padded(*[instance] * ROWS)
    found: list[socket.socket] = []
    before = server.metric("headstart_requests_total")
    while server.metric("headstart_requests_total") == before:  # nothing is answered but a refusal
        listings = waiting(server)
        found.append(connections.enter_context(server.connect()))
        found[-1].sendall(head(len(body)) + body)
        server.until(
            lambda now=listings: server.metric("headstart_requests_total") > before or waiting(server) == now + ROWS
        )
    full = waiting(server)
    found[-2].close()
    server.until(lambda: waiting(server) == full - ROWS)


def arrive(server: Server, size: int, connections: ExitStack) -> list[socket.socket]:
    """Send the heads of many requests, and nothing more; those that are let in."""
    answered, there = server.metric("headstart_requests_total"), waiting(server)
    sent = [connections.enter_context(server.connect()) for _ in range(HEADS)]
    for each in sent:
        each.sendall(head(size))
    server.until(lambda: server.metric("headstart_requests_total") - answered + waiting(server) - there == HEADS)
    refused = select.select(sent, [], [], 0)[0]
    assert {status(each) for each in refused} == {"429"}
    return [each for each in sent if each not in refused]


def resident(server: Server) -> int:
    """Bytes of the server's process."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def status(connection: socket.socket) -> str:
    return connection.recv(1000).split()[1].decode()


def test_a_request_is_counted_from_its_head_on_and_answered_when_its_body_comes(server: Server, shop: Path) -> None:
    instance = {"text": "drap", "image_bytes": photo(shop / "photos" / "1.jpg")}
    with ExitStack() as connections:
        with server.stopped(), ExitStack() as fillers:
            fill(server, instance, fillers)
            body = padded(instance)
            let_in = arrive(server, len(body), connections)
            assert 0 < len(let_in) <= ROWS
            for each in let_in:
                each.sendall(body)
            full = [waiting(server) for _ in range(20)]  # while that is asked, the bodies are read
            assert min(full) == max(full)
        assert {status(each) for each in let_in} == {"200"}


def test_clients_that_do_not_send_take_no_places_for_long(server: Server, shop: Path) -> None:
    instance = {"text": "drap", "image_bytes": photo(shop / "photos" / "1.jpg")}
    with ExitStack() as connections, server.stopped():
        fill(server, instance, connections)
        there = waiting(server)
        slow = arrive(server, 10 * SMALL, connections)
        server.until(lambda: waiting(server) == there, 10 * SECONDS)
        assert not select.select(slow, [], [], 0)[0]  # they are still waited for
        assert arrive(server, 10 * SMALL, connections)


def test_nobody_works_for_a_client_that_has_left(server: Server) -> None:
    body = padded(*[{"text": "drap"}] * 3)
    with server.stopped():
        with server.connect() as connection:
            connection.sendall(head(len(body)) + body)
            server.until(lambda: waiting(server) == 3)
        server.until(lambda: waiting(server) == 0, 10)  # of the 30 s that an answer may take
    assert server.predict({"text": "drap"}).status_code == 200


def test_what_a_client_sent_that_has_left_is_not_kept(server: Server) -> None:
    """Nor is its leaving worth a line of the log: pages leave whenever somebody types on."""
    body = padded({"image_bytes": {"b64": base64.b64encode(bytes(9 << 20)).decode()}})
    with server.stopped():
        said, held = server.said, []
        for _ in range(16):
            with server.connect() as connection:
                connection.sendall(head(len(body)) + body)
                server.until(lambda: waiting(server) == 1)
            server.until(lambda: waiting(server) == 0)
            held.append(resident(server))
        assert held[-1] < held[3] + 3 * 9e6  # the first two went to the worker; twelve have come since
        assert server.said == said
