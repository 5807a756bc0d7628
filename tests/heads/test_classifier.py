from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.embeddings.features import Features
from headstart.errors import ModelError
from headstart.heads.classifier import Classifier
from headstart.heads.config import HeadConfig

Draw = Callable[..., Features]
FUSED = HeadConfig(("words", "pixels"))


@pytest.fixture(scope="module")
def features(drawn: Draw) -> Features:
    return drawn()


@pytest.fixture(scope="module")
def fitted(features: Features) -> Classifier:
    return Classifier(FUSED, seed=3).fit(features)


@pytest.fixture
def folder(fitted: Classifier, tmp_path: Path) -> Path:
    fitted.columns = {"text": ["titre", "détail"], "label_level": 1}
    fitted.save(tmp_path / "made" / "for it")
    return tmp_path / "made" / "for it"


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        _ = Classifier.load(folder).network_  # read when it is first needed
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def change(folder: Path, **values: object) -> None:
    card = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps({**card, **values}))


def test_a_fitted_classifier_names_the_category_of_new_listings(drawn: Draw) -> None:
    listings = drawn((60, 60, 60), noise=0.7)
    rows = np.arange(len(listings))
    seen, new = listings.take(rows[rows % 2 == 0]), listings.take(rows[rows % 2 == 1])
    classifier = Classifier(FUSED).fit(seen)
    assert classifier.classes_ == ["bags", "lamps", "rugs"]
    assert classifier.seconds_ > 0
    said = classifier.predict_proba(new)
    assert said.shape == (len(new), 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    named = classifier.predict(new)
    assert named == [classifier.classes_[code] for code in said.argmax(axis=1)]
    assert np.mean([one == other for one, other in zip(named, new.labels, strict=True)]) > 0.9


def test_labels_given_apart_replace_those_of_the_features(features: Features, fitted: Classifier) -> None:
    renamed = [f"{label}, renamed" for label in features.labels]
    classifier = Classifier(FUSED, seed=3).fit(features, renamed)
    assert classifier.classes_ == ["bags, renamed", "lamps, renamed", "rugs, renamed"]
    np.testing.assert_allclose(classifier.predict_proba(features), fitted.predict_proba(features), atol=1e-4)


def test_the_order_of_the_encoders_is_the_config_s(features: Features, fitted: Classifier) -> None:
    turned = Classifier(HeadConfig(("pixels", "words")), seed=3).fit(features)
    np.testing.assert_allclose(turned.predict_proba(features), fitted.predict_proba(features), atol=1e-3)


def test_listings_without_a_label_teach_nothing_and_are_judged(drawn: Draw) -> None:
    listings = drawn((60, 60, 60), noise=0.7)
    known = np.arange(len(listings)) % 2 == 0
    labels = [label if kept else None for label, kept in zip(listings.labels, known, strict=True)]
    spoilt = {name: np.where(known[:, None], block, 3 * block) for name, block in listings.vectors.items()}
    classifier = Classifier(FUSED).fit(replace(listings, labels=tuple(labels), vectors=spoilt))
    only = Classifier(FUSED).fit(listings.take(np.flatnonzero(known)))
    np.testing.assert_allclose(classifier.predict_proba(listings), only.predict_proba(listings), atol=1e-4)
    named = np.array(classifier.predict(listings))
    assert (named == np.array(listings.labels))[~known].mean() > 0.9


def test_a_category_seen_once_is_learnt(drawn: Draw) -> None:
    listings = drawn((40, 1, 40), noise=0.3, missing=0.0)
    once = listings.labels.index("lamps")
    classifier = Classifier(FUSED).fit(listings)
    assert classifier.classes_ == ["bags", "lamps", "rugs"]
    assert classifier.predict(listings)[once] == "lamps"


def test_two_listings_of_two_categories_are_enough(drawn: Draw) -> None:
    listings = drawn((1, 1), missing=0.0)
    assert Classifier(FUSED).fit(listings).predict(listings) == list(listings.labels)


@pytest.mark.parametrize(("labels", "found"), [("bags", "only 'bags'"), (None, "none")])
def test_fewer_than_two_categories_are_refused(features: Features, labels: str | None, found: str) -> None:
    given = [labels, None] * (len(features) // 2)
    with pytest.raises(ModelError, match=f"two or more categories apart, there is {found}: check --label$"):
        Classifier(FUSED).fit(features, given)


def test_an_encoder_without_vectors_is_refused(features: Features, fitted: Classifier) -> None:
    with pytest.raises(ModelError, match="no vectors of sounds; there are those of: words, pixels"):
        Classifier(HeadConfig(("sounds",))).fit(features)
    texts = replace(features, vectors={"words": features.vectors["words"]})
    with pytest.raises(ModelError, match=r"the classifier reads pixels, there are vectors of: words$"):
        fitted.predict_proba(texts)


def test_vectors_of_another_encoder_are_refused(features: Features, fitted: Classifier) -> None:
    other = replace(features, fingerprints={**features.fingerprints, "pixels": "c3" * 32})
    with pytest.raises(ModelError, match=f"pixels {'b2' * 6}, these vectors are of {'c3' * 6}: train it again$"):
        fitted.predict_proba(other)


def test_a_saved_classifier_comes_back_whole(folder: Path, features: Features, fitted: Classifier) -> None:
    back = Classifier.load(folder)
    assert (back.config, back.seed, back.columns) == (fitted.config, 3, fitted.columns)
    assert (back.classes_, back.fingerprints_) == (fitted.classes_, fitted.fingerprints_)
    np.testing.assert_allclose(back.predict_proba(features), fitted.predict_proba(features), atol=1e-6)
    other = replace(features, fingerprints={**features.fingerprints, "words": "c3" * 32})
    with pytest.raises(ModelError, match="the classifier learnt from words a1a1"):
        back.predict_proba(other)


def test_a_hidden_head_comes_back_too(tmp_path: Path, features: Features) -> None:
    made = Classifier(replace(FUSED, hidden=8, dropout=0.2)).fit(features)
    made.save(tmp_path)
    back = Classifier.load(tmp_path)
    np.testing.assert_allclose(back.predict_proba(features), made.predict_proba(features), atol=1e-6)


def test_another_process_reads_it_without_pickle(folder: Path, features: Features, fitted: Classifier) -> None:
    assert {file.name for file in folder.iterdir()} == {"classifier.json", "head.keras"}
    with zipfile.ZipFile(folder / "head.keras") as archive:
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
from headstart.runtime import keras
keras()
def refuse(*_, **__):
    raise RuntimeError("pickle was read")
pickle.load = pickle.loads = pickle.Unpickler = refuse
folder = Path(sys.argv[1])
classifier = Classifier.load(folder)
arrays = np.load(folder.parent / "listings.npz")
vectors, present = ({{name: arrays[f"{{what}} {{name}}"] for name in ("words", "pixels")}}
                    for what in ("vectors", "present"))
rows = len(present["words"])
prints = {features.fingerprints!r}
listings = Features(("",) * rows, (None,) * rows, vectors, present, {features.modality!r}, prints)
np.save(folder.parent / "said.npy", classifier.predict_proba(listings))
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=120)
    np.testing.assert_allclose(np.load(folder.parent / "said.npy"), fitted.predict_proba(features), atol=1e-5)


def test_saving_again_replaces_the_classifier(folder: Path, features: Features) -> None:
    other = Classifier(HeadConfig(("words",)), seed=4).fit(features)
    other.save(folder)
    assert Classifier.load(folder).config == other.config
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, fitted: Classifier) -> None:
    (tmp_path / "model").write_text("a file, not a folder")
    with pytest.raises(ModelError, match=r"model cannot be written \(.+\): choose another --save$"):
        fitted.save(tmp_path / "model")


