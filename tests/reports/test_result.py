"""results.json: what is written comes back, and what is no such file is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headstart.errors import HeadstartError
from headstart.reports.result import BenchmarkResult


def test_what_is_written_comes_back(result: BenchmarkResult) -> None:
    odd = 'a\n[\n 1,\n 2\n]\u2028"\\'
    for each in (result, replace(result, title=odd, learning=(), confused=())):
        assert BenchmarkResult.from_json(each.to_json()) == each


def changed(result: BenchmarkResult, change: Callable[[Any], object]) -> str:
    told = json.loads(result.to_json())
    change(told)
    return json.dumps(told)


CHANGES: dict[str, Callable[[Any], object]] = {
    "format '2'; this headstart reads format 4": lambda told: told.update(format=2),
    "format 'None'": lambda told: told.pop("format"),
    "chosen is missing": lambda told: told.pop("chosen"),
    "protocol.colour is not known": lambda told: told["protocol"].update(colour="red"),
    "catalog.rows is no int": lambda told: told["catalog"].update(rows=True),
    "catalog.rare.Jouets is no int": lambda told: told["catalog"]["rare"].update(Jouets="4"),
    "confusion[0] has 2 values, not 3": lambda told: told["approaches"][1]["confusion"][0].pop(),
    "approaches[2].accuracy is no dict": lambda told: told["approaches"][2].update(accuracy=0.9),
    "chosen names no approach": lambda told: told.update(chosen="other"),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_what_is_no_such_result_is_refused(reason: str, result: BenchmarkResult) -> None:
    with pytest.raises(HeadstartError) as refused:
        BenchmarkResult.from_json(changed(result, CHANGES[reason]))
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000, '{"format": "3"}', "\x00"])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(HeadstartError, match=r"results\.json"):
        BenchmarkResult.from_json(text)


def test_pairs_that_do_not_occur_take_no_room(make_result: Callable[..., BenchmarkResult]) -> None:
    result = make_result([f"category {n}" for n in range(300)], rows=10)
    assert len(result.to_json()) < 1_500_000
    best = result.chosen_approach
    assert sum(map(sum, best.matrix())) == pytest.approx(3000)
    assert all(listings > 0 for *_, listings in best.confusion)
