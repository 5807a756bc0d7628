"""The server's process: its socket, its signals, and connections that take too long."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart.errors import HeadstartError
from headstart.progress import say
from headstart.serve.app import Gate, Refusal

HEAD_SECONDS = 10.0
"""Until the whole head of a request must be here."""
REQUEST_SECONDS = 30.0
"""Until its body must be here, too; the application refuses it sooner, and what comes after that is read and dropped:
to close at once would take the answer from a client that is still sending."""
LAST_SECONDS = 2.0
"""For the first request of a connection, when the server is about to end."""
UNREAD_SECONDS = 30
"""That a client may leave bytes of an answer unacknowledged."""
HEAD_BYTES = 64 << 10
"""Of a request's head, and of what stands between the pieces of a body that comes in chunks."""
FILES = 512
"""Open at once beside the connections: pipes of workers, the page's files."""
CONNECTIONS = 2048
"""Open at once; on further ones nothing but `PROBES` is answered."""
PROBES = ("/livez", "/readyz", "/metrics")
"""Who asks for these looks after the server: a busy one is not to be taken for a dead one."""
BACKLOG = 1024
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "uvicorn.access": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}
"""Of uvicorn nothing is told but errors, and requests where they are asked for."""


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


def room() -> int:
    """How many connections may be open, once this process may have as many files open as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted - min(FILES, wanted // 2)


def run(app: FastAPI, listening: socket.socket, drain: float, access_log: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what has come.

    From the signal on /readyz says no, and connections are told to close with their next answer; `drain` seconds later
    nothing more is taken. A second signal ends the process at once.

    Raises:
        HeadstartError: no version of the model can be loaded.
    """
    service = app.state.service
    config = uvicorn.Config(
        Gate(app),
        http=Impatient,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_config=LOGGING,
        access_log=access_log,
        limit_concurrency=room(),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(service.options.body_seconds + service.settings.timeout) + 1,
        server_header=False,
        ws="none",
    )
    Server(config, app, drain).run(sockets=[listening])
    if service.rollout.hopeless:
        raise HeadstartError(service.rollout.hopeless)


class Server(uvicorn.Server):
    """Uvicorn's, that lets its clients go before it closes."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain: float) -> None:
        super().__init__(config)
        self._service, self._drain, self._asked = app.state.service, drain, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self._service.draining:
            try:
                say("ended at once: what was not answered is lost")
                self._service.pool.kill()
            finally:
                os._exit(128 + sig)  # unwinding what is being answered would take time, and write tracebacks
        self._service.draining, self._asked = True, time.monotonic()
        say(f"ending: what has come is answered, new requests are taken for {self._drain:g} s more")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: is it time to close?"""
        if self._service.rollout.hopeless:
            return True
        if self._service.draining and time.monotonic() - self._asked >= self._drain:
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close, and answer who has connected by then: what nobody has taken from a socket is reset with it."""
        late = [each for listening in sockets or [] for each in _connected(listening)]
        for server in self.servers:
            server.close()
        protocol = partial(Impatient, self.config, self.server_state, self.lifespan.state)
        for each in late:
            with suppress(OSError):  # it has left
                await asyncio.get_running_loop().connect_accepted_socket(protocol, each)
        await super().shutdown(sockets)


def _connected(listening: socket.socket) -> Iterator[socket.socket]:
    """Connections that nobody has taken yet."""
    with suppress(OSError):  # there is none, or no file more may be open
        while True:
            yield listening.accept()[0]


class Impatient(H11Protocol):
    """A connection on which the head of each request, and then its body, must come whole in time.

    It is h11's, not httptools': that one sets no limit to a request's head, and takes no body from clients that offer
    to go on with HTTP/2, as Java's and curl's do.
    """

    _late: asyncio.TimerHandle | None = None
    _awaited: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            self.app = partial(_crowded, self.app)
        self.limit_concurrency = None  # uvicorn would refuse whatever comes on any connection then, probes as well
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None, 0)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close if nothing is to be answered; on a new connection a request may be on its way."""
        if self.transport.is_closing():  # with bytes unsent; h11 may be in error
            return
        if self.cycle is None:
            self._await("the last", LAST_SECONDS)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """In the words of all other refusals."""
        told = b'{"error":"this is no HTTP request, or its head is larger than %d bytes"}' % HEAD_BYTES
        headers = [("content-type", "application/json"), ("content-length", str(len(told))), ("connection", "close")]
        response = h11.Response(status_code=400, headers=headers, reason="Bad Request")
        try:
            for event in (response, h11.Data(data=told), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            if self.access_log:
                self.access_logger.info("%s:%d - no HTTP request 400", *(self.client or ("", 0)))
        except h11.LocalProtocolError:  # it was answered before its end
            pass
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """Never: an offer may be passed over."""
        return False

    def _watch(self) -> None:
        """Wait for the rest of a head or a body, also of one that was answered before its end.

        Between two requests uvicorn waits for as long as it keeps connections.
        """
        state = self.conn.their_state
        begun = self.cycle is None or bool(self.conn.trailing_data[0])  # a first head, or one of which a part is here
        if state is h11.IDLE and begun:
            self._await((state, self.cycle), HEAD_SECONDS)
        elif state is h11.SEND_BODY:
            self._await((state, self.cycle), REQUEST_SECONDS)
        else:
            self._await(None, 0)

    def _await(self, what: Any, seconds: float) -> None:
        """Hang up if that has not come by then; more time is given to something else only."""
        if what == self._awaited:
            return
        if self._late is not None:
            self._late.cancel()
        self._late = None if what is None else self.loop.call_later(seconds, self.transport.close)
        self._awaited = what


async def _crowded(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer on a connection that is one too many."""
    if scope["path"] in PROBES:
        await app(scope, receive, send)
        return
    while (await receive()).get("more_body"):  # to close while its client sends would take the answer from it
        pass
    response = Refusal(503, "busy: too many connections are open, try again later", 1).response()
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
