"""The process that classifies: TensorFlow runs here, and nothing of HTTP.

    python -m headstart.serve.worker '{"model": "model", "seal": "…", "error_rate": 0.02, "coverage": 0.95}'

Batches come on stdin, answers go to stdout, in order. The next batch is checked and decoded in threads while the
network is at work. At the end of stdin it ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from headstart.errors import HeadstartError, ItemError, ModelError, one_line
from headstart.progress import say
from headstart.runtime import cores
from headstart.serve import frames
from headstart.serve.versions import seal_of

if TYPE_CHECKING:
    from headstart.serve.pipeline import Pipeline, Prepared

AHEAD = 2
"""Batches that may be prepared while another is classified."""


def main() -> None:
    """Load, warm up, say so, then answer batches until there are no more."""
    settings = json.loads(sys.argv[1])
    for name in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group: the server says when to end
        signal.signal(name, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not speak in between
    try:
        # Here, so that --help and the server itself need none of it.
        from headstart.serve.pipeline import Pipeline

        folder = Path(settings["model"])
        pipeline = Pipeline.load(folder, settings["error_rate"], settings["coverage"])
        if seal_of(folder) != settings["seal"]:  # since the server looked: two workers would answer differently
            raise ModelError(f"{folder} was saved again: start the server with --watch, or anew")
        seconds = pipeline.warm()
    except HeadstartError as error:
        _send(replies, {"failed": " ".join(str(error).split())})
        return
    _send(replies, {"ready": seconds, **pipeline.about()})
    _serve(pipeline, sys.stdin.buffer, replies)


def _serve(pipeline: Pipeline, requests: BinaryIO, replies: BinaryIO) -> None:
    from headstart.serve.pipeline import Listing

    waiting: queue.Queue[tuple[int, list[Future[Any]]] | None] = queue.Queue(AHEAD)
    with ThreadPoolExecutor(cores()) as threads:

        def receive() -> None:
            while (message := frames.read(requests)) is not None:
                head, photos = message
                listings = [Listing(text, photo) for text, photo in _cut(head["listings"], photos)]
                waiting.put((head["batch"], [threads.submit(pipeline.prepare, each) for each in listings]))
            waiting.put(None)

        threading.Thread(target=receive, daemon=True).start()
        while (batch := waiting.get()) is not None:
            number, preparing = batch
            _send(replies, {"batch": number, "answers": _answers(pipeline, preparing)})


def _cut(listings: list[tuple[str | None, int]], photos: bytes) -> Iterator[tuple[str | None, bytes]]:
    start = 0
    for text, size in listings:
        yield text, photos[start : start + size]
        start += size


def _answers(pipeline: Pipeline, preparing: list[Future[Any]]) -> list[dict[str, Any]]:
    """One for each listing; those that cannot be read take no part in the batch."""
    answers: list[dict[str, Any]] = [{}] * len(preparing)
    ready = {}
    for row, each in enumerate(preparing):
        try:
            ready[row] = each.result()
        except ItemError as error:
            answers[row] = {"error": str(error), "kind": error.kind}
        except Exception as error:  # of an encoder of somebody else's
            answers[row] = _unknown(error)
    try:
        found = pipeline.answer(list(ready.values())) if ready else []
    except Exception:  # one of them is to blame: the others are answered
        found = [_alone(pipeline, each) for each in ready.values()]
    for row, said in zip(ready, found, strict=True):
        answers[row] = said
    return answers


def _alone(pipeline: Pipeline, listing: Prepared) -> dict[str, Any]:
    try:
        return pipeline.answer([listing])[0]
    except Exception as error:
        return _unknown(error)


def _unknown(error: Exception) -> dict[str, Any]:
    say(f"a listing cannot be classified: {type(error).__name__}: {one_line(error)}")
    return {"error": "this listing cannot be classified", "kind": "failed"}


def _send(replies: BinaryIO, head: dict[str, Any]) -> None:
    replies.write(frames.packed(head))
    replies.flush()


if __name__ == "__main__":
    main()
