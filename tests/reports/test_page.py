"""The report in a real browser, at the widths of a phone and of a desk."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.reports.render import html as page_of
from headstart.reports.result import BenchmarkResult

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

# The page in a frame of each width: a headless window is never as narrow as a phone. What is measured goes
# into the document's title, which --dump-dom prints.
MEASURE = """
<script>
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.scrollingElement;
    page.querySelectorAll("details").forEach(each => each.open = true);
    const scrolled = each => each.closest(".scroll, svg, .skip");
    return {
      width: frame.contentWindow.innerWidth,
      scroll: root.scrollWidth,
      outside: [...page.body.querySelectorAll("*")]
        .filter(each => !scrolled(each) || each.matches(".scroll, svg"))
        .filter(each => !each.closest(".skip") && each.getBoundingClientRect().right > root.clientWidth + 0.5)
        .map(each => each.outerHTML.slice(0, 80)),
      labels: Math.min(...[...page.querySelectorAll("svg text")].map(each =>
        parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a)),
      largest: Math.max(...[...page.querySelectorAll("svg")].map(each => each.getBoundingClientRect().width)),
      cut: [...page.querySelectorAll("svg")].flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {
        const a = text.getBoundingClientRect(), b = svg.getBoundingClientRect();
        return a.left < b.left - 2 || a.right > root.clientWidth;
      })).map(text => text.textContent),
      scripts: page.scripts.length,
      requests: frame.contentWindow.performance.getEntriesByType("resource").length,
    };
  });
  document.title = JSON.stringify(found);
};
</script>
"""


def measure(page: str, folder: Path) -> dict[int, dict[str, Any]]:
    """What the browser finds, by width in pixels."""
    frames = [
        f'<iframe style="width:{w}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>' for w in (390, 1280)
    ]
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f"<!doctype html><meta charset=utf-8>{MEASURE}{''.join(frames)}", encoding="utf-8")
    printed = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}",
            "--dump-dom", wrapper.as_uri(),
        ],
        capture_output=True, text=True, encoding="utf-8", timeout=60, check=True,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", printed.split("<iframe")[0], re.S)
    assert title, "the measurement did not run"
    return {found["width"]: found for found in json.loads(html.unescape(title[1]))}


@pytest.mark.parametrize("kind", ["usual", "hostile"])
def test_nothing_overflows_and_nothing_is_asked_for(
    kind: str, make_result: Callable[..., BenchmarkResult], tmp_path: Path
) -> None:
    names = (
        "<script>document.title='x'</script>",
        "Unbroken" * 30,
        "<img src=http://127.0.0.1:9/x onerror=alert(1)>",
    )
    result = make_result() if kind == "usual" else make_result(names)
    found = measure(page_of(result), tmp_path)
    assert set(found) == {390, 1280}
    for width, page in found.items():
        assert page["scroll"] <= width, page
        assert page["outside"] == [] and page["cut"] == []
        assert page["scripts"] == 0 and page["requests"] == 0
        assert page["labels"] >= 11
        assert page["largest"] <= 480
