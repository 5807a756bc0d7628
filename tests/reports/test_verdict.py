"""What the report recommends: whatever the figures are, never firmer than they."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from headstart.reports import cost, wording
from headstart.reports.result import (
    Acceptance,
    BenchmarkResult,
    Comparison,
    Doubling,
    FineTuning,
    Interval,
    Seconds,
    SetFigures,
)
from headstart.reports.verdict import advice, verdict


def said(result: BenchmarkResult, question: str) -> str:
    """The answer to the question that begins so; empty where it is not asked."""
    found = [each.answer for each in advice(result) if each.question.startswith(question)]
    return wording.plain(" ".join(found))


def compared(result: BenchmarkResult, *found: tuple[str, str, tuple[float, float, float], str]) -> BenchmarkResult:
    comparisons = tuple(Comparison(a, b, Interval(*difference), 0.01, told) for a, b, difference, told in found)
    return replace(result, comparisons=comparisons)


MakeTuning = Callable[..., FineTuning]
LEVEL, BETTER, WORSE = "not distinguishable", "better", "worse"


def test_answers_come_in_the_order_of_the_decision_and_times_last(result: BenchmarkResult) -> None:
    assert [each.question for each in advice(result)] == [
        "Which approach?",
        "Why this one?",
        "Would something simpler do?",
        "What can be accepted without a look?",
        "Fine-tune the encoders?",
        "Would more labels help?",
        "What does it cost?",
    ]
    assert verdict(result) == tuple(each.answer for each in advice(result))
    slower = replace(
        result, approaches=tuple(replace(a, seconds=Seconds(100.0, 200.0, 300.0)) for a in result.approaches)
    )
    assert verdict(slower)[:-1] == verdict(result)[:-1] and verdict(slower)[-1] != verdict(result)[-1]


def test_the_chosen_approach_is_the_one_to_take(result: BenchmarkResult) -> None:
    assert said(result, "Which").startswith("Take “Text, photo and words, late fusion”: 96.1 % of the listings")
    assert said(replace(result, chosen="text"), "Which").startswith("Take “Text alone”")
    assert "Of 5 approaches" in said(result, "Why") and "94.1 % (92.5 – 95.5 %)" in said(result, "Why")


def test_one_approach_is_not_chosen(result: BenchmarkResult) -> None:
    alone = replace(result, approaches=result.approaches[:1], chosen="text", comparisons=())
    assert "all that was judged" in said(alone, "Which")
    assert said(alone, "Why") == said(alone, "Would something") == ""


def test_a_simpler_approach_within_a_point_is_offered(result: BenchmarkResult) -> None:
    told = said(compared(result, ("late", "text", (0.003, -0.004, 0.009), LEVEL)), "Would something")
    assert "“Text alone” reads no photos" in told and "cannot be told from it" in told
    assert "at most 0.9 points are lost with it, so take it where that saving counts" in told
    assert "better" not in told


def test_a_simpler_approach_that_may_lose_more_is_not_called_as_good(result: BenchmarkResult) -> None:
    told = said(compared(result, ("late", "control", (0.005, -0.008, 0.016), LEVEL)), "Would something")
    assert "“TF-IDF control” needs no encoder" in told and "as much as 1.6 points may be lost with it" in told
    assert "take it" not in told and "Without a look it accepts 75.4 % of the listings, not 88.3 %." in told
    same = next(each for each in result.approaches if each.name == result.chosen).confidence
    level = tuple(replace(each, confidence=same) for each in result.approaches)
    told = said(
        replace(compared(result, ("late", "control", (0.005, -0.008, 0.016), LEVEL)), approaches=level),
        "Would something",
    )
    assert "Without a look" not in told


def test_of_several_the_simplest_that_is_close_for_certain_comes_first(result: BenchmarkResult) -> None:
    told = said(
        compared(
            result,
            ("late", "control", (0.005, -0.008, 0.016), LEVEL),
            ("late", "text", (0.003, -0.004, 0.009), LEVEL),
            ("late", "image", (0.07, 0.05, 0.09), BETTER),
            ("late", "concat", (0.03, 0.01, 0.05), LEVEL),
        ),
        "Would something",
    )
    assert told.startswith("“Text alone”")
    assert "points, +1.0 to +5.0), but the folds differ so much among themselves that this may be chance" in told
    assert "Nor can it be told from “TF-IDF control” (+0.5 points, −0.8 to +1.6)." in told
    assert "late fusion” is better than “Photo alone” (+7.0 points, +5.0 to +9.0), more than chance explains." in told


def test_where_nothing_simpler_comes_near_it_is_said(result: BenchmarkResult) -> None:
    told = said(compared(result, ("late", "text", (0.03, 0.02, 0.04), BETTER)), "Would something")
    assert told == (
        "“Text, photo and words, late fusion” is better than “Text alone” (+3.0 points, +2.0 to +4.0), more than "
        "chance explains."
    )


def test_an_interval_without_zero_is_not_enough_where_the_test_does_not_agree(result: BenchmarkResult) -> None:
    told = said(compared(result, ("late", "text", (0.014, 0.005, 0.023), LEVEL)), "Would something")
    assert "cannot be told from it" in told and "may be chance" in told and "--repeats" in told


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_more_accurate_than_the_chosen_one_is_named(turned: bool, result: BenchmarkResult) -> None:
    one = ("concat", "late", (0.02, 0.01, 0.03), BETTER) if turned else ("late", "concat", (-0.02, -0.03, -0.01), WORSE)
    told = said(compared(result, one), "Would something")
    assert "late fusion” is worse than “Text and photo, concatenated” (−2.0 points, −3.0 to −1.0)" in told
    assert "chosen for its probabilities" in told


def test_comparisons_of_others_say_nothing_of_the_chosen_one(result: BenchmarkResult) -> None:
    assert said(compared(result, ("text", "control", (0.03, 0.02, 0.04), BETTER)), "Would something") == ""


def accepted(result: BenchmarkResult, share: float, error: Interval) -> BenchmarkResult:
    chosen = result.chosen_approach
    told = replace(
        chosen.confidence,
        accepted=Acceptance(Interval(share, share, share), error),
        suggested=SetFigures(Interval(0.9, 0.8, 1.0), Interval(1.5, 1.4, 1.6)),
        suggested_share=0.15,
    )
    changed = replace(chosen, confidence=told)
    return replace(result, approaches=tuple(changed if a is chosen else a for a in result.approaches))


def test_what_can_be_accepted_is_told_with_its_errors(result: BenchmarkResult) -> None:
    told = said(accepted(result, 0.8, Interval(0.0173, 0.0094, 0.031)), "What can be")
    assert "80.0 % of the listings can be accepted without a look: 1.7 % of these are wrong (0.9 – 3.1 %)" in told
    assert "not distinguishable from the 2 % asked for" in told and "15.0 %, and decides alone on 5.0 %" in told
    assert "before relying on it" not in told


def test_more_errors_than_asked_for_are_a_warning(result: BenchmarkResult) -> None:
    told = said(accepted(result, 0.8, Interval(0.04, 0.03, 0.05)), "What can be")
    assert "more than the 2 % asked for" in told and "before relying on it" in told


def test_where_nothing_can_be_accepted_nothing_is(result: BenchmarkResult) -> None:
    told = said(accepted(result, 0.0, Interval(0.0, 0.0, 1.0)), "What can be")
    assert told.startswith("Nothing can be accepted") and "0.0 %" not in told


def doubled(result: BenchmarkResult, difference: tuple[float, float, float], told: str) -> str:
    one = Doubling("late", 840, Interval(0.9, 0.88, 0.92), Comparison("late", "late", Interval(*difference), 0.1, told))
    return said(replace(result, doublings=(one,)), "Would more labels")


def test_more_labels_are_asked_for_no_firmer_than_the_last_doubling_was(result: BenchmarkResult) -> None:
    better = doubled(result, (0.024, 0.013, 0.035), BETTER)
    assert "would probably help" in better and "840 listings and not from half of them brought +2.4 points" in better
    assert "at most about 3.5 points, and likely less" in better
    level = doubled(result, (0.004, -0.006, 0.014), LEVEL)
    assert "cannot be told" in level and "may be chance" in level and "at most about 1.4 points" in level
    assert "probably" not in level
    unsure = doubled(result, (0.013, 0.005, 0.022), LEVEL)
    assert "cannot be told" in unsure and "the folds differ so much" in unsure
    nothing = doubled(result, (-0.01, -0.02, 0.0), LEVEL)
    assert "cannot be told" in nothing and "at most" not in nothing
    worse = doubled(result, (-0.02, -0.03, -0.01), WORSE)
    assert "did not help" in worse and "at most" not in worse


def test_without_a_curve_of_the_chosen_approach_labels_are_not_spoken_of(result: BenchmarkResult) -> None:
    assert said(replace(result, doublings=()), "Would more labels") == ""
    assert said(replace(result, chosen="concat"), "Would more labels") == ""


@pytest.mark.parametrize(
    ("told", "gain", "unchanged", "expected"),
    [
        (BETTER, 0.02, 0, "gains +2.0 points (+1.0 to +3.0) for 101 × the time to train; it is worth it where"),
        (WORSE, -0.02, 0, "changes by −2.0 points (−3.0 to −1.0) for 101 × the time to train: keep them frozen."),
        (LEVEL, 0.005, 0, "that cannot be told from chance: keep them frozen."),
        (LEVEL, 0.0, 10, "to train: nothing that was tried did better than the frozen head on the listings that say"),
    ],
)
def test_fine_tuning_is_advised_where_it_was_better(
    told: str, gain: float, unchanged: int, expected: str, result: BenchmarkResult, make_tuning: MakeTuning
) -> None:
    answer = said(replace(result, tuning=make_tuning(told, gain, unchanged=unchanged)), "Fine-tune")
    assert expected in answer and "time allowed" not in answer and "holdout" not in answer
    assert "was not tried" in said(result, "Fine-tune")


@pytest.mark.parametrize(("told", "gain", "unchanged"), [(BETTER, 0.02, 0), (LEVEL, 0.005, 3), (LEVEL, 0.0, 10)])
def test_fine_tuning_that_the_time_ended_is_not_judged_as_if_it_had_gone_on(
    told: str, gain: float, unchanged: int, result: BenchmarkResult, make_tuning: MakeTuning
) -> None:
    answer = said(replace(result, tuning=make_tuning(told, gain, unchanged=unchanged, cut_short=4)), "Fine-tune")
    ended = "The time allowed ended 4 of 10 trainings: this is what that time bought, and more --fine-tune-minutes may"
    assert ended in answer
    assert answer.endswith("bring more." if told == BETTER else "bring more; without more, keep them frozen.")
    assert answer.count("keep them frozen") == (told != BETTER)
    assert ("gains nothing so far" in answer) == (unchanged == 10)


def test_of_a_holdout_the_verdict_says_so(result: BenchmarkResult, make_tuning: MakeTuning) -> None:
    answer = said(replace(result, tuning=make_tuning(BETTER, 0.02, folds=1)), "Fine-tune")
    once = "Each head was fine-tuned once, and judged on one holdout of 210 listings by McNemar's exact test."
    assert answer.endswith(once)


def test_a_million_listings_cost_in_proportion(result: BenchmarkResult) -> None:
    assert said(result, "What does") == (
        "This machine would read a million such listings in 6 h 57 min, once, and then classify them in 1 min 54 s. "
        "Training on 1,050 listings takes 2.0 s."
    )
    control = said(replace(result, chosen="control"), "What does")
    assert control.startswith("This machine would classify a million such listings in 1 min 45 s.")


def test_fine_tuned_approaches_have_their_cost(result: BenchmarkResult, make_tuning: MakeTuning) -> None:
    rows = cost.table(replace(result, tuning=make_tuning(BETTER, 0.02))).rows
    assert len(rows) == 6
    # 26.6 s were for the 1,062 listings read, the 10.5 s that tuning adds for the 1,050 judged.
    assert tuple(map(wording.plain, rows[-1])) == (
        "Text, photo and words, late fusion, fine-tuned", "9 h 44 min", "49 min 12 s", "10.6 h", "3 min 22 s",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "value"),
    [("93.2 %", 93.2), ("93.2 % (91.4 – 94.9 %)", 93.2), ("91.4 – 94.9 %", 91.4), ("−0.7 points", -0.7),
     ("+1.2 (−0.3 to +1.1)", 1.2), ("1,050", 1050), ("1.5", 1.5), ("0 s", 0), ("4.1 ms", 0.0041), ("230 ms", 0.23),
     ("12.3 s", 12.3), ("4 min 05 s", 245), ("2 h 13 min", 7980), ("0.029 h", 104.4), ("101 ×", 101), ("7 of 10", 7),
     ("< 0.001", 0.001), ("0.034", 0.034), ("–", None), ("", None), ("late", None), (".", None)],
)  # fmt: skip
def test_cells_are_sorted_by_what_they_say(cell: str, value: float | None) -> None:
    assert wording.number(cell) == (None if value is None else pytest.approx(value))
    assert wording.number(cell.replace(" ", "\u00a0")) == wording.number(cell)
