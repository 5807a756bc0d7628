"""A classifier's folder: what comes back, what is refused, and what a kill leaves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.classifier import Classifier
from headstart.heads.saved import CLASSIFIER
from headstart.sealed import read_folder, sealed, write_folder

Draw = Callable[..., Features]


@pytest.fixture(scope="module")
def features(drawn: Draw) -> Features:
    return drawn()


@pytest.fixture(scope="module")
def texts(features: Features) -> list[str | None]:
    return [f"a {label} of number {row % 7}" if row % 5 else None for row, label in enumerate(features.labels)]


@pytest.fixture(scope="module")
def fitted(features: Features, texts: list[str | None]) -> Classifier:
    made = Classifier(["words", "pixels"], words=True, seed=3).fit(features, texts=texts)
    made.columns_ = {"text": ["titre", "détail"], "label_level": 1}
    return made


@pytest.fixture(scope="module")
def other(features: Features) -> Classifier:
    return Classifier(("words",), seed=4).fit(features)


@pytest.fixture
def folder(fitted: Classifier, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "made" / "for it")
    return tmp_path / "made" / "for it"


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        _ = Classifier.load(folder).networks_  # read when they are first needed
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def change(folder: Path, **values: object) -> None:
    """Write other values into the card, and seal it again."""
    card = json.loads((folder / "classifier.json").read_text())
    del card["seal"]
    (folder / "classifier.json").write_text(sealed({**card, **values}))


def test_a_saved_classifier_comes_back_whole(
    folder: Path, features: Features, texts: list[str | None], fitted: Classifier
) -> None:
    back = Classifier.load(folder)
    assert (back.config_, back.seed, back.columns_) == (fitted.config_, 3, fitted.columns_)
    assert back.get_params() == {**fitted.get_params(), "encoders": ("words", "pixels")}
    assert back.classes_.tolist() == fitted.classes_.tolist()
    assert (back.fingerprints_, back.seconds_, back.calibrated_) == (fitted.fingerprints_, fitted.seconds_, True)
    said = fitted.predict_proba(features, texts)
    np.testing.assert_allclose(back.predict_proba(features, texts), said, atol=1e-6)
    for one, another in zip(
        *(vars(each.decide(features, texts=texts)).values() for each in (back, fitted)), strict=True
    ):
        np.testing.assert_array_equal(one, another)
    stranger = replace(features, fingerprints={**features.fingerprints, "words": "c3" * 32})
    with pytest.raises(ModelError, match="the classifier learnt from words a1a1"):
        back.predict_proba(stranger, texts)


@pytest.mark.parametrize("settings", [{"hidden": 8, "dropout": 0.2}, {"fusion": "gated"}])
def test_other_heads_come_back_too(tmp_path: Path, features: Features, settings: dict[str, Any]) -> None:
    made = Classifier(**{"fusion": "concat", **settings}).fit(features)
    made.save(tmp_path)
    np.testing.assert_allclose(
        Classifier.load(tmp_path).predict_proba(features), made.predict_proba(features), atol=1e-6
    )


def test_one_that_cannot_decide_comes_back_so(tmp_path: Path, drawn: Draw) -> None:
    listings = drawn((1, 1), missing=0.0)
    Classifier().fit(listings).save(tmp_path)
    back = Classifier.load(tmp_path)
    assert back.predict(listings).tolist() == list(listings.labels)
    with pytest.raises(ModelError, match="fewer than two categories have two distinct listings"):
        back.decide(listings)


@pytest.mark.parametrize("labels", [[3, 7], [False, True], [1.0, 2.0], ["fée", "œuf"]])
def test_categories_come_back_as_what_they_were(tmp_path: Path, labels: list[object]) -> None:
    block = np.random.default_rng(0).normal(size=(4, 3))
    y = np.array([labels[row % 2] for row in range(4)], object if isinstance(labels[0], str) else None)
    made = Classifier().fit(block, y)
    made.save(tmp_path)
    back = Classifier.load(tmp_path)
    assert back.classes_.dtype == y.dtype == made.classes_.dtype
    assert back.predict(block).tolist() == made.predict(block).tolist()
    with pytest.raises(ValueError, match="X has 2 features, but Classifier is expecting 3"):
        back.predict(block[:, :2])


def test_categories_that_json_does_not_know_are_refused(tmp_path: Path, drawn: Draw) -> None:
    made = Classifier().fit(drawn((1, 1), missing=0.0), [b"a", b"b"])
    with pytest.raises(ModelError, match=r"type \|S1 cannot be saved: make them strings or numbers$"):
        made.save(tmp_path)


def test_another_process_reads_it_without_pickle_and_late(
    folder: Path, features: Features, texts: list[str | None], fitted: Classifier
) -> None:
    names = {re.sub("-[0-9a-f]{8}", "", file.name) for file in folder.iterdir()}
    assert names == {"classifier.json", "head-0.keras", "head-1.keras", "words.npz", "calibration.npz"}
    for head in folder.glob("head-*.keras"):
        with zipfile.ZipFile(head) as archive:
            assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
    arrays = {f"vectors {name}": block for name, block in features.vectors.items()}
    arrays |= {f"present {name}": mask for name, mask in features.present.items()}
    np.savez(folder.parent / "listings.npz", **arrays)  # type: ignore[arg-type]
    code = f"""
