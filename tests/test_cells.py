from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstart.cells import guarded, unguarded

TEXTS = st.text() | st.text("'=+-@\t\r\na", max_size=6)


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-"])
def test_what_begins_like_a_formula_gets_one_more_quote(text: str) -> None:
    assert guarded(text) == "'" + text


@pytest.mark.parametrize("text", ["", "Robe", "'", "''", "'Robe'", "l'été = chaud", " =1", "\n=1"])
def test_other_text_stays(text: str) -> None:
    assert guarded(text) == unguarded(text) == text


@given(TEXTS)
@example("'=1")
def test_a_guard_is_undone_and_leaves_no_formula(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not re.match(r"[=+\-@\t\r]", guarded(text))


@given(TEXTS, TEXTS)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (guarded(one) == guarded(other)) == (one == other)
