"""How many items to encode at once, and which of them together."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np

MOST = {"text": 4096, "image": 512}
"""More than this gains nothing on any machine and costs memory: three batches of photos are held at once."""
TRIES = 3
"""Batches of one size before it is judged. The first is not counted: a new size makes TensorFlow prepare."""
GAIN = 1.03
"""A size must be so much faster than the best before it; less may be chance."""


class BatchSize:
    """How many items to take: found by measuring, on the items that are to be encoded anyway.

    Climbs from a first guess: doubles while that is faster, else halves while that is faster, then stays.

    `size` is how many items to take next; `tell` it what each batch took.
    """

    def __init__(self, first: int, most: int) -> None:
        self.size = max(1, min(first, most))
        self._climb = self._climbing(most)
        next(self._climb)
        self._rates: list[float] = []

    def tell(self, items: int, seconds: float) -> None:
        """What encoding a batch took. A batch of another size, such as a run's last one, says nothing."""
        if items != self.size:
            return
        self._rates.append(items / max(seconds, 1e-9))
        if len(self._rates) == TRIES:
            self._climb.send(max(self._rates[1:]))
            self._rates = []

    def _climbing(self, most: int) -> Generator[None, float, None]:
        """Sets `size` and is sent the rate it gave."""
        best, first = self.size, self.size
        fastest = yield
        for factor in (2.0, 0.5):
            if best != first:
                break  # larger ones were faster: smaller ones need not be tried
            while 1 <= (size := int(best * factor)) <= most:
                self.size = size
                rate = yield
                if rate < fastest * GAIN:
                    break
                best, fastest = size, rate
        self.size = best
        while True:
            yield


def alike(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Row numbers in groups of like length, so that little padding is needed.

    Each group padded to its longest stays within `budget`, or is of one row.
    """
    group: list[int] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        if group and (len(group) + 1) * lengths[row] > budget:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def padded(sequences: Sequence[np.ndarray], value: int) -> np.ndarray:
    """Token ids of n texts as int32 of shape ``(n, longest)``, the shorter ones filled up with `value`."""
    out = np.full((len(sequences), max(map(len, sequences))), value, np.int32)
    for line, ids in zip(out, sequences, strict=True):
        line[: len(ids)] = ids
    return out
