"""The figures of the benchmark report: one function a figure, each with its table."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reports import tables
from headstart.reports.drawing import (
    FONT,
    INK,
    MAIN,
    MUTED,
    OTHER,
    THIRD,
    WIDTH,
    canvas,
    cut,
    dot,
    in_percent,
    in_points,
    legend,
    mark,
    plane,
    rows_with_words,
    svg,
    write,
)
from headstart.reports.result import Approach, BenchmarkResult, FineTuning, Interval
from headstart.reports.tables import Table, by_accuracy
from headstart.reports.wording import asked, count, interval, percent, seconds

LOOKS = ((MAIN, "o"), (OTHER, "s"), (THIRD, "^"), (INK, "D"), (MUTED, "v"))
"""Of the curves, chosen approach first."""


@dataclass(frozen=True)
class Figure:
    """A drawing and the numbers in it. `svg` is one `<svg>` element to put into a page."""

    svg: str
    table: Table


def leaderboard(result: BenchmarkResult) -> Figure:
    """Accuracy of each approach with its interval; hollow, what ignoring near-duplicates would have shown."""
    ranked = by_accuracy(result)
    ends = [(a.accuracy, a.ungrouped_accuracy) for a in ranked]
    figure, axes = rows_with_words(
        [(a.title, percent(a.accuracy.mean)) for a in ranked],
        low=min(min(g.low, u.low) for g, u in ends),
        high=max(max(g.high, u.high) for g, u in ends),
    )
    for row, approach in enumerate(ranked):
        dot(axes, row - 0.04, approach.accuracy, MAIN)
        dot(axes, row + 0.24, approach.ungrouped_accuracy, OTHER, hollow=True)
    legend(figure, [("near-duplicates kept together", MAIN, "o", True), ("ignored", OTHER, "o", False)])
    alt = "; ".join(f"{a.title} {percent(a.accuracy.mean)}, between {interval(a.accuracy)}" for a in ranked)
    return Figure(
        svg(figure, "leaderboard", "Accuracy of each approach, with 95 % intervals", alt),
        tables.accuracy(result),
    )


def recall(result: BenchmarkResult) -> Figure:
    """How many of each category's listings the chosen approach finds, beside text alone and image alone."""
    drawn = tables.weakest(result)
    others, found = tables.beside(result)
    values = [by_label[c.label] for by_label in found for c in drawn if c.label in by_label]
    figure, axes = rows_with_words(
        [(c.label, percent(c.recall.mean)) for c in drawn],
        low=min([c.recall.low for c in drawn] + values, default=0.0),
        high=max([c.recall.high for c in drawn] + values, default=1.0),
    )
    looks = list(zip(others, found, (OTHER, THIRD), ("^", "s"), strict=False))
    for row, figures in enumerate(drawn):
        for _, by_label, colour, marker in looks:
            if figures.label in by_label:
                mark(axes, by_label[figures.label], row + 0.2, colour, marker)
        dot(axes, row - 0.04, figures.recall, MAIN)
    chosen = [(result.chosen, MAIN, "o", True)]
    legend(figure, chosen + [(f"{a.name} alone", colour, marker, False) for a, _, colour, marker in looks])
    alt = "; ".join(f"{c.label} {percent(c.recall.mean)}, between {interval(c.recall)}" for c in drawn)
    return Figure(
        svg(figure, "recall", "Recall of each category under the chosen approach", alt), tables.recall(result)
    )


