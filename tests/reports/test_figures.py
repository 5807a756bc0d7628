from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from headstart.reports import figures
from headstart.reports.result import BenchmarkResult, Interval, Seconds
from headstart.reports.wording import plain

SVG = "{http://www.w3.org/2000/svg}"
DRAWINGS = (figures.leaderboard, figures.recall, figures.time)


def words(svg: str) -> list[str]:
    return [plain(text.text or "") for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_same_result_same_bytes(draw: Callable[..., figures.Figure], result: BenchmarkResult) -> None:
    assert draw(result).svg == draw(result).svg


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_drawing_has_words_for_those_who_do_not_see_it(
    draw: Callable[..., figures.Figure], result: BenchmarkResult
) -> None:
    root = ElementTree.fromstring(draw(result).svg)
    assert root.get("role") == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert result.approaches[2].title in (description.text or "") or "Montres" in (description.text or "")


@pytest.mark.parametrize("draw", DRAWINGS)
def test_every_label_is_at_least_11_units_high_and_within_the_drawing(
    draw: Callable[..., figures.Figure], result: BenchmarkResult
) -> None:
    root = ElementTree.fromstring(draw(result).svg)
    width, height = map(float, (root.get("viewBox") or "").split()[2:])
    labels = list(root.iter(f"{SVG}text"))
    sizes = [float(re.search(r"([\d.]+)px", label.get("style") or "")[1]) for label in labels]  # type: ignore[index]
    assert width == figures.WIDTH and sizes and min(sizes) >= 11
    for label in labels:
        assert 0 <= float(label.get("x") or -1) <= width and 0 <= float(label.get("y") or -1) <= height


@pytest.mark.parametrize("draw", DRAWINGS)
def test_colours_follow_the_page(draw: Callable[..., figures.Figure], result: BenchmarkResult) -> None:
    svg = draw(result).svg
    assert "currentColor" in svg
    assert not re.search(r"(fill|stroke): #", svg)


def test_drawings_in_one_page_share_no_id(result: BenchmarkResult) -> None:
    ids = [name for draw in DRAWINGS for name in set(re.findall(r' id="([^"]+)"', draw(result).svg))]
    assert len(ids) == len(set(ids))


def test_leaderboard_is_sorted_and_its_table_has_the_numbers_drawn(result: BenchmarkResult) -> None:
    figure = figures.leaderboard(result)
    means = [float(plain(row[1]).split()[0]) for row in figure.table.rows]
    assert means == sorted(means, reverse=True)
    drawn = words(figure.svg)
    for row in figure.table.rows:
        assert row[0] in drawn and plain(row[1]) in drawn
    assert {row[-1] for row in figure.table.rows} == {"+0.7\u00a0points"}


def test_recall_shows_the_worst_of_many_categories(make_result: Callable[..., BenchmarkResult]) -> None:
    result = make_result([f"category {n:03}" for n in range(60)], rows=40)
    table = figures.recall(result).table
    assert len(table.rows) == figures.MOST_CLASSES
    worst = min(result.best.per_class, key=lambda c: c.recall.mean).recall.mean
    assert plain(table.rows[0][2]) == f"{100 * worst:.1f} %"


def test_text_that_is_itself_the_best_is_not_drawn_twice(result: BenchmarkResult) -> None:
    text = replace(result.approaches[0], accuracy=Interval(0.99, 0.98, 1.0))
    result = replace(result, approaches=(text, *result.approaches[1:]))
    header = figures.recall(result).table.header
    assert "Recall, image" in header and "Recall, text" not in header


def test_times_of_zero_can_be_drawn(result: BenchmarkResult) -> None:
    approaches = tuple(replace(a, seconds=Seconds(0.0, 0.0, 0.0)) for a in result.approaches)
    figure = figures.time(replace(result, approaches=approaches))
    assert {cell for row in figure.table.rows for cell in row[1:]} == {"0\u00a0s"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "label", ["<script>x</script>", "$\\frac{1}{0}$ & co", "手机壳和配件" * 12, "😀\x00\x1b\n", ""]
)
def test_any_text_may_be_a_category(label: str, make_result: Callable[..., BenchmarkResult]) -> None:
    svg = figures.recall(make_result([label, "Montres", "Bébé"])).svg
    assert "<script" not in svg
    drawn = [text.removesuffix("…") for text in words(svg)]
    shown = " ".join(label.replace("\x00", " ").replace("\x1b", " ").split())
    assert any(text and shown.startswith(text) for text in drawn) or not shown


def test_confusion_and_its_pairs(result: BenchmarkResult) -> None:
    best = result.best
    matrix = figures.confusion(best)
    assert matrix.header[1:] == tuple(row[0] for row in matrix.rows)
    assert matrix.rows[0][1] == f"{best.confusion[0][0]:.0f}"
    pairs = figures.confused_pairs(best, 5)
    counts = [float(row[2]) for row in pairs.rows]
    off = [n for i, row in enumerate(best.confusion) for j, n in enumerate(row) if i != j]
    assert counts == sorted(off, reverse=True)[:5]
    assert all(true != given for true, given, *_ in pairs.rows)
