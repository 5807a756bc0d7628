"""A classifier exported for TensorFlow Serving: what is written, what it answers, what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogs import listings
from commands import headstart_here, refused
from headstart.embeddings.features import Features
from headstart.errors import HeadstartError
from headstart.extract.registry import encoder
from headstart.files import file_digest
from headstart.heads.classifier import Classifier
from headstart.modelling import read_new
from headstart.runtime import tensorflow
from headstart.serve.export import export, next_version
from headstart.serve.graph import EMBED, SERVE, output_names
from headstart.serve.warm_up import SIZES, WARM_UP, apis
from headstart.workflow import Request

ROWS = 30
READING = ["--id", "sku", "--text", "titre", "--image", "photo", "--images", "photos"]
TEXT, PHOTO = "use-multilingual-v3", "efficientnet-lite0#size=48"
CHECKED = (
    "30 of 30 listings get the same category as from 'headstart predict' (100.00%), the same decision of 30, suggested "
    "of 30, candidates of 30, read of 30; their probabilities differ by 0.000"
)
KEYS = ["candidates", "category", "decision", "probability", "read", "suggested", "top", "top_probability"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with listings, a classifier of them, what it predicts, and its first exported version, checked."""
    folder = tmp_path_factory.mktemp("shop")
    path = listings(folder, ROWS)
    rows = path.read_text().splitlines()
    rows[3] = rows[3].replace("2.jpg", "")  # no photo
    rows[7] = f"s6,,6.jpg,{rows[7].rpartition(',')[2]}"  # no text
    path.write_text("\n".join(rows) + "\n")
    photo = folder / "photos" / "4.jpg"
    Image.open(photo).save(folder / "photos" / "4.png")
    shutil.move(folder / "photos" / "4.png", photo)  # a PNG by another name
    (folder / "photos" / "5.jpg").write_bytes(b"\xff\xd8\xff, and no JPEG")
    words = [*READING, "--label", "rayon", "--encoder", TEXT, "--encoder", PHOTO, "--save", "model"]
    done(headstart_here("train", path.name, *words, "--holdout", "0.4", cwd=folder))
    done(headstart_here("predict", "model", path.name, "--error-rate", "0.4", "--out", "said.csv", cwd=folder))
    words = ["export", "model", "serving", "--error-rate", "0.4", "--check", path.name]
    exported = headstart_here(*words, cwd=folder)
    assert done(exported).startswith(f"serving/1\n{CHECKED}")  # the path has a line of its own, for scripts
    size = sum(each.stat().st_size for each in (folder / "serving" / "1").rglob("*") if each.is_file())
    told = ["loading model and its encoders", "writing serving/1", f"serving/1 is written, {size / 1e6:,.0f} MB"]
    assert exported.stderr.splitlines()[:3] == told
    return folder


def done(ended: Any) -> str:
    assert ended.returncode == 0, ended.stderr
    return str(ended.stdout)


class Served:
    """A version as TensorFlow Serving loads it: in a session that has nothing of this process."""

    def __init__(self, folder: Path) -> None:
        tf = tensorflow()
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder)).signature_def

    def __call__(self, texts: Sequence[Any], photos: Sequence[bytes], signature: str = SERVE) -> dict[str, np.ndarray]:
        found = self.signatures[signature]
        given = {"text": np.array(texts, object), "image_bytes": np.array(photos, object)}
        feeds = {found.inputs[name].name: values for name, values in given.items()}
        return dict(self._session.run({name: output.name for name, output in found.outputs.items()}, feeds))


@pytest.fixture(scope="module")
def served(shop: Path) -> Served:
    return Served(shop / "serving" / "1")


