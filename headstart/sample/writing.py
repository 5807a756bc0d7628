"""From the vocabulary to a title and a description, with the faults of people in a hurry."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from headstart.sample.things import Thing
from headstart.sample.words import (
    ABBREVIATIONS,
    GENERIC,
    REMINDER,
    SLOTS,
    TYPICAL_TITLES,
    VAGUE_DETAILS,
    VAGUE_TITLES,
)

_INNERMOST = re.compile(r"\[([^\[\]]*)\]|<([^<>]*)>")


def expand(rng: np.random.Generator, template: str, known: dict[str, str]) -> str:
    """Fills a template: one of each ``[a|b]``, and each ``<slot>`` from `known` or else from `SLOTS`."""
    while found := _INNERMOST.search(template):
        choices, slot = found.groups()
        filled = _pick(rng, choices.split("|")) if slot is None else f"[{(SLOTS | known)[slot]}]"
        template = template[: found.start()] + filled + template[found.end() :]
    return template


def write(rng: np.random.Generator, thing: Thing | None, colour: str, price: int) -> tuple[str, str]:
    """A title and a description of a thing, or of nothing in particular where there is none."""
    known = {
        "couleur": colour,
        "prix": str(price),
        "neuf": str(round(price * rng.uniform(1.5, 4))),
        "nom": expand(rng, f"[{thing.names}]", {}) if thing else "",
    }
    titles, details = (TYPICAL_TITLES, thing.details) if thing else (VAGUE_TITLES, VAGUE_DETAILS)
    said = _sample(rng, details, int(rng.integers(2, 5)))
    if thing and rng.random() < 0.8:
        said.append(REMINDER)
    said += _sample(rng, GENERIC, int(rng.integers(0, 3)) + (thing is None))
    rng.shuffle(said)
    title = expand(rng, _pick(rng, titles), known)
    joint = _pick(rng, (". ", ". ", ", ", " ! ", " - ", "  "))
    description = joint.join(expand(rng, template, known) for template in said)
    return _hurry(rng, title[:1].upper() + title[1:], 0.3), _hurry(rng, description, 0.6)


def rewrite(rng: np.random.Generator, title: str, description: str, price: int) -> tuple[str, str]:
    """The same listing posted again: a word added, or a new price."""
    again = rng.integers(3)
    if again == 0:
        return f"URGENT {title}", description
    if again == 1:
        return title, f"{description}. Baisse de prix, {price} €"
    return f"{title} (toujours dispo)", description


def _hurry(rng: np.random.Generator, text: str, faults: float) -> str:
    """Abbreviations, typing errors, lost accents and capitals; `faults` is how many errors to expect."""
    if rng.random() < 0.3:
        for word, short in ABBREVIATIONS.items():
            text = re.sub(rf"\b{word}\b", short, text, flags=re.IGNORECASE)
    for _ in range(int(rng.poisson(faults))):
        at = int(rng.integers(1, max(2, len(text) - 2)))
        if text[at : at + 2].isalpha():
            swapped, doubled, dropped = text[at : at + 2][::-1], text[at] * 2 + text[at + 1], text[at + 1]
            text = text[:at] + _pick(rng, [swapped, doubled, dropped]) + text[at + 2 :]
    if rng.random() < 0.15:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    manner = rng.random()
    return text.upper() if manner < 0.06 else text.lower() if manner < 0.3 else text


def _pick(rng: np.random.Generator, choices: list[str] | tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _sample(rng: np.random.Generator, choices: tuple[str, ...], count: int) -> list[str]:
    return [choices[i] for i in rng.permutation(len(choices))[:count].tolist()]
