"""A classifier's folder, format 2: its networks, words and calibration, and its card; see `headstart.sealed`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from headstart.errors import ModelError
from headstart.runtime import keras, tensorflow
from headstart.sealed import Kind, Part

CARD = "classifier.json"
CLASSIFIER = Kind(
    what="classifier",
    card=CARD,
    format=2,
    error=ModelError,
    make="train",
    command="headstart train --save",
    parts=r"(head-\d+|words|calibration)-[0-9a-f]{8}\.(keras|npz)|head\.keras",
)


def read_network(part: Part, classes: int) -> Any:
    """The Keras model of a ``.keras`` file.

    Raises:
        ModelError: this Keras cannot read it, or it tells another number of classes apart.
    """
    tensorflow()
    with tempfile.TemporaryDirectory() as folder:  # Keras reads nothing but files; this one may be gone by now
        path = Path(folder, "head.keras")
        path.write_bytes(part.content)
        try:
            network = keras().models.load_model(path, compile=False)
        except (OSError, ValueError, KeyError, TypeError):  # what Keras says of it takes many lines
            raise ModelError(
                f"{part.path} cannot be read by Keras {keras().__version__}: train the classifier again"
            ) from None
    if network.output_shape[-1] != classes:
        raise ModelError(f"{part.path} tells other categories apart than {CARD} names: train the classifier again")
    return network
