"""What a request may hold, and in which words it is refused."""

from __future__ import annotations

import json

import pytest

from headstart.errors import ItemError
from headstart.serve.requests import Malformed, listings_of

PHOTO = 'give {"b64": "…"}, the photo\'s file in Base64'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body: no JSON (EOF while parsing"),
        (b"{", "the body: no JSON (EOF while parsing"),
        (b"\xff\xfe", "the body: no JSON (expected value"),
        (b"text=puzzle", "the body: no JSON (expected"),
        (b"[" * 100_000, "the body: no JSON (recursion limit"),
        (b"[]", 'the body: give {"instances": [{"text": "…"}]}'),
        (b"{}", 'instances: the row format is served, give 1 to 64 listings: {"instances": [{"text": "…"}]}'),
        (b'{"inputs": {"text": ["a"]}}', "instances: the row format is served, give 1 to 64 listings"),
        (b'{"instances": {"text": "a"}}', "instances: the row format is served, give 1 to 64 listings"),
        (b'{"instances": []}', "instances: the row format is served, give 1 to 64 listings"),
        (json.dumps({"instances": [{}] * 65}).encode(), "instances: 65 listings, the limit is 64"),
        (b'{"instances": [5]}', 'instances[0]: give {"text": "…", "image_bytes": {"b64": "…"}}, or one of the two'),
        (
            b'{"instances": [{' + b",".join(b'"%x":0' % key for key in range(90_000)) + b"}]}",
            "the body: too many parts",
        ),
        (b'{"instances": [' + b"[]," * 300_000 + b"[]]}", "the body: too many parts"),
        (b'{"instances": [{"' + b"a\\n" * 50_000 + b'": 0}]}', "instances[0].a a a"),
        (b'{"instances": [{"text": 5}]}', "instances[0].text: give a string"),
        (b'{"instances": [{"text": ["a"]}, {"text": 5}]}', "instances[0].text: give a string (and 1 more)"),
        (
            b'{"instances": [{}, {"txt": "a"}]}',
            "instances[1].txt: no such name: an instance has text and image_bytes",
        ),
        (b'{"instances": [{}], "a": 1}', "a: no such name: a request has instances and signature_name"),
        (b'{"instances": [{"image_bytes": "aGk="}]}', "instances[0].image_bytes: " + PHOTO),
        (b'{"instances": [{}, {"image_bytes": {"b64": 5}}]}', "instances[1].image_bytes: " + PHOTO),
        (b'{"instances": [{"image_bytes": {"url": "http://127.0.0.1/"}}]}', "instances[0].image_bytes: " + PHOTO),
        (
            b'{"instances": [{}], "signature_name": "regress"}',
            'signature_name: give "serving_default", or leave it out',
        ),
    ],
)
def test_what_is_malformed_is_told_in_one_line(body: bytes, told: str) -> None:
    with pytest.raises(Malformed) as refused:
        listings_of(body)
    said = str(refused.value)
    assert said.startswith(told)
    assert "\n" not in said
    assert len(said) < 500


@pytest.mark.parametrize(
    "photo", ["aGk=", ["aGk="], {"b64": 5}, {"url": "http://127.0.0.1/"}, {"b64": "aGk=", "a": 1}, 5]
)
def test_a_photo_in_another_form_is_one_thing_that_is_wrong(photo: object) -> None:
    with pytest.raises(Malformed) as refused:
        listings_of(json.dumps({"instances": [{}, {"image_bytes": photo}]}).encode())
    assert str(refused.value) == f"instances[1].image_bytes: {PHOTO}"


def test_each_listing_is_read_or_told_why_not() -> None:
    texts = [{"text": "a" * 20_000}, {"text": "a" * 20_001}]
    photos = [{"image_bytes": {"b64": "aG\nk="}}, {"image_bytes": {"b64": "aG*k="}}]
    longest, longer, photo, damaged, empty = listings_of(json.dumps({"instances": [*texts, *photos, {}]}).encode())
    assert (longest, photo, empty) == (("a" * 20_000, b""), (None, b"hi"), (None, b""))
    assert isinstance(longer, ItemError) and isinstance(damaged, ItemError)
    assert (longer.kind, damaged.kind) == ("text too long", "base64")


@pytest.mark.parametrize("address", ["data:image/jpeg;base64,", "data:,", "data:image/svg+xml;charset=utf-8;base64,"])
def test_an_address_before_base64_is_told_as_what_to_leave_out(address: str) -> None:
    (found,) = listings_of(json.dumps({"instances": [{"image_bytes": {"b64": f"{address}aGk="}}]}).encode())
    assert str(found) == f"photo is no Base64 (leave out {address!r})"
