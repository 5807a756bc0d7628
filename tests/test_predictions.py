"""Predictions on disk: every format, every decision, batch by batch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from catalogs import NAMES, draw_features, texts_of
from headstart.errors import HeadstartError, ModelError
from headstart.heads.classifier import Classifier
from headstart.predictions import predictions, write_predictions


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    features = draw_features(400)
    return Classifier(words=True).fit(features, groups=np.arange(400), texts=texts_of(features))


def written(path: Path) -> list[dict[str, str]]:
    """Rows of any format, as CSV has them."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: f"{value:g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows]


def test_each_row_says_the_category_and_what_to_do(tmp_path: Path, classifier: Classifier) -> None:
    features = draw_features(200, seed=1)
    nothing = np.arange(200) == 7
    present = {name: mask & ~nothing for name, mask in features.present.items()}
    features = replace(features, present=present)
    texts = texts_of(features)
    texts[7] = None
    write_predictions(classifier, [features], tmp_path / "said.csv", 0.05, 0.9, texts)
    rows = written(tmp_path / "said.csv")
    assert list(rows[0]) == [
        "id", "category", "probability", "decision", "suggested", "second_category", "second_probability",
        "third_category", "third_probability", "read",
    ]  # fmt: skip
    said = classifier.predict_proba(features, texts)
    found = classifier.decide(features, 0.05, 0.9, texts)
    assert [row["id"] for row in rows] == list(features.ids)
    assert [row["category"] for row in rows] == classifier.predict(features, texts).tolist()
    assert [row["decision"] for row in rows] == found.action.tolist()
    assert {"accept", "suggest", "person"} == set(found.action)
    for number, row in enumerate(rows):
        order = np.argsort(-said[number], kind="stable")
        assert [row["category"], row["second_category"], row["third_category"]] == [NAMES[code] for code in order[:3]]
        shown = [float(row[f"{rank}probability"]) for rank in ("", "second_", "third_")]
        assert shown == pytest.approx(said[number, order[:3]].tolist(), abs=6e-5)
        suggested = [NAMES[code] for code in order if found.sets[number, code]]
        assert row["suggested"] == (" | ".join(suggested) if row["decision"] == "suggest" else "")
    assert (rows[7]["decision"], rows[7]["read"], rows[7]["suggested"]) == ("person", "nothing", "")
    assert {row["read"] for row in rows} == {"text+image", "text", "image", "nothing"}


def test_every_format_says_the_same(tmp_path: Path, classifier: Classifier) -> None:
    features = draw_features(30, seed=2)
    for suffix in ("csv", "parquet", "jsonl"):
        write_predictions(classifier, [features], tmp_path / f"said.{suffix}", texts=texts_of(features))
    rows = written(tmp_path / "said.jsonl")
    assert len(rows) == 30
    assert written(tmp_path / "said.parquet") == rows
    numbers = [{name: f"{float(v):g}" if "prob" in name else v for name, v in row.items()} for row in rows]
    from_csv = written(tmp_path / "said.csv")
    assert [{name: f"{float(v):g}" if "prob" in name else v for name, v in row.items()} for row in from_csv] == numbers


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_many_listings_are_classified_part_by_part(
    tmp_path: Path, classifier: Classifier, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    features, asked = draw_features(150, seed=3), []
    parts = [features.take(np.arange(start, min(start + 40, 150))) for start in range(0, 150, 40)]

    def texts() -> Iterator[str | None]:
        for text in texts_of(features):
            asked.append(text)
            yield text

    batches = predictions(classifier, iter(parts), texts=texts())
    first = next(batches)
    assert (len(first), len(asked)) == (40, 40), "no more is read than is classified"
    assert [len(batch) for batch in batches] == [40, 40, 30]
    write_predictions(classifier, iter(parts), tmp_path / f"parts.{suffix}", texts=texts())
    write_predictions(classifier, [features], tmp_path / f"whole.{suffix}", texts=texts())
    assert capsys.readouterr().err.count("150 listings classified") == 2
    rows, whole = (written(tmp_path / f"{name}.{suffix}") for name in ("parts", "whole"))
    assert [row["id"] for row in rows] == list(features.ids)
    for row, other in zip(rows, whole, strict=True):
        chances = [(float(row.pop(name)), float(other.pop(name))) for name in list(row) if "probability" in name]
        assert row == other
        assert all(one == pytest.approx(two, abs=2e-4) for one, two in chances)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_no_listing_makes_no_row(tmp_path: Path, classifier: Classifier, suffix: str) -> None:
    write_predictions(classifier, [draw_features(5).take(np.arange(0))], tmp_path / f"none.{suffix}", texts=[])
    assert written(tmp_path / f"none.{suffix}") == []
    if suffix == "csv":
        assert (tmp_path / "none.csv").read_text().startswith('"id","category","probability","decision"')


def test_without_a_file_it_is_csv_on_stdout(classifier: Classifier, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    features = draw_features(5)
    write_predictions(classifier, [features], None, texts=texts_of(features))
    out, err = capfdbinary.readouterr()
    assert [row["id"] for row in csv.DictReader(out.decode().splitlines())] == list(features.ids)
    assert b"decision" not in err


def test_where_nothing_is_known_of_its_errors_no_decision_is_given_and_that_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = draw_features(6)
    classifier = Classifier().fit(features, groups=np.zeros(6, int))
    assert not classifier.calibrated_
    write_predictions(classifier, [draw_features(5), draw_features(6)], tmp_path / "said.csv")
    assert not {"decision", "suggested"} & set(written(tmp_path / "said.csv")[0])
    assert capsys.readouterr().err.count("no decision is given") == 1


def test_what_is_refused_leaves_no_file(tmp_path: Path, classifier: Classifier) -> None:
    features = draw_features(5)
    with pytest.raises(ModelError, match="reads words as well"):
        write_predictions(classifier, [features], tmp_path / "said.csv")
    with pytest.raises(HeadstartError, match="error rate 2"):
        write_predictions(classifier, [features], tmp_path / "said.csv", error_rate=2, texts=texts_of(features))
    with pytest.raises(HeadstartError, match=r"said.xlsx has no suffix that is known: end it with one of .csv"):
        write_predictions(classifier, [features], tmp_path / "said.xlsx", texts=texts_of(features))
    with pytest.raises(ModelError, match="3 texts for 5 listings"):
        write_predictions(classifier, [features], tmp_path / "said.csv", texts=texts_of(features)[:3])
    assert list(tmp_path.iterdir()) == []
