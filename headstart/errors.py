"""The errors that headstart raises on purpose.

Each message is one line that names the value at fault, the choices there were, and what to do about it. The
command line prints it after ``error:`` and exits with 1; a traceback is a defect.
"""

from __future__ import annotations


class HeadstartError(Exception):
    """Anything that headstart cannot do and can explain."""


class CatalogError(HeadstartError):
    """A catalogue that cannot be read: no such file, no such column, two rows with one id."""


class ItemError(HeadstartError):
    """One photo or text that an encoder cannot take. The listing stays, without that modality.

    `kind` is ``"damaged"`` (the content can never be encoded), ``"too large"``, or ``"unreadable"`` (its file could not
    be read this time); of what comes by HTTP also ``"base64"`` (it is none) and ``"text too long"``.
    """

    def __init__(self, reason: str, kind: str = "damaged") -> None:
        super().__init__(reason)
        self.kind = kind


class EncoderError(HeadstartError):
    """An encoder that is unknown, incomplete, or gives vectors that are not finite."""


class StoreError(HeadstartError):
    """Kept vectors that are damaged, or are not those asked for."""


class DamageError(StoreError):
    """Something kept is not what was written. Taking it out of use and extracting again mends it."""


class ModelError(HeadstartError, ValueError):
    """A classifier that cannot learn from what it is given, is incomplete, or was made for other encoders."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, which may have dozens."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
