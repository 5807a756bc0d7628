"""Requests that no client should send, drawn from a seed, as bytes on a connection."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from damaged_photos import bombs, damaged, no_photos, whole_photos, with_damaged_exif
from raw_requests import GOOD, Bad, chunked, request
from serving import PREDICT

PATHS = (
    PREDICT, "/v1/models/model", "/v1/models/model/versions/1:predict", "/livez", "/readyz", "/metrics",
    "/openapi.json", "/docs/", "/", "/static/index.html",
)  # fmt: skip
TAIL = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Requests:
    """Draws bad requests; `schema` is the server's /openapi.json, `photos` those of `damaged_photos`."""

    def __init__(self, seed: int, schema: dict[str, Any]) -> None:
        self._draw = random.Random(seed)
        whole = whole_photos()
        draw = random.Random(seed)
        self._damaged = sorted({**damaged(whole, draw), **no_photos(draw), **with_damaged_exif(draw)}.items())
        self._bombs = sorted(bombs(whole).items())
        self._whole = sorted(whole.items())
        self.document = schema
        operation = schema["paths"]["/v1/models/{name}:predict"]["post"]
        self._schema = operation["requestBody"]["content"]["application/json"]["schema"]
        self._kinds: dict[str, Callable[[], Bad]] = {
            "schema: as it says": self._valid,
            "schema: one thing changed": self._changed,
            "schema: other types": self._typed,
            "photo: damaged": lambda: self._photo(self._damaged),
            "photo: bomb": lambda: self._photo(self._bombs),
            "photo: no Base64": self._base64,
            "JSON: cut or flipped": self._flipped,
            "JSON: extreme": self._extreme,
            "body: content type or encoding": self._encoded,
            "body: chunks": self._chunks,
            "body: wrong length": self._length,
            "body: huge": self._huge,
            "head: method or path": self._path,
            "head: static file": self._static,
            "head: bomb": self._head,
            "head: header": self._header,
            "connection: pipelined": self._pipelined,
            "connection: no HTTP": self._noise,
            "connection: slow": self._slow,
        }
        self._seldom = {"body: huge": 0.2, "photo: bomb": 0.4, "connection: slow": 0.2, "head: bomb": 0.5}

    def draw(self, number: int) -> Iterator[Bad]:
        """So many, at least one of each kind where there are enough."""
        kinds = list(self._kinds)
        weights = [self._seldom.get(kind, 1.0) for kind in kinds]
        drawn = kinds + self._draw.choices(kinds, weights, k=max(0, number - len(kinds)))
        for kind in drawn[:number]:
            yield self._kinds[kind]()

    # Bodies ----------------------------------------------------------------------------------------------------------

    def _value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        """Something that a JSON schema takes."""
        draw = self._draw
        schema = self._resolved(schema)
        if "anyOf" in schema:
            return self._value(draw.choice(schema["anyOf"]), depth)
        for fixed in ("const", "enum"):
            if fixed in schema:
                return schema[fixed] if fixed == "const" else draw.choice(schema[fixed])
        kind = schema.get("type")
        if kind == "object":
            required = schema.get("required", ())
            return {
                name: self._value(each, depth + 1)
                for name, each in schema["properties"].items()
                if name in required or draw.random() < 0.7
            }
        if kind == "array":
            return [self._value(schema["items"], depth + 1) for _ in range(draw.randint(schema.get("minItems", 0), 4))]
        if kind == "string":
            return self._text() if "examples" not in schema or draw.random() < 0.2 else draw.choice(schema["examples"])
        return {"null": None, "boolean": True, "integer": draw.randint(-9, 9), "number": draw.random()}.get(str(kind))

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def _text(self) -> str:
        draw = self._draw
        ranges = (
            (32, 126),
            (0, 31),
            (0xA0, 0x24F),
            (0x600, 0x6FF),
            (0x4E00, 0x9FFF),
            (0x1F300, 0x1FAFF),
            (0x300, 0x36F),
        )
        low, high = draw.choice(ranges)
        return "".join(chr(draw.randint(low, high)) for _ in range(draw.choice((0, 1, 5, 60, 3000))))

    def _valid(self) -> Bad:
        return Bad("schema: as it says", (request(json.dumps(self._value(self._schema)).encode()),))

    def _changed(self) -> Bad:
        """One place of a valid body takes another value, or goes, or gets a neighbour."""
        body = self._value(self._schema)
        places: list[tuple[Any, Any]] = []

        def visit(node: Any) -> None:
            steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            for step, each in list(steps):
                places.append((node, step))
                visit(each)

        visit(body)
        node, step = self._draw.choice(places)
        how = self._draw.randrange(3)
        if how == 0:
            node[step] = self._other()
        elif how == 1:
            del node[step]
        elif isinstance(node, dict):
            node[self._text()] = self._other()
        else:
            node.extend([self._other()] * self._draw.choice((1, 70)))
        return Bad("schema: one thing changed", (request(json.dumps(body).encode()),))

    def _other(self) -> Any:
        draw = self._draw
        return draw.choice(
            (None, True, 0, -1, 10**30, 1e308, float("nan"), float("inf"), "", "x" * 200_000, [], {}, [[]], {"b64": 5},
             {"b64": ""}, self._text(), [self._text()], "\ud800", "\0")
        )  # fmt: skip

    def _typed(self) -> Bad:
        draw = self._draw
        outer: Any = self._other()
        if draw.random() < 0.8:
            inner = {key: self._other() for key in draw.sample(("text", "image_bytes", "b64", "url", ""), 2)}
            outer = {"instances": draw.choice(([inner], inner, [self._other()], [inner] * 70))}
        return Bad("schema: other types", (request(json.dumps(outer).encode()),))

    def _photo(self, photos: list[tuple[str, bytes]]) -> Bad:
        draw = self._draw
        chosen = [draw.choice(photos)[1] for _ in range(draw.choice((1, 1, 1, 2, 5)))]
        if draw.random() < 0.3:
            chosen.append(draw.choice(self._whole)[1])
        instances = [{"text": "drap", "image_bytes": {"b64": base64.b64encode(each).decode()}} for each in chosen]
        kind = "photo: bomb" if photos is self._bombs else "photo: damaged"
        return Bad(kind, (request(json.dumps({"instances": instances}).encode()),))

    def _base64(self) -> Bad:
        draw = self._draw
        text = base64.b64encode(draw.choice(self._whole)[1]).decode()
        place = draw.randrange(len(text))
        changed = draw.choice(
            (text[:place], text[:place] + draw.choice("*é\0=-_ \n%") + text[place:], text + "=", "=" + text, text * 2,
             text[::-1], "data:image/png;base64," + text, quote(text), text.replace("+", "-").replace("/", "_"))
        )  # fmt: skip
        return Bad(
            "photo: no Base64", (request(json.dumps({"instances": [{"image_bytes": {"b64": changed}}]}).encode()),)
        )

    def _flipped(self) -> Bad:
        draw = self._draw
        body = bytearray(json.dumps(self._value(self._schema)).encode())
        for _ in range(draw.choice((1, 1, 3, 20))):
            body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
        return Bad(
            "JSON: cut or flipped", (request(bytes(body[: draw.choice((len(body), draw.randrange(len(body))))])),)
        )

    def _extreme(self) -> Bad:
        many = self._draw.choice((300, 50_000, 1_000_000))
        body = self._draw.choice(
            (
                b"[" * many,
                b'{"a":' * many,
                b'{"instances": ' + b"[" * many + b"]" * many + b"}",
                b'{"instances": [{"text": ' + b"1" * many + b"}]}",
                b'{"instances": [{"text": 1e' + b"9" * many + b"}]}",
                b'{"instances": [{"text": NaN}]}',
                b'{"instances": [{"text": -Infinity}]}',
                b'{"instances": [{"text": "\\ud800"}]}',
                b'{"instances": [{"text": "\\udc00\\ud800"}]}',
                b'{"instances": [{"text": "a\\u0000b"}]}',
                b'{"instances": [{"text": "a\0b"}]}',
                b'{"instances": [{"text": "\xff\xfe"}]}',
                b'{"instances": [{"text": "a", "text": 5, "text": "puzzle"}]}',
                b'{"instances": [{}], "instances": 7, "instances": [{"text": "puzzle"}]}',
                b'{"instances": [' + b"{}," * many + b"{}]}",
                b'{"instances": [' + b"[]," * many + b"5]}",
                b'{"instances": [{' + b",".join(b'"%x":0' % number for number in range(many)) + b"}]}",
                b'{"instances": [{"' + b"k\\n" * many + b'": 0}]}',
                b'{"instances": [{"text": "' + b'\\\\\\"' * many + b'"}]}',
                b"\xef\xbb\xbf" + GOOD,
                GOOD.decode().encode("utf-16"),
                GOOD.decode().encode("utf-32"),
                GOOD + GOOD,
                GOOD + b"\0",
                b" " * many + GOOD,
                b"",
                b"null",
                b'"' * many,
            )
        )
        return Bad("JSON: extreme", (request(body),))

    def _encoded(self) -> Bad:
        draw = self._draw
        body = draw.choice(
            (GOOD, gzip.compress(GOOD), gzip.compress(bytes(1 << 24)), b"text=puzzle", b"--a\r\n\r\n--a--")
        )
        kinds = ("application/json", "text/plain", "multipart/form-data; boundary=a",
                 "application/x-www-form-urlencoded", "", "a", "application/json; charset=utf-7", "\xff",
                 "a" * 5000)  # fmt: skip
        headers = [f"Content-Type: {draw.choice(kinds)}"]
        if draw.random() < 0.6:
            headers.append(f"Content-Encoding: {draw.choice(('gzip', 'br', 'zstd', 'gzip, gzip', 'identity', ''))}")
        return Bad("body: content type or encoding", (request(body, headers=tuple(headers)),))

    def _chunks(self) -> Bad:
        draw = self._draw
        whole = chunked(GOOD, draw.choice((1, 7, 1000)))
        body = draw.choice(
            (
                whole, whole[:-2], whole[: len(whole) // 2], b"zz\r\n" + GOOD, b"-5\r\n" + GOOD,
                b"f" * 20 + b"\r\n" + GOOD,
                b"ffffffffffffffff\r\n" + GOOD, whole.replace(b"\r\n", b"\n"),
                b"0\r\n" + b"A: a\r\n" * 50_000 + b"\r\n",
                b"5;" + b"e" * 200_000 + b"\r\n", b"1\r\n{\r\n" * 40_000 + b"0\r\n\r\n",
                whole[:-2] + b"Trailer: a\r\n\r\n",
            )
        )  # fmt: skip
        coding = draw.choice(("chunked", "Chunked", "gzip, chunked", "identity", "chunked, chunked", "x", ""))
        if draw.random() < 0.6:
            coding = "chunked"
        return Bad("body: chunks", (request(body, headers=(f"Transfer-Encoding: {coding}",)),), may_end=True)

    def _length(self) -> Bad:
        draw = self._draw
        size = len(GOOD)
        said = draw.choice(
            (size - 9, size + 9, -1, "+5", "0x10", "1e3", "", " ", 10**12, 10**19, "9" * 5000, f"{size}, {size}",
             f"{size},{size + 1}", "\xb2", "5 5", f"{size}\r\nContent-Length: {size + 1}",
             f"{size}\r\nContent-Length: {size}", f"{size}\r\nTransfer-Encoding: chunked",
             "0\r\nTransfer-Encoding: chunked")
        )  # fmt: skip
        return Bad("body: wrong length", (request(GOOD, length=str(said)),), may_end=True)

    def _huge(self) -> Bad:
        """More than the limit, said before or not."""
        piece = b"a" * (1 << 20)
        if self._draw.random() < 0.5:
            return Bad("body: huge", (request(length=str(40 << 20)), *[piece] * 4), may_end=True)
        head = request(headers=("Transfer-Encoding: chunked",))
        return Bad("body: huge", (head, *[b"100000\r\n" + piece + b"\r\n"] * 20, b"0\r\n\r\n"), may_end=True)

    # Heads -----------------------------------------------------------------------------------------------------------

    def _path(self) -> Bad:
        draw = self._draw
        path = draw.choice(PATHS)
        place = draw.randrange(1, len(path) + 1)
        changes = ("", "/", "//", "..", "%2e%2e/", "%00", "%", "%zz", "%ff", "%f0%9f%98%80", "?a=b", "#a", ":", "é",
                   "a" * 9000, "{name}", "\\", ";a=b", "%0d%0aX: y", "9" * 5000)  # fmt: skip
        path = path[:place] + draw.choice(changes) + path[place if draw.random() < 0.7 else -1 :]
        if draw.random() < 0.1:
            path = draw.choice(("*", "http://a/livez", "a:1", "/v1/models/model/versions/" + "9" * 5000 + ":predict"))
        methods = (
            "GET",
            "POST",
            "PUT",
            "DELETE",
            "HEAD",
            "OPTIONS",
            "PATCH",
            "TRACE",
            "CONNECT",
            "PRI",
            "post",
            "X" * 300,
            "G T",
        )
        return Bad("head: method or path", (request(GOOD, path, draw.choice(methods)),), may_end=True)

    def _static(self) -> Bad:
        draw = self._draw
        steps = (
            "..",
            "%2e%2e",
            "..%2f",
            "%2e%2e%2f",
            "..%5c",
            "..\\",
            "%252e%252e",
            "....//",
            ".",
            "%00",
            "",
            "\xc0\xae.",
        )
        target = draw.choice(
            ("etc/passwd", "app.py", "../app.py", "index.html", "index.html%00.png", "a" * 5000, "proc/self/environ")
        )
        path = "/static/" + "/".join(draw.choices(steps, k=draw.randint(1, 8))) + "/" + target
        return Bad(
            "head: static file", (request(path=path, method=draw.choice(("GET", "HEAD", "POST"))),), may_end=True
        )

    def _head(self) -> Bad:
        """Larger than any head should be: it never ends."""
        start = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
        unit = self._draw.choice((b"a" * 65_536, b"A: a\r\n" * 10_000, b"\r\n " * 20_000, b"A" * 65_536))
        begin = self._draw.choice((start, start + b"A: ", b"GET /"))
        return Bad("head: bomb", (begin, *[unit] * 40), may_end=True)

    def _header(self) -> Bad:
        draw = self._draw
        header = draw.choice(
            (
                "Authorization: Bearer \xff\xfe", "Authorization:", "Authorization: Basic a",
                "Authorization: Bearer " + "k" * 9000,
                "Expect: 100-continue", "Expect: a", "Upgrade: websocket\r\nConnection: Upgrade", "Upgrade: h2c",
                "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ", "Host: b",
                "Host:",
                "X: " + "a" * 60_000, "A: a\r\n" * 2000 + "B: b", "X\0: a", "X: a\0b", ": a", "X : a",
                " folded", "X", "X:\ra",
                "X: \x7f", "Range: bytes=0-5,5-0", "Accept-Encoding: " + "gzip," * 5000, "If-Modified-Since: a", "X: é",
                "Cookie: " + "a=b;" * 9000, "Forwarded: for=127.0.0.1", "X-Forwarded-For: " + "1," * 9000,
            )
        )  # fmt: skip
        path, method = draw.choice(((PREDICT, "POST"), ("/static/index.html", "GET"), ("/livez", "GET")))
        return Bad("head: header", (request(GOOD, path, method, headers=(header,)),), may_end=True)

    # Connections -----------------------------------------------------------------------------------------------------

    def _pipelined(self) -> Bad:
        draw = self._draw
        going = [request(GOOD).replace(b"Connection: close\r\n", b""), TAIL.replace(b"Connection: close\r\n", b""),
                 request(b"{").replace(b"Connection: close\r\n", b""), b"\r\n"]  # fmt: skip
        several = b"".join(draw.choices(going, k=draw.choice((2, 5, 40))))
        return Bad("connection: pipelined", (several + draw.choice((TAIL, b"", b"GARBAGE\r\n\r\n")),), may_end=True)

    def _noise(self) -> Bad:
        draw = self._draw
        noise = draw.choice(
            (b"", b"\r\n", b"\r\n" * 5000, b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + draw.randbytes(500),
             draw.randbytes(3000),
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /livez\r\n", b"GET /livez HTTP/1.0\r\n\r\n",
             b"GET /livez HTTP/9.9\r\n\r\n",
             b"GET /livez HTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.1\n\n", b"SSH-2.0-a\r\n",
             request(GOOD)[:40], request(GOOD)[:-9])
        )  # fmt: skip
        return Bad("connection: no HTTP", (noise,), may_end=True)

    def _slow(self) -> Bad:
        """Comes in five pieces, a good while apart; whole in the end, or never."""
        whole = request(GOOD)[: self._draw.choice((None, -5))]
        size = len(whole) // 5 + 1
        pieces = tuple(whole[start : start + size] for start in range(0, len(whole), size))
        return Bad("connection: slow", pieces, pause=0.3)
