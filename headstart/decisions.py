"""What a person decided about listings that may be filed under the wrong category, as the audit's page saves it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from headstart.catalog import category
from headstart.cells import unguarded
from headstart.errors import CatalogError
from headstart.tables import shown

DECISIONS = ("agree", "keep", "other", "skip")
_NEEDED = ("id", "filed", "decision", "category")
_COLUMNS = (*_NEEDED, "decided_by", "decided_at", "holdout")
# A spreadsheet saves them in its own language.
_YES = {"true", "1", "yes", "vrai", "oui"}
_NO = {"", "false", "0", "no", "faux", "non"}


@dataclass(frozen=True)
class Decision:
    """One person's decision about one listing. Categories are as `headstart.catalog.category` gives them."""

    id: str
    filed: str
    """The category when it was decided, empty where there was none."""
    decision: str
    """``agree`` with the category suggested, ``keep`` the one filed, file under an ``other``, or ``skip``."""
    category: str = ""
    """Decided on, for ``agree`` and ``other``."""
    decided_by: str = ""
    decided_at: str = ""
    holdout: bool = False
    """The listing is of a holdout, whose labels stay as they are."""

    @property
    def final(self) -> str:
        """The category that the listing is to have."""
        return self.category if self.decision in ("agree", "other") else self.filed

    @property
    def binding(self) -> bool:
        """Is it to be applied? Nothing is decided by ``skip``, and nothing changes in a holdout."""
        return self.decision != "skip" and not self.holdout


def read_decisions(path: Path) -> list[Decision]:
    """Read a file of decisions, one a listing, also as Excel saves it. Of two on one listing the later counts.

    Args:
        path: CSV in UTF-8 with the columns ``id``, ``filed``, ``decision``, ``category`` and, where there are such,
            ``decided_by``, ``decided_at`` and ``holdout``; other columns are not looked at.

    Raises:
        CatalogError: no such file, a file that is not such a CSV, an unknown decision, one without its category, or
            two different ones on a listing of which neither is the later.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror}); give the file that the page saved") from None
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise CatalogError(
            f"{path} is not UTF-8: line {line} has the byte 0x{byte:02x}; save it as CSV UTF-8"
        ) from None
    if not text.strip(",;\r\n\t "):
        raise CatalogError(f"{path} is empty; give the file that the page saved")
    # Where a comma is the decimal mark, Excel puts semicolons between the cells.
    head = text.lstrip().splitlines()[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;", key=head.count), strict=True)
    met: dict[str, tuple[int, Decision]] = {}
    names: list[str] = []
    number = 0
    try:
        for number, cells in enumerate(rows, 1):
            if not any(map(str.strip, cells)):
                continue  # a spreadsheet writes rows that were emptied
            if not names:
                names = _names(path, cells)
                continue
            if len(cells) != len(names):
                raise CatalogError(f"{path}: row {number} has {len(cells)} cells instead of {len(names)}; mend the row")
            try:
                new = _decision(dict(zip(names, map(unguarded, cells), strict=True)))
            except ValueError as error:
                raise CatalogError(f"{path}: row {number}, id {shown(cells[names.index('id')])}: {error}") from None
            first, old = met.setdefault(new.id, (number, new))
            chosen = _later(old, new)
            if chosen is None:
                raise CatalogError(
                    f"{path}: rows {first} and {number} decide differently on {shown(new.id)}, and their decided_at "
                    "does not tell which is the later; take one out"
                )
            # Whatever was decided, a listing that was of a holdout once stays one.
            met[new.id] = first, replace(chosen, holdout=old.holdout or new.holdout)
    except csv.Error as error:
        raise CatalogError(f"{path}: row {number + 1} is damaged ({error}); save the file again") from None
    return [decision for _, decision in met.values()]


def _names(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in _COLUMNS:
        if (count := names.count(name)) > 1 or (count == 0 and name in _NEEDED):
            what = f"{count} columns {name!r}" if count else f"no column {name!r}"
            raise CatalogError(f"{path} has {what} among {', '.join(names)}; give the file that the page saved")
    return names


def _decision(cells: dict[str, str]) -> Decision:
    """One row as a Decision.

    Raises:
        ValueError: it holds what cannot be one.
    """
    what = cells["decision"].strip().lower()
    decided_on = category(cells["category"]) or ""
    holdout = cells.get("holdout", "").strip().lower()
    if not cells["id"].strip():
        raise ValueError("the id is empty; give the listing's, or take the row out")
    if what not in DECISIONS:
        raise ValueError(
            f"the decision {shown(cells['decision'])} is none of {', '.join(DECISIONS)}; write one of these"
        )
    if what in ("agree", "other") and not decided_on:
        raise ValueError(f"the decision {what!r} has no category; fill in the category, or write skip")
    if holdout not in _YES | _NO:
        raise ValueError(f"holdout is {shown(cells['holdout'])}; write true or false")
    return Decision(
        id=cells["id"],
        filed=category(cells["filed"]) or "",
        decision=what,
        category=decided_on,
        decided_by=cells.get("decided_by", "").strip(),
        decided_at=cells.get("decided_at", "").strip(),
        holdout=holdout in _YES,
    )


def _later(one: Decision, other: Decision) -> Decision | None:
    """The later of two decisions on a listing, either where they say the same, None where nothing tells."""
    times = _time(one.decided_at), _time(other.decided_at)
    if times[0] and times[1] and times[0] != times[1]:
        return one if times[0] > times[1] else other
    same = (one.filed, one.decision, one.final) == (other.filed, other.decision, other.final)
    return one if same else None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def correct(
    ids: Iterable[str], labels: Iterable[str | None], decisions: Sequence[Decision]
) -> tuple[list[str | None], np.ndarray]:
    """The labels that a catalogue has once these decisions are applied; applying them twice changes nothing.

    Args:
        ids: of the listings.
        labels: of the same listings, as the catalogue is read.
        decisions: as they were read; those that are not `Decision.binding` are left out.

    Returns:
        All labels, and the row numbers of those that changed, int64, ascending.

    Raises:
        CatalogError: a decision on a listing that is not there, or that is filed elsewhere by now.
    """
    missing = {decision.id: decision for decision in decisions if decision.binding}
    corrected: list[str | None] = []
    changed: list[int] = []
    elsewhere: list[tuple[Decision, str | None]] = []
    for row, (listing, label) in enumerate(zip(ids, labels, strict=True)):
        corrected.append(label)
        decision = missing.pop(listing, None)
        if decision is None or (label or "") == decision.final:
            continue
        if (label or "") != decision.filed:
            elsewhere.append((decision, label))
            continue
        corrected[row] = decision.final
        changed.append(row)
    if missing:
        raise CatalogError(
            f"the catalogue lacks {len(missing):,} of the listings decided on, the first {shown(next(iter(missing)))}; "
            "give the catalogue that was audited, with its ids as they were"
        )
    if elsewhere:
        decision, label = elsewhere[0]
        raise CatalogError(
            f"{len(elsewhere):,} of the listings decided on are filed elsewhere by now, the first {shown(decision.id)} "
            f"under {shown(label or '')}, no longer {shown(decision.filed)}; audit the catalogue as it is now"
        )
    return corrected, np.array(changed, np.int64)
