"""Numbers as a reader wants them. No-break spaces hold a number and its unit together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from headstart.reports.result import ALPHA, Comparison, Interval

if TYPE_CHECKING:
    from headstart.heads.config import HeadConfig
    from headstart.reports.compare import Duel

_NB = "\u00a0"
_DASH = f"{_NB}–\u2060{_NB}"
"""Between two numbers that a line is not to part; after a dash alone it might."""


def percent(fraction: float) -> str:
    """0.9321 → ``93.2 %``."""
    return f"{100 * fraction:.1f}{_NB}%"


def interval(value: Interval) -> str:
    """The two ends, as ``91.4 – 94.9 %``."""
    return f"{100 * value.low:.1f}{_DASH}{100 * value.high:.1f}{_NB}%"


def estimate(value: Interval) -> str:
    """The estimate and its two ends: ``93.2 % (91.4 – 94.9 %)``; a line may break between them."""
    return f"{percent(value.mean)} ({interval(value)})"


def number_of(value: Interval) -> str:
    """How many there probably are, and the two ends: ``31 (24 – 40)``; a line may break between them."""
    return f"{value.mean:,.0f} ({value.low:,.0f}{_DASH}{value.high:,.0f})"


def asked(rate: float) -> str:
    """A rate as a user gave it: 0.02 → ``2 %``, 0.025 → ``2.5 %``."""
    return f"{round(100 * rate, 6):g}{_NB}%"


def nats(value: float) -> str:
    """A log-loss: 0.21345 → ``0.213``."""
    return f"{value:.3f}"


def against(seen: Interval, rate: float) -> str:
    """A figure seen beside the rate asked for, no surer than its interval: ``more than the 2 % asked for``."""
    if seen.low > rate:
        return f"more than the {asked(rate)} asked for"
    if seen.high < rate:
        return f"less than the {asked(rate)} asked for"
    return f"not distinguishable from the {asked(rate)} asked for"


def points(fraction: float) -> str:
    """A difference of two fractions in signed percentage points: 0.0123 → ``+1.2 points``."""
    return f"{signed(fraction)}{_NB}points"


def ends(difference: Interval) -> str:
    """The two ends of a difference, in points: ``−0.3 to +1.1``."""
    return f"{signed(difference.low)} to {signed(difference.high)}"


def signed(fraction: float) -> str:
    """A difference of two fractions in points, with its sign: 0.0123 → ``+1.2``."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def seconds(value: float) -> str:
    """A duration in the unit that suits it: ``230 ms``, ``12.3 s``, ``4 min 05 s``, ``2 h 13 min``."""
    if value == 0:
        return f"0{_NB}s"
    if value < 0.9995:
        milliseconds = 1000 * value
        return f"{milliseconds:.{1 if milliseconds < 9.95 else 0}f}{_NB}ms"
    if value < 59.95:
        return f"{value:.1f}{_NB}s"
    if value < 3599.5:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes}{_NB}min{_NB}{rest:02d}{_NB}s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours}{_NB}h{_NB}{minutes:02d}{_NB}min"


def gigabytes(value: float) -> str:
    """Bytes as ``1.2 GB``, whatever their number, so that a column can be sorted."""
    return f"{value / 1e9:,.{1 if value >= 95e6 else 2}f}{_NB}GB"


def hours(seconds: float) -> str:
    """A duration in hours, to be multiplied by what an hour costs: ``2.6 h``, ``0.031 h``."""
    value = seconds / 3600
    return f"{value:,.{1 if value >= 0.95 else 2 if value >= 0.095 else 3}f}{_NB}h"


def count(value: float) -> str:
    """A number of things, thousands apart: ``1,050``; an average over repeats keeps one decimal, ``1.5``."""
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def counted(number: int, one: str, many: str) -> str:
    """``1 listing``, ``1,050 listings``."""
    return f"{count(number)}{_NB}{one if number == 1 else many}"


def p_value(value: float) -> str:
    """``p = 0.21``, or ``p < 0.001`` below what resampling can tell."""
    return f"p{_NB}{'' if value < 0.001 else f'={_NB}'}{probability(value)}"


def probability(value: float) -> str:
    """A p-value alone: ``0.21``, ``0.034``, ``< 0.001``."""
    return f"<{_NB}0.001" if value < 0.001 else f"{value:.{3 if value < 0.0995 else 2}f}"


def evidence(comparison: Comparison) -> str:
    """A difference and how sure it is: ``+0.9 points (95 % interval −0.4 to +2.2, p = 0.17)``."""
    sure = f"95{_NB}% interval {ends(comparison.difference)}, {p_value(comparison.p_value)}"
    return f"{points(comparison.difference.mean)} ({sure})"


def compared(comparison: Comparison, a: str, b: str) -> str:
    """One comparison as a sentence; `a` and `b` are the approaches' titles."""
    return f"{a}, against {b}: {comparison.verdict}, {evidence(comparison)}."


def doubt(difference: Interval) -> str:
    """Why a difference is not distinguishable from none."""
    if difference.low > 0 or difference.high < 0:
        return "but the folds differ so much among themselves that it may be chance; more --repeats tell more"
    return "which may be chance"


def duel(found: Duel) -> str:
    """A classifier beside the control on a holdout, in one line."""
    told = "not distinguishable"
    if found.p_value < ALPHA:
        told = "better" if found.only_classifier > found.only_control else "worse"
    return (
        f"control   {percent(found.accuracy):>8}   TF-IDF; it alone is right {found.only_control} times, this alone "
        f"{found.only_classifier} times: {told} ({p_value(found.p_value)}, McNemar)"
    )


def head(config: HeadConfig) -> str:
    """A head in a few words: ``late fusion of a, b and words``, ``concatenation of a and b``, ``head on a``."""
    names = [*config.encoders, *(["words"] if config.words else [])]
    kinds = {"late": "late fusion of", "gated": "gated fusion of", "concat": "concatenation of"}
    return f"{kinds[config.fusion] if len(names) > 1 else 'head on'} {listed(names)}"


def listed(items: Iterable[str], most: int = 1000) -> str:
    """``a``, ``a and b``, ``a, b and c``; beyond ``most``, ``a, b and 7 more``."""
    given = [*items] or [""]
    if len(given) > most:
        given = [*given[:most], f"{count(len(given) - most)} more"]
    *head, last = given
    return f"{', '.join(head)} and {last}" if head else last


UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def number(text: str) -> float | None:
    """What a cell of a table is sorted by: its first number or, of a duration, its seconds; None where it has none.

    ``93.2 % (91.4 – 94.9 %)`` → 93.2, ``−0.7 points`` → −0.7, ``4 min 05 s`` → 245, ``–`` → None.
    """
    text = plain(text).replace("−", "-").replace(",", "")
    if re.fullmatch(r"([\d.]+ (ms|s|min|h) ?)+", text):
        return sum(float(value) * UNITS[unit] for value, unit in re.findall(r"([\d.]+) (\w+)", text))
    found = re.match(r"(?:< )?([-+]?\d[\d.]*)", text)
    return float(found[1]) if found else None


def plain(text: str) -> str:
    """No-break spaces as plain ones, for terminals and Markdown."""
    return text.replace(_NB, " ").replace("\u2060", "")
