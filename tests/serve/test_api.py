"""The API as a client sees it: the same answers as `predict`, TensorFlow Serving's contract, and what is refused."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import commands
from serving import PREDICT, READING, Server, photo, serving

KEYS = ("text-of-a-first-key-1", "text-of-another-key-2")
SERVING = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Server]:
    with serving(shop / "model", "--max-body-mb", "1", "--drain-seconds", "0") as found:
        yield found


@pytest.fixture(scope="module")
def rows(shop: Path) -> list[dict[str, str]]:
    """The catalogue's listings, with `predict`'s columns beside their own."""
    done = commands.headstart_here("predict", "model", "listings.csv", *READING, "--out", "said.csv", cwd=shop)
    assert done.returncode == 0, done.stderr
    with (shop / "listings.csv").open() as own, (shop / "said.csv").open() as said:
        return [{**one, **other} for one, other in zip(csv.DictReader(own), csv.DictReader(said), strict=True)]


def whole(shop: Path, row: dict[str, str]) -> dict[str, Any]:
    return {"text": row["titre"], "image_bytes": photo(shop / "photos" / row["photo"])}


def test_a_listing_gets_the_answer_that_predict_gives(server: Server, shop: Path, rows: list[dict[str, str]]) -> None:
    said = [each for start in range(0, 240, 60) for each in answers(server, shop, rows[start : start + 60])]
    for row, answer in zip(rows, said, strict=True):
        assert answer["category"] == row["category"]
        assert abs(answer["probability"] - float(row["probability"])) < 1e-3
        assert [answer["decision"], answer["suggested"], answer["read"]] == [
            row["decision"], row["suggested"], row["read"],
        ]  # fmt: skip
        assert answer["top"] == [row["category"], row["second_category"], row["third_category"]]
        assert answer["top_probability"] == sorted(answer["top_probability"], reverse=True)
        assert (answer["candidates"] in (1, 2, 3)) or answer["decision"] != "suggest"


def answers(server: Server, shop: Path, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    response = server.predict(*(whole(shop, row) for row in rows))
    assert response.status_code == 200, response.text
    assert response.headers["X-Model-Version"] == "1"
    return list(response.json()["predictions"])


@pytest.mark.parametrize("empty", [{}, {"image_bytes": ""}, {"image_bytes": {"b64": ""}}, {"image_bytes": None}])
def test_a_listing_may_lack_a_photo_however_that_is_said(server: Server, empty: dict[str, Any]) -> None:
    (answer,) = server.predict({"text": "montre bracelet acier", **empty}).json()["predictions"]
    assert (answer["category"], answer["read"]) == ("Montres", "text")


@pytest.mark.parametrize("empty", [{}, {"text": ""}, {"text": " \n\u00a0"}, {"text": None}])
def test_a_listing_may_lack_a_text_however_that_is_said(
    server: Server, shop: Path, rows: list[dict[str, str]], empty: dict[str, Any]
) -> None:
    (answer,) = server.predict({"image_bytes": photo(shop / "photos" / "1.jpg"), **empty}).json()["predictions"]
    assert (answer["category"], answer["read"]) == (rows[1]["rayon"], "image")


def test_of_nothing_a_person_decides(server: Server) -> None:
    (answer,) = server.predict({}).json()["predictions"]
    assert (answer["read"], answer["decision"]) == ("nothing", "person")


def test_accents_typed_in_two_ways_are_one_text(server: Server) -> None:
    one, other = server.predict({"text": "bébé étanche"}, {"text": "be\u0301be\u0301 e\u0301tanche"}).json()[
        "predictions"
    ]
    assert one == other


def test_a_photo_that_cannot_be_read_fails_alone(server: Server, shop: Path, rows: list[dict[str, str]]) -> None:
    whole_file = (shop / "photos" / "0.jpg").read_bytes()
    cut = {"b64": base64.b64encode(whole_file[: len(whole_file) // 2]).decode()}
    response = server.predict(whole(shop, rows[1]), {"text": "puzzle", "image_bytes": cut}, {"text": "puzzle"})
    first, second, third = response.json()["predictions"]
    assert (response.status_code, second) == (200, {"error": "photo is truncated"})
    assert (first["category"], third["category"]) == (rows[1]["rayon"], "Jouets")
    alone = server.predict({"text": "puzzle", "image_bytes": cut})
    assert (alone.status_code, alone.json()) == (400, {"error": "instances[0]: photo is truncated"})


def test_a_photo_that_takes_seconds_to_decode_is_refused(server: Server) -> None:
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "JPEG2000")
    refused = server.predict({"image_bytes": {"b64": base64.b64encode(file.getvalue()).decode()}})
    told = "instances[0]: JPEG 2000 photo of 16.0 million pixels, the limit is 12"
    assert (refused.status_code, refused.json()["error"]) == (400, told)


def test_a_bomb_is_refused_before_it_is_unpacked(server: Server) -> None:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG", compress_level=9)
    assert len(file.getvalue()) < 200_000
    refused = server.predict({"image_bytes": {"b64": base64.b64encode(file.getvalue()).decode()}})
    assert refused.status_code == 400
    assert "million pixels, the limit is 50" in refused.json()["error"]


UNREADABLE: dict[str, dict[str, Any]] = {
    "text of 20,001 characters, the limit is 20,000": {"text": "a" * 20_001},
    "photo is no Base64 (Only base64 data is allowed)": {"image_bytes": {"b64": "a*"}},
    "photo is no Base64 (Incorrect padding)": {"text": "puzzle", "image_bytes": {"b64": "aGk"}},
    "photo is no Base64 (string argument should contain only ASCII characters)": {"image_bytes": {"b64": "é"}},
    "photo is no Base64 (leave out 'data:image/jpeg;base64,')": {"image_bytes": {"b64": "data:image/jpeg;base64,aGk="}},
}


def test_a_listing_that_is_no_base64_or_too_long_fails_alone(server: Server) -> None:
    counted = [f'headstart_listings_refused_total{{kind="{kind}"}}' for kind in ("base64", "text too long")]
    before = [server.metric(name) for name in counted]
    response = server.predict({"text": "montre"}, *UNREADABLE.values(), {"text": "a" * 20_000}, {"text": "puzzle"})
    first, *others, _, last = response.json()["predictions"]
    assert (response.status_code, first["category"], last["category"]) == (200, "Montres", "Jouets")
    assert others == [{"error": told} for told in UNREADABLE]
    for place, name in enumerate(counted):
        assert server.metric(name) == before[place] + (4, 1)[place]


@pytest.mark.parametrize("told", UNREADABLE)
def test_where_no_listing_can_be_read_the_request_is_refused(server: Server, told: str) -> None:
    refused = server.predict(UNREADABLE[told], UNREADABLE[told])
    assert (refused.status_code, refused.json()) == (400, {"error": f"instances[0]: {told}"})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body: no JSON (EOF while parsing a value at line 1 column 0)"),
        (b"[" * 100_000, "the body: no JSON (recursion limit exceeded at line 1 column 202)"),
        (b'{"instances": [{}, {"text": 5}]}', "instances[1].text: give a string"),
    ],
)
def test_what_is_malformed_is_refused_as_a_whole(server: Server, body: bytes, told: str) -> None:
    refused = server.http.post(PREDICT, content=body)
    assert (refused.status_code, refused.json()) == (400, {"error": told})


def test_base64_in_lines_is_read(server: Server, shop: Path) -> None:
    text = base64.encodebytes((shop / "photos" / "1.jpg").read_bytes()).decode()
    assert server.predict({"image_bytes": {"b64": text}}).status_code == 200


def test_texts_of_nothing_but_quotes_and_brackets_are_read(server: Server) -> None:
    texts = ['"' * 10_000, "\\" * 10_001, '\\"' * 10_000, "[{," * 6_000]
    assert server.predict(*({"text": text} for text in texts)).status_code == 200


def test_an_offer_of_http_2_is_passed_over(server: Server) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQ"}
    assert [server.predict({"text": "puzzle"}, headers=headers).status_code for _ in range(2)] == [200, 200]


def test_a_head_that_does_not_end_is_refused(server: Server) -> None:
    for start in (
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: \r\n" + b"A: a\r\n" * 9000,
    ):
        with server.connect() as connection:
            connection.sendall(start + b"a" * 70_000)
            head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert list(json.loads(body)) == ["error"]


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(server: Server) -> None:
    large = b'{"instances": [{"text": "' + b"a" * (1 << 20) + b'"}]}'
    for content in (large, iter([large])):  # the second comes in chunks, without its length
        refused = server.http.post(PREDICT, content=content)
        assert (refused.status_code, refused.json()["error"][:9]) == (413, "a body of")
    assert server.predict({"text": "puzzle"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/models/other:predict", "no model is called 'other', there is 'model'"),
        ("/v1/models/model/versions/2:predict", "version 2 is not served, 1 is"),
        ("/v2/models/model/infer", "there is nothing here: see /openapi.json"),
        ("/v1/models/model:predict/", "there is nothing here: see /openapi.json"),
    ],
)
def test_other_models_versions_and_methods_are_not_found(server: Server, path: str, told: str) -> None:
    refused = server.predict({"text": "puzzle"}, path=path)
    assert (refused.status_code, refused.json()) == (404, {"error": told})


def test_the_version_served_may_be_named(server: Server) -> None:
    assert server.predict({"text": "puzzle"}, path="/v1/models/model/versions/1:predict").status_code == 200
    for refused in (
        server.predict({"text": "puzzle"}, path="/v1/models/model/versions/x:predict"),
        server.http.get("/v1/models/model/versions/x"),
    ):
        assert (refused.status_code, refused.json()) == (400, {"error": "version: give a whole number, such as 1"})


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/model/versions/1:predict"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_by_another_method_nothing_is_classified(server: Server, method: str, path: str) -> None:
    refused = server.http.request(method, path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert refused.json() == {"error": "another method is wanted here: POST"}


@pytest.mark.parametrize("path", ["/v1/models/model:classify", "/v1/models/model/versions/1:classify"])
def test_tensorflow_servings_other_verbs_are_not_served(server: Server, path: str) -> None:
    refused = server.http.post(path, json={"examples": [{"text": "puzzle"}]})
    assert (refused.status_code, refused.json()) == (404, {"error": "only ':predict' is served, not ':classify'"})


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, gzip"])
def test_a_packed_body_is_refused_as_such(server: Server, coding: str) -> None:
    body = gzip.compress(b'{"instances": [{"text": "puzzle"}]}')
    refused = server.http.post(PREDICT, content=body, headers={"Content-Encoding": coding})
    told = f"send the body as it is, without Content-Encoding {coding}"
    assert (refused.status_code, refused.json()) == (415, {"error": told})
    assert server.predict({"text": "puzzle"}, headers={"Content-Encoding": "identity"}).status_code == 200


def test_the_status_is_as_tensorflow_serving_tells_it(server: Server) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    assert server.http.get("/v1/models/model").json() == {
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]
    }
    assert server.http.get("/v1/models/model/versions/1").json() == server.http.get("/v1/models/model").json()
    absent = server.http.get("/v1/models/model/versions/2")
    assert (absent.status_code, absent.json()) == (404, {"error": "version 2 is not here: see /v1/models/model"})
    assert server.http.get("/v1/models/other/versions/1").status_code == 404


def test_what_is_counted(server: Server) -> None:
    before = {name: server.metric(name) for name in ("headstart_listings_total", "headstart_requests_total")}
    server.predict({"text": "puzzle"}, {"text": "montre"})
    server.predict({"text": 5})  # type: ignore[dict-item]
    assert server.metric("headstart_listings_total") == before["headstart_listings_total"] + 2
    assert server.metric("headstart_requests_total") == before["headstart_requests_total"] + 2
    assert server.metric("headstart_queue_listings") == 0
    assert server.metric("headstart_workers_ready") == 1
    assert server.metric("headstart_workers_resident_bytes") > 100e6


def test_the_description_of_the_api_says_what_it_takes(server: Server) -> None:
    told = server.http.get("/openapi.json").json()
    operation = told["paths"]["/v1/models/{name}:predict"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/PredictRequest"}
    for example in told["components"]["schemas"]["PredictRequest"]["examples"]:
        assert server.http.post(PREDICT, json=example).status_code == 200
    responses = operation["responses"]
    assert set(responses) == {"200", "400", "401", "404", "408", "413", "415", "429", "503", "504"}
    assert {code: list(each["headers"]) for code, each in responses.items() if "headers" in each} == {
        "200": ["X-Model-Version"], "429": ["Retry-After"], "503": ["Retry-After"],
    }  # fmt: skip


def test_the_python_that_the_docs_show_asks(server: Server, shop: Path, tmp_path: Path) -> None:
    shutil.copy(shop / "photos" / "1.jpg", tmp_path / "photo.jpg")
    (script,) = re.findall(r"```python\n(.*?)```", SERVING, re.DOTALL)
    assert "http://127.0.0.1:8501" in script
    script = script.replace("http://127.0.0.1:8501", server.url)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["text+image", "text"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_commands_that_the_docs_show_ask(server: Server, shop: Path, tmp_path: Path) -> None:
    shutil.copy(shop / "photos" / "1.jpg", tmp_path / "photo.jpg")
    asking = SERVING[SERVING.index("## Asking") : SERVING.index("## What holds")]
    commands = [each for each in re.findall(r"```sh\n(.*?)```", asking, re.DOTALL) if "curl" in each]
    assert len(commands) == 3
    for each in commands:
        command = each.replace("http://127.0.0.1:8501", server.url)
        done = subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "KEY": KEYS[0]}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "category" in done.stdout


def test_without_a_key_nobody_is_answered(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEYS[0]}\n\n{KEYS[1]}\n")
    with serving(shop / "model", "--keys", str(tmp_path / "keys"), "--drain-seconds", "0", wait=False) as server:
        assert server.http.get("/livez").status_code == 200
        refused = server.http.get("/readyz")
        assert (refused.status_code, refused.json()) == (503, {"error": "no worker is ready"})
        early = server.predict({"text": "puzzle"}, headers={"Authorization": f"Bearer {KEYS[0]}"})
        assert (early.status_code, early.headers["Retry-After"]) == (503, "5")
        for given in ("", "Bearer", f"Bearer {KEYS[0]}x", f"Basic {KEYS[0]}", KEYS[0], "Bearer \u00e9".encode()):
            headers: Any = {"Authorization": given}
            refused = server.predict({"text": "puzzle"}, headers=headers)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert server.http.get("/v1/models/model", headers=headers).status_code == 401
            for path in (f"{PREDICT}%0A", "/v1/models/model/versions/1:predict%0A", f"{PREDICT}%00"):
                assert server.predict({"text": "puzzle"}, path=path, headers=headers).status_code in (401, 404, 405)
        server.until(server.ready)
        for key in KEYS:
            assert server.predict({"text": "puzzle"}, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert KEYS[0] not in server.said


@pytest.mark.parametrize("words", [("nowhere",), ("photos",)])
def test_what_is_no_model_is_refused_in_one_line(shop: Path, words: tuple[str, ...]) -> None:
    commands.refused(commands.headstart("serve", *words, cwd=shop), words[0], "headstart train --save")


def test_an_address_that_is_taken_is_refused_in_one_line(shop: Path, server: Server) -> None:
    port = str(server.address[1])
    commands.refused(commands.headstart("serve", "model", "--port", port, cwd=shop), port, "choose another")


def test_an_environment_without_a_key_opens_nothing(shop: Path) -> None:
    done = commands.headstart("serve", "model", cwd=shop, HEADSTART_API_KEYS=" , ")
    commands.refused(done, "HEADSTART_API_KEYS holds no key")


@pytest.mark.parametrize("keys", ["short\n", "", "with a blank in it here\n"])
def test_keys_that_are_none_are_refused_and_not_shown(shop: Path, tmp_path: Path, keys: str) -> None:
    (tmp_path / "keys").write_text(keys)
    done = commands.headstart("serve", "model", "--keys", str(tmp_path / "keys"), cwd=shop)
    commands.refused(done, "key")
    assert not keys or keys.strip() not in done.stderr


def test_a_model_whose_encoder_has_changed_is_refused_in_one_line(shop: Path, tmp_path: Path) -> None:
    from headstart.sealed import sealed

    shutil.copytree(shop / "model", tmp_path / "model")
    card = json.loads((tmp_path / "model" / "classifier.json").read_text())
    card["fingerprints"]["lexical-hash"] = "0" * 64
    card.pop("seal")
    (tmp_path / "model" / "classifier.json").write_text(sealed(card))
    commands.refused(
        commands.headstart("serve", "model", "--port", "0", cwd=tmp_path), "lexical-hash", "train it again"
    )
