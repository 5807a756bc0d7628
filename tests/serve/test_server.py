"""The server's process: signals, its log, its keys, and connections that are one too many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import commands
from serving import PREDICT, head, serving, until


def test_who_has_connected_before_the_end_is_answered(texts: Path) -> None:
    """Though the request comes when nobody is let in any more."""
    with serving(texts / "model", "--drain-seconds", "0") as server:

        def closed() -> bool:
            try:
                server.connect().close()
            except ConnectionRefusedError:
                return True
            return False

        with server.connect() as connection:
            server.until(lambda: server.http.get("/livez"))  # by then the connection before is accepted, too
            server.process.send_signal(signal.SIGTERM)
            server.until(closed)
            body = b'{"instances": [{"text": "puzzle"}]}'
            connection.sendall(head(len(body)) + body)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert (answer[:15], b"\r\nconnection: close\r\n" in answer.lower()) == (b"HTTP/1.1 200 OK", True)
        assert server.process.wait(60) == 0


def test_who_connects_until_the_end_is_answered_or_finds_nobody(texts: Path) -> None:
    """Never is a connection taken and then reset, however many come in the moment in which it closes."""
    answers: list[bytes] = []

    def ask() -> None:
        with suppress(ConnectionRefusedError):
            while True:
                with server.connect() as connection:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    answers.append(connection.recv(1000)[:15])

    with serving(texts / "model", "--drain-seconds", "0.5", wait=False) as server, ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(ask) for _ in range(12)]
        server.until(lambda: len(answers) > 100)
        assert server.end() == 0
        for each in asking:
            each.result()  # a connection that was reset is an error
    assert set(answers) == {b"HTTP/1.1 200 OK"}


def test_a_second_ctrl_c_ends_it_at_once(texts: Path) -> None:
    with serving(texts / "model", "--drain-seconds", "0") as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)  # what is asked now is not answered

        def ask() -> None:
            with pytest.raises(httpx.HTTPError):
                server.predict({"text": "puzzle"})

        asked = threading.Thread(target=ask)
        asked.start()
        server.until(lambda: server.metric("headstart_queue_listings") == 1)
        server.process.send_signal(signal.SIGINT)
        server.until(lambda: "ending: " in server.said)
        assert server.end(signal.SIGINT) == 130
        asked.join()
        assert server.said.splitlines()[-1] == "ended at once: what was not answered is lost"
        assert "Traceback" not in server.said
        until(lambda: not Path(f"/proc/{worker}/exe").exists())


def test_a_second_sigterm_ends_it_while_it_loads(texts: Path) -> None:
    with serving(texts / "model", "--drain-seconds", "60", wait=False) as server:
        server.until(server.workers)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: "ending: " in server.said)
        assert server.end() == 143
        assert "Traceback" not in server.said


def test_a_system_that_it_does_not_run_on_is_told(texts: Path) -> None:
    """Windows has no module `resource`."""
    code = "import sys; sys.modules['resource'] = None; from headstart.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "serve", "model"], cwd=texts, capture_output=True, text=True)
    commands.refused(done, "'headstart serve' runs on Linux and macOS")


def test_each_request_has_its_line_on_stderr_and_nothing_else_has(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-key-of-a-first-client\n")
    with serving(texts / "model", "--keys", str(tmp_path / "keys"), "--access-log", wait=False) as server:
        server.http.get("/livez")
        server.predict({"text": "puzzle"})
        with server.connect() as connection:
            connection.sendall(b"no HTTP\r\n\r\n")
            connection.recv(1000)
        server.until(lambda: "no HTTP request 400" in server.said)
        listening, *lines = (line for line in server.said.splitlines() if not line.startswith("serving version"))
        assert "listening" in listening
        assert [line.partition(" - ")[2].replace("%3A", ":") for line in lines] == [
            '"GET /livez HTTP/1.1" 200',
            f'"POST {PREDICT} HTTP/1.1" 401',
            "no HTTP request 400",
        ]


def test_keys_are_changed_without_a_restart(texts: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"

    def admitted(key: str) -> bool:
        return server.http.get("/v1/models/model", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    keys.write_text("a-key-of-a-first-client\n")
    with serving(texts / "model", "--keys", str(keys), wait=False) as server:
        assert (admitted("a-key-of-a-first-client"), admitted("a-key-of-a-second-client")) == (True, False)
        keys.write_text("a-key-of-a-second-client\n")
        server.until(lambda: admitted("a-key-of-a-second-client"))
        assert not admitted("a-key-of-a-first-client")
        keys.write_text("")
        server.until(lambda: "holds no key" in server.said)
        time.sleep(5)  # two looks more
        assert server.said.count("holds no key") == 1
        assert (admitted("a-key-of-a-second-client"), admitted("a-key-of-nobody")) == (True, False)
        keys.unlink()
        server.until(lambda: "cannot be read" in server.said)
        assert admitted("a-key-of-a-second-client")
        assert "a-key-of" not in server.said


def test_probes_are_answered_where_there_are_too_many_connections(texts: Path) -> None:
    """A process that may have eighty files open takes forty connections."""
    few = ("sh", "-c", 'ulimit -n 80; exec "$0" "$@"')
    with serving(texts / "model", "--host", "0.0.0.0", wait=False, under=few) as server:
        assert f"open to all who reach 0.0.0.0:{server.address[1]}: give --keys" in server.said
        busy = "busy: too many connections are open, try again later"
        with httpx.Client(base_url=server.url, limits=httpx.Limits(keepalive_expiry=None)) as early:
            assert early.get("/").status_code == 200
            idle = [server.connect() for _ in range(40)]
            for path, status in (("/livez", 200), ("/readyz", 503), ("/metrics", 200), ("/", 503)):
                answer = httpx.get(server.url + path)
                assert (answer.status_code, busy in answer.text) == (status, path == "/")
            refused = httpx.post(server.url + PREDICT, content=b" " * 1_000_000)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json() == {"error": busy}
            assert early.get("/").status_code == 200
        for each in idle:
            each.close()
        server.until(lambda: httpx.get(server.url).status_code == 200)
