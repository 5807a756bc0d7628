"""What goes wrong in production, done for real: killed and stopped workers, signals, new versions, slow clients."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import commands
from headstart.runtime import tensorflow
from serving import PREDICT, Server, head, photo, serving

CLIENTS = 6


class Load:
    """Clients that ask without a pause, each on a connection of its own, and check every answer."""

    def __init__(self, server: Server, body: dict[str, Any], right: str) -> None:
        self.answered: list[int] = []
        self.versions: set[str] = set()
        self.wrong: list[str] = []
        self.lost: list[str] = []
        self._server, self._body, self._right, self._on = server, body, right, True
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=180) as client:
            while self._on:
                try:
                    response = client.post(PREDICT, json=self._body)
                except httpx.ConnectError:  # nobody listens any more: it was not taken
                    return
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))
                    return
                self.answered.append(response.status_code)
                self.versions.add(response.headers.get("X-Model-Version", ""))
                if response.status_code != 200:
                    time.sleep(0.1)
                if response.status_code == 200 and response.json()["predictions"][0]["category"] != self._right:
                    self.wrong.append(response.text)

    def end(self) -> None:
        """No more requests; wait for the answers."""
        self._on = False
        for each in self._threads:
            each.join()


@contextmanager
def loading(server: Server, shop: Path) -> Iterator[Load]:
    """A model of texts alone passes over the photo."""
    load = Load(
        server, {"instances": [{"text": "drap coton", "image_bytes": photo(shop / "photos" / "1.jpg")}]}, "Linge"
    )
    for each in load._threads:
        each.start()
    try:
        server.until(lambda: len(load.answered) > 2 * CLIENTS)
        yield load
    finally:
        load.end()


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Server]:
    """Of the tests that do without one of their own. A worker may take long to start beside other tests."""
    with serving(shop / "model", "--max-wait", "5", "--timeout", "120") as found:
        yield found


def test_clients_that_say_nothing_or_dribble_hold_up_nobody(server: Server) -> None:
    """Two hundred of them, and twenty that read no answer; and each is told, or hung up on, in the end."""
    whole = head(100)
    beginnings = (b"", whole[:20], whole[:-2], whole + b"{")
    files = Path(f"/proc/{server.process.pid}/fd")
    before = len(list(files.iterdir()))
    deaf = [server.connect() for _ in range(20)]
    for each in deaf:
        each.settimeout(1)
        with suppress(TimeoutError):  # it is not read any more either
            each.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 50_000)
    slow = [server.connect() for _ in range(200)]
    for number, each in enumerate(slow):
        each.sendall(beginnings[number % 4])
    server.until(lambda: server.metric("headstart_queue_listings") == 0)  # they have had their time
    started = time.monotonic()
    while time.monotonic() < started + 5:
        assert server.predict({"text": "puzzle"}).status_code == 200
    answers = [each.recv(1000).partition(b"\r\n")[0] for each in slow]
    assert set(answers) - {b"HTTP/1.1 429 Too Many Requests"} == {b"", b"HTTP/1.1 408 Request Timeout"}
    assert answers.count(b"") == 150
    server.until(lambda: len(list(files.iterdir())) <= before, 90)


def refused_by_its_head(server: Server) -> bool:
    """Whether a request is told 429 of which only the head was sent."""
    with server.connect() as connection:
        connection.sendall(head(1_000_000))
        connection.settimeout(0.1)
        with suppress(TimeoutError):  # it is admitted, its body is waited for
            return connection.recv(1000).startswith(b"HTTP/1.1 429 ")
    return False


def test_more_than_it_can_do_is_refused_before_its_body_is_sent(server: Server, shop: Path) -> None:
    """Five seconds' work is let in; what is let in is answered."""
    picture = photo(shop / "photos" / "1.jpg")
    body = {"instances": [{"image_bytes": picture, "text": f"drap {number}"} for number in range(64)]}
    found: list[httpx.Response] = []

    def ask() -> None:
        found.extend(server.http.post(PREDICT, json=body) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(24)]
    with server.stopped():
        for each in threads:
            each.start()
        server.until(lambda: refused_by_its_head(server))
    for each in threads:
        each.join()
    refused = [each for each in found if each.status_code == 429]
    assert {each.status_code for each in found} == {200, 429}
    assert len(found) == 120
    assert all(int(each.headers["Retry-After"]) >= 1 for each in refused)
    assert server.predict({"text": "puzzle"}).status_code == 200
    server.until(lambda: server.metric("headstart_queue_listings") == 0)


