"""The figures of the benchmark report: one function a figure, each with its table.

Drawn 358 units wide, the text column of a 390-pixel phone: one unit is one pixel there, and every label is at
least 11 pixels high. The ink is `currentColor` and the colours are CSS variables, so that one drawing serves
light, dark and paper; the fall-backs are mid-tones near the colour-blind safe palette of Okabe and Ito.
"""

from __future__ import annotations

import html
import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headstart.reports.result import Approach, BenchmarkResult, ClassFigures
from headstart.reports.wording import count, interval, percent, points, seconds

WIDTH = 358
FONT = 11.5
MOST_CLASSES = 24
"""More categories than this and only those found worst are drawn."""

# Matplotlib knows no CSS: each role gets a colour of its own, exchanged for the right-hand side afterwards.
INK, MUTED, RULE, MAIN, OTHER, THIRD = (f"#00000{n}" for n in range(1, 7))
CSS = {
    INK: "currentColor",
    MUTED: "var(--muted, #737b84)",
    RULE: "var(--rule, #c3c8ce)",
    MAIN: "var(--main, #2b7bb0)",
    OTHER: "var(--other, #c8652a)",
    THIRD: "var(--third, #249375)",
}


@dataclass(frozen=True)
class Table:
    """A header and rows of as many cells, ready to print."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing and the numbers in it. `svg` is one `<svg>` element to put into a page."""

    svg: str
    table: Table


def by_accuracy(result: BenchmarkResult) -> list[Approach]:
    """The approaches, best first."""
    return sorted(result.approaches, key=lambda approach: -approach.accuracy.mean)


def leaderboard(result: BenchmarkResult) -> Figure:
    """Accuracy of each approach with its interval; hollow, what ignoring near-duplicates would have shown."""
    ranked = by_accuracy(result)
    ends = [(a.accuracy, a.ungrouped_accuracy) for a in ranked]
    figure, axes = _rows(
        [(a.title, percent(a.accuracy.mean)) for a in ranked],
        low=min(min(g.low, u.low) for g, u in ends),
        high=max(max(g.high, u.high) for g, u in ends),
    )
    for row, approach in enumerate(ranked):
        _dot(axes, row - 0.04, approach.accuracy, MAIN)
        _dot(axes, row + 0.24, approach.ungrouped_accuracy, OTHER, hollow=True)
    _legend(figure, [("near-duplicates kept together", MAIN, "o", True), ("ignored", OTHER, "o", False)])
    alt = "; ".join(f"{a.title} {percent(a.accuracy.mean)}, between {interval(a.accuracy)}" for a in ranked)
    return Figure(
        _svg(figure, "leaderboard", "Accuracy of each approach, with 95 % intervals", alt),
        accuracy_table(result),
    )


def accuracy_table(result: BenchmarkResult) -> Table:
    """The numbers of `leaderboard`, and the spread of the folds."""
    return Table(
        (
            "Approach",
            "Accuracy",
            "95 % interval",
            "Weakest fold",
            "Strongest fold",
            "Near-duplicates ignored",
            "Changed by",
        ),
        tuple(
            (
                a.title,
                percent(a.accuracy.mean),
                interval(a.accuracy),
                percent(min(a.folds)) if a.folds else "",
                percent(max(a.folds)) if a.folds else "",
                percent(a.ungrouped_accuracy.mean),
                points(a.ungrouped_accuracy.mean - a.accuracy.mean),
            )
            for a in by_accuracy(result)
        ),
    )


