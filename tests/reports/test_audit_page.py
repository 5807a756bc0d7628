"""The page on which suspects are decided, in a real browser, by real keys."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from browsing import AXE, needs_browser
from deciding import (
    COLUMNS,
    HOSTILE,
    NOW,
    PLAIN,
    STAMP,
    audit,
    corrected,
    counts,
    focused,
    guarded,
    hostile,
    ids,
    press,
    saved,
    suspect,
    to_csv,
)
from headstart.reports import audit_page, wording
from headstart.reports.audit_page import audit_html, digest
from headstart.reports.suspects import Audit

playwright = pytest.importorskip("playwright.sync_api", reason="playwright presses the keys, and is not installed")
pytestmark = needs_browser


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens an audit's page; afterwards none has asked for anything, nor had a fault."""
    faults: list[str] = []
    contexts: list[Any] = []

    def look(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:", tmp_path.as_uri())):
            faults.append(request.url)

    def open_it(shown: Audit, name: str = "audit.html", context: Any = None, script: str = "", **how: Any) -> Any:
        (tmp_path / name).write_text(audit_html(shown), encoding="utf-8")
        if context is None:
            contexts.append(context := browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | how)))
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", look)
        page.clock.set_fixed_time(NOW)
        if script:
            page.add_init_script(script)
        page.goto((tmp_path / name).as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


def test_keys_decide_move_on_and_undo_and_the_file_says_so(opened: Callable[..., Any]) -> None:
    page = opened(PLAIN)
    page.fill("[name=name]", "Léa")
    page.locator("[name=name]").blur()
    press(page, "a")
    assert (focused(page), counts(page)) == ("one", "0 of 4 decided, 4 shown."), "first it is looked at"
    press(page, "a")
    assert focused(page) == "two"
    press(page, "k s")
    assert focused(page) == "four" and counts(page) == "3 of 4 decided, 4 shown."
    assert "Listing 3: skipped." in page.inner_text("[role=status] >> nth=0")
    press(page, "ArrowUp p j ArrowUp")
    assert focused(page) == "two"
    press(page, "a u")
    assert focused(page) == "two" and page.locator("article >> nth=1").locator("[aria-pressed=true]").count() == 1
    assert saved(page) == [
        ["one", "bags", "agree", "lamps", "Léa", STAMP, "false"],
        ["two", "bags", "keep", "bags", "Léa", STAMP, "false"],
        ["three", "bags", "skip", "", "Léa", STAMP, "false"],
    ]
    press(page, "u u")
    assert [row[0] for row in saved(page)] == ["one"]
    press(page, "u u")
    assert page.inner_text("#status") == "Nothing to undo."
    page.locator("article >> nth=3").get_by_role("button", name="Keep").click()
    assert focused(page) == "one", "after the last one comes the first that is undecided"
    assert [row[:3] for row in saved(page, key=False)] == [["four", "bags", "keep"]]


def test_a_reload_keeps_decisions_and_another_audit_does_not_see_them(opened: Callable[..., Any]) -> None:
    page = opened(PLAIN)
    press(page, "j a k")
    page.fill("[name=name]", "Léa")
    page.reload()
    assert counts(page) == "2 of 4 decided, 4 shown." and page.input_value("[name=name]") == "Léa"
    press(page, "j")
    assert focused(page) == "three"
    assert "0 of" in counts(opened(replace(PLAIN, catalog="d.csv"), "other.html", page.context))
    rest = PLAIN.suspects[1:]
    others = [suspect("one", "rugs"), suspect("one", suggested="rugs"), suspect("five")]
    assert digest(PLAIN) not in {digest(audit([*rest, each])) for each in others}
    assert digest(PLAIN) == digest(audit([*rest, suspect("one", score=0.1)])), "ranks and scores may change"
    again = opened(PLAIN, "again.html", page.context)
    press(again, "j u")
    assert counts(again) == "1 of 4 decided, 4 shown.", "also after a reload"
    playwright.expect(page.locator("#counts")).to_contain_text("1 of 4 decided")  # the other window's, too
    again.evaluate("key => localStorage.setItem(key, '{damaged')", f"headstart audit {digest(PLAIN)}")
    again.reload()
    assert counts(again) == "0 of 4 decided, 4 shown."


def test_where_nothing_is_kept_the_page_says_so_and_works(opened: Callable[..., Any]) -> None:
    page = opened(
        PLAIN, script="Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'x'); } });"
    )
    assert page.locator("#notice").is_visible() and not page.locator("#kept").is_visible()
    press(page, "j a")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"] and counts(page) == "0 of 4 decided, 4 shown."
    press(page, "j a")
    assert len(saved(page)) == 1
    page.reload()
    assert asked == ["beforeunload"], "what is saved may be left"
    kept = opened(PLAIN, "kept.html")
    assert kept.locator("#kept").is_visible() and not kept.locator("#notice").is_visible()


def test_any_text_stays_text_and_comes_back(opened: Callable[..., Any], tmp_path: Path) -> None:
    shown = hostile(tmp_path)
    page = opened(shown)
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img").count() == 1 and page.locator("article script, article b").count() == 0
    assert [text.strip() for text in page.locator(".photo").all_inner_texts()][:3] == [
        "", "its photo cannot be shown", "no photo",
    ]  # fmt: skip
    press(page, "j")
    expected = []
    for n, each in enumerate(shown.suspects):
        assert focused(page) == each.id
        assert page.locator("article").nth(n).locator(".text").text_content() == each.text[:300] + "… Show all of it"
        press(page, ("a", "k", "s")[n % 3])
        category = (each.suggested, each.filed, "")[n % 3]
        row = [each.id, each.filed, ("agree", "keep", "skip")[n % 3], category, "=Léa", STAMP, str(n == 3).lower()]
        expected.append([guarded(cell) for cell in row])
    page.get_by_role("button", name="Show all of it").first.click()
    assert page.locator("article .text >> nth=0").text_content() == shown.suspects[0].text
    page.fill("[name=name]", "=Léa")
    page.locator("[name=name]").blur()
    assert saved(page) == expected
    assert expected[2][0] == "'=cmd()" and expected[3][0] == "''=cmd()" and expected[4][0] == "'quoted'"

    (tmp_path / "decisions.csv").write_text("\ufeff" + to_csv([COLUMNS, *expected]), encoding="utf-8", newline="")
    page.evaluate("localStorage.clear()")
    page.reload()
    assert "0 of 22" in counts(page)
    page.set_input_files("#file", tmp_path / "decisions.csv")
    playwright.expect(page.locator("#status")).to_have_text("22 decisions taken.")
    assert "22 of 22" in counts(page)
    assert saved(page) == expected
    assert corrected(shown, tmp_path) == [
        each.suggested if n % 3 == 0 and not each.holdout else each.filed for n, each in enumerate(shown.suspects)
    ]


def test_of_a_loaded_file_only_what_fits_is_taken(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(PLAIN)
    press(page, "j j a")
    rows = [
        COLUMNS,
        ["one", "bags", "other", "rugs", "Max", "2026-03-01T00:00:00Z", "false"],
        ["two", "bags", "keep", "bags", "Max", "2026-03-01T00:00:00Z", "false"],
        ["three", "rugs", "agree", "lamps", "Max", STAMP, "false"],
        ["four", "bags", "agree", "nowhere", "Max", STAMP, "false"],
        ["five", "bags", "agree", "lamps", "Max", STAMP, "false"],
    ]

    def load(text: str, told: str) -> None:
        (tmp_path / "some.csv").write_text(text, encoding="utf-8", newline="")
        page.evaluate("document.getElementById('status').textContent = ''")
        page.set_input_files("#file", tmp_path / "some.csv")
        playwright.expect(page.locator("#status")).to_have_text(told)

    load(to_csv(rows), "1 decision taken, 1 one older than what is decided here, 3 rows not of this audit.")
    expected = [
        ["one", "bags", "other", "rugs", "Max", "2026-03-01T00:00:00Z", "false"],
        ["two", "bags", "agree", "lamps", "", STAMP, "false"],
    ]
    assert saved(page) == expected
    load(to_csv([COLUMNS, *expected]).replace("\r\n", "\n"), "2 decisions taken.")
    press(page, "u")
    assert "1 of 4" in counts(page), "what was here already is not taken twice"
    load("a,b\n1,2\n", "Not taken: its first line lacks the columns id, filed, decision, category.")
    load("", "Not taken: its first line lacks the columns id, filed, decision, category.")


def test_another_category_is_found_by_typing(opened: Callable[..., Any]) -> None:
    page = opened(replace(PLAIN, categories=(*PLAIN.categories, *(f"{n:03} more" for n in range(200)))))
    press(page, "j o")
    dialog = page.locator("#other")
    field, found = dialog.get_by_role("combobox", name="Category"), dialog.get_by_role("option")
    assert field.input_value() == "" and found.count() == 50
    press(page, "Enter")
    assert dialog.is_visible(), "nothing is chosen before anything is typed"
    page.keyboard.type("bebe")
    assert found.all_inner_texts() == ["Bébé"]
    press(page, "Enter")
    assert not dialog.is_visible() and focused(page) == "two"
    press(page, "o")
    page.keyboard.type("s")
    press(page, "ArrowDown ArrowDown ArrowDown ArrowUp")
    active = field.get_attribute("aria-activedescendant")
    assert dialog.get_by_role("option", selected=True).get_attribute("id") == active
    press(page, "Escape")
    assert not dialog.is_visible() and focused(page) == "two" and "1 of 4" in counts(page)
    press(page, "o")
    page.keyboard.type("lamps")
    press(page, "Enter o")
    dialog.get_by_role("option", name="bags").click()
    assert [row[:4] for row in saved(page)] == [
        ["one", "bags", "other", "Bébé"],
        ["two", "bags", "agree", "lamps"],
        ["three", "bags", "keep", "bags"],
    ]


SIFTED = audit(
    [
        suspect("10", "bags", "rugs", evidence=frozenset({"image"}), unclear=True),
        suspect("9", "rugs", "lamps", evidence=frozenset({"text", "image"})),
        suspect("a", "Bébé", "bags", text="Lit à BARREAUX"),
        suspect("2", "bags", "lamps", unclear=True),
    ]
)


def test_listings_are_sifted_and_sorted(opened: Callable[..., Any]) -> None:
    page = opened(SIFTED)
    orders = {"id": ["2", "9", "10", "a"], "filed": ["10", "2", "a", "9"], "suggested": ["a", "9", "2", "10"]}
    for by, order in {**orders, "rank": ["10", "9", "a", "2"]}.items():
        page.select_option("[name=sort]", by)
        assert ids(page) == order, by
    press(page, "j")
    for name, value, left in (
        ("filed", "bags", ["10", "2"]), ("suggested", "lamps", ["9", "2"]), ("evidence", "image", ["10", "9"]),
        ("unclear", "yes", ["10", "2"]), ("unclear", "no", ["9", "a"]), ("state", "decided", []),
        ("state", "undecided", ["10", "9", "a", "2"]),
    ):  # fmt: skip
        page.select_option(f"[name={name}]", value)
        assert ids(page) == left, name
        assert f"{len(left)} shown" in counts(page) and page.locator("#none").is_visible() is (left == [])
        page.select_option(f"[name={name}]", "")
    page.fill("[name=find]", "a barreaux")
    assert ids(page) == ["a"]
    press(page, "Enter")
    assert focused(page) == "a"
    page.fill("[name=find]", "")
    page.select_option("[name=state]", "undecided")
    page.locator("#listings").focus()
    press(page, "j a k")
    assert (focused(page), ids(page)) == ("a", ["a", "2"]), "what is decided goes out of sight, the next has the focus"
    press(page, "u")
    assert (focused(page), ids(page)) == ("9", ["9", "a", "2"])


def test_keys_keep_still_while_somebody_types_or_calls_the_browser(opened: Callable[..., Any]) -> None:
    page = opened(PLAIN)
    press(page, "j")
    page.locator("[name=name]").focus()
    page.keyboard.type("askoujp?/e")
    page.locator("[name=find]").focus()
    page.keyboard.type("one a")
    assert page.input_value("[name=name]") == "askoujp?/e" and page.locator("dialog[open]").count() == 0
    page.fill("[name=find]", "")
    page.locator("[name=filed]").focus()
    press(page, "k ArrowDown")
    page.select_option("[name=filed]", "")
    page.locator("article >> nth=0").focus()
    press(page, "Control+k Alt+k Meta+k")
    page.dispatch_event("article >> nth=0", "keydown", {"key": "k", "repeat": True, "bubbles": True})
    press(page, "? k a")
    assert page.locator("#legend").is_visible()
    press(page, "Escape")
    assert focused(page) == "one" and counts(page) == "0 of 4 decided, 4 shown."
    page.uncheck("[name=keys]")
    page.locator("article >> nth=0").focus()
    press(page, "k ?")
    assert counts(page) == "0 of 4 decided, 4 shown." and page.locator("dialog[open]").count() == 0
    page.check("[name=keys]")
    press(page, "/")
    assert page.evaluate("document.activeElement.name") == "find"


def test_nothing_is_decided_that_is_out_of_sight(opened: Callable[..., Any]) -> None:
    page = opened(audit([suspect(str(n)) for n in range(40)]))
    press(page, "j a")
    page.evaluate("scrollTo(0, 1e6)")
    press(page, "a")
    assert "1 of 40" in counts(page) and focused(page) == "1"
    top = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert 0 <= top < 400, "it is shown instead"
    press(page, "a")
    assert "2 of 40" in counts(page)


RULES: dict[tuple[int, str], Any] = {(390, "light"): {}, (1280, "dark"): {"runOnly": ["color-contrast"]}}
"""All of axe-core's once; in the dark only colours differ."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_or_stands_in_the_way(
    opened: Callable[..., Any], tmp_path: Path, width: int, scheme: str
) -> None:
    view: dict[str, Any] = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    page = opened(hostile(tmp_path, HOSTILE[:5]), bypass_csp=True, **view)  # its policy would keep axe out
    press(page, "j a k s")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    outside = "all => all.filter(a => a.getBoundingClientRect().right > innerWidth + 0.5).map(a => a.outerHTML)"
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.eval_on_selector_all("main *:not(.scroll *), footer *", outside) == []
    judged = AXE and (width, scheme) in RULES
    if judged:
        page.evaluate(Path(AXE.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8"))
    for key in ("", "o", "?"):
        if key:
            page.keyboard.press(key)
            assert page.eval_on_selector_all("dialog[open], dialog[open] *", outside) == []
        if judged:
            told = "rules => axe.run(document.querySelector('dialog[open]') ?? document, rules)"
            found = page.evaluate(told, RULES[width, scheme])
            assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], key
            assert "color-contrast" in {each["id"] for each in found["passes"]}
        page.keyboard.press("Escape")
    if not AXE:
        pytest.skip("axe-core-python is not installed")


def test_the_head_tells_how_many_and_what_is_unclear() -> None:
    head = wording.plain(re.sub("<[^>]*>", "", audit_html(PLAIN).partition("<main>")[2].partition("</header>")[0]))
    assert "31 (24 – 40) of 1,050 listings look misfiled." in head
    assert "1,080 listings were read, 1,050 judged" in head and "Baby Care and Home Furnishing: 12 listings\n" in head
    assert "&lt;b&gt; and =x: 1 listing\n" in head


def test_a_page_that_shows_not_all_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_page, "SHOWN", 3)
    page = wording.plain(audit_html(PLAIN))
    assert "3 listings are to be decided on below, the most suspicious of 4, which the file of suspects has all" in page
    assert "&quot;four&quot;" not in page and '"four"' not in page


def test_a_file_that_a_spreadsheet_saved_again_is_taken(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(PLAIN)
    rows = ["id;filed;decision;category", "one;bags;agree;lamps", 'two;bags;keep;""', "three;bags;keep;bags"]
    (tmp_path / "again.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    page.set_input_files("#file", tmp_path / "again.csv")
    playwright.expect(page.locator("#status")).to_have_text("3 decisions taken.")
    assert [row[2:4] for row in saved(page)] == [["agree", "lamps"], ["keep", "bags"], ["keep", "bags"]]


def test_a_thousand_suspects_are_soon_there(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = "data:image/jpeg;base64," + "A" * 9000  # of the size of a photo's
    monkeypatch.setattr(audit_page, "thumbnail", lambda *_: address)
    monkeypatch.setattr(audit_page, "SHOWN", 1000)
    page = opened(audit([suspect(str(n), photo="p", text="word " * 100) for n in range(1000)]))
    page.get_by_text("0 of 1,000 decided").wait_for()
    drawn = page.evaluate("performance.now()")
    start = time.perf_counter()
    press(page, "j " + "a " * 10)
    assert counts(page) == "10 of 1,000 decided, 1,000 shown."
    size = (tmp_path / "audit.html").stat().st_size / 1e6
    print(f"1,000 suspects, {size:.1f} MB: {drawn:.0f} ms to be read, {time.perf_counter() - start:.1f} s for ten keys")
