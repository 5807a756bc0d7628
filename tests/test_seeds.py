"""Accuracies over several seeds of the folds are those of as many benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from catalogs import HEADER, WORDS
from headstart.catalog import Columns
from headstart.errors import HeadstartError
from headstart.heads.classifier import Classifier
from headstart.labelled import labelled
from headstart.modelling import choose, keep
from headstart.reports.benchmark import Settings, benchmark
from headstart.seeds import over_seeds
from headstart.workflow import Read, Source, read_once


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Listings in three categories, whose words are those of another one in three of ten."""
    folder = tmp_path_factory.mktemp("seeds")
    draw = np.random.default_rng(3)
    vocabularies, names = [words.split() for words in WORDS.values()], list(WORDS)
    with (folder / "listings.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for row in range(72):
            code = (row + (row % 10 < 3)) % len(names)
            words = [*draw.choice(vocabularies[code], 3), f"modèle{row}", f"lot{draw.integers(10**6)}"]
            out.writerow((f"s{row}", " ".join(words), "", names[row % len(names)]))
    identity, text, _, label = HEADER
    columns = Columns(identity, (text,), None, label)
    return read_once(Source(folder / "listings.csv", columns, store=folder / "store", encoders=("lexical-hash",)))


def test_each_seed_is_a_benchmark_with_it(read: Read, timed_once: None) -> None:
    found = over_seeds(read, (4, 5, 6), folds=2)
    settings = Settings(folds=2, repeats=1, seed=4, resamples=50)
    one = benchmark(read.catalog, read.features, read.extractions, read.stores, settings, title="", command="")
    assert list(found) == [approach.name for approach in one.approaches] == ["text", "late", "control"]
    for approach in one.approaches:
        first, *others = found[approach.name]
        assert first == pytest.approx(approach.accuracy.mean, abs=0.015)  # one listing of 72, by rounding
        assert len(others) == 2 and all(0.3 < each < 1 for each in others)
    assert len({each for accuracies in found.values() for each in accuracies}) > 1
    assert over_seeds(read, (4, 5, 6), folds=2, names=("control",)) == {"control": found["control"]}


@pytest.mark.parametrize(
    ("seeds", "names", "told"),
    [
        ((), (), "give one or more"),
        ((1, 1), (), "each once"),
        ((1,), ("image",), "no approach 'image' for these listings; choose among: text, late, control"),
    ],
)
def test_what_cannot_be_is_told(read: Read, seeds: Sequence[int], names: Sequence[str], told: str) -> None:
    with pytest.raises(HeadstartError, match=told):
        over_seeds(read, seeds, 2, names=names)


def test_what_is_kept_is_handed_back(read: Read, tmp_path: Path) -> None:
    _, config = choose(read.features, None, {})
    kept = keep(config, 0, read, labelled(read), tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    assert kept.columns_ == loaded.columns_ and kept.columns_["text"] == ["titre"]
    np.testing.assert_allclose(kept.predict_proba(read.features), loaded.predict_proba(read.features), atol=1e-5)
    assert np.isfinite(kept.out_of_fold_).all()
