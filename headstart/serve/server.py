"""The server's process: its socket, its signals, and connections that take too long."""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart.errors import HeadstartError
from headstart.progress import say
from headstart.serve.app import Gate

HEAD_SECONDS = 10.0
"""Until the whole head of a request must be here."""
REQUEST_SECONDS = 30.0
"""Until its body must be here, too; the application refuses it sooner, and what comes after that is read and dropped:
to close at once would take the answer from a client that is still sending."""
UNREAD_SECONDS = 30
"""That a client may leave bytes of an answer unacknowledged."""
HEAD_BYTES = 64 << 10
"""Of a request's head, and of what stands between the pieces of a body that comes in chunks."""
FILES = 512
"""Open at once beside the connections: pipes of workers, the page's files."""
CONNECTIONS = 2048
"""Open at once, at most; further ones are told so."""
BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        HeadstartError: the address is taken, or is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HeadstartError(
            f"{host}:{port} cannot be listened at ({reason}): choose another --host or --port"
        ) from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # of Linux; each connection inherits it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    return listening


def allow_files(wanted: int = CONNECTIONS + FILES) -> None:
    """Have as many files open as all connections need, as far as the system lets this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run(app: FastAPI, listening: socket.socket, drain: float, access_log: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what has come.

    From the signal on /readyz says no, and connections are told to close with their next answer; `drain` seconds later
    nothing more is taken. A second signal ends it at once.

    Raises:
        HeadstartError: the model cannot be loaded.
    """
    allow_files()
    service = app.state.service
    config = uvicorn.Config(
        Gate(app),
        http=Impatient,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(service.options.body_seconds + service.settings.timeout) + 1,
        server_header=False,
        ws="none",
    )
    Server(config, app, drain).run(sockets=[listening])
    if service.failed and service.pool.version is None:
        raise HeadstartError(service.failed)


class Server(uvicorn.Server):
    """Uvicorn's, that lets its clients go before it closes."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain: float) -> None:
        super().__init__(config)
        self._service, self._drain, self._asked = app.state.service, drain, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining, self._asked = True, time.monotonic()
        say(f"ending: what has come is answered, new requests are taken for {self._drain:g} s more")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: is it time to close?"""
        if self._service.failed and self._service.pool.version is None:
            return True
        if self._service.draining and time.monotonic() - self._asked >= self._drain:
            return True
        return await super().on_tick(counter)


class Impatient(H11Protocol):
    """A connection on which each request must come whole in time, also one that was answered before its end.

    It is h11's, not httptools': that one sets no limit to a request's head, and takes no body from clients that offer
    to go on with HTTP/2, as Java's and curl's do.
    """

    _late: asyncio.TimerHandle | None = None
    _awaited: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """In the words of all other refusals."""
        told = b'{"error":"this is no HTTP request, or its head is larger than %d bytes"}' % HEAD_BYTES
        headers = [("content-type", "application/json"), ("content-length", str(len(told))), ("connection", "close")]
        response = h11.Response(status_code=400, headers=headers, reason="Bad Request")
        try:
            for event in (response, h11.Data(data=told), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # it was answered before its end
            pass
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """Never: an offer may be passed over."""
        return False

    def _watch(self) -> None:
        """Give the client so long to send what is to come now; what has begun to come does not begin anew."""
        state = self.conn.their_state
        idle = state is h11.IDLE and self.cycle is not None and not self.conn.trailing_data[0]
        awaited = (state, self.cycle) if state in (h11.IDLE, h11.SEND_BODY) and not idle else None
        if awaited != self._awaited:
            self._stop()
            if awaited is not None:
                seconds = HEAD_SECONDS if state is h11.IDLE else REQUEST_SECONDS
                self._late = self.loop.call_later(seconds, self._too_late)
            self._awaited = awaited

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