def time(result: BenchmarkResult) -> Figure:
    """Seconds to encode, to train and to predict: three panels, each with a scale of its own."""
    ranked = by_accuracy(result)
    panels = (
        ("Encode every listing, once", [a.seconds.encode for a in ranked]),
        ("Train one classifier", [a.seconds.train for a in ranked]),
        ("Predict every listing", [a.seconds.predict for a in ranked]),
    )
    step, head, gap = 21.0, 24.0, 10.0
    panel = head + step * len(ranked)
    height = len(panels) * panel + (len(panels) - 1) * gap
    figure = canvas(height)
    left, right = 92, 72
    for number, (title, values) in enumerate(panels):
        top = height - number * (panel + gap)
        box = (left / WIDTH, (top - panel) / height, (WIDTH - left - right) / WIDTH, (panel - head) / height)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        axes.set_xlim(0, max(*values, 1e-9))
        axes.set_ylim(len(ranked) - 0.5, -0.5)
        axes.barh(range(len(ranked)), values, height=0.52, color=MAIN, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        write(figure, 0, top - 14, title, weight="bold")
        for row, (approach, value) in enumerate(zip(ranked, values, strict=True)):
            y = top - head - step * (row + 0.5) - FONT * 0.36
            write(figure, 0, y, cut(approach.name, 14))
            write(figure, left + (WIDTH - left - right) * value / max(*values, 1e-9) + 6, y, seconds(value))
    table = tables.times(result)
    alt = "; ".join(f"{row[0]}: encode {row[1]}, train {row[2]}, predict {row[3]}" for row in table.rows)
    return Figure(svg(figure, "time", "Time to encode, train and predict", alt), table)


def reliability(approach: Approach) -> Figure:
    """Confidence of the chosen approach against the share that is right; on the diagonal they agree."""
    bins = approach.confidence.reliability
    low = min((min(each.confidence, each.accuracy.low) for each in bins), default=0.0)
    low = max(0.0, low - 0.03 * (1 - low) - 0.005)
    figure, axes = plane(top=50, height=250, words=("Confidence", "Share that is right"))
    axes.set_xlim(low, 1 + 0.02 * (1 - low))
    axes.set_ylim(low, 1 + 0.02 * (1 - low))
    in_percent(axes.xaxis, low, 1)
    in_percent(axes.yaxis, low, 1)
    axes.plot([low, 1], [low, 1], color=OTHER, linewidth=1.4, dashes=(4, 3))
    for each in bins:
        x, y = each.confidence, each.accuracy
        axes.plot([x, x], [y.low, y.high], color=MAIN, linewidth=1.2, alpha=0.6)
        axes.plot([x], [y.mean], "o", color=MAIN, markersize=5.5)
    legend(figure, [("seen", MAIN, "o", True), ("were each confidence exact", OTHER, "", True)])
    alt = "; ".join(f"confidence {percent(b.confidence)}: right {percent(b.accuracy.mean)}" for b in bins)
    drawn = svg(figure, "reliability", f"Confidence and share right, {approach.title}", alt)
    return Figure(drawn, tables.reliability(approach))


def surest(approach: Approach, error_rate: float) -> Figure:
    """Wrong among the surest listings, the more of them are accepted; and where the threshold came to lie."""
    curve = [each for each in approach.confidence.surest if each.share.mean > 0]
    accepted = approach.confidence.accepted
    there = accepted.share.mean > 0
    highest = max([error_rate * 1.5, *(each.error.high for each in curve), accepted.error.high if there else 0.0])
    figure, axes = plane(top=50, height=250, words=("Share of the listings that is accepted", "Wrong among them"))
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, min(1.0, 1.05 * highest))
    in_percent(axes.xaxis, 0, 1, ticks=4)
    in_percent(axes.yaxis, 0, min(1.0, 1.05 * highest))
    axes.axhline(error_rate, color=MUTED, linewidth=1.2, dashes=(4, 3))
    shares, errors = [each.share.mean for each in curve], [each.error for each in curve]
    axes.fill_between(shares, [e.low for e in errors], [e.high for e in errors], color=MAIN, alpha=0.18, linewidth=0)
    axes.plot(shares, [e.mean for e in errors], "-o", color=MAIN, linewidth=1.8, markersize=4.5)
    entries = [("the surest", MAIN, "o", True), (f"{asked(error_rate)} asked for", MUTED, "", True)]
    if there:
        share, error = accepted.share, accepted.error
        axes.plot([share.mean] * 2, [error.low, error.high], color=OTHER, linewidth=2.2, solid_capstyle="round")
        axes.plot([share.low, share.high], [error.mean] * 2, color=OTHER, linewidth=2.2, solid_capstyle="round")
        axes.plot([share.mean], [error.mean], "D", color=OTHER, markersize=7)
        entries.append(("accepted", OTHER, "D", True))
    legend(figure, entries)
    table = tables.surest(approach, error_rate)
    alt = "; ".join(f"{which} {share}: wrong {wrong}, between {ends}" for which, share, wrong, ends in table.rows)
    return Figure(svg(figure, "surest", f"Wrong among what is accepted, {approach.title}", alt), table)


