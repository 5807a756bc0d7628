from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from headstart.reports import figures, tables
from headstart.reports.result import Acceptance, BenchmarkResult, FineTuning, Interval, Seconds
from headstart.reports.wording import estimate, percent, plain

SVG = "{http://www.w3.org/2000/svg}"


def reliability(result: BenchmarkResult) -> figures.Figure:
    return figures.reliability(result.chosen_approach)


def surest(result: BenchmarkResult) -> figures.Figure:
    return figures.surest(result.chosen_approach, result.protocol.error_rate)


DRAWINGS = (figures.leaderboard, figures.recall, figures.time, figures.learning, reliability, surest)


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
    assert plain(draw(result).table.rows[0][0]) in plain(description.text or "")


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
    assert len(table.rows) == tables.MOST_CLASSES
    worst = min(result.chosen_approach.per_class, key=lambda c: c.recall.mean).recall.mean
    assert plain(table.rows[0][2]) == f"{100 * worst:.1f} %"


def test_text_that_is_itself_chosen_is_not_drawn_twice(result: BenchmarkResult) -> None:
    header = figures.recall(replace(result, chosen="text")).table.header
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
    best = result.chosen_approach
    matrix = tables.confusion(best)
    assert matrix.header[1:] == tuple(row[0] for row in matrix.rows)
    assert matrix.rows[0][1] == f"{best.matrix()[0][0]:.0f}"
    pairs = tables.confused_pairs(best, 5)
    counts = [float(row[2]) for row in pairs.rows]
    off = [n for i, j, n in best.confusion if i != j]
    assert counts == sorted(off, reverse=True)[:5]
    assert all(true != given for true, given, *_ in pairs.rows)


def test_reliability_has_a_dot_for_each_row_of_its_table(result: BenchmarkResult) -> None:
    figure, bins = reliability(result), result.chosen_approach.confidence.reliability
    assert [row[:2] for row in figure.table.rows] == [(percent(b.confidence), percent(b.accuracy.mean)) for b in bins]
    dots = re.findall(r"<use [^>]*--main", figure.svg)
    assert len(dots) == len(bins) + 1  # and the one in the legend


def test_surest_has_the_curve_and_what_was_accepted(result: BenchmarkResult) -> None:
    found = result.chosen_approach.confidence
    rows = surest(result).table.rows
    assert [row[2] for row in rows] == [percent(each.error.mean) for each in (*found.surest, found.accepted)]
    assert rows[-1][:2] == ("accepted at 2\u00a0%", percent(found.accepted.share.mean))
    assert "accepted" in words(surest(result).svg)


def test_nothing_accepted_is_not_drawn(result: BenchmarkResult) -> None:
    nothing = Acceptance(Interval(0.0, 0.0, 0.01), Interval(0.0, 0.0, 1.0))
    chosen = result.chosen_approach
    chosen = replace(chosen, confidence=replace(chosen.confidence, accepted=nothing))
    figure = figures.surest(chosen, 0.02)
    assert "accepted" not in words(figure.svg)
    assert {row[0] for row in figure.table.rows} == {"the surest"}


def test_learning_curve_and_its_table_have_every_point(result: BenchmarkResult) -> None:
    figure = figures.learning(result)
    assert figure.table.header == ("Approach", *(f"{n}\u00a0listings" for n in (5, 10, 20, 40, 80)), "all listings")
    cells = [cell for row in figure.table.rows for cell in row[1:]]
    assert sorted(cells) == sorted(estimate(point.accuracy) for point in result.learning)
    drawn = words(figure.svg)
    assert {"5", "10", "20", "40", "80", "all", "late", "text", "image", "control"} <= set(drawn)


def test_a_point_that_is_missing_leaves_its_cell_empty(result: BenchmarkResult) -> None:
    table = figures.learning(replace(result, learning=result.learning[1:7])).table
    assert [(row[0], row[1] == "") for row in table.rows] == [("Text alone", True), ("Photo alone", False)]


def test_one_point_of_a_learning_curve_can_be_drawn(result: BenchmarkResult) -> None:
    assert "5" in words(figures.learning(replace(result, learning=result.learning[:1])).svg)


def test_missing_names_those_that_read_both_and_each_alone(result: BenchmarkResult) -> None:
    table = tables.missing(result)
    assert table is not None
    by_name = {a.name: a for a in result.approaches}
    assert [row[0] for row in table.rows] == [by_name[n].title for n in ("late", "concat", "text", "image")]
    late = by_name["late"]
    four = late.accuracy, late.missing.without_image, late.missing.without_text, late.missing.half
    assert table.rows[0][1:] == tuple(map(estimate, four))


def test_fine_tuning_is_drawn_with_what_it_gains_and_takes(make_tuning: Callable[..., FineTuning]) -> None:
    figure = figures.tuning(make_tuning("better", 0.02))
    assert "late" in words(figure.svg)
    told = ElementTree.fromstring(figure.svg).findtext(f"{SVG}desc") or ""
    assert "+2.0 (+1.0 to +3.0) points for 101 × the time to train, better" in plain(told)