def test_a_worker_that_hangs_is_killed_and_a_slow_body_is_waited_for_at_the_end(texts: Path) -> None:
    with serving(texts / "model", "--timeout", "4", "--drain-seconds", "0") as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        late = server.predict({"text": "puzzle"})
        assert (late.status_code, late.json()) == (504, {"error": "no answer within 4 s: try again"})
        server.until(lambda: not server.ready())
        assert "it is killed" in server.said
        server.until(server.ready)
        with server.connect() as connection:
            body = b'{"instances": [{"text": "puzzle"}]}'
            connection.sendall(head(len(body)))
            server.until(lambda: server.metric("headstart_queue_listings") == 1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(5)  # more than an answer may take: a body may take longer, also at the end
            connection.sendall(body)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(60) == 0


def test_a_killed_worker_is_replaced_and_its_requests_are_answered(server: Server, shop: Path) -> None:
    with loading(server, shop) as load:
        (worker,), restarts = server.workers(), server.metric("headstart_worker_restarts_total")
        os.kill(worker, signal.SIGKILL)
        server.until(lambda: not server.ready())
        refused = server.predict({"text": "puzzle"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        server.until(server.ready)
        answered = len(load.answered)
        server.until(lambda: len(load.answered) > answered + CLIENTS)
        load.end()
        assert set(load.answered) <= {200, 503}
        assert (load.lost, load.wrong) == ([], [])
        assert server.metric("headstart_worker_restarts_total") == restarts + 1
        assert server.workers() != [worker]


def test_a_worker_that_cannot_be_started_is_tried_again_and_an_end_waits_for_none(texts: Path) -> None:
    """No file more may be open: there is no pipe for a worker."""
    with serving(texts / "model", "--timeout", "100", "--drain-seconds", "0") as server:
        (worker,) = server.workers()
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        os.kill(worker, signal.SIGKILL)
        server.until(lambda: "starts in 2 s" in server.said)
        assert "Traceback" not in server.said
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
        server.until(server.ready)
        os.kill(server.workers()[0], signal.SIGKILL)
        assert server.predict({"text": "puzzle"}).status_code in (200, 503)
        server.until(lambda: server.said.count("a worker died") > 2)
        assert server.end() == 0


def test_a_polite_end_loses_no_request(server: Server, shop: Path) -> None:
    """The last that is asked of the server that these tests share."""
    with loading(server, shop) as load:
        before = len(load.answered)
        assert server.end() == 0
        load.end()
        assert len(load.answered) > before
        assert set(load.answered) == {200}
        assert (load.lost, load.wrong) == ([], [])
        assert "ending" in server.said


def test_with_two_workers_the_death_of_one_is_not_seen(shop: Path, texts: Path) -> None:
    with serving(texts / "model", "--workers", "2", "--max-wait", "60", "--drain-seconds", "0") as server:
        server.until(lambda: server.metric("headstart_workers_ready") == 2)
        with loading(server, shop) as load:
            os.kill(server.workers()[0], signal.SIGKILL)
            server.until(lambda: server.metric("headstart_worker_restarts_total") == 1)
            assert server.ready()
            server.until(lambda: server.metric("headstart_workers_ready") == 2)
        assert set(load.answered) == {200}
        assert (load.lost, load.wrong) == ([], [])


def test_new_versions_are_served_without_a_gap(shop: Path, texts: Path, tmp_path: Path) -> None:
    shutil.copytree(texts / "model", tmp_path / "models" / "1")
    options = ("--watch", "--max-wait", "60", "--drain-seconds", "0")
    with serving(tmp_path / "models", *options) as server, loading(server, shop) as load:
        (tmp_path / "models" / "2").mkdir()  # half a one: not looked at before its card is there
        shutil.copytree(texts / "other", tmp_path / "models" / "2", dirs_exist_ok=True)
        server.until(lambda: "2" in load.versions)
        server.until(lambda: len(server.workers()) == 1)
        load.end()
        assert (set(load.answered), load.versions) == ({200}, {"1", "2"})
        assert (load.lost, load.wrong) == ([], [])
        assert server.predict({"text": "puzzle"}, path="/v1/models/model/versions/1:predict").status_code == 404


def test_a_listing_that_ends_its_worker_takes_no_other_with_it(shop: Path, tmp_path: Path) -> None:
    """A graph that aborts its process when it reads a certain word, as a decoder's fault would."""
    tf = tensorflow()

    def end() -> Any:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="", exit_without_error=False)]):
            return tf.constant(0.0)

    def call(texts: Any) -> Any:
        bad = tf.reduce_any(tf.strings.regex_full_match(texts, ".*poison.*"))
        one = tf.cond(bad, end, lambda: tf.constant(1.0))
        return tf.cast(tf.strings.to_hash_bucket_fast(texts, 50)[:, None], tf.float32) * one * tf.ones((1, 4))

    module = tf.train.Checkpoint()
    module.__call__ = tf.function(call, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "fragile"))
    shutil.copy(shop / "listings.csv", tmp_path)
    done = commands.headstart_here(
        "train", "listings.csv", "--id", "sku", "--text", "titre", "--label", "rayon",
        "--encoder", "hub:fragile", "--save", "model", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "model", "--timeout", "120", "--drain-seconds", "0") as server:  # two workers start anew
        found: dict[str, httpx.Response] = {}

        def ask(text: str) -> None:
            found[text] = server.predict({"text": text})

        threads = [
            threading.Thread(target=ask, args=(text,)) for text in ("puzzle", "montre", "poison", "drap", "tasse")
        ]
        with server.stopped():
            for each in threads:
                each.start()
            server.until(lambda: server.metric("headstart_queue_listings") == len(threads))
        for each in threads:
            each.join()
        assert found.pop("poison").json() == {"error": "instances[0]: this listing ended the worker that read it"}
        assert {each.status_code for each in found.values()} == {200}
        assert server.metric("headstart_worker_restarts_total") == 2
