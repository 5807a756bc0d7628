"""HeadConfig: a head is data."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.embeddings.features import Features


@dataclass(frozen=True)
class HeadConfig:
    """A dense softmax head on the concatenated vectors of its encoders.

    Nothing stands between the vectors and the head but centring and scaling: concatenation joins what the encoders
    saw, never what another classifier made of it.
    """

    encoders: tuple[str, ...]
    """Whose vectors are concatenated, in this order."""
    hidden: int = 0
    """Units of one hidden ReLU layer; 0 for a linear head."""
    dropout: float = 0.0
    """Share of the hidden units dropped in training."""
    l2: float = 8.0
    """Penalty: this over the number of listings learnt from, times the sum of squared kernel weights, is added to the
    mean cross-entropy. A prior on the weights that more listings outweigh."""
    learning_rate: float = 4e-2
    """Adam's first step; it shrinks as training goes on."""
    balanced: bool = True
    """Weigh each listing by the inverse frequency of its category."""


def head_encoders(features: Features) -> dict[str, tuple[str, ...]]:
    """Which encoders each head reads: ``text``, ``image``, and ``fused`` where some listing has each."""
    text, image = (
        tuple(name for name in features.encoders(modality) if features.present[name].any())
        for modality in ("text", "image")
    )
    heads = {"text": text, "image": image, "fused": text + image if text and image else ()}
    return {name: encoders for name, encoders in heads.items() if encoders}
