"""HeadConfig: a head is data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headstart.embeddings.features import Features
from headstart.errors import ModelError

FUSIONS = ("concat", "gated", "late")
_LIMITS = {
    "hidden": (0, 65_536),
    "dropout": (0, 0.99),
    "l2": (0, 1e9),
    "learning_rate": (1e-6, 1e30),
    "absent": (0, 0.99),
}


@dataclass(frozen=True)
class HeadConfig:
    """A softmax head on the vectors of its encoders.

    Nothing stands between the vectors and the head but centring, scaling and, where asked for, a hidden layer: what is
    joined is what the encoders saw.
    """

    encoders: tuple[str, ...]
    """Whose vectors it reads, in this order."""
    fusion: str = "concat"
    """``concat``: one kernel on all vectors side by side. ``gated``: a kernel for the text and one for the photo, and a
    gate that weighs them for each listing and unit (the gated multimodal unit of Arevalo et al., arXiv 1702.01992).
    ``late``: a head for each encoder; their log-probabilities are added with weights fitted out of fold."""
    hidden: int = 0
    """Units of one hidden ReLU layer; 0 for a linear head."""
    dropout: float = 0.0
    """Share of the hidden units dropped in training."""
    l2: float = 8.0
    """Penalty: this over the number of listings learnt from, times the sum of squared kernel weights, is added to the
    mean cross-entropy. A prior on the weights that more listings outweigh."""
    learning_rate: float = 1.0
    """Step of gradient descent, as a share of the longest that the bound on the curvature allows."""
    balanced: bool = True
    """Weigh each listing by the inverse frequency of its category."""
    absent: float = 0.2
    """Share of the listings with a text and a photo that lose one of them, never both, at each step of training: it
    learns to do without. The encoders of a modality are lost together."""
    words: bool = False
    """``late`` only: the TF-IDF control is one of the members."""

    def __post_init__(self) -> None:
        if isinstance(self.encoders, str) or not self.encoders or len(set(self.encoders)) < len(self.encoders):
            raise ModelError(f"encoders {self.encoders!r}: give the name of one or more, each once, as a tuple")
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ModelError(f"{name} {getattr(self, name)}: it lies between {low:g} and {high:g}")
        if self.fusion not in FUSIONS:
            raise ModelError(f"no fusion {self.fusion!r}: choose one of {', '.join(FUSIONS)}")
        if self.words and self.fusion != "late":
            raise ModelError(f"words are a member of a late fusion, this one is {self.fusion}: use fusion 'late'")

    def members(self) -> tuple[HeadConfig, ...]:
        """The heads to train: one for each encoder of a late fusion, else this one."""
        if self.fusion != "late":
            return (self,)
        return tuple(replace(self, encoders=(name,), fusion="concat", words=False) for name in self.encoders)

    def parts(self, modality: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
        """Its encoders, grouped by the kernels that read them: one group, or for a gated head one for each modality."""
        if self.fusion != "gated":
            return (self.encoders,)
        kinds = dict.fromkeys(modality[name] for name in self.encoders)
        return tuple(tuple(name for name in self.encoders if modality[name] == kind) for kind in kinds)


def head_encoders(features: Features) -> dict[str, tuple[str, ...]]:
    """Which encoders each head reads: ``text``, ``image``, and ``fused`` where some listing has each."""
    text, image = (
        tuple(name for name in features.encoders(modality) if features.present[name].any())
        for modality in ("text", "image")
    )
    heads = {"text": text, "image": image, "fused": text + image if text and image else ()}
    return {name: encoders for name, encoders in heads.items() if encoders}
