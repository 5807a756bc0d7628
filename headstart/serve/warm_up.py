"""Requests that TensorFlow Serving answers itself before a version counts as loaded: what is slow once is done then."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart.errors import HeadstartError, one_line
from headstart.extract.graph_texts import EXTRA
from headstart.runtime import tensorflow

WARM_UP = Path("assets.extra/tf_serving_warmup_requests")
SIZES = (1, 2, 8, 32)
"""Listings in a request."""
TEXT = "Montre bracelet en acier, cadran bleu. Water resistant to 5 bar, two years of warranty."


def apis(*names: str) -> list[Any]:
    """Modules of tensorflow-serving-api, such as ``predict_pb2``.

    Raises:
        HeadstartError: it is not installed.
    """
    tensorflow()  # quiet, before the package imports it
    try:
        return [importlib.import_module(f"tensorflow_serving.apis.{name}") for name in names]
    except Exception as error:  # made for another protobuf, it does not raise an ImportError
        raise HeadstartError(f"exporting takes tensorflow-serving-api ({one_line(error)}): {EXTRA}") from None


def drawn_photo(side: int = 480) -> bytes:
    """A drawn JPEG: colours that run into one another, and some noise."""
    across = np.linspace(0, 255, side)
    pixels = np.stack(np.broadcast_arrays(across, across[:, None], across[::-1]), axis=-1)
    pixels = pixels + np.random.default_rng(0).normal(scale=8, size=pixels.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def listings(rows: int) -> tuple[list[bytes], list[bytes]]:
    """Texts and photos of so many listings, in turn with both, a text, a photo, and neither."""
    seen = drawn_photo()
    return [TEXT.encode() if row % 4 in (0, 1) else b"" for row in range(rows)], [
        seen if row % 4 in (0, 2) else b"" for row in range(rows)
    ]


def requests() -> Iterator[Any]:
    """``PredictionLog`` messages."""
    from headstart.serve.graph import EMBED, SERVE

    tf = tensorflow()
    predict, log = apis("predict_pb2", "prediction_log_pb2")
    for signature in (SERVE, EMBED):
        for rows in SIZES:
            request = predict.PredictRequest()
            request.model_spec.signature_name = signature
            for name, values in zip(("text", "image_bytes"), listings(rows), strict=True):
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string, [rows]))
            yield log.PredictionLog(predict_log=log.PredictLog(request=request))


def write_requests(path: Path) -> None:
    """Write them as a TFRecord file."""
    with tensorflow().io.TFRecordWriter(str(path)) as file:
        for request in requests():
            file.write(request.SerializeToString())
