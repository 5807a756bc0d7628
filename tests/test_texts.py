from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.texts import join_fields


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["Robe", "Robe d'été en lin"], "Robe\nRobe d'été en lin"),
        (["  Robe ", None, "", " \t\n", "lin"], "Robe\nlin"),
        (["deux  espaces\net une ligne"], "deux  espaces\net une ligne"),
        (["e\u0301te\u0301"], "été"),
        ([], None),
        ([None, "", "  "], None),
    ],
)
def test_fields_are_stripped_joined_and_composed(values: list[str | None], text: str | None) -> None:
    assert join_fields(values) == text


@given(st.lists(st.none() | st.text()))
def test_joining_what_was_joined_changes_nothing(values: list[str | None]) -> None:
    text = join_fields(values)
    assert join_fields([text]) == text
    if text is not None:
        assert unicodedata.is_normalized("NFC", text)
        assert text.strip() == text != ""
