"""Requests of HTTP as bytes on a connection, whatever a client library would refuse to send."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from serving import PREDICT

KEY = "a-key-of-those-who-attack"
"""Bears it what is refused for another reason; a server that asks for none passes over it."""


@dataclass(frozen=True)
class Bad:
    """One connection: what is sent, in pieces, and how it goes on."""

    kind: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    """Seconds between two pieces."""
    may_end: bool = False
    """No answer is owed, such as for half a head; after a second of silence it is said that nothing more comes."""
    keyless: bool = False
    """It has no key of the server's, and asks for what takes one."""


def request(
    body: bytes = b"",
    path: str = PREDICT,
    method: str = "POST",
    headers: tuple[str, ...] = (),
    length: str | None = None,
    key: str | None = KEY,
) -> bytes:
    """A request of HTTP/1.1, the last of its connection; `length` is what it says of its body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a", "Connection: close", *headers]
    if key is not None and not any(each.lower().startswith("authorization") for each in headers):
        lines.append(f"Authorization: Bearer {key}")
    if not any(each.lower().startswith(("content-length", "transfer-encoding")) for each in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def listing(text: Any = "puzzle", photo: bytes | None = None) -> bytes:
    each = {"text": text}
    if photo is not None:
        each["image_bytes"] = {"b64": base64.b64encode(photo).decode()}
    return json.dumps({"instances": [each]}).encode()


GOOD = listing()
