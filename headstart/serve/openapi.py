"""What /openapi.json says of the API beyond what its routes say themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from headstart.serve.requests import PredictRequest, PredictResponse, Problem

SCHEMAS = "#/components/schemas/"
REASONS = {
    400: "The request, or each of its listings, cannot be read",
    401: "The key is missing or wrong",
    404: "No such model or version",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body has a Content-Encoding",
    429: "Busy: come back after Retry-After seconds",
    503: "No worker is ready",
    504: "No answer in time",
}
AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
VERSION = {"X-Model-Version": {"description": "Which version answered", "schema": {"type": "string"}}}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of these statuses."""
    return {
        code: {"model": Problem, "description": REASONS[code], **({"headers": AFTER} if code in (429, 503) else {})}
        for code in codes
    }


PREDICT: dict[str, Any] = {
    "response_model": PredictResponse,
    "responses": {200: {"description": "An answer to each listing", "headers": VERSION}, **problems(*REASONS)},
    "openapi_extra": {
        "requestBody": {
            "content": {"application/json": {"schema": {"$ref": SCHEMAS + PredictRequest.__name__}}},
            "required": True,
        }
    },
}
"""Of the routes that classify: they read the body themselves, so that FastAPI does not know what they take."""


def describe(app: FastAPI, keys: bool) -> None:
    """Complete /openapi.json: the request's schemas, and whether keys are needed.

    Taken out is what FastAPI would answer to unfit parameters: here that is 400, as for all else.
    """
    told = app.openapi()
    for operations in told["paths"].values():
        for each in operations.values():
            each["responses"].pop("422", None)
            if "401" in each["responses"]:
                each["security"] = [{"bearer": []}] if keys else [{}, {"bearer": []}]
    components = told["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    _, taken = models_json_schema([(PredictRequest, "validation")], ref_template=SCHEMAS + "{model}")
    components["schemas"] |= taken["$defs"]
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
