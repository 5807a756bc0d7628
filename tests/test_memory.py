from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from headstart.memory import Peak, allocated

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_most_that_was_allocated_is_seen_and_pages_of_files_are_not() -> None:
    before = allocated()
    with Peak() as peak:
        block = np.ones(64 * MIB, np.uint8)
        until = time.monotonic() + 30
        while peak.bytes < before + 60 * MIB and time.monotonic() < until:
            time.sleep(0.01)
        del block
    assert before + 60 * MIB <= peak.bytes < before + 200 * MIB
    seen = peak.bytes
    block = np.ones(128 * MIB, np.uint8)
    time.sleep(0.1)
    assert peak.bytes == seen, "it looks no longer"
    del block


def test_it_ends_with_an_error_too() -> None:
    peak = Peak()
    with pytest.raises(ZeroDivisionError), peak:
        _ = 1 // 0
    assert not peak._watch.is_alive()
