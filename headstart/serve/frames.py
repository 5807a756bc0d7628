"""Messages between the server and a worker, over a pipe: JSON, and bytes behind it.

A worker reads what strangers send, so nothing that it says is unpickled.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("!IQ")
"""Of the JSON, and of all the bytes behind it."""

Message = tuple[Any, bytes]


def packed(head: Any, blobs: Sequence[bytes] = ()) -> bytes:
    """A message as bytes; who reads it gets the blobs in one piece, and cuts it by lengths that the head says."""
    text = json.dumps(head).encode()
    body = b"".join(blobs)
    return _LENGTHS.pack(len(text), len(body)) + text + body


def read(file: BinaryIO) -> Message | None:
    """The next message of a pipe; None at its end, also in the middle of a message: the other side is dead."""
    lengths = file.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    text, body = _LENGTHS.unpack(lengths)
    whole = file.read(text + body)
    return (json.loads(whole[:text]), whole[text:]) if len(whole) == text + body else None


async def read_from(stream: asyncio.StreamReader) -> Message | None:
    """The same of a stream of asyncio's."""
    try:
        text, body = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
        whole = await stream.readexactly(text + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return json.loads(whole[:text]), whole[text:]
