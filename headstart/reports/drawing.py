"""How the report draws: a canvas, the few marks that its figures share, and the way out to SVG.

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
from typing import Any

from headstart.reports.wording import signed

WIDTH = 358
FONT = 11.5

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


def canvas(height: float) -> Any:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")


def write(figure: Any, x: float, y: float, words: str, **look: Any) -> None:
    """Words at `x`, `y`, in units from the lower left."""
    width, height = 72 * figure.get_size_inches()
    figure.text(x / width, y / height, words, color=INK, fontsize=FONT, parse_math=False, **look)


def rows_with_words(labels: Sequence[tuple[str, str]], low: float, high: float) -> tuple[Any, Any]:
    """A canvas with one line of words and one line of marks for each row, over an axis in per cent.

    Row `i` has its marks at `y = i`. The words stand above the marks and not beside them, so that a long
    category name costs no width.
    """
    step, top, foot = 45.0, 26.0, 24.0
    height = top + step * len(labels) + foot
    figure = canvas(height)
    axes = figure.add_axes((0.02, foot / height, 0.96, step * len(labels) / height))
    margin = 0.04 * (high - low) + 0.004
    axes.set_xlim(max(low - margin, -0.01), min(high + margin, 1.01))
    axes.set_ylim(len(labels) - 0.6, -0.6)
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="both", length=0, labelsize=FONT, labelcolor=MUTED, pad=5)
    axes.set_yticks([])
    # A label at the very edge would be cut.
    start, stop = axes.get_xlim()
    edge = 0.03 * (stop - start)
    in_percent(axes.xaxis, start + edge, stop - edge)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for row, (label, value) in enumerate(labels):
        y = height - top - step * row - 13
        write(figure, 0, y, cut(label, 44))
        write(figure, WIDTH, y, value, ha="right", weight="bold")
    return figure, axes


def plane(top: float, height: float, words: tuple[str, str]) -> tuple[Any, Any]:
    """A canvas with one pair of axes, `height` units high, and `top` units above it for words and a legend.

    Args:
        words: what goes to the right, said below the axis, and what goes up, said above it.
    """
    left, right, foot = 54.0, 18.0, 42.0
    total = top + height + foot
    figure = canvas(total)
    axes = figure.add_axes((left / WIDTH, foot / total, (WIDTH - left - right) / WIDTH, height / total))
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="both", which="both", length=0, labelsize=FONT, labelcolor=MUTED, pad=6)
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    write(figure, WIDTH - right, 6, words[0], ha="right")
    write(figure, 0, foot + height + 11, words[1])
    return figure, axes


def in_percent(axis: Any, low: float, high: float, ticks: int = 5) -> None:
    """Round ticks between two fractions, in per cent; what is under 2 points apart needs a decimal."""
    from matplotlib.ticker import MaxNLocator

    at = [
        t for t in MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low - 1e-9 <= t <= high + 1e-9
    ]
    decimals = 0 if all(abs(100 * t - round(100 * t)) < 1e-6 for t in at) else 1
    axis.set_ticks(at, [f"{100 * t:.{decimals}f} %" for t in at], parse_math=False)


def in_points(axis: Any, low: float, high: float) -> None:
    """Round ticks between two differences, in points, with their signs."""
    from matplotlib.ticker import MaxNLocator

    at = [t for t in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
    axis.set_ticks(at, [signed(t) for t in at], parse_math=False)


def dot(axes: Any, y: float, value: Any, colour: str, hollow: bool = False) -> None:
    """An estimate as a dot on the line of its interval."""
    axes.plot([value.low, value.high], [y, y], color=colour, linewidth=1 if hollow else 2.2, solid_capstyle="round")
    mark(axes, value.mean, y, colour, "o", filled=not hollow)


def mark(axes: Any, x: float, y: float, colour: str, marker: str, filled: bool = False) -> None:
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


def legend(figure: Any, entries: Sequence[tuple[str, str, str, bool]], columns: int | None = None) -> None:
    """At the top, in one line or so many columns: words, colour, marker (none: a dashed line), whether it is filled."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=c,
            marker=m,
            markerfacecolor=c if filled else "none",
            linestyle="-" if m else (0, (3, 2)),
            linewidth=2 if filled else 0,
        )
        for _, c, m, filled in entries
    ]
    drawn = figure.legend(
        handles,
        [cut(words, 30 if columns is None else 66 // columns - 7) for words, *_ in entries],
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=columns or len(entries),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.2,
        fontsize=FONT,
        labelcolor=INK,
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def cut(text: str, most: int) -> str:
    """At most this many columns of text on one line; East Asian letters take two."""
    text = one_line(text)
    width = 0
    for place, letter in enumerate(text):
        width += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width > most:
            return text[: place - 1].rstrip() + "…"
    return text


def one_line(text: str) -> str:
    """Without the control characters that XML forbids."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def svg(figure: Any, name: str, title: str, alt: str) -> str:
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
        f'<desc id="{name}-words">{html.escape(one_line(alt))}</desc>' + body
    )
