"""The page of the server, in a real browser, with the answers of a real classifier."""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import catalogs
from browsing import AXE, needs_browser
from serving import PREDICT, Server, photo, serving, trained

playwright = pytest.importorskip("playwright.sync_api", reason="playwright opens the page, and is not installed")
pytestmark = needs_browser

HOSTILE = "<img src=x onerror=alert(1)> | Jouets"
TOYS = "puzzle peluche hochet"
KEY = "a-key-for-the-page-1"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue, one of whose categories has a hostile name, and a classifier of it in model/."""
    folder = tmp_path_factory.mktemp("shelf")
    table = catalogs.listings(folder, rows=240)
    table.write_text(table.read_text().replace(",Jouets", f",{HOSTILE}"))
    trained(folder, "model")
    return folder


@pytest.fixture(scope="module")
def server(shelf: Path) -> Iterator[Server]:
    with serving(shelf / "model", "--max-body-mb", "1", "--max-wait", "0.5", "--drain-seconds", "0") as found:
        yield found


@pytest.fixture
def opened(browser: Any, server: Server) -> Iterator[Open]:
    """Opens the page; afterwards it has asked nobody else for anything, and nothing was refused or went wrong."""
    faults: list[str] = []
    contexts: list[Any] = []

    def open_it(url: str = server.url, **how: Any) -> Any:
        def look(request: Any) -> None:
            if not request.url.startswith((url, "data:", f"blob:{url}")):
                faults.append(request.url)

        contexts.append(context := browser.new_context(**({"locale": "en-GB"} | how)))
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("request", look)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        # A refusal of the server's is told by the browser, too.
        page.on("console", lambda said: "Failed to load resource" in said.text or faults.append(said.text))
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


def says(page: Any, where: str, text: str | re.Pattern[str]) -> None:
    playwright.expect(page.locator(where)).to_contain_text(text, timeout=20_000)


def describe(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.keyboard.press("Control+Enter")


def test_a_photo_alone_gets_its_category_and_is_sent_as_it_is(opened: Open, server: Server, shelf: Path) -> None:
    page = opened()
    file = shelf / "photos" / "1.jpg"  # of Linge, as every third from it on
    with page.expect_request(f"**{PREDICT}") as request:
        page.set_input_files("#photo", file)
    (sent,) = json.loads(request.value.post_data)["instances"]
    assert sent == {"image_bytes": photo(file)}
    (answer,) = server.predict(sent).json()["predictions"]
    says(page, ".category", "Linge")
    assert page.locator(".bars .name").all_inner_texts() == answer["top"]
    assert page.locator(".bars .share").first.inner_text() in page.locator(".sure").text_content()
    assert page.locator(f".decision.{answer['decision']}").is_visible()
    assert page.inner_text("#details .note").startswith("Read: the photo. Model model, version 1.")
    playwright.expect(page.locator("#preview")).to_have_js_property("naturalWidth", 96)
    page.click("#remove")
    assert page.inner_text("#verdict") == "" and page.locator("#empty").is_visible()
    assert not page.locator("#preview").is_visible()
    assert page.evaluate("document.activeElement.id") == "photo"


def test_a_photo_may_be_dropped_or_pasted(opened: Open, shelf: Path) -> None:
    page = opened()
    for number, event, category in ((1, "drop", "Linge"), (0, "paste", "Montres")):
        data = base64.b64encode((shelf / "photos" / f"{number}.jpg").read_bytes()).decode()
        page.evaluate(
            """async ([kind, data]) => {
                const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0)), held = new DataTransfer();
                held.items.add(new File([bytes], "one.jpg", { type: "image/jpeg" }));
                const how = { bubbles: true, cancelable: true };
                document.body.dispatchEvent(kind === "drop" ? new DragEvent(kind, { ...how, dataTransfer: held })
                    : new ClipboardEvent(kind, { ...how, clipboardData: held }));
            }""",
            [event, data],
        )
        says(page, ".category", category)


def test_all_of_it_can_be_done_by_keys(opened: Open, shelf: Path) -> None:
    page = opened()
    page.on("filechooser", lambda _: None)  # from now on: asked for only below, some keys come before it is heard
    ring = "getComputedStyle(document.activeElement.labels?.[1] ?? document.activeElement).outlineStyle"

    def tab(name: str) -> None:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText || document.activeElement.id").startswith(name)
        assert page.evaluate(ring) == "solid", name

    for name in ("Français", "English", "text"):
        tab(name)
    page.keyboard.type("montre bracelet acier")
    says(page, ".category", "Montres")  # a moment after the last key
    tab("photo")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(shelf / "photos" / "0.jpg")
    says(page, "#details .note", "Read: the text and the photo.")
    tab("Remove the photo")
    page.keyboard.press("Enter")
    says(page, "#details .note", "Read: the text.")
    tab("Find the category")
    with page.expect_request(f"**{PREDICT}"):
        page.keyboard.press("Enter")
    says(page, ".category", "Montres")
    tab("Clear all")
    page.keyboard.press("Enter")
    assert page.input_value("#text") == "" and page.locator("#empty").is_visible()
    page.keyboard.press("Control+Enter")
    says(page, "#problem", "There is nothing to classify yet.")
    assert page.evaluate("document.activeElement.id") == "text"


def test_it_speaks_the_browsers_language_or_the_one_that_was_chosen(opened: Open) -> None:
    page = opened(locale="fr-FR")
    describe(page, "drap coton housse")
    says(page, "#details", "Lu\u00a0: le texte.")
    assert page.get_attribute("html", "lang") == "fr" and "Où classer cette annonce\u00a0?" in page.inner_text("h1")
    page.get_by_role("button", name="English").click()
    says(page, "#details", "Read: the text.")
    page.reload()
    assert page.get_attribute("html", "lang") == "en" and "Where does" in page.inner_text("h1")
    assert page.get_by_role("button", name="English").get_attribute("aria-pressed") == "true"
    assert opened(locale="de-DE").get_attribute("html", "lang") == "en"


TOLD: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"decision": "accept", "candidates": 1}, "Acceptée sans relecture", "Accepted without a look"),
    ({"decision": "suggest", "candidates": 1}, "À confirmer", "To confirm"),
    ({"decision": "suggest", "candidates": 2}, "parmi ces 2 catégories", "among these 2 categories"),
    ({"decision": "person", "candidates": 0}, "ne ressemble pas à celles", "unlike those the model learnt from"),
    ({"decision": "person", "candidates": 5}, "restent possibles (5)", "are possible (5)"),
    ({"decision": "person", "candidates": -1}, "combien de fois il se trompe", "how often it errs"),
    ({"decision": "person", "candidates": 1, "read": "nothing"}, "Rien n’a pu être lu", "Nothing could be read"),
    ({"decision": "person", "candidates": -1, "read": "nothing"}, "Rien n’a pu être lu", "Nothing could be read"),
)


def test_every_decision_is_told_with_its_reason(opened: Open) -> None:
    page = opened()
    told = page.evaluate(
        """async answers => {
            const { LANGUAGES, decided, speak } = await import("/static/telling.js");
            return LANGUAGES.map(name => (speak(name), answers.map(each => decided(each).join("\\n"))));
        }""",
        [{"read": "text", **answer} for answer, *_ in TOLD],
    )
    for place, (answer, *parts) in enumerate(TOLD):
        for said, part in zip(told, parts, strict=True):
            assert part in said[place], answer


def test_figures_are_no_surer_than_they_are(opened: Open) -> None:
    page = opened()
    shares = [0.0004, 0.01, 0.4949, 0.5, 0.899, 0.97, 0.9949, 0.9951, 1]
    told = page.evaluate(
        """async shares => {
            const { certainty, speak } = await import("/static/telling.js");
            speak("fr");
            return shares.map(probability => ["accept", "person"].map(decision =>
                certainty({ decision, probability })));
        }""",
        shares,
    )
    nbsp = [[each.replace("\u00a0", " ") for each in pair] for pair in told]
    assert [accepted for accepted, _ in nbsp] == [
        "Peu sûr : moins de 1 %", "Peu sûr : 1 %", "Peu sûr : 49 %", "Probable à 50 %", "Probable à 90 %",
        "Sûr à 97 %", "Sûr à 99 %", "Sûr à plus de 99 %", "Sûr à plus de 99 %",
    ]  # fmt: skip
    assert not any("Sûr à" in other for _, other in nbsp), "what was not enough is not called sure"


def test_both_languages_say_the_same(opened: Open) -> None:
    words = opened().evaluate("import('/static/words.js').then(found => found.WORDS)")
    assert list(words["fr"]) == list(words["en"])
    for name, text in words["fr"].items():
        assert text and words["en"][name]
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", words["en"][name])), name


def test_names_with_bars_in_them_are_told_apart(opened: Open) -> None:
    found = opened().evaluate(
        """async () => {
            const { names } = await import("/static/telling.js");
            return [["a | b | c", ["a | b", "c"]], ["a | b", ["a", "b"]], ["a", []], ["", ["a"]], ["b | z", ["a", "b"]]]
                .map(([joined, known]) => names(joined, known));
        }"""
    )
    assert found == [["a | b", "c"], ["a", "b"], ["a"], [], ["b", "z"]]


def test_what_is_hostile_stays_text(opened: Open, shelf: Path, tmp_path: Path) -> None:
    page = opened()
    named = tmp_path / "<img src=x onerror=alert(2)>.jpg"
    shutil.copy(shelf / "photos" / "2.jpg", named)
    images = page.locator("img").count()
    page.set_input_files("#photo", named)
    describe(page, f"{TOYS} <script>alert(3)</script><img src=x onerror=alert(4)>")
    says(page, ".category", HOSTILE)
    assert page.inner_text("#photo-name").endswith(named.name)
    assert HOSTILE in page.locator(".bars .name").all_inner_texts()
    assert page.locator("img").count() == images and page.locator("body script").count() == 0
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_what_goes_wrong_is_told_with_what_to_do(opened: Open, shelf: Path, tmp_path: Path) -> None:
    page = opened(locale="fr-FR")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    whole = (shelf / "photos" / "0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    page.set_input_files("#photo", tmp_path / "cut.jpg")
    says(page, "#problem", "La photo n’a pas pu être lue")
    says(page, "#problem", "Le serveur dit\u00a0: photo is truncated")
    assert page.get_attribute("#photo", "aria-invalid") == "true" and page.inner_text("#verdict") == ""
    page.click("#clear")
    sent.clear()
    page.set_input_files("#photo", {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": bytes(1_000_000)})
    says(page, "#problem", "La photo est trop lourde (1 Mo, la limite est de 0,7 Mo).")
    page.set_input_files("#photo", {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"})
    says(page, "#problem", "Ce fichier n’est pas une photo.")
    assert sent == [], "what is refused here is not sent"
    page.context.set_offline(True)
    describe(page, "drap coton housse")
    says(page, "#problem", "Le serveur ne répond pas.")
    page.context.set_offline(False)
    page.click("#again")
    says(page, ".category", "Linge")
    assert page.inner_text("#problem") == "" and not page.locator("#again").is_visible()


def test_a_busy_server_is_told_with_the_seconds_to_wait(opened: Open, server: Server, shelf: Path) -> None:
    page = opened()
    body = [{"text": f"drap {row}", "image_bytes": photo(shelf / "photos" / "1.jpg")} for row in range(64)]
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            server.predict(*body)

    others = [threading.Thread(target=load) for _ in range(12)]
    for each in others:
        each.start()
    try:
        done = page.locator(".category, .trouble")
        for _ in range(100):
            describe(page, "drap coton housse")
            done.wait_for()
            if page.inner_text("#problem"):
                break
        assert re.fullmatch(r"The server is very busy\. Try again in \d+ s\.", page.inner_text("#problem"))
    finally:
        over.set()
        for each in others:
            each.join()
    page.click("#again")
    says(page, ".category", "Linge")


def test_an_answer_to_what_was_there_before_is_not_shown(opened: Open) -> None:
    page = opened()
    held: list[Any] = []
    page.route(
        f"**{PREDICT}",
        lambda route: held.append(route) if "drap" in route.request.post_data else route.continue_(),
    )
    with page.expect_request(f"**{PREDICT}"):
        describe(page, "drap coton housse")
    with page.expect_event("requestfailed") as given_up:
        page.fill("#text", "montre bracelet acier")
    assert "drap" in given_up.value.post_data and given_up.value.failure == "net::ERR_ABORTED"
    says(page, ".category", "Montres")
    page.fill("#text", "montre bracelet acier, drap")
    assert page.inner_text("#verdict") == "" and page.inner_text("#details") == "", "it is older than the text"
    page.fill("#text", "")
    assert page.locator("#empty").is_visible()


def test_where_keys_are_needed_one_is_asked_for(opened: Open, shelf: Path) -> None:
    with serving(shelf / "model", "--drain-seconds", "0", wait=False, HEADSTART_API_KEYS=KEY) as guarded:
        with guarded.stopped():  # it is not ready before that is told
            page = opened(guarded.url)
            describe(page, "drap coton housse")
            says(page, "#problem", "An access key is needed.")
            assert page.evaluate("document.activeElement.id") == "key"
            for wrong in ("wrong", "clé"):
                page.fill("#key", wrong)
                page.keyboard.press("Enter")
                says(page, "#problem", "The access key is not accepted.")
                page.evaluate("document.getElementById('problem').replaceChildren()")
            page.fill("#key", KEY)
            page.keyboard.press("Enter")
            says(page, "#problem", "The server is not ready. Try again in 5 s.")
        guarded.until(guarded.ready)
        page.click("#again")
        says(page, ".category", "Linge")
        page.reload()
        assert page.input_value("#key") == KEY
        assert page.evaluate("JSON.stringify(localStorage)").find(KEY) < 0
    assert not opened().locator("#key").is_visible()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_nothing_overflows_or_stands_in_the_way(opened: Open, shelf: Path, width: int, scheme: str) -> None:
    view: dict[str, Any] = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    page = opened(bypass_csp=True, reduced_motion="reduce", **view)  # its policy would keep axe out
    outside = "all => all.filter(each => each.getBoundingClientRect().right > innerWidth + 0.5).map(a => a.outerHTML)"
    if AXE:
        page.evaluate(Path(AXE.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8"))

    def look(state: str) -> None:
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, state
        assert page.eval_on_selector_all("body *", outside) == [], state
        small = "all => all.filter(a => a.offsetParent && a.offsetHeight < 44).map(each => each.outerHTML)"
        assert page.eval_on_selector_all("button, .button, textarea", small) == [], "too small for a thumb"
        if AXE:
            found = page.evaluate("axe.run()")
            assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], state
            assert "color-contrast" in {each["id"] for each in found["passes"]}

    look("empty")
    name = "unbroken" * 30 + ".jpg"
    file = {"name": name, "mimeType": "image/jpeg", "buffer": (shelf / "photos" / "2.jpg").read_bytes()}
    page.set_input_files("#photo", file)
    describe(page, f"{TOYS} " + "unbroken" * 100)
    says(page, ".category", HOSTILE)
    look("answered")
    page.set_input_files("#photo", {**file, "buffer": b"no photo"})
    says(page, "#problem", "could not be read")
    page.locator("#no-preview").wait_for()
    look("refused")
    if not AXE:
        pytest.skip("axe-core-python is not installed")
