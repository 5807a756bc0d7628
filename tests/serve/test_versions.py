"""Which version of a model is served."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.errors import ModelError
from headstart.heads.classifier import Classifier
from headstart.serve.versions import Version, candidates, versions_of


def copied(shop: Path, to: Path) -> Path:
    shutil.copytree(shop / "model", to)
    return to


def test_versions_are_told_from_the_highest_number_on(shop: Path, tmp_path: Path) -> None:
    for name in ("2", "10", ".11", "12.old", "notes"):
        copied(shop, tmp_path / name)
    (tmp_path / "13").mkdir()  # half a one: it has no card yet
    found = versions_of(tmp_path)
    assert [(each.number, each.folder) for each in found] == [(10, tmp_path / "10"), (2, tmp_path / "2")]
    assert versions_of(tmp_path, found) == found


def test_a_damaged_card_is_told_of_its_version_and_hides_no_other(shop: Path, tmp_path: Path) -> None:
    copied(shop, tmp_path / "1")
    (copied(shop, tmp_path / "2") / "classifier.json").write_text("{}")
    damaged, whole = versions_of(tmp_path)
    assert (damaged.number, whole.number, whole.fault) == (2, 1, "")
    assert damaged.fault.startswith(f"{tmp_path / '2' / 'classifier.json'} is damaged")
    shutil.copy(shop / "model" / "classifier.json", tmp_path / "2")
    mended, _ = versions_of(tmp_path)
    assert (mended.fault, mended.seal) == ("", whole.seal)


def test_a_classifier_saved_again_in_its_place_is_another_version(shop: Path, tmp_path: Path) -> None:
    (first,) = versions_of(copied(shop, tmp_path / "model"))
    assert first.number == 1
    assert versions_of(tmp_path / "model", [first]) == [first]
    learnt = Classifier.load(shop / "model")
    assert learnt.calibration_ is not None
    kept = {name: value[:-1] for name, value in learnt.calibration_.to_arrays().items() if value.ndim}
    learnt.calibration_ = replace(learnt.calibration_, **kept)
    learnt.save(tmp_path / "model")
    (second,) = versions_of(tmp_path / "model", [first])
    assert second.number == 2
    (tmp_path / "model" / "classifier.json").write_text("{}")
    (third,) = versions_of(tmp_path / "model", [first, second])
    assert (third.number, bool(third.fault)) == (3, True)
    assert versions_of(tmp_path / "model", [first, third]) == [third]


NEW, MIDDLE, OLD = (Version(number, Path("models", str(number)), "seal") for number in (3, 2, 1))
SAVED_AGAIN = replace(MIDDLE, seal="another")


@pytest.mark.parametrize(
    ("found", "served", "failed", "tried"),
    [
        ([NEW, MIDDLE, OLD], None, [], [NEW, MIDDLE, OLD]),  # at the start each may have to do
        ([NEW, MIDDLE, OLD], MIDDLE, [], [NEW]),
        ([NEW, MIDDLE, OLD], NEW, [], []),
        ([NEW, MIDDLE, OLD], OLD, [NEW], [MIDDLE]),  # a damaged one hides none below it
        ([NEW, MIDDLE, OLD], MIDDLE, [NEW], []),
        ([replace(NEW, seal="mended"), MIDDLE], MIDDLE, [NEW], [replace(NEW, seal="mended")]),
        ([SAVED_AGAIN, OLD], MIDDLE, [], [SAVED_AGAIN]),
        ([SAVED_AGAIN, OLD], MIDDLE, [SAVED_AGAIN], []),  # no step back because of it
        ([MIDDLE, OLD], NEW, [], [MIDDLE, OLD]),  # the one served was taken away: back to the one before
        ([MIDDLE, OLD], NEW, [MIDDLE], [OLD]),
        ([], NEW, [], []),
    ],
)
def test_what_is_tried_is_newer_than_what_is_served_if_that_is_there(
    found: list[Version], served: Version | None, failed: list[Version], tried: list[Version]
) -> None:
    assert candidates(found, served, failed) == tried


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_what_is_no_model_is_told_in_the_words_of_all_commands(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ModelError) as told:
        Classifier.load(tmp_path / name)
    with pytest.raises(ModelError) as served:
        versions_of(tmp_path / name)
    assert "train one with 'headstart train --save'" in str(told.value)
    assert str(served.value) == f"{told.value}, or give a folder of such folders named by version numbers"
