"""Any text stays text: in Markdown, for a parser of it, and in HTML."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.reports.render import escaped, unbroken


def test_escaped_is_one_line() -> None:
    assert escaped("a\nb  *c* _d_ `e` <f> $g$ ~h~ \\ |") == (r"a b \*c\* \_d\_ \`e\` &lt;f&gt; \$g\$ \~h\~ \\ \|")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# Soldes", r"\# Soldes"), ("#1", r"\#1"), ("- lot", r"\- lot"), ("+ lot", r"\+ lot"), ("-", r"\-"),
        ("--- x", r"\--- x"), ("===", r"\==="), ("1. Montres", r"1\. Montres"), ("12) x", r"12\) x"), ("3.", r"3\."),
        ("> cité", "&gt; cité"), ("-5 °C", "-5 °C"), ("+1.2 points", "+1.2 points"), ("1.5 l", "1.5 l"),
        ("--option", r"\--option"), ("a - b", "a - b"), ("n° 1. x", "n° 1. x"),
        ("https://a.example/b", "https&#58;//a.example/b"), ("voir FTP://x", "voir FTP&#58;//x"),
        ("(www.a.example", "(www&#46;a.example"), ("WWW.a", "WWW&#46;a"),
        ("moi@a.example", "moi&#64;&#8288;a.example"), ("@nom", "&#64;&#8288;nom"), ("a: b", "a: b"),
    ],
)  # fmt: skip
def test_escaped_begins_nothing_and_links_nothing(text: str, shown: str) -> None:
    assert escaped(text) == shown


PIECES = st.sampled_from(
    ["#", "-", "+", "=", "1.", "23)", ">", "*", "_", "`", "~", "|", "[x](y)", "![", "<b>", "<!--", "&amp;", "&", ";",
     "\\", " ", "  ", "\n", "\t", ":", "://", "https://a.example", "www.a.example", "moi@a.example", "@nom",
     "$", "a", "é"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    """A parser finds one paragraph, or one cell, of plain text; its forge-like rule finds no address to link."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    text = f"a{text}" if not text.strip() else text  # nothing at all is no paragraph
    plain = " ".join(text.split())
    for before, blocks in (("", 3), ("- ", 7), ("| a |\n| --- |\n| ", 16)):
        tokens = parser.parse(f"{before}{escaped(text)}{' |' if '|' in before else ''}\n")
        assert len(tokens) == blocks
        inline = [token for token in tokens if token.type == "inline"][-1]
        assert {child.type for child in inline.children or ()} == {"text"}
        assert "".join(child.content for child in inline.children or ()).replace("\u2060", "") == plain
        read = "".join(child.content for child in inline.children or ())
        assert not re.search(r"@\w", read) and not re.search(r"(?i)\w://|\bwww\.", inline.content)


def test_options_are_kept_together_and_stay_text() -> None:
    said = unbroken("<b> --fine-tune-minutes 5, a -- b --" + "x" * 99)
    assert said.startswith('&lt;b&gt; <span class="option">--fine-tune-minutes</span> 5, a -- b <span')
    assert len(re.findall(">(-.*?)<", said)[1]) < 30, "nothing wider than a phone"
