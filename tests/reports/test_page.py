"""The report in a real browser, at the widths of a phone and of a desk."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from browsing import BROWSER, needs_browser
from headstart.reports import wording
from headstart.reports.render import html as page_of
from headstart.reports.result import BenchmarkResult, Confused, FineTuning, Mistake

pytestmark = needs_browser

# The page in a frame of each width: a headless window is never as narrow as a phone. What is measured goes
# into the document's title, which --dump-dom prints.
MEASURE = """
const found = [...document.querySelectorAll("iframe")].map(frame => {
  const page = frame.contentDocument, root = page.scrollingElement, view = frame.contentWindow;
  view.dispatchEvent(new Event("beforeprint"));
  const folded = page.querySelectorAll("details:not([open])").length;
  view.dispatchEvent(new Event("afterprint"));
  const left = page.querySelectorAll("details[open]").length;
  page.querySelectorAll("details").forEach(each => each.open = true);
  const scrolled = each => each.closest(".scroll, svg, .skip");
  return {
    width: view.innerWidth,
    scroll: root.scrollWidth,
    outside: [...page.body.querySelectorAll("*")]
      .filter(each => !scrolled(each) || each.matches(".scroll, svg"))
      .filter(each => !each.closest(".skip") && each.getBoundingClientRect().right > root.clientWidth + 0.5)
      .map(each => each.outerHTML.slice(0, 80)),
    labels: Math.min(...[...page.querySelectorAll("svg text")].map(each =>
      parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a)),
    largest: Math.max(...[...page.querySelectorAll("svg")].map(each => each.getBoundingClientRect().width)),
    broken: [...page.querySelectorAll(".option")].filter(each => each.getClientRects().length > 1).length,
    options: page.querySelectorAll(".option").length,
    cut: [...page.querySelectorAll("svg")].flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {
      const a = text.getBoundingClientRect(), b = svg.getBoundingClientRect();
      return a.left < b.left - 2 || a.right > root.clientWidth;
    })).map(text => text.textContent),
    scripts: page.scripts.length,
    requests: view.performance.getEntriesByType("resource").filter(each => !each.name.startsWith("data:")).length,
    photos: [...page.images].map(each => each.naturalWidth),
    folded, left,
  };
});
"""

# Sorts the page's own tables by pressing its own buttons, and reads what comes of it.
SORT = """
const page = document.querySelector("iframe").contentDocument, view = document.querySelector("iframe").contentWindow;
const table = words => [...page.querySelectorAll("table")].find(each => each.caption.textContent.includes(words));
const cells = (table, column) => [...table.tBodies[0].rows].map(row => row.cells[column].textContent.trim());
const pressed = (words, column) => {
  const head = table(words).tHead.rows[0].cells[column], before = cells(table(words), column), found = [];
  for (const time of [1, 2]) {
    head.querySelector("button").focus();
    page.activeElement.click();
    found.push([head.ariaSort, cells(table(words), column)]);
  }
  return {before, found, sorted: table(words).querySelectorAll("[aria-sort]").length};
};
const found = {
  accuracy: pressed("most accurate first", 1),
  names: pressed("most accurate first", 0),
  times: pressed("million listings", 2),
  hours: pressed("million listings", 1),
};
const every = page.querySelector("details.every");
if (every) {
  every.open = true;
  const field = every.querySelector("input"), rows = [...every.querySelector("tbody").rows];
  field.value = "Y 11";
  field.dispatchEvent(new view.Event("input"));
  found.left = rows.filter(row => row.checkVisibility()).map(row => row.cells[0].textContent);
  found.told = every.querySelector("output").textContent;
}
"""

# As whoever does without a mouse or without eyes would, with the rules of axe-core.
AXE = """
document.querySelectorAll("details").forEach(each => each.open = true);
axe.run(document, RULES).then(result => {
  const found = result.violations.map(each => [each.id, each.impact, each.nodes.map(node => node.html.slice(0, 120))]);
  document.title = JSON.stringify({
    found, dark: matchMedia("(prefers-color-scheme: dark)").matches, passed: result.passes.map(each => each.id),
  });
});
"""


def browse(page: str, folder: Path, *flags: str) -> Any:
    """What a page's script writes into its title."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    printed = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}", *flags,
            "--dump-dom", (folder / "page.html").as_uri(),
        ],
        capture_output=True, text=True, encoding="utf-8", timeout=180, check=True,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(\{.*?|\[.*?)</title>", printed.split("<iframe")[0], re.S)
    assert title, "the measurement did not run"
    return json.loads(html.unescape(title[1]))


def framed(page: str, script: str, folder: Path, widths: tuple[int, ...]) -> Any:
    """What a script of ours finds in the page, in frames of these widths; the page's own policy holds in them."""
    frames = [
        f'<iframe style="width:{w}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>' for w in widths
    ]
    run = f"<script>onload = () => {{ {script} document.title = JSON.stringify(found); }};</script>"
    return browse(f"<!doctype html><meta charset=utf-8>{run}{''.join(frames)}", folder)


def with_photo(result: BenchmarkResult, folder: Path) -> BenchmarkResult:
    """With a photo to show, of a listing whose text is a category's name."""
    Image.new("RGB", (300, 200), "teal").save(folder / "photo.jpg")
    labels = [each.label for each in result.chosen_approach.per_class]
    examples = tuple(Mistake(str(n), labels[0], str(folder / "photo.jpg"), 0.9) for n in range(3))
    return replace(result, confused=(Confused(labels[0], labels[-1], examples),))


@pytest.mark.parametrize("kind", ["usual", "hostile"])
def test_nothing_overflows_and_nothing_is_asked_for(
    kind: str, make_result: Callable[..., BenchmarkResult], make_tuning: Callable[..., FineTuning], tmp_path: Path
) -> None:
    names = (
        "<script>document.title='x'</script>",
        "Unbroken" * 30,
        "<img src=http://127.0.0.1:9/x onerror=alert(1)>",
    )
    result = with_photo(make_result() if kind == "usual" else make_result(names), tmp_path)
    result = replace(result, tuning=make_tuning("better", 0.02, cut_short=3, memory=1_234_567_890))
    found = {each["width"]: each for each in framed(page_of(result), MEASURE, tmp_path, (390, 1280))}
    assert set(found) == {390, 1280}
    for width, page in found.items():
        assert page["scroll"] <= width, page
        assert page["outside"] == [] and page["cut"] == []
        assert page["options"] and not page["broken"]
        assert page["scripts"] == 1 and page["requests"] == 0
        assert page["photos"] == [96] * 3
        assert page["labels"] >= 11
        assert page["largest"] <= 480
        assert page["folded"] == 0 and page["left"] == 0, "all is open on paper, and as it was afterwards"


def test_tables_are_sorted_by_the_keyboard_and_one_of_many_categories_is_found(
    make_result: Callable[..., BenchmarkResult], tmp_path: Path
) -> None:
    result = make_result([f"category {n}" for n in range(120)], rows=10)
    found = framed(page_of(result), SORT, tmp_path, (1280,))
    for name, first in (("accuracy", True), ("names", False), ("times", True), ("hours", True)):
        (order, once), (other, twice) = found[name]["found"]
        assert (order, other) == (("descending", "ascending") if first else ("ascending", "descending"))
        assert sorted(once) == sorted(twice) == sorted(found[name]["before"]), name
        assert found[name]["sorted"] == 1
    accuracies = [float(cell.split()[0]) for cell in found["accuracy"]["found"][1][1]]
    assert accuracies == sorted(accuracies)
    names = found["names"]["found"][0][1]
    assert names[0].startswith("Photo alone") and names[-1].startswith("TF-IDF")
    times = found["times"]["found"][0][1]
    assert "min" in times[0] and "min" not in times[-1]
    assert [wording.number(cell) for cell in times] == sorted(map(wording.number, times), reverse=True)
    none = [cells[-1] for _, cells in found["hours"]["found"]]
    assert none == ["–", "–"], "what was not measured comes last, both ways"
    assert sorted(found["left"]) == ["category 11", *(f"category {n}" for n in range(110, 120))]
    assert found["told"] == "11 found"


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_stands_in_the_way_of_those_who_see_or_move_otherwise(
    dark: bool, make_result: Callable[..., BenchmarkResult], tmp_path: Path
) -> None:
    package = importlib.util.find_spec("axe_core_python")
    if package is None or not package.submodule_search_locations:
        pytest.skip("axe-core-python is not installed")
    rules = (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")
    # With many categories there is a field to find one, with few the matrix of all.
    result = with_photo(make_result() if dark else make_result([f"c {n}" for n in range(26)], rows=20), tmp_path)
    page = page_of(result)
    open_page, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert policies == 1  # it would keep axe out
    axe = AXE.replace("RULES", '{runOnly: ["color-contrast"]}' if dark else "{}")  # in the dark only colours differ
    open_page = open_page.replace("</body>", f"<script>{rules}</script><script>{axe}</script></body>")
    open_page = open_page.replace(f"<title>{result.title}", "<title>")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    told = browse(open_page, tmp_path, scheme, "--virtual-time-budget=60000")  # axe goes on after the page is loaded
    assert told["dark"] is dark
    assert told["found"] == []
    others = set() if dark else {"image-alt", "svg-img-alt", "label", "bypass", "aria-valid-attr-value"}
    assert {"color-contrast"} | others <= set(told["passed"])
