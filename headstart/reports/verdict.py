"""What to do, in plain words: the first thing that a report says, and never firmer than its figures.

Everything here is said from a result alone, so that the page, the terminal and results.json say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headstart.reports import wording
from headstart.reports.cost import per_million
from headstart.reports.result import Approach, BenchmarkResult, Comparison, Doubling, FineTuned, FineTuning, Interval

CLOSE = 0.01
"""A simpler approach that is at most one point behind is called close: a convention, not a finding."""
UNSURE = "the folds differ so much among themselves that this may be chance; more --folds or --repeats tell more"
"""Where an interval leaves out zero and the t-test over folds does not agree."""


@dataclass(frozen=True)
class Advice:
    """One question of whoever has to decide, and what the figures answer."""

    question: str
    answer: str


def advice(result: BenchmarkResult) -> tuple[Advice, ...]:
    """What to take, whether something simpler would do, and whether more tuning or more labels would help; costs."""
    asked: tuple[tuple[str, Callable[[BenchmarkResult], str]], ...] = (
        ("Which approach?", _approach),
        ("Why this one?", _why),
        ("Would something simpler do?", _simpler),
        ("What can be accepted without a look?", _accepted),
        ("Fine-tune the encoders?", _tuned),
        ("Would more labels help?", _labels),
        ("What does it cost?", _cost),
    )
    said = ((question, answer(result)) for question, answer in asked)
    return tuple(Advice(question, words) for question, words in said if words)


def verdict(result: BenchmarkResult) -> tuple[str, ...]:
    """The answers, as results.json and the terminal have them; times, which differ from run to run, are in the last."""
    return tuple(each.answer for each in advice(result))


def _approach(result: BenchmarkResult) -> str:
    best = result.chosen_approach
    right = f"{wording.percent(best.accuracy.mean)} of the listings get their right category"
    interval = f"(95 % interval {wording.interval(best.accuracy)})"
    if len(result.approaches) == 1:
        return f"{best.title} is all that was judged: {right} {interval}."
    return f"Take “{best.title}”: {right} {interval}."


def _why(result: BenchmarkResult) -> str:
    if len(result.approaches) == 1:
        return ""
    return (
        f"Of {len(result.approaches)} approaches it had the lowest loss on the training sides' inner folds: the most "
        "probability for the right category. Chosen anew for each fold, by its own training side alone, what is chosen "
        f"reaches {wording.percent(result.choosing.mean)} ({wording.interval(result.choosing)})."
    )


def _simpler(result: BenchmarkResult) -> str:
    """What is known of the chosen approach beside those that need less."""
    best, by_name = result.chosen_approach, {approach.name: approach for approach in result.approaches}
    beside = [
        (by_name[other], difference, verdict)
        for other, difference, verdict in map(_from(best.name), result.comparisons)
        if other in by_name and other != best.name
    ]
    less = [each for each in beside if _needs(each[0]) < _needs(best)]
    told = []
    level = sorted((each for each in less if each[2] == "not distinguishable"), key=lambda each: _needs(each[0]))
    if level:
        # The simplest of those that are close for certain; if none is, the simplest.
        other, difference, _ = next((each for each in level if each[1].high <= CLOSE), level[0])
        told.append(_level(other, difference, result))
        more = [each for each in level if each[0] is not other]
        if close := [each for each in more if each[1].low <= 0]:
            told.append(f"Nor can it be told from {_all(close)}.")
        if ahead := [each for each in more if each[1].low > 0]:
            told.append(f"On these listings it did better than {_all(ahead)}, but {UNSURE}.")
    for word, among in (("better", less), ("worse", beside)):
        if found := [each for each in among if each[2] == word]:
            told.append(f"“{best.title}” is {word} than {_all(found)}, more than chance explains.")
    if any(each[2] == "worse" for each in beside):
        told.append("It was chosen for its probabilities; where only the first category counts, take what is better.")
    return " ".join(told)


def _level(other: Approach, difference: Interval, result: BenchmarkResult) -> str:
    """A simpler approach that cannot be told from the chosen one."""
    best, most = result.chosen_approach, _unsigned(difference.high)
    gain = f"{wording.points(difference.mean)}, 95 % interval {wording.ends(difference)}"
    saved = _saved(other, result)
    told = f"“{other.title}” {saved}, and “{best.title}” cannot be told from it ({gain})"
    if difference.high <= 0:
        told += ": nothing speaks against it but its loss"
    elif difference.high <= CLOSE:
        told += f": at most {most} are lost with it, so take it where that saving counts"
    else:
        told += f": as much as {most} may be lost with it; more listings to judge would tell more closely"
    if difference.low > 0:
        told += f"; {UNSURE}"
    mine, its = (wording.percent(each.confidence.accepted.share.mean) for each in (best, other))
    return f"{told}." + (f" Without a look it accepts {its} of the listings, not {mine}." if its != mine else "")


def _saved(other: Approach, result: BenchmarkResult) -> str:
    modality = {encoder.name: encoder.modality for encoder in result.encoders}
    mine, its = ({modality.get(name, "") for name in a.encoders} for a in (result.chosen_approach, other))
    if not other.encoders:
        return "needs no encoder"
    if unread := mine - its:
        return f"reads no {wording.listed(sorted('photos' if kind == 'image' else 'texts' for kind in unread))}"
    return "has fewer parts"


def _unsigned(fraction: float) -> str:
    return wording.points(fraction).lstrip("+−")


def _needs(approach: Approach) -> tuple[int, int]:
    """How much an approach needs: encoders, and members to be weighed."""
    return len(approach.encoders), len(approach.weights)


def _from(name: str) -> Callable[[Comparison], tuple[str, Interval, str]]:
    """A comparison as seen from one of its sides: the other, the gain over it, and the verdict; itself if of others."""

    def seen(one: Comparison) -> tuple[str, Interval, str]:
        if one.b == name:
            gain = one.difference
            turned = {"better": "worse", "worse": "better"}.get(one.verdict, one.verdict)
            return one.a, Interval(-gain.mean, -gain.high, -gain.low), turned
        return (one.b if one.a == name else name), one.difference, one.verdict

    return seen


def _all(found: list[tuple[Approach, Interval, str]]) -> str:
    return wording.listed(
        f"“{other.title}” ({wording.points(gain.mean)}, {wording.ends(gain)})" for other, gain, _ in found
    )


def _accepted(result: BenchmarkResult) -> str:
    found, rate = result.chosen_approach.confidence, result.protocol.error_rate
    share, error = found.accepted.share.mean, found.accepted.error
    if share == 0:
        return (
            "Nothing can be accepted without a look: there was no confidence from which on at most "
            f"{wording.asked(rate)} would be wrong. Show a person every listing, with what is suggested."
        )
    rest = max(0.0, 1 - share - found.suggested_share)
    told = (
        f"{wording.percent(share)} of the listings can be accepted without a look: {wording.percent(error.mean)} of "
        "these are wrong "
        f"({wording.interval(error)}), {wording.against(error, rate)}. A person chooses among one to three categories "
        f"for {wording.percent(found.suggested_share)}, and decides alone on {wording.percent(rest)}."
    )
    if error.low > rate:
        told += " Look at a sample of what is accepted before relying on it, or allow fewer errors."
    return told


def _tuned(result: BenchmarkResult) -> str:
    if result.tuning is None:
        return "Fine-tuning was not tried: all encoders are frozen. --fine-tune top tells what it would bring."
    return worth(result.tuning, result.chosen)


def worth(tuning: FineTuning, chosen: str) -> str:
    """Whether to fine-tune, by the approach chosen among the frozen ones or, without it, the best."""
    best = next(
        (each for each in tuning.approaches if each.approach == chosen),
        max(tuning.approaches, key=lambda each: each.frozen.mean),
    )
    what = "the encoders' upper layers" if tuning.depth == "top" else "whole encoders"
    difference, times = best.comparison.difference, best.seconds.train / best.frozen_seconds.train
    kept, cut = best.unchanged == best.tunings, best.cut_short > 0
    moved = wording.points(difference.mean)
    gain = f"{'changes by' if moved.startswith('−') else 'gains'} {moved} ({wording.ends(difference)})"
    if kept:
        gain = f"gains nothing{' so far' if cut else ''}"
    told = f"With {what} fine-tuned “{best.title}” {gain} for {times:,.0f} × the time to train"
    if kept:
        told += ": nothing that was tried did better than the frozen head on the listings that say when to stop"
    elif best.comparison.verdict == "not distinguishable":
        told += "; that cannot be told from chance"
    frozen = best.comparison.verdict != "better"
    if not frozen:
        told += "; it is worth it where training time does not matter"
    elif not cut:
        told += ": keep them frozen"
    told += "."
    if tuning.folds == 1:
        told += f" {once(tuning)}"
    if cut:
        told += f" {ended(best)}{'; without more, keep them frozen' if frozen else ''}."
    return told


def once(tuning: FineTuning) -> str:
    """How firm the figures of the first fold alone are."""
    rows = wording.counted(tuning.rows, "listing", "listings")
    return f"Each head was fine-tuned once, and judged on one holdout of {rows} by McNemar's exact test."


def ended(one: FineTuned) -> str:
    """That the time allowed was too short, no full stop behind it: what was gained says nothing of longer training."""
    which = f"{one.cut_short} of {wording.counted(one.tunings, 'training', 'trainings')}"
    return f"The time allowed ended {which}: this is what that time bought, and more --fine-tune-minutes may bring more"


def _labels(result: BenchmarkResult) -> str:
    one = next((each for each in result.doublings if each.approach == result.chosen), None)
    return more_labels(one) if one else ""


def more_labels(one: Doubling) -> str:
    """What the last doubling of the labels brought, and what that says of the next one."""
    gain = one.comparison.difference
    doubled = f"learning from {wording.counted(one.listings, 'listing', 'listings')} and not from half of them"
    brought = f"{wording.points(gain.mean)} (95 % interval {wording.ends(gain)})"
    if one.comparison.verdict == "better":
        return (
            f"More labels would probably help: {doubled} brought {brought}. Learning curves mostly flatten, so expect "
            f"no more of another doubling: at most about {_unsigned(gain.high)}, and likely less."
        )
    if one.comparison.verdict == "worse":
        return f"More labels like these did not help: {doubled} brought {brought}. Look at the labels first."
    why = f"but {UNSURE}" if gain.low > 0 else "which may be chance"
    told = f"Whether more labels would help cannot be told: {doubled} brought {brought}, {why}."
    if gain.high <= 0:
        return told
    return f"{told} Learning curves mostly flatten, so expect of another doubling at most about {_unsigned(gain.high)}."


def _cost(result: BenchmarkResult) -> str:
    """The only sentence with times."""
    best = result.chosen_approach
    million = per_million(best.seconds, result.catalog)
    read = f"read a million such listings in {wording.seconds(million.encode)}, once, and then "
    what = "classify them" if best.encoders else "classify a million such listings"
    judged = wording.counted(result.catalog.judged, "listing", "listings")
    return (
        f"This machine would {read if best.encoders else ''}{what} in {wording.seconds(million.predict)}. "
        f"Training on {judged} takes {wording.seconds(best.seconds.train)}."
    )