def tuning(found: FineTuning) -> Figure:
    """What fine-tuning gains beside how many times the training takes."""
    ranked = [(each, each.seconds.train / each.frozen_seconds.train) for each in found.approaches]
    figure, axes = plane(top=50, height=220, words=("Times as long to train", "Gain in accuracy, points"))
    differences = [each.comparison.difference for each, _ in ranked]
    low, high = min(0.0, *(d.low for d in differences)), max(0.0, *(d.high for d in differences))
    margin = 0.06 * (high - low) + 0.001
    most = max(2.0, *(times for _, times in ranked))
    axes.set_xscale("log")
    axes.set_xlim(0.9, most * 1.5)
    axes.set_xticks(*zip(*((10**n, f"{10**n:,} ×") for n in range(5) if 10**n <= most * 1.5), strict=True))
    axes.minorticks_off()
    axes.set_ylim(low - margin, high + margin)
    in_points(axes.yaxis, low - margin, high + margin)
    axes.axhline(0, color=MUTED, linewidth=1.4)
    entries = []
    for place, (each, times) in enumerate(ranked):
        colour, marker = LOOKS[place % len(LOOKS)]
        gain = each.comparison.difference
        axes.plot([times] * 2, [gain.low, gain.high], color=colour, linewidth=2.2, solid_capstyle="round", alpha=0.7)
        axes.plot([times], [gain.mean], marker, color=colour, markersize=7)
        entries.append((each.approach, colour, marker, True))
    legend(figure, entries)
    table = tables.tuning(found)
    alt = "; ".join(f"{row[0]}: {row[3]} points for {row[7]} the time to train, {row[4]}" for row in table.rows)
    return Figure(svg(figure, "tuning", "Gain in accuracy by fine-tuning, and what it costs", alt), table)


def learning(result: BenchmarkResult) -> Figure:
    """Accuracy after a few listings of each category and after more, the chosen approach in front."""
    sizes = sorted({point.listings for point in result.learning if not point.whole})
    every = 2 * max(sizes, default=1)  # all listings stand one step beyond the most that are drawn
    curves: dict[str, list[tuple[int, Interval]]] = {}
    for point in result.learning:
        curves.setdefault(point.approach, []).append((every if point.whole else point.listings, point.accuracy))
    names = sorted(curves, key=lambda name: name != result.chosen)
    lines = (len(names) + 1) // 2
    figure, axes = plane(top=32 + 18.0 * lines, height=240, words=("Listings of each category, at most", "Accuracy"))
    low, high = min(p.accuracy.low for p in result.learning), max(p.accuracy.high for p in result.learning)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min([*sizes, every]) / 1.2, every * 1.2)
    axes.set_xticks([*sizes, every], [*map(count, sizes), "all"])
    axes.minorticks_off()
    margin = 0.02 * (high - low) + 0.002
    axes.set_ylim(low - margin, high + margin)
    in_percent(axes.yaxis, low, high)
    entries = []
    for place, name in enumerate(names):
        colour, marker = LOOKS[place % len(LOOKS)]
        # Side by side, or the intervals would hide one another.
        shift = 1.02 ** (place - (len(names) - 1) / 2)
        points = sorted(curves[name], key=lambda point: point[0])
        x = [size * shift for size, _ in points]
        for at, (_, value) in zip(x, points, strict=True):
            axes.plot([at, at], [value.low, value.high], color=colour, linewidth=1, alpha=0.6)
        for point in (each for each in result.learning if each.approach == name and not each.whole):
            ends = min(point.draws), max(point.draws)
            axes.plot([point.listings * shift] * 2, ends, color=colour, linewidth=5, alpha=0.3)
        width = 2.2 if name == result.chosen else 1.4
        axes.plot(x, [value.mean for _, value in points], color=colour, marker=marker, markersize=5, linewidth=width)
        entries.append((name, colour, marker, True))
    legend(figure, entries, columns=2)
    table = tables.learning(result)
    alt = "; ".join(
        f"{title}: " + ", ".join(f"{size} {cell}" for size, cell in zip(table.header[1:], cells, strict=True))
        for title, *cells in table.rows
    )
    return Figure(svg(figure, "learning", "Accuracy by listings of each category", alt), table)
