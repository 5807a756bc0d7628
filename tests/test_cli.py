"""The command line as a person meets it: real files, one line for whatever goes wrong.

A process of its own where that shows more: streams, imports, warnings, signals. Else in this one, seconds sooner.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from catalogs import WORDS, listings
from commands import headstart, headstart_here, refused

COLUMNS = ("--id", "sku", "--text", "titre", "--image", "photo", "--label", "rayon", "--images", "photos")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose listings are extracted and learnt from."""
    folder = tmp_path_factory.mktemp("cli")
    listings(folder)
    done = headstart("train", "listings.csv", *COLUMNS, "--save", "model", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["head"] == "fused"
    assert found["accuracy"]["mean"] > 0.8
    return folder


def test_help_names_every_command_and_needs_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; from headstart.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pyarrow', 'tensorflow', 'keras', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in (
        "demo",
        "extract",
        "train",
        "sweep",
        "benchmark",
        "compare",
        "predict",
        "audit",
        "encoders",
        "store",
    ):
        assert command in done.stdout


@pytest.mark.parametrize(
    "command", ["demo", "extract", "train", "sweep", "benchmark", "compare", "predict", "export", "audit", "encoders"]
)
def test_every_command_has_an_example(tmp_path: Path, command: str) -> None:
    done = headstart_here(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"headstart {command}" in done.stdout.split("Example:")[1]


def test_a_second_extraction_encodes_nothing_and_needs_no_columns_and_no_tensorflow(extracted: Path) -> None:
    script = (
        "import sys; sys.argv = ['headstart', 'extract', 'listings.csv']\nfrom headstart.cli import app\n"
        "try: app()\nexcept SystemExit: pass\nassert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nothing new, nothing encoded") == 2
    assert "45 listings: 45 with a text, 45 with a photo, 45 with a category" in done.stderr
    assert done.stdout == ""


def test_predict_reads_new_listings_with_the_columns_of_the_model(extracted: Path) -> None:
    lines = (extracted / "listings.csv").read_text().splitlines()
    (extracted / "new.csv").write_text("\n".join([lines[0], *lines[1:4], "s999,,,"]) + "\n")
    done = headstart_here("predict", "model", "new.csv", "--images", "photos", "--out", "out.jsonl", cwd=extracted)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (extracted / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["s0", "s1", "s2", "s999"]
    assert [row["category"] for row in rows[:3]] == list(WORDS)
    assert [row["read"] for row in rows] == ["text+image"] * 3 + ["nothing"]
    for row in rows:
        assert row["probability"] >= row["second_probability"] >= row["third_probability"]
        assert row["probability"] + row["second_probability"] + row["third_probability"] == pytest.approx(1, abs=1e-3)


def test_predict_tries_again_what_failed_only_when_told(extracted: Path) -> None:
    (extracted / "photos" / "bad.jpg").write_bytes(b"\xff\xd8no photo")
    (extracted / "bad.csv").write_text("sku,titre,photo\nb1,montre quartz,bad.jpg\n")
    for attempts, more in ((1, ()), (1, ()), (2, ("--retry-failed",))):
        done = headstart_here(
            "predict", "model", "bad.csv", "--images", "photos", "--out", "b.csv", *more, cwd=extracted
        )
        assert done.returncode == 0, done.stderr
        failures = json.loads(headstart_here("store", "failures", "--json", cwd=extracted).stdout)
        assert [each["attempts"] for each in failures if each["listing"] == "b1"] == [attempts]
    assert next(csv.DictReader((extracted / "b.csv").open()))["read"] == "text"


def test_new_listings_need_neither_a_category_nor_what_the_head_does_not_read(extracted: Path) -> None:
    done = headstart_here("train", "listings.csv", "--head", "text", "--save", "words", cwd=extracted)
    assert done.returncode == 0, done.stderr
    (extracted / "bare.csv").write_text("sku,titre\nn1,montre acier quartz\n")
    done = headstart_here("predict", "words", "bare.csv", "--out", "words.csv", cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert next(csv.DictReader((extracted / "words.csv").open()))["category"] == "Montres"
    assert "as the classifier learnt: --id sku --text titre" in done.stderr
    done = headstart_here("predict", "model", "bare.csv", "--out", "bare-said.csv", cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert "bare.csv has no column 'photo': its listings are read without" in done.stderr
    row = next(csv.DictReader((extracted / "bare-said.csv").open()))
    assert (row["category"], row["read"]) == ("Montres", "text")
    (extracted / "neither.csv").write_text("sku,nom\nn1,montre\n")
    refused(headstart_here("predict", "model", "neither.csv", cwd=extracted), "'titre'", "'nom'")


def test_an_option_given_replaces_the_one_remembered(extracted: Path) -> None:
    done = headstart_here("train", "listings.csv", "--label", "sku", cwd=extracted)
    assert "(45 categories)" in done.stderr
    echoed = done.stderr.splitlines()[0]
    assert echoed.startswith("as last time: --id sku --text titre --image photo") and "--label" not in echoed
    done = headstart_here("train", "listings.csv", "--label", "rayon", cwd=extracted)
    assert "(3 categories)" in done.stderr
    done = headstart_here("benchmark", "listings.csv", "--out", "listings.csv", cwd=extracted)
    refused(done, "listings.csv", "folder")


def test_the_same_encoder_twice_is_one_encoder(extracted: Path) -> None:
    twice = ("--encoder", "use-multilingual-v3", "--encoder", "use-multilingual-v3")
    done = headstart_here("train", "listings.csv", *twice, "--json", cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["head"] == "text"


def test_no_category_named(tmp_path: Path) -> None:
    listings(tmp_path, 6, photos=False)
    refused(headstart_here("train", "listings.csv", "--id", "sku", "--text", "titre", cwd=tmp_path), "--label")


def test_predictions_go_to_stdout_as_csv(extracted: Path) -> None:
    done = headstart("predict", "model", "listings.csv", cwd=extracted)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 45
    assert rows[0]["id"] == "s0"


def test_benchmark_writes_the_report_and_prints_the_leaderboard(extracted: Path, timed_once: None) -> None:
    done = headstart_here("benchmark", "listings.csv", "--folds", "3", "--repeats", "1", cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Approach")
    result = json.loads((extracted / "report" / "results.json").read_text())
    assert {approach["name"] for approach in result["approaches"]} == {
        "text",
        "image",
        "concat",
        "gated",
        "late",
        "written",
        "control",
    }
    assert result["catalog"]["rows"] == 45
    assert "not real" not in (extracted / "report" / "report.md").read_text()
    assert (extracted / "report" / "report.html").stat().st_size > 10_000


def test_store_info_and_verify_see_damage(extracted: Path) -> None:
    info = json.loads(headstart_here("store", "info", "--json", cwd=extracted).stdout)
    assert {row["encoder"]: row["modality"] for row in info} == {
        "use-multilingual-v3": "text",
        "efficientnet-lite0": "image",
    }
    assert headstart_here("store", "verify", cwd=extracted).returncode == 0
    part = next(path for path in extracted.glob("store/use*/*.npy") if "keys" not in path.name)
    kept = part.read_bytes()
    part.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        refused(headstart_here("store", "verify", cwd=extracted), "problems in store: 1;", "extract again")
    finally:
        part.write_bytes(kept)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_store_that_is_not_there_is_said(tmp_path: Path, command: str) -> None:
    refused(headstart_here("store", command, "--store", "nowhere", cwd=tmp_path), "nowhere", "headstart extract")


def test_no_such_file(tmp_path: Path) -> None:
    refused(headstart_here("extract", "gone.csv", "--text", "titre", cwd=tmp_path), "gone.csv", "does not exist")


def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    listings(tmp_path, 3, photos=False)
    done = headstart_here("extract", "listings.csv", "--id", "sku", "--text", "title", cwd=tmp_path)
    refused(done, "'title'", "'titre'", "'rayon'", "--text")


def test_no_column_named(tmp_path: Path) -> None:
    listings(tmp_path, 3, photos=False)
    refused(headstart_here("extract", "listings.csv", cwd=tmp_path), "--text")


def test_two_rows_with_one_id_and_nothing_kept_is_lost(extracted: Path) -> None:
    lines = (extracted / "listings.csv").read_text().splitlines()
    (extracted / "twice.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    refused(headstart_here("extract", "twice.csv", *COLUMNS, cwd=extracted), "'s0'", "rows 2 and 47")
    assert headstart_here("store", "verify", cwd=extracted).returncode == 0


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("id,titre\n1,Théière émaillée\n".encode("latin-1"))
    done = headstart_here("extract", "latin.csv", "--text", "titre", cwd=tmp_path)
    refused(done, "latin.csv", "--encoding cp1252")
    done = headstart_here("extract", "latin.csv", "--text", "titre", "--encoding", "cp1252", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_bytes(b"")
    refused(headstart_here("extract", "empty.csv", "--text", "titre", cwd=tmp_path), "empty.csv", "empty")


def test_damaged_photos_are_counted_and_their_listings_stay(extracted: Path) -> None:
    photos = extracted / "photos"
    whole = (photos / "0.jpg").read_bytes()
    (photos / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_bytes(b"this is no photo")
    Image.new("L", (10_000, 9_370)).save(photos / "huge.png")
    rows = [f"{name},drap coton {name},{name},Linge" for name in ("truncated.jpg", "empty.jpg", "text.jpg", "huge.png")]
    (extracted / "damaged.csv").write_text("\n".join(["sku,titre,photo,rayon", *rows]) + "\n")
    done = headstart("extract", "damaged.csv", *COLUMNS, cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert "4 listings: 4 with a text, 4 with a photo" in done.stderr
    for reason in ("truncated", "empty", "not an image", "93.7 million pixels"):
        assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert headstart("store", "verify", cwd=extracted).returncode == 0


def test_a_text_of_one_megabyte(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("id,titre\n1," + "montre en acier " * 65_536 + "\n")
    done = headstart_here("extract", "long.csv", "--text", "titre", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 distinct texts encoded" in done.stderr


def test_a_label_seen_once_is_counted_and_left_out_of_the_benchmark(extracted: Path, timed_once: None) -> None:
    lines = (extracted / "listings.csv").read_text().splitlines()
    (extracted / "rare.csv").write_text("\n".join([*lines, "s100,licorne rose,,Licornes"]) + "\n")
    done = headstart_here("train", "rare.csv", *COLUMNS, cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert "'Licornes'" in done.stderr
    done = headstart_here("benchmark", "rare.csv", "--folds", "3", "--repeats", "1", "--out", "rare", cwd=extracted)
    assert done.returncode == 0, done.stderr
    assert json.loads((extracted / "rare" / "results.json").read_text())["catalog"]["rare"] == {"Licornes": 1}


def test_one_category_cannot_be_learnt(extracted: Path) -> None:
    lines = [
        line for line in (extracted / "listings.csv").read_text().splitlines() if line.endswith(("rayon", "Linge"))
    ]
    (extracted / "one.csv").write_text("\n".join(lines) + "\n")
    refused(headstart_here("train", "one.csv", *COLUMNS, cwd=extracted), "'Linge'", "--label")
    refused(headstart_here("benchmark", "one.csv", *COLUMNS, cwd=extracted), "--label")


def test_a_store_from_another_encoder(extracted: Path) -> None:
    header = next(extracted.glob("store/use*/encoder.json"))
    kept = header.read_text()
    header.write_text(next(extracted.glob("store/efficient*/encoder.json")).read_text())
    try:
        refused(headstart_here("extract", "listings.csv", cwd=extracted), "another --store")
    finally:
        header.write_text(kept)


@pytest.mark.parametrize("name", ["head-0-*.keras", "calibration-*.npz", "words-*.npz", "classifier.json"])
def test_a_classifier_folder_with_a_file_missing(extracted: Path, name: str) -> None:
    (file,) = (extracted / "model").glob(name)
    file.rename(extracted / "aside")
    try:
        refused(headstart_here("predict", "model", "listings.csv", cwd=extracted), file.name, "headstart train")
    finally:
        (extracted / "aside").rename(file)


def test_an_encoder_that_is_not_known(extracted: Path) -> None:
    done = headstart_here("extract", "listings.csv", *COLUMNS, "--encoder", "efficientnet-light0", cwd=extracted)
    refused(done, "'efficientnet-light0'", "efficientnet-lite0")


def test_wrong_usage_exits_with_two(tmp_path: Path) -> None:
    assert headstart("train", "listings.csv", "--head", "smell", cwd=tmp_path).returncode == 2


def test_output_that_cannot_be_written_is_said_before_the_work(extracted: Path) -> None:
    refused(headstart_here("predict", "model", "listings.csv", "--out", "p.xlsx", cwd=extracted), "p.xlsx", ".parquet")


def test_ctrl_c_leaves_a_store_that_resumes(tmp_path: Path) -> None:
    listings(tmp_path, 150)
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", "from headstart.cli import main; main()", "extract", "listings.csv", *COLUMNS]
    running = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("store/use*/*-*.json")) and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    done = headstart("extract", "listings.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert headstart("store", "verify", cwd=tmp_path).returncode == 0
