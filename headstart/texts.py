"""Fields → one normalised string."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def join_fields(values: Sequence[str | None]) -> str | None:
    r"""Join a listing's fields into the text that its encoder reads.

    Each field loses its outer white space, empty ones are left out, the rest are joined in order by ``"\n"``
    and brought to Unicode's composed form (NFC), so that "é" typed in two ways is one text. Nothing
    else changes.

    Returns:
        The text, or None when no field holds anything.
    """
    return join_columns([[value] for value in values])[0] if values else None


def join_columns(columns: Sequence[Sequence[str | None]]) -> list[str | None]:
    """`join_fields` for each row of at least one column, all of one length."""
    joined = [value.strip() if value else "" for value in columns[0]]
    for column in columns[1:]:
        fields = [value.strip() if value else "" for value in column]
        joined = [
            f"{one}\n{other}" if one and other else one or other for one, other in zip(joined, fields, strict=True)
        ]
    # ASCII is composed already, and knows it.
    return [(text if text.isascii() else unicodedata.normalize("NFC", text)) or None for text in joined]