import pickle, sys
from pathlib import Path
import numpy as np
from headstart.embeddings.features import Features
from headstart.heads.classifier import Classifier
def refuse(*_, **__):
    raise RuntimeError("pickle was read")
folder = Path(sys.argv[1])
load, loads, reader = pickle.load, pickle.loads, pickle.Unpickler
pickle.load = pickle.loads = pickle.Unpickler = refuse
classifier = Classifier.load(folder)
assert not {{"tensorflow", "keras"}} & set(sys.modules), "predict --help would take seconds"
pickle.load, pickle.loads, pickle.Unpickler = load, loads, reader
from headstart.runtime import keras
keras()
pickle.load = pickle.loads = pickle.Unpickler = refuse
arrays = np.load(folder.parent / "listings.npz")
vectors, present = ({{name: arrays[f"{{what}} {{name}}"] for name in ("words", "pixels")}}
                    for what in ("vectors", "present"))
rows = len(present["words"])
prints = {features.fingerprints!r}
listings = Features(("",) * rows, (None,) * rows, vectors, present, {features.modality!r}, prints)
np.save(folder.parent / "said.npy", classifier.predict_proba(listings, {texts!r}))
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=120)
    said = np.load(folder.parent / "said.npy")
    np.testing.assert_allclose(said, fitted.predict_proba(features, texts), atol=1e-5)


def test_saving_again_replaces_the_classifier(folder: Path, features: Features, other: Classifier) -> None:
    reader = Classifier.load(folder)
    (folder / "head.keras").write_bytes(b"of format 1")
    (folder / ".0123abcd.keras").write_bytes(b"of a save that was killed")
    (folder / "notes.txt").write_text("somebody else's")
    other.save(folder)
    assert Classifier.load(folder).config_ == other.config_
    names = sorted(re.sub("-[0-9a-f]{8}", "", file.name) for file in folder.iterdir())
    assert names == ["calibration.npz", "classifier.json", "head-0.keras", "notes.txt"]
    assert len(reader.networks_) == 2, "who had loaded the old one still has it"


def test_a_save_killed_at_any_time_leaves_the_old_or_the_new_one(
    tmp_path: Path, fitted: Classifier, other: Classifier, features: Features, texts: list[str | None]
) -> None:
    fitted.save(tmp_path / "one")
    other.save(tmp_path / "two")
    code = """
import sys
from pathlib import Path
from headstart.heads.saved import CLASSIFIER
from headstart.sealed import read_folder, write_folder
made = [read_folder(CLASSIFIER, Path(folder)) for folder in sys.argv[2:]]
print("ready", flush=True)
while True:
    for card, parts in made:
        card = {name: value for name, value in card.items() if name not in ("format", "files")}
        writers = {name: lambda path, part=part: path.write_bytes(part.content) for name, part in parts.items()}
        write_folder(CLASSIFIER, Path(sys.argv[1]), card, writers)
"""
    target = tmp_path / "target"
    fitted.save(target)
    rng = np.random.default_rng()
    seen = set()
    for _ in range(12):
        command = [sys.executable, "-c", code, *(str(tmp_path / name) for name in ("target", "one", "two"))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as saving:
            assert saving.stdout is not None
            saving.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            saving.kill()
        seen.add(Classifier.load(target).seed)
    assert seen <= {3, 4}
    back = Classifier.load(target)
    honest = fitted if back.seed == 3 else other
    np.testing.assert_allclose(back.predict_proba(features, texts), honest.predict_proba(features, texts), atol=1e-6)
    other.save(target)
    assert len(list(target.iterdir())) == 3, "nothing is left of what was killed"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, other: Classifier) -> None:
    (tmp_path / "model").write_text("a file, not a folder")
    with pytest.raises(ModelError, match=r"model cannot be written \(.+\): choose another --save$"):
        other.save(tmp_path / "model")