def recall(result: BenchmarkResult) -> Figure:
    """How many of each category's listings the best approach finds, beside text alone and image alone."""
    best, drawn = result.best, _weakest(result)
    others, found = _beside(result)
    values = [by_label[c.label] for by_label in found for c in drawn if c.label in by_label]
    figure, axes = _rows(
        [(c.label, percent(c.recall.mean)) for c in drawn],
        low=min([c.recall.low for c in drawn] + values, default=0.0),
        high=max([c.recall.high for c in drawn] + values, default=1.0),
    )
    looks = list(zip(others, found, (OTHER, THIRD), ("^", "s"), strict=False))
    for row, figures in enumerate(drawn):
        for _, by_label, colour, marker in looks:
            if figures.label in by_label:
                _mark(axes, by_label[figures.label], row + 0.2, colour, marker)
        _dot(axes, row - 0.04, figures.recall, MAIN)
    legend = [(f"{best.name}, the best", MAIN, "o", True)]
    _legend(figure, legend + [(f"{a.name} alone", colour, marker, False) for a, _, colour, marker in looks])
    alt = "; ".join(f"{c.label} {percent(c.recall.mean)}, between {interval(c.recall)}" for c in drawn)
    return Figure(_svg(figure, "recall", "Recall of each category under the best approach", alt), recall_table(result))


def recall_table(result: BenchmarkResult) -> Table:
    """The numbers of `recall`, with precision and F1."""
    others, found = _beside(result)
    return Table(
        (
            "Category",
            "Listings",
            "Recall",
            "95 % interval",
            *(f"Recall, {a.name}" for a in others),
            "Precision",
            "F1",
        ),
        tuple(
            (
                c.label,
                count(c.rows),
                percent(c.recall.mean),
                interval(c.recall),
                *(percent(by_label[c.label]) if c.label in by_label else "" for by_label in found),
                percent(c.precision),
                percent(c.f1),
            )
            for c in _weakest(result)
        ),
    )


def _weakest(result: BenchmarkResult) -> list[ClassFigures]:
    return sorted(result.best.per_class, key=lambda c: (c.recall.mean, c.label))[:MOST_CLASSES]


def _beside(result: BenchmarkResult) -> tuple[list[Approach], list[dict[str, float]]]:
    """Text alone and image alone, where they are not the best themselves, and the recall of each category."""
    others = [a for a in result.approaches if a.name in ("text", "image") and a is not result.best]
    return others, [{c.label: c.recall.mean for c in other.per_class} for other in others]


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
    figure = _canvas(height)
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
        _write(figure, 0, top - 14, title, weight="bold")
        for row, (approach, value) in enumerate(zip(ranked, values, strict=True)):
            y = top - head - step * (row + 0.5) - FONT * 0.36
            _write(figure, 0, y, _cut(approach.name, 14))
            _write(figure, left + (WIDTH - left - right) * value / max(*values, 1e-9) + 6, y, seconds(value))
    table = Table(
        ("Approach", "Encode", "Train", "Predict"),
        tuple((a.title, *map(seconds, (a.seconds.encode, a.seconds.train, a.seconds.predict))) for a in ranked),
    )
    alt = "; ".join(f"{row[0]}: encode {row[1]}, train {row[2]}, predict {row[3]}" for row in table.rows)
    return Figure(_svg(figure, "time", "Time to encode, train and predict", alt), table)


def confusion(approach: Approach) -> Table:
    """Listings of each category (row) by the category they were put into (column); empty where none."""
    labels = tuple(c.label for c in approach.per_class)
    rows = zip(labels, approach.confusion, strict=True)
    return Table(("Category", *labels), tuple((label, *(count(n) if n else "" for n in row)) for label, row in rows))


def confused_pairs(approach: Approach, most: int) -> Table:
    """The mistakes made most often: true category, category given, listings, share of the true one."""
    labels = [c.label for c in approach.per_class]
    mistakes = [
        (-number, true, given)
        for true, row in enumerate(approach.confusion)
        for given, number in enumerate(row)
        if number > 0 and given != true
    ]
    return Table(
        ("Category", "Taken for", "Listings", "Share"),
        tuple(
            (labels[true], labels[given], count(-less), percent(-less / sum(approach.confusion[true])))
            for less, true, given in sorted(mistakes)[:most]
        ),
    )


def _canvas(height: float) -> Any:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")


