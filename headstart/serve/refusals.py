"""How it is told that there is no answer: TensorFlow Serving's ``{"error": "one line"}``."""

from __future__ import annotations

import math

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},
    415: {"Accept-Encoding": "identity"},
}


class Refusal(Exception):
    """A request that gets no prediction: status and reason."""

    def __init__(self, status: int, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.after = status, after

    def response(self) -> JSONResponse:
        """As TensorFlow Serving says it."""
        again = {} if self.after is None else {"Retry-After": str(max(1, math.ceil(self.after)))}
        return JSONResponse({"error": str(self)}, self.status, again | HEADERS.get(self.status, {}))


def tell_errors(app: FastAPI) -> None:
    """Have every error told so, whoever raises it."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, __: Exception) -> Response:
        return Refusal(500, "an error of the server's own, which its log tells of").response()

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> Response:
        # Of what stands in a path, only a version is checked before a route has it.
        return Refusal(400, f"{error.errors()[0]['loc'][-1]}: give a whole number, such as 1").response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        reason = {
            404: "there is nothing here: see /openapi.json",
            405: f"another method is wanted here: {(error.headers or {}).get('Allow')}",
        }
        return JSONResponse({"error": reason.get(error.status_code, error.detail)}, error.status_code, error.headers)
