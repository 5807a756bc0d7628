"""What the API takes and gives: TensorFlow Serving's REST contract, checked before anything of it is used."""

from __future__ import annotations

import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MOST = 64
"""Listings in a request."""
CHARACTERS = 20_000
"""Of a text. Encoders read the first 16,384; the words all of it."""
STRINGS = 2 * 10 * MOST
"""Quotes that may be in a request's JSON; a listing that has all it may have brings ten."""
STRUCTURE = 256 << 10
"""Bytes of JSON outside its strings. Without these two bounds 14 MB of a million small things, all of them wrong, would
take ten seconds and more than a gigabyte to refuse."""
BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP6DwABBQECz6AuzQAAAABJRU5ErkJggg=="


class Binary(BaseModel):
    """Bytes in JSON, as TensorFlow Serving has them."""

    model_config = ConfigDict(extra="forbid", strict=True)
    b64: str = Field(description="The photo's file, in Base64.", examples=[BASE64])


class Instance(BaseModel):
    """One listing. What it lacks is left out, or empty."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: Annotated[str, Field(max_length=CHARACTERS)] | None = Field(
        None, description="Title and description, joined by a line's end as the classifier's columns of texts were."
    )
    image_bytes: Binary | Literal[""] | None = Field(
        None, description="A photo's file as it is: JPEG, PNG, WebP, GIF, AVIF, BMP, TIFF, JPEG 2000 or PPM."
    )


class PredictRequest(BaseModel):
    """Listings to classify."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"instances": [{"text": "Tasse en porcelaine blanche, 30 cl"}]},
                {"instances": [{"text": "Tasse", "image_bytes": {"b64": BASE64}}, {"image_bytes": {"b64": BASE64}}]},
            ]
        },
    )
    instances: list[Instance] = Field(min_length=1, max_length=MOST)
    signature_name: Literal["serving_default", ""] = "serving_default"


class Prediction(BaseModel):
    """The answer to one listing."""

    category: str = Field(description="The most probable category.", examples=["Cuisine"])
    probability: float = Field(description="Of that category.", examples=[0.973])
    top: list[str] = Field(description="The most probable categories, the best first.")
    top_probability: list[float] = Field(description="Theirs.")
    decision: Literal["accept", "suggest", "person"]
    suggested: str = Field(description='For "suggest" the categories to choose from, joined by " | ".')
    candidates: int = Field(description="Categories that cannot be ruled out; -1 where nobody knows.")
    read: str = Field(description="What could be seen of the listing.", examples=["text+image"])


class Unreadable(BaseModel):
    """In the place of a prediction, where a listing's photo cannot be read."""

    error: str = Field(examples=["photo is truncated"])


class PredictResponse(BaseModel):
    """An answer to each listing, in order."""

    predictions: list[Prediction | Unreadable]


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(examples=["instances[0].text: Input should be a valid string"])


class Malformed(Exception):
    """A request that nobody can answer; says why in one line."""


def listings_of(body: bytes) -> list[tuple[str | None, bytes]]:
    """A request's body → text and photo of each listing.

    Raises:
        Malformed: it is not what `PredictRequest` says, or something is not Base64.
    """
    _check_structure(body)
    try:
        request = PredictRequest.model_validate_json(body)
    except ValidationError as error:
        raise Malformed(_first(error)) from None
    return [
        (each.text, _photo(each.image_bytes.b64, place) if isinstance(each.image_bytes, Binary) else b"")
        for place, each in enumerate(request.instances)
    ]


def _check_structure(body: bytes) -> None:
    """Refuse JSON of more parts than a request can have, at the cost of a few passes over its bytes."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")  # whose quotes are those around strings
    strings = plain.count(b'"')
    if strings > STRINGS or sum(map(len, plain.split(b'"')[::2])) > STRUCTURE:
        raise Malformed(f"the body: too many parts for JSON of {MOST} listings, the most in a request")


def _photo(text: str, place: int) -> bytes:
    try:
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            return binascii.a2b_base64("".join(text.split()), strict_mode=True)  # in lines, as mail has it
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"instances[{place}].image_bytes.b64 is no Base64 ({error})") from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, where it is, and how many more there are."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    first: Any = errors[0]
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    where = " ".join(steps[:200].split()).lstrip(".")  # what the client called it may be of any length
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where or 'the body'}: {' '.join(str(first['msg']).split())[:200]}{more}"
