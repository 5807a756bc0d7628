"""An audit's suspects as one HTML page, on which somebody decides on each in seconds.

Texts, ids and categories come from listings that strangers wrote: jinja2 escapes those it puts into the page, the
suspects reach the script as JSON, and the script shows them as text alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from headstart.reports import wording
from headstart.reports.examples import thumbnail
from headstart.reports.render import page
from headstart.reports.suspects import KINDS, Audit, Suspect
from headstart.reports.tables import Table
from headstart.reports.wording import count, counted, number_of, percent

SHOWN = 500
"""Suspects on a page."""
LETTERS = 300
"""Of a listing's text that are shown at once; the rest on demand."""
SIDE, BYTES = 160, 9000
"""Of a thumbnail: its longest side in pixels, and how large its file may be."""
OPEN_PAIRS = 5
"""With more unclear pairs than these their list is folded, or the listings would begin too far down."""
EVIDENCE = {
    "confident_learning": (
        "confident learning",
        "by how often listings of the one category turn up in the other, it is one of those that do",
    ),
    "fused": ("all together", "judged by all that can be read of it, the suggested category is more likely"),
    "text": ("text", "judged by its text alone, the suggested category is more likely"),
    "image": ("photo", "judged by its photo alone, the suggested category is more likely"),
    "neighbours": ("similar listings", "the listings most like it are filed elsewhere"),
    "duplicates": ("near-copies", "near-copies of it are filed elsewhere"),
}
"""Kind of evidence → its tag, and what it means."""


def audit_html(audit: Audit) -> str:
    """The page, of the first `SHOWN` suspects, which asks for nothing else. Photo files are read, for thumbnails."""
    from markupsafe import Markup

    total = len(audit.suspects)
    audit = replace(audit, suspects=audit.suspects[:SHOWN])
    told = {
        "key": f"headstart audit {digest(audit)}",
        "categories": audit.categories,
        "kinds": {kind: EVIDENCE[kind][0] for kind in KINDS},
        "suspects": [_told(suspect) for suspect in audit.suspects],
    }
    # Other characters than these few end no script; what is not ASCII, line separators among it, json escapes.
    data = json.dumps(told).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return page(
        "audit.html.j2",
        ("house.css", "report.css", "audit.css"),
        "audit.js",
        audit=audit,
        total=total,
        held=sum(suspect.holdout for suspect in audit.suspects),
        data=Markup(data),
        evidence=[EVIDENCE[kind] for kind in KINDS],
        open_pairs=OPEN_PAIRS,
        provenance=Table(("What", "Value"), (("catalogue", audit.catalog), *audit.provenance.items())),
        date=audit.provenance.get("date", ""),
        count=count,
        counted=counted,
        number_of=number_of,
        sorted_by=wording.number,
    )


def digest(audit: Audit) -> str:
    """What decisions in a browser are kept under: another audit's do not mix with them, a repeated one's go on."""
    listings = sorted((suspect.id, suspect.filed, suspect.suggested) for suspect in audit.suspects)
    return hashlib.sha256(json.dumps([audit.catalog, listings]).encode()).hexdigest()[:32]


def _told(suspect: Suspect) -> dict[str, Any]:
    photo = thumbnail(suspect.photo, SIDE, BYTES) if suspect.photo else None
    return {
        "id": suspect.id,
        "text": suspect.text[:LETTERS],
        "rest": suspect.text[LETTERS:],
        "photo": photo or "",
        "lacks": "its photo cannot be shown" if suspect.photo else "no photo",
        "filed": suspect.filed,
        "suggested": suspect.suggested,
        "probability": percent(suspect.probability),
        "filedProbability": percent(suspect.filed_probability),
        "score": f"{suspect.score:.2f}",
        "evidence": [kind for kind in KINDS if kind in suspect.evidence],
        "unclear": suspect.unclear,
        "reason": suspect.reason,
        "holdout": suspect.holdout,
    }
