"""A model's folder: one classifier, or one folder for each version of it, named by its number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
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
    fault: str = ""
    """Why it cannot be served, where its card tells that already."""


def versions_of(model: Path, known: Collection[Version] = ()) -> list[Version]:
    """The versions that are there, highest number first; one without a card, which is being copied, is not there yet.

    A folder that is a classifier itself is the only one. It has the number that it is `known` by, else one more than
    any of those: it was saved again in its place.

    Raises:
        ModelError: there is none.
    """
    if (model / CARD).is_file():
        found = _read(max((each.number for each in known), default=0) + 1, model)
        return [next((each for each in known if each == replace(found, number=each.number)), found)]
    folders = [each for each in model.iterdir() if each.name.isdecimal()] if model.is_dir() else []
    there = {int(each.name): each for each in folders if (each / CARD).is_file()}
    if not there:
        try:
            read_card(CLASSIFIER, model)
        except ModelError as error:  # in the words of all that take a classifier
            raise ModelError(f"{error}, or give a folder of such folders named by version numbers") from None
    return [_read(number, there[number]) for number in sorted(there, reverse=True)]


def candidates(
    found: Sequence[Version], served: Version | None = None, failed: Collection[Version] = ()
) -> list[Version]:
    """What is to be tried in turn until one can be served, of the versions `found`, those that `failed` left out.

    That is what is newer than the version served, and what has taken its place; all, where that one is gone.
    """
    least = served.number if served is not None and is_there(served, found) else 0
    return [each for each in found if each.number >= least and each != served and each not in failed]


def is_there(version: Version, found: Sequence[Version]) -> bool:
    """Whether its folder is, with it or with another in its place."""
    return any(each.folder == version.folder for each in found)


def seal_of(folder: Path) -> str:
    """What tells a classifier from any other: its files, by their content.

    Raises:
        ModelError: its card is damaged, or there is none.
    """
    return str(read_card(CLASSIFIER, folder).get("files"))


def _read(number: int, folder: Path) -> Version:
    """Starts no TensorFlow; what is damaged is told before a worker starts."""
    try:
        return Version(number, folder, seal=seal_of(folder))
    except ModelError as error:
        return Version(number, folder, fault=str(error))
