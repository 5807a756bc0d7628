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
    kept = [stripped for value in values if value and (stripped := value.strip())]
    return unicodedata.normalize("NFC", "\n".join(kept)) if kept else None
