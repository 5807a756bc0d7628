"""The server's process: its socket, its signals, and connections that take too long."""

from __future__ import annotations

import asyncio
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headstart.errors import HeadstartError
from headstart.progress import say
from headstart.serve.app import Gate

HEAD_SECONDS = 10.0
"""Until the whole head of a request must be here."""
REQUEST_SECONDS = 30.0
"""Until its body must be here, too; the application refuses it sooner, and what comes after that is read and dropped:
to close at once would take the answer from a client that is still sending."""
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
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HeadstartError(
            f"{host}:{port} cannot be listened at ({reason}): choose another --host or --port"
        ) from None


def run(app: FastAPI, listening: socket.socket, drain: float, access_log: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what has come.

    From the signal on /readyz says no, and connections are told to close with their next answer; `drain` seconds later,
    or when none is open, nothing more is taken. A second signal ends it at once.

    Raises:
        HeadstartError: the model cannot be loaded.
    """
    service = app.state.service
    config = uvicorn.Config(
        Gate(app),
        http=Impatient,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(service.settings.timeout) + 1,
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
        if self._service.draining:
            waited = time.monotonic() - self._asked
            if waited >= self._drain or not self.server_state.connections:
                return True
        return await super().on_tick(counter)


class Impatient(HttpToolsProtocol):
    """A connection on which each request must come whole in time, also one that was answered before its end."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        self._wait(REQUEST_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._come()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._come()
        super().connection_lost(exc)

    def _wait(self, seconds: float = HEAD_SECONDS) -> None:
        self._come()
        self._late = self.loop.call_later(seconds, self._too_late)

    def _come(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