def test_a_save_that_fails_leaves_the_old_one(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(path: Path) -> None:
        path.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match=r"cannot be written \(No space left on device\): choose another --save"):
        write_folder(CLASSIFIER, folder, {}, {"head-0.keras": full})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "is no classifier, it has no classifier.json: train one with" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "turned"])
def test_damage_to_any_file_is_refused_and_the_file_named(folder: Path, damage: str) -> None:
    files = sorted(folder.iterdir())
    assert len(files) == 5
    for file in files:
        data = file.read_bytes()
        for place in (0, len(data) // 3, len(data) - 2) if damage == "turned" else (0,):
            if damage == "gone":
                file.unlink()
            else:
                turned = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                file.write_bytes({"empty": b"", "cut": data[:-10], "turned": turned}[damage])
            assert file.name in refusal(folder)
        file.write_bytes(data)
    Classifier.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"format": "one"}', '{"format": 2}'])
def test_a_card_that_is_none_is_named(folder: Path, text: str) -> None:
    (folder / "classifier.json").write_bytes(text.encode("latin-1"))
    assert re.search(r"classifier\.json is damaged \(.+\): train the classifier again$", refusal(folder))


def test_a_card_edited_by_hand_is_refused(folder: Path) -> None:
    card = folder / "classifier.json"
    card.write_text(card.read_text().replace('"bags"', '"lamps"'))
    assert "classifier.json is damaged (it has changed since it was written)" in refusal(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"encoders": ["words"], "depth": 3}},
        {"config": ["words"]},
        {"parameters": {"encoders": None, "depth": 3}},
        {"classes": None},
        {"fingerprints": []},
        {"fingerprints": {"words": "a1"}},
        {"columns": None},
        {"fusion": {}},
        {"files": {}},
    ],
)
def test_a_card_with_wrong_values_is_named(folder: Path, values: dict[str, object]) -> None:
    change(folder, **values)
    assert re.search(r"classifier\.json is damaged \(.+\): train the classifier again$", refusal(folder))


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Save the classifier with another file, which the card vouches for."""
    card, parts = read_folder(CLASSIFIER, folder)
    contents = {each: part.content for each, part in parts.items()} | {name: content}
    writers: dict[str, Any] = {each: lambda path, data=data: path.write_bytes(data) for each, data in contents.items()}
    write_folder(
        CLASSIFIER, folder, {key: value for key, value in card.items() if key not in ("format", "files")}, writers
    )


def test_a_head_that_keras_cannot_read_is_named(folder: Path) -> None:
    replaced(folder, "head-1.keras", b"not what Keras writes")
    assert re.search(
        r"head-1-[0-9a-f]{8}\.keras cannot be read by Keras .+: train the classifier again$", refusal(folder)
    )


def test_a_card_with_other_categories_than_the_head_is_refused(folder: Path) -> None:
    change(folder, classes=["bags", "lamps"])
    assert re.search(r"head-0-[0-9a-f]{8}\.keras tells other categories apart than classifier.json", refusal(folder))


@pytest.mark.parametrize(
    ("number", "told"), [(3, "upgrade it"), (1, "of an older headstart: train the classifier again")]
)
def test_other_formats_are_refused(folder: Path, number: int, told: str) -> None:
    change(folder, format=number)
    message = refusal(folder)
    assert f"classifier.json is of format {number}, " in message
    assert told in message
