"""Versions of a model that come, go and are damaged while a server runs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import commands
from serving import Server, serving


def arrive(texts: Path, models: Path, number: int, **damaged: str) -> None:
    """A version appears, whole or with a damaged `card` or `network`."""
    aside = Path(shutil.copytree(texts / "model", models / f".{number}"))
    files = {"card": "classifier.json", "network": "head-0-*.keras"}
    for name, content in damaged.items():
        next(aside.glob(files[name])).write_text(content)
    aside.rename(models / str(number))


def states(server: Server) -> list[tuple[str, str]]:
    told = server.http.get("/v1/models/model").json()["model_version_status"]
    assert all(bool(each["status"]["error_message"]) is (each["state"] == "END") for each in told)
    return [(each["version"], each["state"]) for each in told]


def test_the_highest_version_that_can_be_served_is(texts: Path, tmp_path: Path) -> None:
    """At the start and later: a damaged one, whether its card tells that or its worker, hides none below it."""
    models = tmp_path / "models"
    arrive(texts, models, 1)
    arrive(texts, models, 2, network="no network")
    arrive(texts, models, 3, card="{}")
    with serving(models, "--watch", "--drain-seconds", "0") as server:
        assert states(server) == [("3", "END"), ("2", "END"), ("1", "AVAILABLE")]
        arrive(texts, models, 6, card='{"format": 2, "\\ud800": 1}')
        server.until(lambda: "version 6 cannot be served" in server.said)
        arrive(texts, models, 4)
        server.until(lambda: "serving version 4" in server.said)
        assert server.predict({"text": "puzzle"}).headers["X-Model-Version"] == "4"
        server.until(lambda: states(server) == [("6", "END"), ("4", "AVAILABLE")])
        models.rename(tmp_path / "gone")
        server.until(lambda: "version 4 is gone" in server.said)
        time.sleep(5)  # two looks more
        assert states(server) == [("4", "AVAILABLE")]
        told = [line.split(" (")[0] for line in server.said.splitlines() if line.startswith("version ")]
        assert told == [
            "version 3 cannot be served",
            "version 2 cannot be served",
            "version 6 cannot be served",
            "version 4 is there: its workers start",
            f"version 4 is gone from {models}: it stays until another one can be served",
        ]


def test_where_no_version_can_be_served_the_reason_of_the_highest_ends_it(texts: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        arrive(texts, tmp_path / "models", number, card="{}")
    done = commands.headstart("serve", "models", "--port", "0", "--watch", cwd=tmp_path)
    commands.refused(done, "error: models/2/classifier.json is damaged", "train the classifier again")
    assert "version 1 cannot be served (models/1/classifier.json is damaged" in done.stderr


def test_a_version_that_was_replaced_does_not_come_back(texts: Path, tmp_path: Path) -> None:
    """Its worker dies when the next version is there already: both start, and the later one stays."""
    shutil.copytree(texts / "model", tmp_path / "models" / "1")
    with serving(tmp_path / "models", "--watch", "--drain-seconds", "0") as server:
        (worker,) = server.workers()
        shutil.copytree(texts / "model", tmp_path / "models" / ".2")
        (tmp_path / "models" / ".2").rename(tmp_path / "models" / "2")
        server.until(lambda: "version 2 is there" in server.said)
        os.kill(worker, signal.SIGKILL)
        server.until(lambda: "serving version 2" in server.said)
        server.until(lambda: len(server.workers()) == 1)
        time.sleep(3)
        assert server.predict({"text": "puzzle"}).headers["X-Model-Version"] == "2"
        (served,) = server.http.get("/v1/models/model").json()["model_version_status"]
        assert (served["version"], served["state"]) == ("2", "AVAILABLE")


def test_a_classifier_that_was_saved_again_is_not_served_under_the_number_of_the_one_before(
    texts: Path, tmp_path: Path
) -> None:
    """Not by a worker that takes the place of one that died, where nobody watches."""
    model = Path(shutil.copytree(texts / "model", tmp_path / "model"))
    with serving(model, "--drain-seconds", "0") as server:
        shutil.copytree(texts / "other", model, dirs_exist_ok=True)
        os.kill(server.workers()[0], signal.SIGKILL)
        server.until(lambda: f"{model} was saved again: start the server with --watch, or anew" in server.said)
        assert not server.ready()