def _write(figure: Any, x: float, y: float, words: str, **look: Any) -> None:
    """Words at `x`, `y`, in units from the lower left."""
    width, height = 72 * figure.get_size_inches()
    figure.text(x / width, y / height, words, color=INK, fontsize=FONT, parse_math=False, **look)


def _rows(labels: Sequence[tuple[str, str]], low: float, high: float) -> tuple[Any, Any]:
    """A canvas with one line of words and one line of marks for each row, over an axis in per cent.

    Row `i` has its marks at `y = i`. The words stand above the marks and not beside them, so that a long
    category name costs no width.
    """
    step, top, foot = 45.0, 26.0, 24.0
    height = top + step * len(labels) + foot
    figure = _canvas(height)
    axes = figure.add_axes((0.02, foot / height, 0.96, step * len(labels) / height))
    margin = 0.04 * (high - low) + 0.004
    axes.set_xlim(max(low - margin, -0.01), min(high + margin, 1.01))
    axes.set_ylim(len(labels) - 0.6, -0.6)
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="both", length=0, labelsize=FONT, labelcolor=MUTED, pad=5)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    # Ticks under 2 points apart need a decimal; a label at the very edge would be cut, so those are left out.
    start, stop = axes.get_xlim()
    ticks = [t for t in axes.get_xticks() if start + 0.03 * (stop - start) <= t <= stop - 0.03 * (stop - start)]
    decimals = 0 if all(abs(100 * t - round(100 * t)) < 1e-6 for t in ticks) else 1
    axes.set_xticks(ticks, [f"{100 * t:.{decimals}f} %" for t in ticks], parse_math=False)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for row, (label, value) in enumerate(labels):
        y = height - top - step * row - 13
        _write(figure, 0, y, _cut(label, 44))
        _write(figure, WIDTH, y, value, ha="right", weight="bold")
    return figure, axes


def _dot(axes: Any, y: float, value: Any, colour: str, hollow: bool = False) -> None:
    """An estimate as a dot on the line of its interval."""
    axes.plot([value.low, value.high], [y, y], color=colour, linewidth=1 if hollow else 2.2, solid_capstyle="round")
    _mark(axes, value.mean, y, colour, "o", filled=not hollow)


def _mark(axes: Any, x: float, y: float, colour: str, marker: str, filled: bool = False) -> None:
    face = colour if filled else "none"
    axes.plot(
        [x],
        [y],
        marker,
        color=colour,
        markerfacecolor=face,
        markersize=8 if filled else 6,
        markeredgewidth=1.4,
    )


def _legend(figure: Any, entries: Sequence[tuple[str, str, str, bool]]) -> None:
    """One line at the top: words, colour, marker, and whether the marker is filled."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=c, marker=m, markerfacecolor=c if filled else "none", linewidth=2 if filled else 0)
        for _, c, m, filled in entries
    ]
    legend = figure.legend(
        handles,
        [_cut(words, 30) for words, *_ in entries],
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=len(entries),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.2,
        fontsize=FONT,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _cut(text: str, most: int) -> str:
    """At most this many columns of text on one line; East Asian letters take two."""
    text = _one_line(text)
    width = 0
    for place, letter in enumerate(text):
        width += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width > most:
            return text[: place - 1].rstrip() + "…"
    return text


def _one_line(text: str) -> str:
    """Without the control characters that XML forbids."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def _svg(figure: Any, name: str, title: str, alt: str) -> str:
    """The drawing as one element. Same input, same bytes; no size, date or font, no id twice in a page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    undated: dict[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's browser has the font, we need not
        FigureCanvasSVG(figure).print_svg(out, metadata=undated)
    drawing = out.getvalue()
    # What comes before is the XML head and a style sheet that would leak into the page.
    body = drawing[drawing.index("</defs>") + len("</defs>") :]
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font-family: [^;]*; ", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub("|".join(CSS), lambda found: CSS[found[0]], body)
    height = round(figure.get_figheight() * 72)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-words" '
        f'font-family="system-ui, sans-serif" stroke-linejoin="round">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-words">{html.escape(_one_line(alt))}</desc>' + body
    )
