"""What the API takes and gives: TensorFlow Serving's REST contract, checked before anything of it is used."""

from __future__ import annotations

import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headstart.errors import ItemError

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
    text: Annotated[str, Field(json_schema_extra={"maxLength": CHARACTERS})] | None = Field(  # a longer one fails alone
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
    decision: Literal["accept", "suggest", "person"] = Field(
        description="What to do: file it there, let somebody choose among `suggested`, or give it to a person."
    )
    suggested: str = Field(description='For "suggest" the categories to choose from, joined by " | ".')
    candidates: int = Field(
        description="Categories that cannot be ruled out; -1 where the classifier is not calibrated. Obey `decision`, "
        "which looks at the probability first: 0 may come with `accept`."
    )
    read: str = Field(description="What could be seen of the listing.", examples=["text+image"])


class Unreadable(BaseModel):
    """In the place of a prediction, where a listing cannot be read."""

    error: str = Field(examples=["photo is truncated"])


class PredictResponse(BaseModel):
    """An answer to each listing, in order."""

    predictions: list[Prediction | Unreadable]


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(examples=["instances[0].text: give a string"])


class Malformed(Exception):
    """A request that nobody can answer; says why in one line."""


WANTED: dict[tuple[str | int, ...], str] = {
    (): 'give {"instances": [{"text": "…"}]}',
    ("instances",): f'the row format is served, give 1 to {MOST} listings: {{"instances": [{{"text": "…"}}]}}',
    ("instances", 0): 'give {"text": "…", "image_bytes": {"b64": "…"}}, or one of the two',
    ("instances", 0, "text"): "give a string",
    ("instances", 0, "image_bytes"): 'give {"b64": "…"}, the photo\'s file in Base64',
    ("signature_name",): 'give "serving_default", or leave it out',
}
"""What belongs in each place of a request."""
NAMES = {
    1: "no such name: a request has instances and signature_name",
    3: "no such name: an instance has text and image_bytes",
}
"""What is told of a name that is in no such place, by how deep it stands."""
ERRORS = {"json_invalid": "no JSON (%(error)s)", "too_long": f"%(actual_length)s listings, the limit is {MOST}"}
"""What is told of an error that Pydantic names so, wherever it is."""


def listings_of(body: bytes) -> list[tuple[str | None, bytes] | ItemError]:
    """A request's body → text and photo of each listing, or why that one cannot be read.

    Raises:
        Malformed: it is not what `PredictRequest` says.
    """
    _check_structure(body)
    try:
        request = PredictRequest.model_validate_json(body)
    except ValidationError as error:
        raise Malformed(_first(error)) from None
    return [_listing(each) for each in request.instances]


def _check_structure(body: bytes) -> None:
    """Refuse JSON of more parts than a request can have, at the cost of a few passes over its bytes."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")  # whose quotes are those around strings
    strings = plain.count(b'"')
    if strings > STRINGS or sum(map(len, plain.split(b'"')[::2])) > STRUCTURE:
        raise Malformed(f"the body: too many parts for JSON of {MOST} listings, the most in a request")


def _listing(instance: Instance) -> tuple[str | None, bytes] | ItemError:
    text, photo = instance.text, instance.image_bytes
    if text is not None and len(text) > CHARACTERS:
        return ItemError(f"text of {len(text):,} characters, the limit is {CHARACTERS:,}", "text too long")
    try:
        return text, _photo(photo.b64) if isinstance(photo, Binary) else b""
    except ItemError as error:
        return error


def _photo(text: str) -> bytes:
    try:
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            return binascii.a2b_base64("".join(text.split()), strict_mode=True)  # in lines, as mail has it
    except (binascii.Error, ValueError) as error:
        address = re.match(r"\s*(data:[\w/+.;=-]{0,80},)", text, re.ASCII)
        told = f"leave out {address[1]!r}" if address else str(error)
        raise ItemError(f"photo is no Base64 ({told})", "base64") from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, where it is, and how many more there are."""
    errors: list[Any] = error.errors(include_url=False, include_input=False)
    places = list(dict.fromkeys(_place(each["loc"]) for each in errors))
    kind = tuple(0 if isinstance(step, int) else step for step in places[0])
    words = ERRORS.get(errors[0]["type"]) or WANTED.get(kind) or NAMES[len(kind)]
    told = " ".join((words % errors[0].get("ctx", {})).split())[:200]
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in places[0])
    where = " ".join(steps[:200].split()).lstrip(".")  # what the client called it may be of any length
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"{where or 'the body'}: {told}{more}"


def _place(steps: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where an error is; of a photo Pydantic goes on with each form that it may have, and with what each lacks."""
    return steps[:3] if steps[2:] and steps[2] == "image_bytes" else steps
