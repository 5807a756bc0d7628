from __future__ import annotations

import numpy as np
import pytest

from headstart import modelling
from headstart.embeddings.features import Features
from headstart.heads.nested import Listings
from headstart.reports.compare import Duel, mcnemar
from headstart.reports.wording import duel, plain


def test_the_control_beside_a_classifier_learns_from_the_same_listings_and_copies_count_once() -> None:
    seen, held = np.arange(40), np.arange(40, 60)
    codes = np.arange(60) % 2
    words = np.array(["red scarf", "blue lamp"])
    texts = list(words[codes])
    for row in held[:4]:  # the control is wrong on these; the last two of them are copies of one another
        texts[row] = words[1 - codes[row]]
    groups = np.arange(60)
    groups[held[3]] = groups[held[1]]
    listings = Listings(Features((), (), {}, {}, {}), codes, 2, groups, texts)
    right = np.ones(20, bool)
    right[10] = False  # and the classifier on this
    found = modelling.beside_the_control(listings, seen, held, right)
    assert found == Duel(16 / 20, 3, 1, mcnemar(np.arange(4) < 3, np.arange(4) >= 3)[2])


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Duel(0.9, 12, 1, 0.003), "it alone is right 1 times, this alone 12 times: better (p = 0.003, McNemar)"),
        (Duel(0.9, 1, 12, 0.003), "it alone is right 12 times, this alone 1 times: worse (p = 0.003, McNemar)"),
        (
            Duel(0.9, 5, 4, 1.0),
            "it alone is right 4 times, this alone 5 times: not distinguishable (p = 1.00, McNemar)",
        ),
    ],
)
def test_the_control_is_told_in_one_line(found: Duel, told: str) -> None:
    assert plain(duel(found)) == f"control     90.0 %   TF-IDF; {told}"
