"""A benchmark's result as one HTML page, as Markdown and as JSON.

Titles, categories and file names come from listings that strangers wrote: jinja2 escapes whatever goes into
the page, and `escaped` does so for Markdown.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError
from headstart.files import write_text_atomically
from headstart.reports import cost, figures, tables, wording
from headstart.reports.examples import thumbnail
from headstart.reports.result import Approach, BenchmarkResult
from headstart.reports.tables import Table, by_accuracy, leaderboard_table
from headstart.reports.verdict import advice, once
from headstart.reports.wording import against, asked, count, counted, interval, nats, percent, points, seconds

TEMPLATES = Path(__file__).parent / "templates"
MATRIX_CLASSES = 16
"""With more categories a confusion matrix fits no screen, and the pairs confused most often must do."""
MOST_PAIRS, MOST_RARE, MOST_PROBLEMS = 12, 20, 40


def html(result: BenchmarkResult) -> str:
    """The report as one page that asks for nothing else: no font, no picture, no script but its own."""
    from markupsafe import Markup

    chosen = result.chosen_approach
    drawings = {
        "leaderboard": figures.leaderboard(result),
        "reliability": figures.reliability(chosen),
        "surest": figures.surest(chosen, result.protocol.error_rate),
        "recall": figures.recall(result),
        "time": figures.time(result),
    }
    if result.learning:
        drawings["learning"] = figures.learning(result)
    if result.tuning:
        drawings["tuning"] = figures.tuning(result.tuning)
    return page(
        "report.html.j2",
        ("house.css", "report.css"),
        "report.js",
        **_story(result),
        examples=[(pair, [(each, thumbnail(each.photo)) for each in pair.examples]) for pair in result.confused],
        suspects=[(each, thumbnail(each.photo)) for each in (result.misfiled.first if result.misfiled else ())],
        every=tables.recall(result, most=None),
        sorted_by=wording.number,
        figures={name: Markup(drawing.svg) for name, drawing in drawings.items()},
        drawn={name: drawing.table for name, drawing in drawings.items()},
        shares=_shares(chosen) if len(chosen.per_class) <= MATRIX_CLASSES else None,
    )


def page(template: str, styles: Sequence[str], script: str, **told: Any) -> str:
    """A page of a template, with its styles and its script in it; whatever else is told is escaped.

    Its policy allows this script by its digest, and no other, whatever a listing's text may smuggle in.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["unbroken"] = unbroken
    code = (TEMPLATES / script).read_text(encoding="utf-8")
    return jinja.get_template(template).render(
        **told,
        css=Markup("".join((TEMPLATES / name).read_text(encoding="utf-8") for name in styles)),
        script=Markup(code),
        script_digest=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
    )


def markdown(result: BenchmarkResult) -> str:
    """The report as Markdown with tables, as forges show it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def table(content: Table, words: Sequence[int] = (0,)) -> Markup:
        rule = tuple("---" if column in words else "---:" for column in range(len(content.header)))
        rows = [content.header, rule, *content.rows]
        cells = [[cell if place == 1 else escaped(cell) for cell in row] for place, row in enumerate(rows)]
        return Markup("\n".join(f"| {' | '.join(row)} |" for row in cells))

    def strong(text: str) -> Markup:
        return Markup(f"**{escaped(text)}**")

    def code(text: str) -> Markup:
        runs = re.findall("`+", text)
        fence = "`" * max(3, 1 + max(map(len, runs), default=0))
        return Markup(f"{fence}sh\n{' '.join(text.split())}\n{fence}")

    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else escaped(str(value)),
    )
    jinja.filters["unbroken"] = str
    drawn = {
        "leaderboard": tables.accuracy(result),
        "reliability": tables.reliability(result.chosen_approach),
        "surest": tables.surest(result.chosen_approach, result.protocol.error_rate),
        "recall": tables.recall(result),
        "learning": tables.learning(result),
        **({"tuning": tables.tuning(result.tuning)} if result.tuning else {}),
    }
    text = jinja.get_template("report.md.j2").render(
        **_story(result), table=table, code=code, strong=strong, drawn=drawn
    )
    return wording.plain(text)


def writable(folder: Path) -> None:
    """Make a folder for results before the work that fills it.

    Raises:
        HeadstartError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / ".writable", "")
        (folder / ".writable").unlink()
    except OSError as error:
        raise HeadstartError(f"{folder} cannot be written ({error.strerror}): name another folder") from None


