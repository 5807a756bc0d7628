"""The HTTP API: TensorFlow Serving's contract, health, metrics and the page."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from headstart import __version__
from headstart.errors import ItemError, one_line
from headstart.progress import say
from headstart.serve.keys import LOOK, Keys
from headstart.serve.metrics import Metrics
from headstart.serve.openapi import PREDICT, describe, problems
from headstart.serve.pool import Place, Pool, Refused, Settings
from headstart.serve.refusals import Refusal, tell_errors
from headstart.serve.requests import Malformed, listings_of
from headstart.serve.rollout import Rollout
from headstart.serve.versions import Version

STATIC = Path(__file__).parent / "static"
HOUSE = Path(__file__).parent.parent / "reports" / "templates" / "house.css"
"""Colours and type, the same as the reports'."""
HELD = 16
"""Bodies of the largest size that are held at once until they are answered, at most; further ones are refused."""
SMALL = 64 << 10
"""Bytes of a body without a photo, as far as its length tells; it is let in all the same when large ones are held."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True)
class Options:
    """What is served, and to whom."""

    model: Path
    name: str = "model"
    keys: Keys = Keys()  # noqa: RUF009 (without a file it does not change)
    watch: bool = False
    body_bytes: int = 16 << 20
    body_seconds: float = 20.0
    """Until the whole of a request must be here."""


class Service:
    """What the routes share: the pool, the limits, whether the server is about to end."""

    def __init__(self, options: Options, settings: Settings, found: Sequence[Version]) -> None:
        self.options, self.settings = options, settings
        self.metrics = Metrics(options.name)
        self.pool = Pool(settings, self.metrics)
        self.rollout = Rollout(self.pool, options.model, found)
        self.draining = False
        self._held = 0

    def check_key(self, headers: Headers) -> None:
        """Refuse who has no key."""
        if not self.options.keys.admit(headers.get("authorization")):
            raise Refusal(401, "no such key: send 'Authorization: Bearer KEY'")

    def check_room(self) -> None:
        """Refuse what would wait too long, or would find nobody."""
        try:
            self.pool.check_room()
        except Refused as error:
            raise Refusal(429 if self.pool.ready else 503, str(error), error.after) from None

    def admit(self, headers: Headers) -> Place:
        """Let a request in of which the head is here, or refuse it."""
        self.check_key(headers)
        self.check_room()
        size = headers.get("content-length", "")
        return self.pool.place(photo=not size.isdecimal() or int(size[:20]) > SMALL)

    def check_name(self, name: str, version: int | None) -> None:
        """Refuse what is not served."""
        if name != self.options.name:
            raise Refusal(404, f"no model is called {name[:200]!r}, there is {self.options.name!r}")
        served = self.pool.version
        if version is not None and served is not None and version != served.number:
            raise Refusal(404, f"version {version} is not served, {served.number} is")

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, if it comes whole, in time, and is not too large; it counts as held until the end."""
        most, room = self.options.body_bytes, HELD * self.options.body_bytes
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > most:
            raise Refusal(413, f"a body of {int(announced[:20]):,} bytes, the limit is {most:,}")
        chunks, size = [], 0
        try:
            try:
                async with asyncio.timeout(self.options.body_seconds):
                    async for chunk in request.stream():
                        size += len(chunk)
                        self._held += len(chunk)
                        chunks.append(chunk)
                        if size > most:
                            raise Refusal(413, f"a body of more than {most:,} bytes, the limit")
                        if size > SMALL and self._held > room:
                            raise Refusal(429, "busy: many large requests are inside, try again later", 1)
            except TimeoutError:
                raise Refusal(408, f"the body did not come within {self.options.body_seconds:g} s") from None
            whole = b"".join(chunks)
            chunks.clear()  # or it would be there twice until it is answered
            yield whole
        finally:
            self._held -= size

    async def predict(self, request: Request, name: str, version: int | None) -> Response:
        """Answer a request to classify."""
        place: Place = request.scope["place"]  # `Gate` has let it in
        self.check_name(name, version)
        coding = request.headers.get("content-encoding", "").strip()
        if coding.lower() not in ("", "identity"):
            raise Refusal(415, f"send the body as it is, without Content-Encoding {coding[:40]}")
        async with self.body(request) as body:
            try:
                listings = listings_of(body)
            except Malformed as error:
                raise Refusal(400, str(error)) from None
            counted = place.kept and len(listings) == 1
            place.leave()
            if not counted:
                self.check_room()  # others may have come meanwhile
            found = await self.answers(request, [each for each in listings if not isinstance(each, ItemError)])
        if version is not None and any(number != version for _, number in found):
            raise Refusal(404, f"version {version} is not served any more")  # another one took over meanwhile
        given = (answer for answer, _ in found)
        answers = [
            {"error": str(each), "kind": each.kind} if isinstance(each, ItemError) else next(given) for each in listings
        ]
        self.metrics.classified(answers)
        told = [{"error": each["error"]} if "error" in each else each for each in answers]
        if all("error" in each for each in told):
            raise Refusal(400, f"instances[0]: {told[0]['error']}")
        return JSONResponse({"predictions": told}, headers={"X-Model-Version": str(max(number for _, number in found))})

    async def answers(
        self, request: Request, listings: list[tuple[str | None, bytes]]
    ) -> list[tuple[dict[str, Any], int]]:
        """The pool's answer to each listing, and the version that gave it; nobody works for a client that has left."""
        asked = [self.pool.ask(text, photo) for text, photo in listings]
        answered = asyncio.create_task(_each(asked))
        left = asyncio.ensure_future(request.receive())  # the body was received: all that can come is the end
        try:
            await asyncio.wait((answered, left), timeout=self.settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if answered.done():
                return answered.result()
            if left.done():
                raise ClientDisconnect
            raise Refusal(504, f"no answer within {self.settings.timeout:g} s: try again")
        finally:
            answered.cancel()
            left.cancel()
            for each in asked:
                each.cancel()


async def _each(asked: Sequence[asyncio.Future[tuple[dict[str, Any], int]]]) -> list[tuple[dict[str, Any], int]]:
    return [await each for each in asked]


class Gate:
    """Before all else: who may not classify, or would wait too long, is told so before a byte of the body is read.

    In front of the application, as that takes a millisecond to find its route: to refuse is to cost next to nothing.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app, self._service = app, app.state.service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def last(message: Message) -> None:
            """While the server is about to end, each answer says that it is the last of its connection."""
            if message["type"] == "http.response.start" and self._service.draining:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if scope["type"] == "http" and scope["method"] == "POST" and ":predict" in scope["path"]:
            headers = Headers(scope=scope)
            try:
                place = scope["place"] = self._service.admit(headers)
            except Refusal as error:
                self._service.metrics.requested(error.status, 0)
                await error.response()(scope, receive, last)
                return
            try:
                await self._app(scope, receive, last)
            finally:
                place.leave()
            return
        await self._app(scope, receive, last if scope["type"] == "http" else send)


def make_app(options: Options, settings: Settings, found: Sequence[Version]) -> FastAPI:
    """The application; ``app.state.service`` is its `Service`. Its workers start when it starts.

    `found` are the versions that are there, as `versions_of` tells them.
    """
    service = Service(options, settings, found)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each) for each in (_begin(service), _lasting(service.options.keys.watch))]
        try:
            yield
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)
            await service.pool.stop()

    app = FastAPI(
        title="headstart",
        version=__version__,
        description="Categories for product listings. The contract is that of TensorFlow Serving's REST API.",
        lifespan=lifespan,
        docs_url=None,  # they fetch their scripts from elsewhere: blank where there is no network, and somebody is told
        redoc_url=None,
        redirect_slashes=False,  # to wherever a Host header says
    )
    app.state.service = service
    tell_errors(app)
    _classifying(app, service)
    _health(app, service)
    _page(app, options)
    describe(app, bool(options.keys))
    return app


async def _begin(service: Service) -> None:
    """Load the model, then look for newer ones if that is wanted."""
    await service.rollout.begin()
    if service.options.watch:
        await _lasting(service.rollout.watch)


async def _lasting(watch: Callable[[], Awaitable[None]]) -> None:
    """Go on watching, whatever a look finds: if it ended in silence, a key that is withdrawn would be admitted on."""
    while True:
        try:
            return await watch()
        except Exception as error:
            say(f"{type(error).__name__} while looking for changes ({one_line(error)}): it is looked again")
            await asyncio.sleep(LOOK)


def _classifying(app: FastAPI, service: Service) -> None:
    async def timed(request: Request, name: str, version: int | None) -> Response:
        started, code = time.perf_counter(), 499  # as proxies call it when the client has left
        try:
            response = await service.predict(request, name, version)
            code = response.status_code
            return response
        except Refusal as error:
            code = error.status
            raise
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody
        except Exception:
            code = 500
            raise
        finally:
            service.metrics.requested(code, time.perf_counter() - started)

    @app.post("/v1/models/{name}:predict", summary="Classify listings", **PREDICT)
    async def predict(request: Request, name: str) -> Response:
        return await timed(request, name, None)

    @app.post("/v1/models/{name}/versions/{version}:predict", summary="Classify by that version alone", **PREDICT)
    async def predict_by(request: Request, name: str, version: int) -> Response:
        return await timed(request, name, version)

    @app.api_route("/v1/models/{name}:{verb}", methods=["GET", "POST"], include_in_schema=False)
    @app.api_route("/v1/models/{name}/versions/{version}:{verb}", methods=["GET", "POST"], include_in_schema=False)
    async def other(verb: str) -> Response:
        if verb == "predict":
            raise HTTPException(405, headers={"Allow": "POST"})
        raise Refusal(404, f"only ':predict' is served, not {':' + verb[:50]!r}")

    @app.get("/v1/models/{name}", summary="Which version is served", responses=problems(401, 404))
    async def status(request: Request, name: str) -> dict[str, Any]:
        service.check_key(request.headers)
        service.check_name(name, None)
        return {"model_version_status": _statuses(service)}

    @app.get("/v1/models/{name}/versions/{version}", summary="Whether that is", responses=problems(400, 401, 404))
    async def status_of(request: Request, name: str, version: int) -> dict[str, Any]:
        service.check_key(request.headers)
        service.check_name(name, None)
        found = [each for each in _statuses(service) if each["version"] == str(version)]
        if not found:
            raise Refusal(404, f"version {version} is not here: see /v1/models/{name}")
        return {"model_version_status": found}


def _statuses(service: Service) -> list[dict[str, Any]]:
    pool, rollout = service.pool, service.rollout
    found = [_status(version.number, "END", reason) for version, reason in rollout.failed.items()]
    if rollout.loading is not None and rollout.loading not in rollout.failed:
        found.append(_status(rollout.loading.number, "LOADING", ""))
    if pool.version is not None:
        found.append(_status(pool.version.number, "AVAILABLE" if pool.ready else "LOADING", ""))
    return sorted(found, key=lambda each: int(each["version"]), reverse=True)


def _status(number: int, state: str, error: str) -> dict[str, Any]:
    told = {"error_code": "UNKNOWN" if error else "OK", "error_message": error}
    return {"version": str(number), "state": state, "status": told}


def _health(app: FastAPI, service: Service) -> None:
    @app.get("/livez", summary="The process runs")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="A warm worker can answer", responses=problems(503))
    async def readyz() -> Response:
        if service.draining:
            return Refusal(503, "about to end", 5).response()
        if not service.pool.ready:
            return Refusal(503, "no worker is ready", 5).response()
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="For Prometheus", include_in_schema=False)
    async def metrics() -> Response:
        text = service.metrics.text(service.pool.state())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _page(app: FastAPI, options: Options) -> None:
    @app.get("/static/house.css", include_in_schema=False)
    async def house() -> FileResponse:
        return FileResponse(HOUSE)

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    page = (STATIC / "index.html").read_text()
    told = {"model": options.name, "keys": "yes" if options.keys else "no", "body_mb": f"{options.body_bytes >> 20}"}
    for name, value in told.items():
        page = page.replace("{{" + name + "}}", html.escape(value))

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={**HEADERS, "Content-Security-Policy": PAGE_POLICY})