@pytest.mark.parametrize("name", ["classifier.json", "head.keras"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"it has no {name}: train one" in refusal(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "is no classifier" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"format": "one"}', '{"format": 1}'])
def test_a_damaged_card_is_named(folder: Path, text: str) -> None:
    (folder / "classifier.json").write_bytes(text.encode("latin-1"))
    assert re.search(r"classifier\.json is damaged \(.+\): train the classifier again$", refusal(folder))


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"encoders": ["words"], "depth": 3}},
        {"config": {"hidden": 3}},
        {"config": ["words"]},
        {"classes": None},
        {"fingerprints": []},
        {"fingerprints": {"words": "a1"}},
        {"columns": None},
    ],
)
def test_a_card_with_wrong_values_is_named(folder: Path, values: dict[str, object]) -> None:
    change(folder, **values)
    assert re.search(r"classifier\.json is damaged \(.+\): train the classifier again$", refusal(folder))


@pytest.mark.parametrize("damage", ["cut", "turned"])
def test_a_damaged_head_is_named(folder: Path, damage: str) -> None:
    head = folder / "head.keras"
    data = head.read_bytes()
    head.write_bytes(data[:-100] if damage == "cut" else data[:500] + bytes([data[500] ^ 1]) + data[501:])
    assert "head.keras is not the one that classifier.json describes: train the classifier again" in refusal(folder)


def test_a_head_that_keras_cannot_read_is_named(folder: Path) -> None:
    (folder / "head.keras").write_bytes(b"not what Keras writes")
    change(folder, head=hashlib.sha256(b"not what Keras writes").hexdigest())
    assert "head.keras cannot be read by Keras" in refusal(folder)


def test_a_card_with_other_categories_than_the_head_is_refused(folder: Path) -> None:
    change(folder, classes=["bags", "lamps"])
    assert "tells other categories apart than classifier.json names" in refusal(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    change(folder, format=2)
    assert "is of format 2, this headstart reads 1: upgrade it" in refusal(folder)
