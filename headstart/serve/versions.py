"""A model's folder: one classifier, or one folder for each version of it, named by its number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.errors import ModelError
from headstart.heads.saved import CARD, CLASSIFIER
from headstart.sealed import read_card


@dataclass(frozen=True)
class Version:
    """A classifier to serve."""

    number: int
    folder: Path
    seal: str = ""
    """Of its card: another one is another classifier."""


def latest(model: Path, known: Version | None = None) -> Version:
    """The version to serve: that of the highest number, or the classifier that the folder itself is.

    Such a one has the number 1, and one more each time that it has changed since it was `known`.

    Raises:
        ModelError: there is none, or its card is damaged.
    """
    if not model.is_dir():
        raise ModelError(f"there is no folder {model}: give one that 'headstart train --save' wrote")
    if (model / CARD).is_file():
        seal = _seal(model)
        return known if known and known.seal == seal else Version(known.number + 1 if known else 1, model, seal)
    there = {int(each.name): each for each in model.iterdir() if each.name.isdecimal() and (each / CARD).is_file()}
    if not there:
        raise ModelError(
            f"{model} is no classifier, it has no {CARD}, nor folders of classifiers named by numbers: train one with "
            f"'headstart train --save {model}'"
        )
    number = max(there)
    return Version(number, there[number], _seal(there[number]))


def _seal(folder: Path) -> str:
    """Starts no TensorFlow; a folder that is not whole is refused before its worker starts."""
    return str(read_card(CLASSIFIER, folder)["files"])
