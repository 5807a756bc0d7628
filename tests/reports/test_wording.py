from __future__ import annotations

import pytest

from headstart.reports import wording
from headstart.reports.result import Comparison, Interval


def test_percentages_intervals_and_points() -> None:
    assert wording.plain(wording.percent(0.9321)) == "93.2 %"
    assert wording.plain(wording.interval(Interval(0.93, 0.914, 0.9494))) == "91.4 – 94.9 %"
    assert wording.plain(wording.number_of(Interval(31.2, 24.4, 1039.8))) == "31 (24 – 1,040)"
    shown = [wording.plain(wording.points(x)) for x in (0.0123, -0.0068, -0.0001)]
    assert shown == ["+1.2 points", "−0.7 points", "0.0 points"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 s"), (0.0041, "4.1 ms"), (0.23, "230 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s"),
     (59.97, "1 min 00 s"), (245, "4 min 05 s"), (3599.7, "1 h 00 min"), (7980, "2 h 13 min")],
)  # fmt: skip
def test_seconds_in_the_unit_that_suits_them(value: float, shown: str) -> None:
    assert wording.plain(wording.seconds(value)) == shown


def test_counts_lists_and_p_values() -> None:
    assert [wording.count(x) for x in (1050, 1.5, 2.0)] == ["1,050", "1.5", "2"]
    assert [wording.listed(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
    assert [wording.plain(wording.p_value(x)) for x in (0.0004, 0.034, 0.21)] == [
        "p < 0.001", "p = 0.034", "p = 0.21",
    ]  # fmt: skip


def test_a_comparison_is_a_sentence() -> None:
    one = Comparison("fused", "text", Interval(0.009, -0.004, 0.022), 0.17, "not distinguishable")
    assert wording.plain(wording.compared(one, "Both", "Text alone")) == (
        "Both, against Text alone: not distinguishable, +0.9 points (95 % interval −0.4 to +2.2, p = 0.17)."
    )


def test_rates_as_they_were_asked_for() -> None:
    assert [wording.plain(wording.asked(rate)) for rate in (0.02, 0.025, 0.95, 0.07)] == ["2 %", "2.5 %", "95 %", "7 %"]
