"""Audits made by hand, and what a person does on their page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from headstart.auditing import apply
from headstart.catalog import Columns
from headstart.reports.result import Interval
from headstart.reports.suspects import KINDS, Audit, Suspect, Unclear
from headstart.workflow import Source

NOW = datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC)
STAMP = "2026-03-02T10:20:30Z"
COLUMNS = ["id", "filed", "decision", "category", "decided_by", "decided_at", "holdout"]
HOSTILE = (
    "<script>alert(1)</script>", "</script ><script>alert(1)</script>", "=cmd()", "'=cmd()", "'quoted'", "-5", "\ttab",
    'a "b", c', "two\nlines", "three\r\nlines", "u2028\u2028x\u2029", "😀", "\u202egnp.exe", "__proto__",
    "<!--<script>", "&lt;b&gt;", "@a", "+1", "a;b", '"', "constructor",
)  # fmt: skip


def suspect(name: str, filed: str = "bags", suggested: str = "lamps", **other: Any) -> Suspect:
    usual: dict[str, Any] = {"text": f"text of {name}", "photo": "", "score": 0.9, "evidence": ("text",)}
    usual |= {"probability": 0.91, "filed_probability": 0.02, "unclear": False, "reason": "Its text is about light."}
    return Suspect(name, filed=filed, suggested=suggested, **(usual | other))


def audit(suspects: Sequence[Suspect], categories: Sequence[str] = ("bags", "lamps", "Bébé", "rugs")) -> Audit:
    unclear = (Unclear("Baby Care", "Home Furnishing", 12), Unclear("<b>", "=x", 1))
    estimate = Interval(31.2, 24.4, 39.8)
    told = {"date": "2026-03-02", "command": "headstart audit"}
    return Audit("Drawn", "c.csv", 1080, 1050, tuple(categories), estimate, tuple(suspects), unclear, told)


PLAIN = audit([suspect(name) for name in ("one", "two", "three", "four")])
CATEGORIES = ("<img src=http://127.0.0.1:9/x onerror=alert(1)>", "=1+1", "Bébé, 'x'", "__proto__")


def hostile(folder: Path, names: Sequence[str] = HOSTILE) -> Audit:
    Image.new("RGB", (300, 200), "teal").save(folder / "photo.jpg")
    (folder / "broken.jpg").write_bytes(b"no photo")
    photos = {0: str(folder / "photo.jpg"), 1: str(folder / "broken.jpg")}
    return audit(
        [
            suspect(
                name, CATEGORIES[n % 4], CATEGORIES[(n + 1) % 4], text=(f"{name} " * 400)[:999], reason=name,
                unclear=n % 2 == 0, photo=photos.get(n, ""), holdout=n == 3, evidence=KINDS[: 1 + n % 6],
            )
            for n, name in enumerate((*names, "unbroken" * 40))
        ],
        CATEGORIES,
    )  # fmt: skip


def press(page: Any, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def saved(page: Any, key: bool = True) -> list[list[str]]:
    """The rows of decisions.csv, as they are in the file."""
    with page.expect_download() as download:
        page.keyboard.press("e") if key else page.click("#save")
    assert download.value.suggested_filename == "decisions.csv"
    text = download.value.path().read_bytes().decode("utf-8")
    rows = [*csv.reader(io.StringIO(text, newline=""), strict=True)]
    assert rows[0] == COLUMNS and text.endswith("\r\n")
    return rows[1:]


def guarded(text: str) -> str:
    return f"'{text}" if re.match(r"'*[=+\-@\t\r]", text) else text


def ids(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "article:not([hidden])", "all => all.map(a => a.querySelector('code').textContent)"
    )


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.closest('article')?.querySelector('code').textContent ?? ''")


def counts(page: Any) -> str:
    return page.inner_text("#counts")


def corrected(shown: Audit, folder: Path) -> list[str]:
    """The categories of the audit's listings once the decisions are applied to their catalogue."""
    with (folder / "listings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("sku", "rayon"), *((each.id, each.filed) for each in shown.suspects)])
    source = Source(folder / "listings.csv", Columns("sku", ("sku",), label="rayon"))
    apply(source, folder / "decisions.csv", folder / "corrected.csv")
    with (folder / "corrected.csv").open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert [row["sku"] for row in rows] == [each.id for each in shown.suspects]
    return [row["rayon"] for row in rows]


def to_csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()
