"""Two results side by side: the same verdicts as within one, and a reason where they cannot be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import headstart_here, refused
from headstart.errors import HeadstartError
from headstart.reports.compare import compare, holm
from headstart.reports.contrast import Contrast, contrast
from headstart.reports.metrics import GroupBootstrap
from headstart.reports.packing import packed_right, unpacked
from headstart.reports.result import BenchmarkResult, Interval

OTHER = "6b" * 32
"""Of other splits."""


def changed(result: BenchmarkResult, name: str, share: float) -> BenchmarkResult:
    """The result with an approach that puts right such a share of what it had wrong; if negative, spoils as many."""
    judged, place = unpacked(result), [each.name for each in result.approaches].index(name)
    right = judged.right[name].copy()
    other = np.random.default_rng(3).random(right.shape) < abs(share)
    right = right | other if share > 0 else right & ~other
    approach = replace(
        result.approaches[place],
        right=packed_right(right),
        folds=tuple(float(right[fold.repeat, fold.test].mean()) for fold in judged.folds),
        accuracy=Interval(float(right.mean()), 0.0, 1.0),
    )
    return replace(result, approaches=(*result.approaches[:place], approach, *result.approaches[place + 1 :]))


Beside = Callable[[BenchmarkResult, BenchmarkResult], Contrast]


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    """Compare two results as files."""

    def beside(a: BenchmarkResult, b: BenchmarkResult) -> Contrast:
        for name, each in (("a", a), ("b", b)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "results.json").write_text(each.to_json(), encoding="utf-8")
        return contrast(tmp_path / "a", tmp_path / "b" / "results.json")

    return beside


def test_two_results_are_compared_as_two_approaches_of_one(result: BenchmarkResult, beside: Beside) -> None:
    b = replace(changed(changed(result, "late", 0.9), "text", -0.01), chosen="concat")
    found = beside(result, b)
    names = [("late", "concat"), *((name, name) for name in ("text", "image", "concat", "late", "control"))]
    assert [(pair.comparison.a, pair.comparison.b) for pair in found.pairs] == names
    assert [pair.chosen for pair in found.pairs] == [True] + [False] * 5
    ours, theirs = unpacked(result), unpacked(b)
    bootstrap = GroupBootstrap(ours.groups, 2000, 0)
    alone = [compare(x, y, ours.right[x], theirs.right[y], bootstrap, ours.folds) for x, y in names]
    assert [pair.comparison.p_value for pair in found.pairs] == holm([one.p_value for one in alone])
    for pair, one in zip(found.pairs, alone, strict=True):
        assert pair.comparison.difference == one.difference
        assert pair.accuracy[0] - pair.accuracy[1] == pytest.approx(one.difference.mean)
    by_name = {pair.comparison.a: pair for pair in found.pairs[1:]}
    assert by_name["late"].comparison.verdict == "worse"
    assert by_name["image"].changed == by_name["control"].changed == 0
    wrong = ~ours.right["late"] & theirs.right["late"]
    assert by_name["late"].changed == wrong.any(axis=0).sum() > 10


def test_the_verdict_turns_with_the_order(result: BenchmarkResult, beside: Beside) -> None:
    b = changed(result, "late", 0.9)
    one, two = beside(result, b), beside(b, result)
    title = "Text, photo and words, late fusion"
    assert one.verdict.startswith(f"A ({title}) is worse than B ({title}): −")
    assert two.verdict.startswith(f"A ({title}) is better than B ({title}): +")
    assert len(one.pairs) == 5 and one.pairs[0].chosen, "what both chose is compared once"
    gain, loss = one.pairs[0].comparison, two.pairs[0].comparison
    assert gain.difference.mean == -loss.difference.mean and gain.p_value == loss.p_value
    assert (gain.difference.low, gain.difference.high) == pytest.approx((-loss.difference.high, -loss.difference.low))


def test_a_few_listings_more_are_not_distinguishable(result: BenchmarkResult, beside: Beside) -> None:
    found = beside(result, changed(result, "late", 0.05))
    assert found.pairs[0].changed > 0
    assert "cannot be told from B" in found.verdict and found.verdict.endswith("which may be chance.")


def test_the_same_twice_is_the_same(result: BenchmarkResult, beside: Beside) -> None:
    found = beside(result, replace(result, title="Again"))
    assert found.verdict.startswith("No listing was judged differently")
    assert all(pair.comparison.verdict == "not distinguishable" and not pair.changed for pair in found.pairs)
    assert [each.what for each in found.differences] == ["file", "title"]
    assert found.notes == ()
    found = beside(result, changed(result, "text", 0.5))
    assert found.verdict.endswith("no listing was judged differently.")
    assert [pair.comparison.a for pair in found.pairs if pair.changed] == ["text"]


def test_what_differs_between_the_runs_is_told(result: BenchmarkResult, beside: Beside) -> None:
    late = replace(result.approaches[3], settings={"hidden": 16, "dropout": 0.2})
    b = replace(
        result,
        approaches=(*result.approaches[1:3], late, replace(result.approaches[4], name="other")),
        encoders=(replace(result.encoders[0], fingerprint="77" * 32), replace(result.encoders[1], name="resnet50")),
        provenance={**result.provenance, "machine": "ARM, 8 cores", "tensorflow": "2.22.0", "command": "other"},
    )
    found = beside(result, b)
    assert [pair.comparison.a for pair in found.pairs] == ["late", "image", "concat"]
    told = {each.what: (each.a, each.b) for each in found.differences}
    del told["file"]
    assert told == {
        "approaches": ("text, image, concat, late, control", "image, concat, late, other"),
        "encoder use-multilingual-v3": ("8f3a8f3a8f3a", "777777777777"),
        "encoder efficientnet-lite0": ("c01dc01dc01d", "–"),
        "encoder resnet50": ("–", "c01dc01dc01d"),
        "late: hidden": ("0", "16"),
        "machine": ("Linux x86_64, 2 cores", "ARM, 8 cores"),
        "tensorflow": ("2.21.0", "2.22.0"),
    }
    (note,) = found.notes
    assert "Linux x86_64, 2 cores" in note and "ARM, 8 cores" in note and "cannot be compared" in note


def of_others(result: BenchmarkResult, part: str = "", **changes: Any) -> BenchmarkResult:
    """Of other splits, and with other values in one of its parts."""
    result = replace(result, protocol=replace(result.protocol, splits=OTHER))
    return replace(result, **({part: replace(getattr(result, part), **changes)} if part else changes))


WHY: dict[str, tuple[Callable[[BenchmarkResult], BenchmarkResult], tuple[str, ...]]] = {
    "seed": (
        lambda result: of_others(result, "protocol", seed=7),
        ("5 folds × 2 repeats, seed 0", "seed 7", "--folds, --repeats and --seed"),
    ),
    "cosine": (lambda result: of_others(result, "duplicates", cosine=0.99), ("0.95 in A, 0.99", "--duplicate-cosine")),
    "rows": (
        lambda result: of_others(result, "catalog", rows=5000),
        ("1,050 of 1,062 listings", "1,050 of 5,000", "the same file"),
    ),
    "category": (
        lambda result: of_others(result, "catalog", rare={"Jouets": 4, "Livres": 3}),
        ("'Livres' has 1 listings in A, 3 in B", "--label"),
    ),
    "encoder": (
        lambda result: of_others(result, encoders=(replace(result.encoders[0], name="a b", fingerprint="0"),)),
        ("efficientnet-lite0, B with a b", "81 and 81", "--encoder use-multilingual-v3 --encoder", "--encoder 'a b'"),
    ),
    "unknown": (of_others, ("ids, contents or order", "headstart 0.1.0 and 0.1.0", "the same file")),
}


@pytest.mark.parametrize("why", WHY)
def test_other_splits_are_refused_with_the_reason(why: str, result: BenchmarkResult, beside: Beside) -> None:
    change, parts = WHY[why]
    with pytest.raises(HeadstartError) as caught:
        beside(result, change(result))
    told = str(caught.value)
    assert "(5a5a5a5a5a5a and 6b6b6b6b6b6b)" in told and "results.json" in told and "\n" not in told
    for part in parts:
        assert part in told
    assert sum(hint in told for hint in ("--seed", "--duplicate-cosine", "same file", "one benchmark")) == 1


def test_encoders_are_no_reason_where_there_are_no_near_duplicates(result: BenchmarkResult, beside: Beside) -> None:
    a = replace(result, duplicates=replace(result.duplicates, groups=0, rows=0, largest=1))
    with pytest.raises(HeadstartError, match="ids, contents or order"):
        beside(a, of_others(a, encoders=a.encoders[:1]))


@pytest.fixture
def reports(tmp_path: Path, result: BenchmarkResult) -> Path:
    """A folder with two reports, one better than the other, and files that are none."""
    moved = replace(result, provenance={**result.provenance, "machine": "ARM, 8 cores"})
    texts = {"one": result.to_json(), "two": changed(moved, "late", 0.9).to_json()}
    texts["old"] = texts["one"].replace('"format": 4', '"format": 2')
    texts["cut"] = texts["one"][:5000]
    texts["odd"] = texts["one"].replace(result.approaches[0].right[0], result.approaches[1].right[0])
    texts["latin"] = "é"
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text, encoding="latin-1" if name == "latin" else "utf-8")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_the_command_prints_verdict_table_and_differences(reports: Path) -> None:
    done = headstart_here("compare", "two/results.json", "one", cwd=reports)
    assert done.returncode == 0, done.stderr
    verdict, table, differences, note = done.stdout.split("\n\n")
    assert verdict.startswith("A (Text, photo and words, late fusion) is better than B (")
    rows = table.splitlines()
    assert rows[0].split()[:3] == ["Approach", "A", "B"] and rows[0].endswith("Train, A  Train, B")
    assert [row.split("  ")[0] for row in rows[1:]] == ["late (chosen)", "text", "image", "concat", "control"]
    assert " better " in rows[1] and rows[1].endswith("2.0 s     2.0 s")
    assert all("no listing differs" in row for row in rows[2:])
    assert differences.splitlines()[1].split() == ["file", "two/results.json", "one/results.json"]
    assert note.startswith("The seconds are of different machines")
    assert done.stderr == "1,050 listings; p-values are adjusted for 5 comparisons (Holm)\n"


def test_json_says_the_same(reports: Path) -> None:
    done = headstart_here("compare", "two", "one", "--json", cwd=reports)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["verdict"] in headstart_here("compare", "two", "one", cwd=reports).stdout
    assert told["pairs"][0]["comparison"]["verdict"] == "better" and told["listings"] == 1050
    assert set(told) == {"verdict", "pairs", "listings", "differences", "notes"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("gone", "one"), ("gone does not exist", "headstart benchmark --out")),
        (("one", "empty"), ("no results.json in empty", "headstart benchmark --out")),
        (("one", "old"), ("old/results.json: ", "format '2'", "run the benchmark again")),
        (("cut", "one"), ("cut/results.json: ", "no benchmark's results.json")),
        (("one", "odd"), ("odd/results.json: ", "approaches[0].right", "run the benchmark again")),
        (("latin", "one"), ("latin/results.json", "UTF-8")),
    ],
)
def test_what_is_no_result_is_refused_with_its_name(
    words: tuple[str, str], parts: tuple[str, ...], reports: Path
) -> None:
    done = headstart_here("compare", *words, cwd=reports)
    refused(done, *parts)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1


def test_wrong_usage_and_nothing_heavy(reports: Path) -> None:
    assert headstart_here("compare", "one", cwd=reports).returncode == 2
    script = (
        "import sys; sys.argv = ['headstart', 'compare', 'one', 'two']\nfrom headstart.cli import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'pyarrow', 'matplotlib', 'jinja2', 'joblib', 'PIL', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=reports)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("A (Text")
