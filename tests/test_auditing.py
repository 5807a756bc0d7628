"""An audit from the command line: a catalogue with misfiled listings, decisions, a corrected catalogue."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from catalogs import WORDS
from commands import headstart_here, refused
from headstart.auditing import ids_with
from headstart.catalog import Columns, read_catalog
from headstart.cells import unguarded
from headstart.errors import CatalogError
from headstart.reports.suspects import KINDS

pytest.importorskip("cleanlab", reason="the extra audit is not installed")

COLUMNS = ("--id", "sku", "--text", "titre", "--label", "rayon", "--encoder", "lexical-hash")
HOSTILE = "=cmd|' /C calc'!A0"
MISFILED = {"s4": "Montres", "s10": "Jouets", "s21": "Linge"}
"""Listing → the wrong category that it is in."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty listings of three categories, three of them misfiled; every sixth belongs to a holdout."""
    folder = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(3)
    (folder / "photos").mkdir()
    rows = []
    for row in range(60):
        label, words = list(WORDS.items())[row % 3]
        title = " ".join(rng.choice(words.split(), 4)) + f" modèle {row}"
        title += " <script>alert(1)</script>" if row == 4 else ""
        rows.append((f"s{row}", f"{HOSTILE} {title}" if row == 10 else title, MISFILED.get(f"s{row}", label), label))
        Image.new("RGB", (40, 30), (row, 90, 40)).save(folder / "photos" / f"s{row}.jpg")
    with (folder / "listings.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("sku", "titre", "rayon", "vrai", "split"))
        out.writerows((*cells, "test" if row % 6 == 3 else "train") for row, cells in enumerate(rows))
    return folder


@pytest.fixture(scope="module")
def audited(folder: Path) -> str:
    """What an audit of them printed."""
    done = headstart_here("audit", "listings.csv", *COLUMNS, "--images", "photos", "--out", "found", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def suspects(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_misfiled_listings_are_the_first_suspects(folder: Path, audited: str) -> None:
    found = suspects(folder / "found" / "suspects.csv")
    assert {row["id"] for row in found[:3]} == set(MISFILED)
    truth = dict(zip((f"s{row}" for row in range(60)), list(WORDS) * 20, strict=True))
    for row in found[:3]:
        assert (row["filed"], row["suggested"]) == (MISFILED[row["id"]], truth[row["id"]])
        assert row["by_fused"] == row["by_text"] == row["by_neighbours"] == "true"
        assert row["reason"].startswith(f"the text says {row['suggested']}")
        assert 0.5 < float(row["score"]) <= 1
    assert "true" in {row["by_confident_learning"] for row in found}  # it prunes as many as the noise rates allow
    assert [name for name in found[0] if name.startswith("by_")] == [f"by_{kind}" for kind in KINDS]
    assert [int(row["rank"]) for row in found] == list(range(1, len(found) + 1))
    assert "s4" in audited
    assert "of 60 listings look misfiled" in audited
    assert audited.splitlines()[-2:] == ["found/suspects.csv", "found/audit.html"]


def test_what_strangers_wrote_stays_text(folder: Path, audited: str) -> None:
    (row,) = [row for row in suspects(folder / "found" / "suspects.csv") if row["id"] == "s10"]
    assert row["text"].startswith("'=cmd|")
    assert unguarded(row["text"]).startswith(HOSTILE)
    page = (folder / "found" / "audit.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "data:image/jpeg;base64," in page


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_suspects_as_parquet_and_json_lines(folder: Path, audited: str, kind: str) -> None:
    done = headstart_here("audit", "listings.csv", "--encoder", "lexical-hash", "--format", kind, cwd=folder)
    assert done.returncode == 0, done.stderr
    path = folder / "audit" / f"suspects.{kind}"
    if kind == "parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in rows[:3]} == set(MISFILED)
    assert next(row for row in rows if row["id"] == "s10")["text"].startswith(HOSTILE)  # no spreadsheet opens these
    assert rows[0]["by_fused"] is True


def test_nothing_is_learnt_from_a_holdout_and_no_decision_on_it_applied(folder: Path, audited: str) -> None:
    words = ("audit", "listings.csv", "--encoder", "lexical-hash", "--holdout", "split=test", "--out", "held")
    done = headstart_here(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "10 listings of the holdout are for review only" in done.stderr
    found = {row["id"]: row["holdout"] for row in suspects(folder / "held" / "suspects.csv")}
    assert (found["s21"], found["s4"]) == ("true", "false")
    assert "suspect is of the holdout" in done.stdout or "suspects are of the holdout" in done.stdout
    rows = [
        f"{name},{filed},agree,{'Jouets' if name == 's21' else 'Linge'},Ana,2026-01-02T10:00:00Z,{found[name]}"
        for name, filed in MISFILED.items()
        if name != "s10"
    ]
    header = "id,filed,decision,category,decided_by,decided_at,holdout"
    (folder / "held.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    done = headstart_here("audit", "apply", "listings.csv", "held.csv", "--out", "held-new.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "1 decision" in done.stderr
    corrected = {row["sku"]: row["rayon"] for row in suspects(folder / "held-new.csv")}
    assert (corrected["s4"], corrected["s21"]) == ("Linge", "Linge")
    (folder / "bare.csv").write_text("id,filed,decision,category\ns21,Linge,agree,Montres\n", encoding="utf-8")
    words = ("audit", "apply", "listings.csv", "bare.csv", "--holdout", "split=test", "--out", "bare-new.csv")
    done = headstart_here(*words, cwd=folder)  # a file that does not say what is held out
    assert done.returncode == 0, done.stderr
    assert {row["sku"]: row["rayon"] for row in suspects(folder / "bare-new.csv")}["s21"] == "Linge"


def test_decisions_give_a_corrected_catalogue_without_suspects(folder: Path, audited: str) -> None:
    found = suspects(folder / "found" / "suspects.csv")
    with (folder / "decisions.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("id", "filed", "decision", "category", "decided_by", "decided_at", "holdout"))
        for row in found:
            what = "agree" if row["id"] in MISFILED else "keep"
            category = row["suggested"] if what == "agree" else row["filed"]
            out.writerow((row["id"], row["filed"], what, category, "Ana", "2026-01-02T10:00:00Z", "false"))
    before = (folder / "listings.csv").read_bytes()
    words = ("audit", "apply", "listings.csv", "decisions.csv", "--out", "corrected.csv")
    done = headstart_here(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "3 of 60 rows corrected" in done.stdout
    assert (folder / "listings.csv").read_bytes() == before
    rows = suspects(folder / "corrected.csv")
    assert [row["rayon"] for row in rows] == [row["vrai"] for row in rows]
    assert {row["sku"]: row["filed_before"] for row in rows if row["filed_before"]} == MISFILED
    assert {row["decided_by"] for row in rows if row["sku"] in MISFILED} == {"Ana"}
    refused(headstart_here(*words, cwd=folder), "corrected.csv")
    again = headstart_here("audit", "corrected.csv", *COLUMNS, "--out", "again", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert not {row["id"] for row in suspects(folder / "again" / "suspects.csv")} & set(MISFILED)


def test_a_benchmark_with_decisions_is_judged_by_them(folder: Path, audited: str, timed_once: None) -> None:
    header = "id,filed,decision,category,decided_by,decided_at,holdout"
    truth = {"s4": "Linge", "s10": "Linge", "s21": "Montres"}
    rows = [f"{name},{filed},agree,{truth[name]},,," for name, filed in MISFILED.items()]
    (folder / "agreed.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    words = ("benchmark", "listings.csv", "--encoder", "lexical-hash", "--folds", "3", "--repeats", "1")
    done = headstart_here(*words, "--decisions", "agreed.csv", "--out", "report", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "report" / "results.json").read_text(encoding="utf-8"))
    assert result["catalog"]["class_rows"] == {"Jouets": 20, "Linge": 20, "Montres": 20}
    corrected = result["corrected"]
    assert (corrected["decisions"], corrected["changed"]) == (3, 3)
    assert corrected["corrected"]["mean"] >= corrected["filed"]["mean"] > 0.8
    chosen = next(each for each in result["approaches"] if each["name"] == result["chosen"])
    assert corrected["corrected"] == chosen["accuracy"]
    assert "--decisions agreed.csv" in result["provenance"]["command"]
    assert not {each["id"] for each in result["misfiled"]["first"]} & set(MISFILED)
    assert "Learning from the categories decided on, against those filed: " in done.stdout
    plain = headstart_here(*words, "--out", "plain", cwd=folder)
    assert plain.returncode == 0, plain.stderr
    result = json.loads((folder / "plain" / "results.json").read_text(encoding="utf-8"))
    assert result["corrected"] is None
    assert {each["id"] for each in result["misfiled"]["first"][:3]} == set(MISFILED)
    assert '<h2 id="misfiled">' in (folder / "plain" / "report.html").read_text(encoding="utf-8")


def test_what_was_decided_before_is_no_suspect_again(folder: Path, audited: str) -> None:
    header = "id,filed,decision,category"
    (folder / "kept.csv").write_text(f"{header}\ns4,Montres,keep,\ns10,Jouets,agree,Linge\n", encoding="utf-8")
    words = ("audit", "listings.csv", "--encoder", "lexical-hash", "--decisions", "kept.csv", "--out", "kept")
    done = headstart_here(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "1 suspects are filed as was decided before" in done.stderr
    found = {row["id"] for row in suspects(folder / "kept" / "suspects.csv")}
    assert "s4" not in found
    assert "s10" in found  # it was not corrected: it is still where it should not be


def test_a_category_that_nothing_is_in_is_taken_only_on_purpose(folder: Path, audited: str) -> None:
    header = "id,filed,decision,category"
    (folder / "typo.csv").write_text(f"{header}\ns4,Montres,agree,Lingee\n", encoding="utf-8")
    words = ("audit", "apply", "listings.csv", "typo.csv", "--out", "typo-new.csv")
    refused(headstart_here(*words, cwd=folder), "'Lingee'", "did you mean 'Linge'?", "--new-categories")
    assert headstart_here(*words, "--new-categories", cwd=folder).returncode == 0
    assert {row["sku"]: row["rayon"] for row in suspects(folder / "typo-new.csv")}["s4"] == "Lingee"


def test_a_correction_needs_no_column_but_the_category_s(folder: Path, audited: str) -> None:
    path = folder / "unknown.csv"
    path.write_bytes((folder / "listings.csv").read_bytes())
    (folder / "one.csv").write_text("id,filed,decision,category\ns4,Montres,agree,Linge\n", encoding="utf-8")
    words = ("audit", "apply", "unknown.csv", "one.csv", "--id", "sku", "--label", "rayon", "--out", "unknown-new.csv")
    done = headstart_here(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "1 listing: Montres → Linge" in done.stdout


def test_a_self_test_tells_what_both_rankings_find(folder: Path, audited: str) -> None:
    words = (
        "audit",
        "listings.csv",
        "--encoder",
        "lexical-hash",
        "--self-test",
        "0.05",
        "--draws",
        "2",
        "--repeats",
        "1",
    )
    done = headstart_here(*words, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    uniform, *others = json.loads(done.stdout)
    assert [each["kind"] for each in (uniform, *others)] == ["uniform", "confusable", "re-postings"]
    assert uniform["flips"] == 3
    assert uniform["audit"]["auroc"] > 0.9
    assert set(uniform["ahead"]) == set(uniform["audit"]) == set(uniform["cleanlab"])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--holdout", "part=test"), ("part=test", "sku, titre, rayon, vrai, split")),
        (("--holdout", "split=gone"), ("'gone'", "'split'", "--holdout")),
        (("--self-test", "0.001"), ("share of 0.001",)),
        (("--label", "sku"), ("folds",)),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(
    words: tuple[str, ...], parts: tuple[str, ...], folder: Path, audited: str
) -> None:
    refused(headstart_here("audit", "listings.csv", "--encoder", "lexical-hash", *words, cwd=folder), *parts)


def test_wrong_usage_is_told_as_such(folder: Path) -> None:
    for words in (
        (),
        ("listings.csv", "--self-test", "0.7"),
        ("apply", "listings.csv"),
        ("listings.csv", "--format", "x"),
    ):
        done = headstart_here("audit", *words, cwd=folder)
        assert done.returncode == 2, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_without_cleanlab_it_is_named(folder: Path, audited: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cleanlab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    done = headstart_here("audit", "listings.csv", *COLUMNS, cwd=folder)
    refused(done, "pip install 'headstart[audit]'")


def test_ids_by_the_value_of_a_column(folder: Path) -> None:
    catalog = read_catalog(folder / "listings.csv", Columns("sku", ("titre",)))
    assert ids_with(catalog, "split=test") == {f"s{row}" for row in range(3, 60, 6)}
    assert ids_with(catalog, "sku=s7") == {"s7"}
    with pytest.raises(CatalogError, match="names no column"):
        ids_with(catalog, "split")
