"""A classifier as a SavedModel for TensorFlow Serving, in a folder of numbered versions."""

from __future__ import annotations

import importlib.metadata
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError, one_line
from headstart.extract.graph_texts import text_operations
from headstart.files import file_digest, sync, write_text_atomically
from headstart.heads.calibration import Rules
from headstart.heads.classifier import Classifier
from headstart.heads.saved import CARD
from headstart.modelling import encoders_of
from headstart.progress import say
from headstart.runtime import now, tensorflow, versions
from headstart.serve.warm_up import WARM_UP, apis, write_requests

BATCHING = "batching_parameters.txt"
CLASSES, PROVENANCE = "assets/classes.txt", "assets/provenance.json"
ROWS, WAIT_MICROS, WAITING = 32, 2_000, 256
"""Most listings that go through the network at once, how long the first waits for others, how many batches wait."""


def export(
    model: Path, folder: Path, version: int | None = None, error_rate: float = 0.02, coverage: float = 0.95
) -> Path:
    """Write a version that TensorFlow Serving loads; until it is whole, nothing there has a number for a name.

    Args:
        model: folder of a saved classifier.
        folder: of the versions, made if need be.
        version: its number; one more than the highest there if None.
        error_rate, coverage: what its decisions are to keep; see `Classifier.rules`.

    Returns:
        The folder of the version.

    Raises:
        HeadstartError: the version is there already, something of the classifier cannot be exported, or the folder
            cannot be written.
    """
    place = folder / str(next_version(folder) if version is None else version)
    if place.exists():
        raise HeadstartError(f"{place} is there already: give another --version, or leave it out for the next one")
    with if_stopped(lambda: f"{place} is written" if place.exists() else "nothing is written"):
        _write(model, place, error_rate, coverage)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    say(f"{place} is written, {size / 1e6:,.0f} MB")
    return place


def _write(model: Path, place: Path, error_rate: float, coverage: float) -> None:
    from headstart.serve.graph import serving_module

    say(f"loading {model} and its encoders")
    classifier = Classifier.load(model)
    rules = classifier.rules(error_rate, coverage) if classifier.calibrated_ else None
    if rules is None:
        say(f"every decision will be 'person': nobody knows how often it errs ({classifier.uncalibrated_})")
    encoders = encoders_of(classifier)
    text_operations()
    apis("predict_pb2")
    try:
        with _aside(place) as aside, tempfile.TemporaryDirectory() as scratch:
            say(f"writing {place}")
            module, signatures = serving_module(classifier, encoders, rules, Path(scratch))
            tensorflow().saved_model.save(module, str(aside), signatures=signatures)
            told = provenance(model, classifier, rules, error_rate, coverage)
            (aside / "assets").mkdir(exist_ok=True)
            (aside / CLASSES).write_text("".join(f"{name}\n" for name in classifier.classes_.tolist()))
            (aside / PROVENANCE).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
            (aside / WARM_UP).parent.mkdir()
            write_requests(aside / WARM_UP)
            write_text_atomically(place.parent / BATCHING, batching())  # before there is a version that needs it
    except (OSError, tensorflow().errors.OpError) as error:  # the latter from what TensorFlow writes itself
        raise HeadstartError(f"{place} cannot be written ({one_line(error)}): choose another folder") from None


@contextmanager
def if_stopped(left: Callable[[], str]) -> Iterator[None]:
    """Let the last line of a command that is stopped in here say what is left."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        error.add_note(left())
        raise


def next_version(folder: Path) -> int:
    """One more than the highest number in the folder; 1 where there is none."""
    there = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    return max(there, default=0) + 1


def provenance(
    model: Path, classifier: Classifier, rules: Rules | None, error_rate: float, coverage: float
) -> dict[str, Any]:
    """Where an exported version comes from, as JSON values."""
    decided: Mapping[str, Any] = {} if rules is None else {
        "error_rate": error_rate,
        "coverage": coverage,
        "accept_from": rules.accept_from,
        "largest": rules.largest,
    }  # fmt: skip
    return {
        "classifier": file_digest(model / CARD),
        "encoders": classifier.fingerprints_,
        "classes": len(classifier.classes_),
        "decisions": decided,
        "versions": {**versions(), "tensorflow-text": importlib.metadata.version("tensorflow-text")},
        "created": now(),
    }


def batching() -> str:
    """TensorFlow Serving's ``--batching_parameters_file``, a ``BatchingParameters`` message as text.

    No sizes of batches are prescribed: Serving would fill them up with copies of a listing, photo and all, and the
    graph takes any size. Texts are padded in the graph. How many batches at a time is left to Serving: as many as its
    process may use cores.
    """
    lines = {
        "max_batch_size": ROWS,
        "batch_timeout_micros": WAIT_MICROS,
        "max_enqueued_batches": WAITING,
    }
    told = [f"{name} {{ value: {value} }}" for name, value in lines.items()]
    return "\n".join([*told, "pad_variable_length_inputs: false", ""])


@contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """A folder beside `place` that takes its name when it is whole and on disk."""
    new = not place.parent.exists()
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield aside
        for path in (*aside.rglob("*"), aside):
            sync(path)
        aside.rename(place)
        sync(place.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if new:
            with suppress(OSError):  # it holds something
                place.parent.rmdir()
