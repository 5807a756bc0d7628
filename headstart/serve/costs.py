"""What a listing costs, by which it is told how long others will wait."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 0.2
"""How much of a listing's cost so far a new measurement replaces."""


@dataclass
class Costs:
    """Seconds that a listing takes, by the dearest thing it has; learnt from the batches."""

    text: float = 0.01
    image: float = 0.05

    def of(self, texts: int, photos: int) -> float:
        """Seconds for so many listings without a photo and with one."""
        return texts * self.text + photos * self.image

    def tell(self, texts: int, photos: int, seconds: float) -> None:
        """What a batch took."""
        if photos:
            one = max(seconds - texts * self.text, 0) / photos
            self.image += MEMORY * (one - self.image)
        elif texts:
            self.text += MEMORY * (seconds / texts - self.text)
