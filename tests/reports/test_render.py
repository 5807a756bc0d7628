from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from headstart.errors import HeadstartError
from headstart.reports import tables, wording
from headstart.reports.render import html, markdown, write_report
from headstart.reports.result import (
    Acceptance,
    BenchmarkResult,
    Confused,
    FineTuning,
    Interval,
    Mistake,
    SetFigures,
)

HOSTILE = ("<script>alert(1)</script>", 'a|b`c"\n# d', "[x](javascript:y) *z*", "' onload=alert(2) x='")


class Page(HTMLParser):
    """Tags, attributes and words of a page, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def test_leaderboard_for_the_terminal(result: BenchmarkResult) -> None:
    table = tables.leaderboard_table(result)
    assert [row[0] for row in table.rows] == ["late", "concat", "text", "control", "image"]
    assert table.rows[0][5:] == ("26.6 s", "2.0 s", "120 ms")
    assert all(len(row) == len(table.header) and "\u00a0" not in "".join(row) for row in table.rows)


@pytest.mark.parametrize("write", [html, markdown])
def test_drawn_data_are_called_so_first(write: Callable[[BenchmarkResult], str], result: BenchmarkResult) -> None:
    drawn = "These data are drawn, not real listings."
    said = write(result)
    assert said.index(drawn) < said.index("Benchmark report" if write is html else "# Les Bonnes")
    assert drawn not in write(replace(result, catalog=replace(result.catalog, drawn=False)))


@pytest.mark.parametrize("write", [html, markdown])
def test_the_report_tells_all(write: Callable[[BenchmarkResult], str], result: BenchmarkResult) -> None:
    said = wording.plain(Page(write(result)).words)
    for sentence in result.verdict:
        assert wording.plain(sentence) in said
    for approach in result.approaches:
        assert wording.plain(wording.interval(approach.accuracy)) in said
    for comparison in result.comparisons:
        assert comparison.verdict in said
    for fact in (
        "1,062", "1,030", "1,019", "photo unreadable", "Jouets (4) and Livres (1)", "37 groups",
        "81 listings",
        "the largest of 4", "+0.7 points", "8f3a8f3a8f3a", "5 folds", "2,000 times", "2.21.0", "26.6 s",
        result.provenance["command"],
    ):  # fmt: skip
        assert fact in said, fact


def test_listings_left_out_add_up(result: BenchmarkResult) -> None:
    short = replace(result, catalog=replace(result.catalog, judged=result.catalog.judged - 3))
    assert "other reasons" not in markdown(result)
    assert re.search(r"\| left out: other reasons, see below \| 3 \|", markdown(short))


def scripts(page: str) -> list[str]:
    return re.findall(r"<script[^>]*>(.*?)</script>", page, re.S)


def test_page_asks_for_nothing_and_runs_its_own_script_alone(result: BenchmarkResult, tmp_path: Path) -> None:
    page = html(with_photo(result, tmp_path))
    seen = Page(page)
    assert not seen.named("iframe", "object", "embed", "base", "form")
    assert seen.named("script") == [{}] and len(scripts(page)) == 1
    assert [image["src"] for image in seen.named("img") if not (image["src"] or "").startswith("data:image/jpeg")] == []
    page = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "data:,", page)
    seen = Page(page)
    for tag, attributes in seen.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name.split(":")[-1] in ("src", "href", "srcset", "action", "data", "poster"):
                assert value in ("data:,", None) or (value or "").startswith("#"), (tag, name, value)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    policy = [a["content"] for a in seen.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and "default-src 'none'" in (policy[0] or "")
    digest = base64.b64encode(hashlib.sha256(scripts(page)[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in (policy[0] or "")
    assert (policy[0] or "").count("script-src") == 1 and "http" not in (policy[0] or "")


def test_page_can_be_read_without_eyes(result: BenchmarkResult) -> None:
    seen = Page(html(result))
    assert seen.named("html")[0]["lang"] == "en"
    assert len(seen.named("h1")) == 1
    assert len(seen.named("caption")) == len(seen.named("table")) > 5
    assert all(heading.get("scope") in ("col", "row") for heading in seen.named("th"))
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {(a["href"] or "")[1:] for a in seen.named("a")}
    assert targets and targets <= set(ids)
    for region in (a for a in seen.named("div") if a.get("class") == "scroll"):
        assert region["tabindex"] == "0" and region["aria-label"]


WRITERS = pytest.mark.parametrize("write", [html, markdown])


def told(write: Callable[[BenchmarkResult], str], result: BenchmarkResult) -> str:
    """The words of the report, with a plain space between them and between cells."""
    page = write(result).replace("</t", " </t").replace("\n| ", "\n").replace(" |", " ")
    return " ".join(wording.plain(Page(page).words).split())


def with_confidence(result: BenchmarkResult, **changes: Any) -> BenchmarkResult:
    """The same result, the chosen approach with other figures of its confidence."""
    approaches = tuple(
        replace(a, confidence=replace(a.confidence, **changes)) if a.name == result.chosen else a
        for a in result.approaches
    )
    return replace(result, approaches=approaches)


@WRITERS
def test_the_chosen_approach_need_not_be_the_most_accurate(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult
) -> None:
    said = told(write, replace(result, chosen="text"))
    assert "Text alone was chosen on the inner folds" in said and "(0.287 nats)" in said
    assert "Recall, image" in said and "Recall, text" not in said
    mistakes = tables.confused_pairs(result.approaches[0], 1).rows[0]
    assert " ".join(map(wording.plain, mistakes)) in said
    board = Page(html(replace(result, chosen="text"))).named("tr")
    assert [row.get("class") for row in board].index("chosen") == 3  # header, late, concat, text


@WRITERS
def test_confidence_fusion_and_learning_are_told(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult
) -> None:
    said = told(write, result)
    late = result.approaches[3]
    accepted, suggested = late.confidence.accepted.share.mean, late.confidence.suggested_share
    for fact in (
        f"accept {100 * accepted:.1f} % 1.7 % (0.9 – 3.1 %) wrong",
        f"suggest 1 to 3 categories {100 * suggested:.1f} % 1.6 categories on average, the right one among them 86.1 %",
        f"send to a person {100 * (1 - accepted - suggested):.1f} %",
        "1.7 % is wrong: not distinguishable from the 2 % asked for",
        "95.3 % of the time, not distinguishable from the 95 % asked for, with 1.14 categories on average",
        "which are the hard ones", "1.9 % (1.3 – 2.9 %) 1.3 % 0.156 0.185", "87.1 % (85.1 – 89.1 %)",
        "0.52 0.44 0.61 0.03", "80 listings", "adjusted by Holm's rule",
    ):  # fmt: skip
        assert fact in said, fact


@WRITERS
def test_nothing_accepted_and_nothing_suggested_claims_nothing(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult
) -> None:
    nothing = Interval(0.0, 0.0, 1.0)
    said = told(
        write,
        with_confidence(
            result,
            accepted=Acceptance(Interval(0.0, 0.0, 0.004), nothing),
            suggested=SetFigures(nothing, Interval(0.0, 0.0, 0.0)),
            suggested_share=0.0,
        ),
    )
    assert "accept 0.0 % no confidence was high enough" in said
    assert "suggest 1 to 3 categories 0.0 % – send to a person 100.0 % –" in said
    assert "Nothing was accepted: on no training side" in said
    assert "0.0 % (0.0 – 100.0 %)" not in said and "Diamond" not in said
    assert "accepted at 2 %" not in said


@WRITERS
def test_a_rate_that_was_missed_is_called_so(write: Callable[[BenchmarkResult], str], result: BenchmarkResult) -> None:
    accepted = Acceptance(Interval(0.9, 0.88, 0.92), Interval(0.04, 0.03, 0.05))
    sets = SetFigures(Interval(0.9, 0.88, 0.94), Interval(1.0, 0.9, 1.1))
    said = told(write, with_confidence(result, accepted=accepted, sets=sets))
    assert "4.0 % is wrong: more than the 2 % asked for" in said
    assert "90.0 % of the time, less than the 95 % asked for" in said


@WRITERS
def test_text_alone_without_photos_control_or_learning_curve(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult
) -> None:
    text = result.approaches[0]
    alone = replace(
        result,
        approaches=(text,),
        comparisons=(),
        chosen="text",
        learning=(),
        doublings=(),
        encoders=result.encoders[:1],
    )
    page, said = write(alone), told(write, alone)
    assert "Text alone accepts" in said and "Nothing was compared" in said
    for absent in ("Fusion", "Learning curve", "chosen on the inner folds", "Recall, "):
        assert absent not in said, absent
    assert "#fusion" not in page and "#learning" not in page


@WRITERS
def test_text_and_words_fused_without_photos(write: Callable[[BenchmarkResult], str], result: BenchmarkResult) -> None:
    text, _, _, late, control = result.approaches
    late = replace(late, encoders=text.encoders, weights={text.encoders[0]: 0.7, "words": 0.6, "prior": 0.0})
    said = told(
        write,
        replace(result, approaches=(text, late, control), comparisons=(), learning=(), encoders=result.encoders[:1]),
    )
    assert "0.70 0.60 0.00" in said and "Without photos" not in said


def hostile(make_result: Callable[..., BenchmarkResult]) -> BenchmarkResult:
    result = make_result(HOSTILE)
    # An encoder's name may hold a file's.
    weights = {HOSTILE[0]: 0.5, HOSTILE[2]: 0.5, "prior": 0.0}
    return replace(
        result,
        approaches=tuple(replace(a, title=f"{a.title} {HOSTILE[2]}", weights=weights) for a in result.approaches),
        title=HOSTILE[0],
        verdict=HOSTILE,
        catalog=replace(result.catalog, path=HOSTILE[0], rare=dict.fromkeys(HOSTILE, 1), problems={HOSTILE[0]: 1}),
        provenance={"command": "```\n" + HOSTILE[0], HOSTILE[3]: HOSTILE[3]},
        confused=tuple(
            Confused(HOSTILE[0], HOSTILE[2], tuple(Mistake(text, text, photo, 0.9) for text in HOSTILE))
            for photo in (*HOSTILE, "javascript:alert(1)")
        ),
    )


def test_hostile_text_stays_text_in_the_page(make_result: Callable[..., BenchmarkResult]) -> None:
    seen = Page(html(hostile(make_result)))
    assert seen.named("script") == [{}]
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
    assert all(text in seen.words for text in HOSTILE)


def test_hostile_text_stays_text_in_markdown(make_result: Callable[..., BenchmarkResult]) -> None:
    said = markdown(hostile(make_result))
    fenced = re.search(r"^(`{4,})sh\n(.*)\n\1$", said, re.M)  # a longer fence than any in the command
    assert fenced and "<script>" in fenced[2]
    rest = said.replace(fenced[0], "")
    assert "<" not in rest and "[x](" not in rest.replace("\\[x\\](", "")
    header = next(line for line in rest.splitlines() if line.startswith("| Category | Listings"))
    columns = len(re.findall(r"(?<!\\)\|", header))
    rows = [line for line in rest.splitlines() if line.startswith("| a\\|b\\`c") and line.count("%") >= 5]
    assert rows and all(len(re.findall(r"(?<!\\)\|", line)) == columns for line in rows)


def with_photo(result: BenchmarkResult, folder: Path) -> BenchmarkResult:
    """Two mistakes, of listings with a photo and with one that is damaged."""
    Image.new("RGB", (300, 200), "teal").save(folder / "photo.jpg")
    (folder / "damaged.jpg").write_bytes(b"no photo")
    mistakes = tuple(
        Mistake(name, f"Coffret {name}", str(folder / f"{name}.jpg"), 0.913) for name in ("photo", "damaged")
    )
    return replace(result, confused=(Confused("Bébé", "Montres", mistakes),))


def test_mistakes_are_shown_with_their_photos(result: BenchmarkResult, tmp_path: Path) -> None:
    page = html(with_photo(result, tmp_path))
    (photo,) = Page(page).named("img")
    assert photo["alt"] == "Photo of photo, filed under Bébé: Coffret photo"
    assert (photo["src"] or "").startswith("data:image/jpeg;base64,")
    said = told(html, with_photo(result, tmp_path))
    assert "Bébé, taken for Montres" in said
    assert "Coffret photo photo · 91.3 % sure of Montres Coffret damaged" in said
    assert "damaged · 91.3 % sure of Montres · its photo cannot be shown" in said


def test_mistakes_are_told_in_markdown(result: BenchmarkResult, tmp_path: Path) -> None:
    said = markdown(with_photo(result, tmp_path))
    assert "- Bébé, taken for Montres:\n  - photo, 91.3 % sure: Coffret photo\n" in said
    assert "data:image" not in said and "![" not in said


def test_markdown_has_no_paragraph_run_into_the_next(result: BenchmarkResult, tmp_path: Path) -> None:
    lines = markdown(with_photo(result, tmp_path)).splitlines()
    prose = [bool(re.match(r"[A-Z*]", line)) for line in lines]
    assert not [line for line, one, two in zip(lines, prose, prose[1:], strict=False) if one and two]


@WRITERS
def test_what_the_last_doubling_brought_is_told(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult
) -> None:
    said = told(write, result)
    assert "Photo alone 840 93.2 % +1.8 (+0.7 to +2.9) 0.020 better" in said
    assert "last doubling" not in told(write, replace(result, doublings=()))


@WRITERS
def test_fine_tuning_is_told_with_its_losses_its_memory_and_what_the_time_ended(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult, make_tuning: Callable[..., FineTuning]
) -> None:
    found = make_tuning("better", 0.02, memory=1_234_567_890)
    said = told(write, replace(result, tuning=found))
    assert "late fusion 95.0 % 97.0 % +2.0 (+1.0 to +3.0) better 0.200 0.180 101 ×" in said
    assert (
        "late fusion 2.0 s 3 min 22 s 1.2 GB 10 of 10 2.0" in said and "inner folds, which favours the frozen" in said
    )
    assert "cut short" not in said.lower() and "McNemar" not in said
    said = told(write, replace(result, tuning=make_tuning("better", 0.02, folds=1, cut_short=1)))
    assert "3 min 22 s 1 of 1 2.0 1 of 1" in " ".join(said.split()), "no memory where the system does not tell"
    assert "which “cut short” counts" in said and "more --fine-tune-minutes may bring more." in said
    assert said.count("judged on one holdout of 210 listings by McNemar's exact test.") == 2  # verdict and section
    assert "holdout of 210 listings, has the p-value of McNemar's exact test" in said


@WRITERS
def test_fine_tuning_comes_right_after_the_leaderboard(
    write: Callable[[BenchmarkResult], str], result: BenchmarkResult, make_tuning: Callable[..., FineTuning]
) -> None:
    page = write(replace(result, tuning=make_tuning("better", 0.02)))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>" if write is html else r"^## (.*)$", page, re.M)
    assert headings[:3] == ["Leaderboard", "Frozen or fine-tuned", "Comparisons"]
    if write is html:
        nav = page[page.index("<nav") : page.index("</nav>")]
        assert re.findall(r"<a[^>]*>(.*?)</a>", nav) == headings


@WRITERS
def test_cost_of_a_million_listings_is_told(write: Callable[[BenchmarkResult], str], result: BenchmarkResult) -> None:
    # 26.6 s for 1,062 listings read and 0.12 s for 1,050 judged.
    assert "late fusion 6 h 57 min 1 min 54 s 7.0 h 2.0 s" in told(write, result)
    assert "TF-IDF control – 1 min 45 s 0.029 h 1.3 s" in told(write, result)


def test_thousand_categories_make_a_small_page(make_result: Callable[..., BenchmarkResult]) -> None:
    result = make_result([f"category {n}" for n in range(1000)], rows=10)
    page, said = html(result), markdown(result)
    assert len(page) < 700_000 and len(said) < 30_000
    assert "the whole matrix fits no page" in page and 'class="matrix"' not in page
    assert "the 24 worst of 1,000" in page and "the 24 worst of 1,000" in said
    # All of them are in the page, folded; in Markdown they would be most of it.
    assert all(f'<th scope="row">category {n}</th>' in page for n in range(1000))
    assert sum(f"| category {n} " in said for n in range(1000)) < 60


def test_report_on_disk(result: BenchmarkResult, tmp_path: Path) -> None:
    written = write_report(result, tmp_path / "new" / "folder")
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == set(written)
    assert set(written) == {"report.html", "report.md", "results.json"}
    assert written["report.html"].read_text(encoding="utf-8") == html(result)
    assert written["report.md"].read_text(encoding="utf-8") == markdown(result)
    results = json.loads(written["results.json"].read_text(encoding="utf-8"))
    assert results["format"] == 4 and results["catalog"]["rows"] == 1062
    assert results["chosen"] == "late" and len(results["learning"]) == 24
    late = results["approaches"][3]
    assert late["confidence"]["accepted"]["error"] == {"mean": 0.0173, "low": 0.0094, "high": 0.031}
    assert late["weights"]["words"] == 0.61 and late["missing"]["without_text"]["mean"] == 0.871


def test_report_where_a_file_stands(result: BenchmarkResult, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(HeadstartError, match=r"taken.*folder that can be written"):
        write_report(result, tmp_path / "taken")


def test_file_name_that_is_not_unicode(result: BenchmarkResult, tmp_path: Path) -> None:
    result = replace(result, catalog=replace(result.catalog, path="caf\udce9.csv"))
    assert "caf?.csv" in write_report(result, tmp_path)["report.html"].read_text(encoding="utf-8")