@pytest.fixture(scope="module")
def rows(shop: Path) -> Iterator[list[dict[str, str]]]:
    with (shop / "listings.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def photo_of(shop: Path, row: dict[str, str]) -> bytes:
    path = shop / "photos" / row["photo"]
    return b"" if row["sku"] == "s5" or not row["photo"] else path.read_bytes()


def test_a_version_has_what_tensorflow_serving_reads(shop: Path, served: Served) -> None:
    place = shop / "serving" / "1"
    assert sorted(path.name for path in (shop / "serving").iterdir()) == ["1", "batching_parameters.txt"]
    assert (place / "assets" / "classes.txt").read_text().splitlines() == ["Jouets", "Linge", "Montres"]
    told = json.loads((place / "assets" / "provenance.json").read_text())
    assert told["classifier"] == file_digest(shop / "model" / "classifier.json")
    assert list(told["encoders"]) == [TEXT, PHOTO]
    assert told["decisions"]["error_rate"] == 0.4
    assert told["versions"]["tensorflow"] == tensorflow().__version__
    batching = dict(line.split(maxsplit=1) for line in (shop / "serving" / "batching_parameters.txt").open())
    assert batching["max_batch_size"] == "{ value: 32 }\n"
    assert batching["pad_variable_length_inputs:"] == "false\n"
    assert "num_batch_threads" not in batching  # they are for the machine that serves to count
    inputs = {"text": ([-1], 7), "image_bytes": ([-1], 7)}
    for name, outputs in ((SERVE, KEYS), (EMBED, ["efficientnet-lite0", TEXT])):
        signature = served.signatures[name]
        found = {
            key: ([each.size for each in value.tensor_shape.dim], value.dtype)
            for key, value in signature.inputs.items()
        }
        assert found == inputs
        assert sorted(signature.outputs) == outputs


def test_it_answers_as_predict_does(shop: Path, served: Served, rows: list[dict[str, str]]) -> None:
    found = served([row["titre"] for row in rows], [photo_of(shop, row) for row in rows])
    with (shop / "said.csv").open(newline="") as file:
        wanted = list(csv.DictReader(file))
    for number, row in enumerate(wanted):
        for key in ("category", "decision", "suggested", "read"):
            assert found[key][number].decode() == row[key], (number, key)
        assert found["probability"][number] == pytest.approx(float(row["probability"]), abs=2e-4)
        top = [row["category"], row["second_category"], row["third_category"]]
        assert [name.decode() for name in found["top"][number]] == top
        assert found["top_probability"][number].sum() == pytest.approx(1, abs=1e-5)
    assert {row["read"] for row in wanted} == {"text", "image", "text+image"}
    rules = Classifier.load(shop / "model").rules(0.4)
    order = np.argsort(found["top"], axis=1)  # from the most probable to the classifier's own order
    sets = rules.conformal.sets(np.take_along_axis(found["top_probability"], order, 1))
    np.testing.assert_array_equal(found["candidates"], sets.sum(axis=1))


def test_a_listing_is_answered_alone_as_among_others(shop: Path, served: Served, rows: list[dict[str, str]]) -> None:
    photo = photo_of(shop, rows[0])
    other = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(other, "TIFF")
    texts = [rows[0]["titre"], f"\u3000{rows[0]['titre']}\n", "", " \n", "", b"\xff"]
    photos = [photo, photo, photo, b"", other.getvalue(), b"no photo"]
    found = served(texts, photos)
    assert [each.decode() for each in found["read"]] == ["text+image"] * 2 + ["image", "nothing", "nothing", "text"]
    assert found["probability"][0] == found["probability"][1]
    assert [each.decode() for each in found["decision"][3:5]] == ["person"] * 2
    for number in range(len(texts)):
        alone = served(texts[number : number + 1], photos[number : number + 1])
        for key in KEYS:
            if found[key].dtype.kind == "f":
                np.testing.assert_allclose(alone[key][0], found[key][number], atol=1e-4)
            else:
                np.testing.assert_array_equal(alone[key][0], found[key][number])
    assert {key: len(each) for key, each in served([], []).items()} == dict.fromkeys(KEYS, 0)


def test_vectors_are_those_that_are_kept(shop: Path, served: Served, rows: list[dict[str, str]]) -> None:
    found = served([row["titre"] for row in rows], [photo_of(shop, row) for row in rows], EMBED)
    classifier = Classifier.load(shop / "model")
    kept = read_new(classifier, Request(shop / "listings.csv", shop / "store", {})).features
    shown = output_names(classifier.config_.encoders)
    for name in classifier.config_.encoders:
        vectors = found[shown[name]]
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, kept.vectors[name], rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(vectors, vectors.astype(np.float16))
        np.testing.assert_array_equal(vectors.any(axis=1), kept.present[name])


def test_warm_up_requests_can_be_parsed_and_are_answered(shop: Path, served: Served) -> None:
    (logs,) = apis("prediction_log_pb2")
    tf = tensorflow()
    seen: list[tuple[str, int]] = []
    kinds: set[str] = set()
    for record in tf.data.TFRecordDataset(str(shop / "serving" / "1" / WARM_UP)).as_numpy_iterator():
        request = logs.PredictionLog.FromString(record).predict_log.request
        texts, photos = (tf.make_ndarray(request.inputs[name]) for name in ("text", "image_bytes"))
        assert texts.shape == photos.shape
        seen.append((request.model_spec.signature_name, len(texts)))
        found = served(texts, photos, request.model_spec.signature_name)
        kinds |= {each.decode() for each in found.get("read", ())}
    assert seen == [(name, rows) for name in (SERVE, EMBED) for rows in SIZES]
    assert kinds == {"text+image", "text", "image", "nothing"}


def test_versions_are_counted_and_never_written_over(shop: Path, tmp_path: Path) -> None:
    assert next_version(shop / "serving") == 2
    assert next_version(tmp_path / "new") == 1
    for name in ("7", "10", "010.tmp", ".11.ab.tmp"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11
    before = file_digest(shop / "serving" / "1" / "saved_model.pb")
    refused(headstart_here("export", "model", "serving", "--version", "1", cwd=shop), "serving/1 is there already")
    unchecked = headstart_here("export", "model", "unchecked", "--check", "lisitngs.csv", cwd=shop)
    refused(unchecked, "the catalogue lisitngs.csv does not exist")
    assert not (shop / "unchecked").exists()
    assert file_digest(shop / "serving" / "1" / "saved_model.pb") == before


def test_a_version_that_is_there_is_only_checked_and_one_of_another_classifier_found_out(shop: Path) -> None:
    with (shop / "listings.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    turn = {"Jouets": "Linge", "Linge": "Montres", "Montres": "Jouets"}
    with (shop / "turned.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, found[0])
        out.writeheader()
        out.writerows({**row, "rayon": turn[row["rayon"]]} for row in found)
    words = [*READING, "--label", "rayon", "--encoder", TEXT, "--encoder", PHOTO, "--save", "turned"]
    done(headstart_here("train", "turned.csv", *words, "--holdout", "0.4", cwd=shop))
    words = ["export", "turned", "serving", "--version", "1", "--check", "listings.csv"]
    ended = headstart_here(*words, cwd=shop)
    refused(ended, "serving/1 is not the classifier in turned", "of 30 listings", "99.9%", "0.005")
    assert ended.stdout == ""
    assert next_version(shop / "serving") == 2


def test_decisions_are_checked_at_the_rates_of_the_export(shop: Path) -> None:
    words = ["export", "model", "other", "--version", "1", "--check", "listings.csv"]
    shutil.copytree(shop / "serving", shop / "other")
    assert done(headstart_here(*words, cwd=shop)).startswith(CHECKED)
    place = shop / "other" / "1" / "assets" / "provenance.json"
    told = json.loads(place.read_text())
    place.write_text(json.dumps({**told, "decisions": {**told["decisions"], "error_rate": 0.0001}}))
    ended = headstart_here(*words, cwd=shop)
    refused(ended, "30 of 30 listings get the same category", "decision of ", "read of 30", "decision of 99.9%")
    assert "decision of 30," not in ended.stderr
    place.write_text("{}")
    refused(headstart_here(*words, cwd=shop), "provenance.json cannot be read ('decisions'): export it again")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_nothing_behind_and_says_so(shop: Path, tmp_path: Path) -> None:
    folder, over = tmp_path / "stopped", threading.Event()

    def stop_when_it_is_written() -> None:
        while not over.wait(0.01):
            if any(folder.glob(".1.*.tmp/variables")):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watching = threading.Thread(target=stop_when_it_is_written)
    watching.start()
    try:
        ended = headstart_here("export", "model", str(folder), cwd=shop)
    finally:
        over.set()
        watching.join()
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.splitlines()[-1] == "stopped: nothing is written"
    assert not folder.exists()


def test_a_damaged_version_is_told_in_one_line(shop: Path) -> None:
    (shop / "damaged" / "3").mkdir(parents=True)
    (shop / "damaged" / "3" / "saved_model.pb").write_bytes(b"no graph")
    words = ["export", "model", "damaged", "--version", "3", "--check", "listings.csv"]
    refused(headstart_here(*words, cwd=shop), "damaged/3 cannot be loaded as a SavedModel")


def test_where_it_cannot_be_written_nothing_is_left(shop: Path) -> None:
    (shop / "file").write_text("")
    refused(headstart_here("export", "model", "file", cwd=shop), "file/1 cannot be written", "choose another folder")
    refused(headstart_here("export", "nowhere", "never", cwd=shop), "nowhere is no classifier")
    assert not (shop / "never").exists()


@pytest.mark.parametrize(
    ("module", "package"),
    [("tensorflow_text", "tensorflow-text"), ("tensorflow_serving.apis.predict_pb2", "tensorflow-serving-api")],
)
def test_a_missing_package_is_named_with_its_extra(
    shop: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    words = (package, "pip install 'headstart[export]'")
    refused(headstart_here("export", "model", "lacking", cwd=shop), *words)
    assert not (shop / "lacking").exists()


def test_what_has_no_graph_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(40) % 2
    vectors = {"lexical-hash": rng.normal(size=(40, 2048)).astype(np.float16) + codes[:, None]}
    prints = {"lexical-hash": encoder("lexical-hash").fingerprint}
    labels = tuple(np.array(["bags", "rugs"])[codes].tolist())
    present = {"lexical-hash": np.ones(40, bool)}
    features = Features(tuple(map(str, range(40))), labels, vectors, present, {"lexical-hash": "text"}, prints)
    Classifier().fit(features, groups=np.arange(40)).save(tmp_path / "hashed")
    Classifier().fit(vectors["lexical-hash"][:, :8], labels).save(tmp_path / "plain")
    with pytest.raises(HeadstartError, match="lexical-hash cannot be exported, it hashes words in Python: train with"):
        export(tmp_path / "hashed", tmp_path / "serving")
    with pytest.raises(HeadstartError, match="learnt from plain arrays"):
        export(tmp_path / "plain", tmp_path / "serving")
    assert not list(tmp_path.glob("serving/*"))


def test_no_folder_is_told_in_the_names_of_outputs() -> None:
    names = ["use-multilingual-v3", "hub:/home/me/shop#size=224", "hub:/other/shop", "keras:ResNet50", "tuned:a b/c d/"]
    assert [*output_names(names).values()] == ["use-multilingual-v3", "shop", "shop#2", "ResNet50", "c_d"]
