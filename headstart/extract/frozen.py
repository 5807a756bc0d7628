"""A network as a TensorFlow graph, traced once, for encoding at full speed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

import numpy as np

from headstart.errors import EncoderError
from headstart.runtime import has_bfloat16, tensorflow

Precision = Literal["float32", "bfloat16"]
"""What a network multiplies in. bfloat16 is up to 1.5 times as fast on processors that have it, and moves the vectors
a little: it is part of the fingerprint."""


def frozen(
    network: Callable[[Any], Any],
    shape: tuple[int | None, ...],
    dtype: str,
    constants: bool = True,
    precision: Precision = "float32",
) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function of one array.

    Args:
        network: a tensor → a tensor, in inference mode, such as ``lambda x: model(x, training=False)``.
        shape: what the function takes; None for an axis of any length, so that the graph is traced only once.
        dtype: of the array that the function takes.
        constants: turn the variables into constants, so that TensorFlow folds batch normalisation into
            convolutions. A large table of words gains nothing from it and takes ten seconds to start.
        precision: bfloat16 lets TensorFlow run matrix products and convolutions in it; the vectors stay float32.

    Raises:
        EncoderError: bfloat16, on a processor that TensorFlow does not multiply in it.
    """
    if precision == "bfloat16" and not has_bfloat16():
        raise EncoderError(
            "precision=bfloat16 takes a processor with AVX512_BF16 or AMX, and no GPU beside it: leave it out here"
        )
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    call = tf.function(network, input_signature=[tf.TensorSpec(shape, dtype)], autograph=False)
    graph = call.get_concrete_function()
    if constants:
        graph = convert_variables_to_constants_v2(graph)

    def run(x: np.ndarray) -> np.ndarray:
        with _multiplying_in(precision):
            outputs = graph(tf.constant(x, dtype))
        return np.asarray(outputs[0] if constants else outputs, np.float32)

    return run


def folded(
    network: Callable[[Any], Any], shape: tuple[int | None, ...], precision: Precision = "float32"
) -> Callable[[np.ndarray], np.ndarray]:
    """A stranger's network of photos, uint8 pixels of that shape: `frozen`, with constants if it can be."""
    try:
        run = frozen(network, shape, "uint8", precision=precision)
        run(
            np.zeros([size or 1 for size in shape], np.uint8)
        )  # TensorFlow folds the constants, and may fail, at the first call
        return run
    except Exception:  # what cannot become a constant (a table, a variable that is assigned to) raises many kinds
        return frozen(network, shape, "uint8", constants=False, precision=precision)


def checked_precision(precision: str) -> Precision:
    """The precision of that name.

    Raises:
        EncoderError: there is none.
    """
    if precision not in get_args(Precision):
        raise EncoderError(f"no precision is called {precision!r}; choose one of: {', '.join(get_args(Precision))}")
    return cast(Precision, precision)


def exportable(name: str, precision: Precision) -> None:
    """Raise EncoderError where a graph cannot hold the precision."""
    if precision != "float32":
        raise EncoderError(
            f"{name} cannot be exported, precision={precision} is a setting of this process: train without it"
        )


def in_spec(precision: Precision) -> dict[str, str]:
    """What an encoder's spec says of it: nothing of float32, as before there was a choice."""
    return {} if precision == "float32" else {"precision": precision}


_MULTIPLYING = threading.Lock()


@contextmanager
def _multiplying_in(precision: Precision) -> Iterator[None]:
    """TensorFlow's graph optimiser looks at it in each call.

    It is the process's, and a thread that calls TensorFlow for the first time takes over what is set just then: one
    network runs at a time, on all cores.
    """
    with _MULTIPLYING:
        if precision == "float32":
            yield
            return
        optimizer = tensorflow().config.optimizer
        before = optimizer.get_experimental_options()
        optimizer.set_experimental_options({**before, "auto_mixed_precision_onednn_bfloat16": True})
        try:
            yield
        finally:
            optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False, **before})
