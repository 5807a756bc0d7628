"""The description of the API, as tools read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from headstart.serve.app import Options, make_app
from headstart.serve.keys import Keys
from headstart.serve.pool import Settings
from headstart.serve.versions import Version

KEYS = Keys(["text-of-a-first-key-1"])


def described(keys: Keys = KEYS) -> dict[str, Any]:
    folder = Path("model")  # of which nothing is read until it is served
    return make_app(Options(folder, keys=keys), Settings(), [Version(1, folder)]).openapi()


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(each)


def test_its_references_lead_to_schemas() -> None:
    told = described()
    schemas = told["components"]["schemas"]
    assert {each["$ref"] for each in nodes(told) if "$ref" in each} == {
        f"#/components/schemas/{name}" for name in schemas
    }
    assert not any("$defs" in each for each in nodes(told))
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_its_examples_are_what_it_says() -> None:
    told = described()
    found = [each for each in nodes(told) if "examples" in each]
    assert len(found) > 4
    for each in found:
        for example in each["examples"]:
            jsonschema.Draft202012Validator({**told, **each}).validate(example)


@pytest.mark.parametrize(
    "instances", [[], [{"txt": "a"}], [{"text": "a" * 20_001}], [{"text": 5}], [{"image_bytes": "aGk="}], [{}] * 65]
)
def test_what_is_refused_is_not_what_it_says(instances: list[Any]) -> None:
    schema = jsonschema.Draft202012Validator({**described(), "$ref": "#/components/schemas/PredictRequest"})
    assert schema.is_valid({"instances": [{"text": "a", "image_bytes": ""}, {}]})
    assert not schema.is_valid({"instances": instances})


@pytest.mark.parametrize("keys", [Keys(), KEYS])
def test_it_says_whether_a_key_is_wanted(keys: Keys) -> None:
    told = described(keys)
    assert told["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    wanted = [{"bearer": []}] if keys else [{}, {"bearer": []}]
    for path, operations in told["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == (wanted if path.startswith("/v1/") else None)
