"""Which version of a model is served."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.errors import ModelError
from headstart.heads.classifier import Classifier
from headstart.serve.versions import latest


def copied(shop: Path, to: Path) -> Path:
    shutil.copytree(shop / "model", to)
    return to


def test_the_highest_number_is_served_and_the_rest_is_not_looked_at(shop: Path, tmp_path: Path) -> None:
    for name in ("2", "10", ".11", "12.old", "notes"):
        copied(shop, tmp_path / name)
    (tmp_path / "13").mkdir()  # half a one: it has no card yet
    found = latest(tmp_path)
    assert (found.number, found.folder) == (10, tmp_path / "10")
    assert latest(tmp_path, found) == found


def test_an_earlier_one_is_served_again_when_the_later_is_taken_away(shop: Path, tmp_path: Path) -> None:
    copied(shop, tmp_path / "1")
    copied(shop, tmp_path / "2")
    found = latest(tmp_path)
    shutil.rmtree(tmp_path / "2")
    assert latest(tmp_path, found).number == 1


def test_a_classifier_saved_again_in_its_place_is_another_version(shop: Path, tmp_path: Path) -> None:
    first = latest(copied(shop, tmp_path / "model"))
    assert first.number == 1
    assert latest(tmp_path / "model", first) == first
    learnt = Classifier.load(shop / "model")
    assert learnt.calibration_ is not None
    kept = {name: value[:-1] for name, value in learnt.calibration_.to_arrays().items() if value.ndim}
    learnt.calibration_ = replace(learnt.calibration_, **kept)
    learnt.save(tmp_path / "model")
    assert latest(tmp_path / "model", first).number == 2


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_model_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="headstart train --save"):
        latest(tmp_path / name)