def write_report(result: BenchmarkResult, folder: Path) -> dict[str, Path]:
    """Write report.html, report.md and results.json; returns where, by file name.

    Each is written aside and renamed, so that a reader never meets half of one.

    Raises:
        HeadstartError: the folder cannot be made or written.
    """
    texts = {"results.json": result.to_json(), "report.md": markdown(result), "report.html": html(result)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            # A file's name, quoted in the report, may hold what is not Unicode.
            write_text_atomically(folder / name, text.encode("utf-8", "replace").decode())
    except OSError as error:
        raise HeadstartError(
            f"the report cannot be written to {str(folder)!r} ({error.strerror}): name a folder that can be written"
        ) from error
    return {name: folder / name for name in texts}


def unbroken(text: str) -> Any:
    """Text for the page, whose lines do not break after the dashes of an option."""
    from markupsafe import Markup, escape

    # No longer than an option is: what a stranger wrote may be wider than a phone.
    return Markup(re.sub(r"--[a-z][a-z-]{1,24}", r'<span class="option">\g<0></span>', str(escape(text))))


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, even where a line begins with it.

    One line: no HTML, table bar, emphasis, code or formula, no heading, list, quotation or rule, and no link, be it
    written as one or made by forges of addresses and of names behind an @.
    """
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line)
    line = re.sub(r"^(#|[-+=](?=[-+= ]|$)|\d{1,9}(?=[.)](?: |$)))", _first, line)
    line = re.sub(r"(?i)\b(www)\.", r"\1&#46;", line.replace("://", "&#58;//"))
    # Forges look for addresses with an @ after entities are read: the word joiner, which has no width, parts them.
    return line.replace("@", "&#64;&#8288;")


def _first(found: re.Match[str]) -> str:
    """What would begin a heading, a rule or a list, as a character that does not; of a number what ends it."""
    return f"{found[1]}\\" if found[1].isdigit() else f"\\{found[1]}"


def _story(result: BenchmarkResult) -> dict[str, Any]:
    """What both templates tell, in words and tables."""
    catalog, chosen = result.catalog, result.chosen_approach
    titles = {a.name: a.title for a in result.approaches}
    rare = sum(catalog.rare.values())
    unlabelled = catalog.rows - catalog.with_label
    other = catalog.rows - unlabelled - rare - catalog.judged
    sizes = sorted((number, label) for label, number in catalog.class_rows.items())
    return {
        "result": result,
        "advice": advice(result),
        "chosen": chosen,
        "confidence": chosen.confidence,
        "ranked": by_accuracy(result),
        "board": leaderboard_table(result),
        "comparisons": [
            (c.verdict, wording.compared(c, titles.get(c.a, c.a), titles.get(c.b, c.b))) for c in result.comparisons
        ],
        "probabilities": tables.confidence(result),
        "decisions": tables.decisions(chosen),
        "tuning": result.tuning,
        "trainings": tables.trainings(result.tuning) if result.tuning else None,
        "once": once,
        "refused": [*(result.tuning.refused.items() if result.tuning else [])],
        "doublings": tables.doublings(result) if result.doublings else None,
        "cost": cost.table(result),
        "machines": sorted(
            {each for each in (result.provenance.get("machine"), *(e.machine for e in result.encoders)) if each}
        ),
        "missing": tables.missing(result),
        "weights": tables.weights(result),
        "matrix": tables.confusion(chosen) if len(chosen.per_class) <= MATRIX_CLASSES else None,
        "pairs": tables.confused_pairs(chosen, MOST_PAIRS),
        "counts": Table(
            ("What", "Listings"),
            tuple(
                (what, count(number))
                for what, number in (
                    ("read", catalog.rows),
                    ("with a text", catalog.with_text),
                    ("with a photo", catalog.with_image),
                    ("with a category", catalog.with_label),
                    ("left out: no category", unlabelled),
                    ("left out: category too rare for the folds", rare),
                    *([("left out: other reasons, see below", other)] if other else []),
                    ("judged", catalog.judged),
                )
            ),
        ),
        "problems": Table(
            ("Reason", "Listings"),
            tuple(
                (reason, count(number))
                for reason, number in sorted(catalog.problems.items(), key=lambda item: -item[1])[:MOST_PROBLEMS]
            ),
        ),
        "rare": wording.listed(
            [f"{label} ({count(number)})" for label, number in [*catalog.rare.items()][:MOST_RARE]]
            + ([f"{count(len(catalog.rare) - MOST_RARE)} more"] if len(catalog.rare) > MOST_RARE else [])
        ),
        "smallest": sizes[0] if sizes else None,
        "largest": sizes[-1] if sizes else None,
        "inflation": Table(
            ("Approach", "Kept together", "Ignored", "Changed by"),
            tuple(
                (
                    a.title,
                    percent(a.accuracy.mean),
                    percent(a.ungrouped_accuracy.mean),
                    points(a.ungrouped_accuracy.mean - a.accuracy.mean),
                )
                for a in by_accuracy(result)
            ),
        ),
        "encoders": Table(
            ("Encoder", "Reads", "Dimensions", "Vectors", "Time", "A second", "Machine", "Fingerprint"),
            tuple(
                (
                    e.name,
                    e.modality,
                    count(e.dim),
                    count(e.vectors),
                    seconds(e.seconds),
                    count(round(e.vectors / e.seconds)) if e.seconds > 0 else "",
                    e.machine,
                    e.fingerprint[:12],
                )
                for e in result.encoders
            ),
        ),
        "approaches": Table(
            ("Approach", "Name", "Reads", "Settings"),
            tuple(
                (
                    a.title,
                    a.name,
                    ", ".join(a.encoders) or "words, no encoder",
                    ", ".join(f"{name} {value}" for name, value in a.settings.items()),
                )
                for a in result.approaches
            ),
        ),
        "provenance": Table(
            ("What", "Value"), tuple(item for item in result.provenance.items() if item[0] != "command")
        ),
        "date": result.provenance.get("date", ""),
        "command": result.provenance.get("command", ""),
        "most_classes": tables.MOST_CLASSES,
        "seconds": seconds,
        "percent": percent,
        "interval": interval,
        "asked": asked,
        "against": against,
        "listed": wording.listed,
        "draws": max((len(point.draws) for point in result.learning), default=0),
        "nats": nats,
        "count": count,
        "counted": counted,
        "accuracy": wording.estimate,
        "number_of": wording.number_of,
        "evidence": wording.evidence,
    }


def _shares(approach: Approach) -> list[list[float]]:
    """How strongly to shade each cell of the confusion matrix, 0 to 1.

    What is right by its share of the row, a mistake by its share of the most frequent one: against what is
    right, the mistakes of a good approach would not show at all.
    """
    matrix = approach.matrix()
    worst = max((n for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j), default=0)
    return [
        [n and round(n / sum(row) if i == j else 0.15 + 0.85 * n / worst, 2) for j, n in enumerate(row)]
        for i, row in enumerate(matrix)
    ]
