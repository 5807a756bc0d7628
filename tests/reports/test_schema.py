"""docs/results.md says what results.json holds: every field and no other, and its examples run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from headstart.reports.result import FORMAT, BenchmarkResult

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", Any: "any"}


def dataclasses_of(kind: Any) -> dict[str, Any]:
    """A dataclass and all that it is made of, by name."""
    found: dict[str, Any] = {}
    waiting = [kind]
    while waiting:
        each = waiting.pop()
        if is_dataclass(each) and each.__name__ not in found:
            found[each.__name__] = each
            waiting += get_type_hints(each).values()
        waiting += get_args(each)
    return found


def in_words(kind: Any) -> str:
    """A type as the page tells it."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if origin is UnionType:
        return f"{in_words(inner[0])} or null"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"[{', '.join(map(in_words, inner))}]"
    if origin in (tuple, dict):
        return f"list of {in_words(inner[0])}" if origin is tuple else f"object of {in_words(inner[1])}"
    return WORDS[kind]


def told() -> dict[str, dict[str, str]]:
    """Section → field → type, as the page has them."""
    sections = re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return {name: dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE)) for name, text in sections}


def test_every_field_is_on_the_page_with_its_type_and_no_other() -> None:
    expected = {}
    for name, kind in dataclasses_of(BenchmarkResult).items():
        hints = get_type_hints(kind)
        expected[name] = {field.name: in_words(hints[field.name]) for field in fields(kind)}
    assert len(expected) > 15
    assert told() == expected


def test_the_format_is_the_one_written() -> None:
    assert f"`format` is {FORMAT}, " in PAGE and f"| `format` | integer | {FORMAT} |" in PAGE
    assert not re.search(r"\| *\|\n", PAGE), "every field is explained"


@pytest.fixture
def report(tmp_path: Path, result: BenchmarkResult, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "results.json").write_text(result.to_json(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_page_reads_a_result(report: Path, result: BenchmarkResult) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(script, found)
    assert found["accuracy"] == {approach.name: approach.accuracy.mean for approach in result.approaches}
    assert found["right"].shape == (2, 1050)
    assert found["right"].mean() == pytest.approx(result.chosen_approach.accuracy.mean)
    assert found["first_fold"] == pytest.approx(result.chosen_approach.folds[0])


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_jq_of_the_page_reads_a_result(report: Path, result: BenchmarkResult) -> None:
    (line,) = re.findall(r"^jq .*$", PAGE, re.MULTILINE)
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, cwd=report)
    assert done.returncode == 0, done.stderr
    rows = [row.split("\t") for row in done.stdout.splitlines()]
    assert [(name, float(mean)) for name, mean, *_ in rows] == [
        (approach.name, pytest.approx(approach.accuracy.mean)) for approach in result.approaches
    ]
