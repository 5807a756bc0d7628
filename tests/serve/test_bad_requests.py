"""Requests that no client should send: each is answered or hung up on, and nobody else notices.

`benchmarks/bad_requests.py` sends more of them.
"""

from __future__ import annotations

from pathlib import Path

from attacking import KEYLESS, attack
from headstart.serve.keys import VARIABLE
from raw_requests import KEY
from serving import serving

REQUESTS = 300
GROWTH = {"server": 150 << 20, "workers": 400 << 20}
"""Bytes that they may take, at most: photos of 50 million pixels come unpacked in between."""


def test_bad_requests_are_refused_and_hold_up_nobody(shop: Path) -> None:
    with serving(shop / "model", "--max-wait", "20", "--timeout", "80", **{VARIABLE: KEY}) as server:
        tally = attack(server, REQUESTS)
        assert len(tally.outcomes) == REQUESTS
        assert tally.wrong() == []
        refused = tally.by_kind()["key: none, or another"]
        assert refused.total() == REQUESTS // KEYLESS and refused["401"] > 0
        assert tally.good["200"] > 0
        assert set(tally.good) <= {"200", "429"}
        assert (tally.restarts, tally.ready) == (0, True)
        for process, most in GROWTH.items():
            assert tally.after[process] - tally.before[process] < most
        assert "Traceback" not in server.said
