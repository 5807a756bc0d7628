"""A Keras model as a TensorFlow graph, traced once, for encoding at full speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.runtime import tensorflow


def frozen(
    model: Any, shape: tuple[int | None, ...], dtype: str, constants: bool = True
) -> Callable[[np.ndarray], np.ndarray]:
    """The model as a function of one array, in inference mode.

    Args:
        model: a Keras model of one input and one output.
        shape: what the function takes; None for an axis of any length, so that the graph is traced only once.
        dtype: of the array that the function takes. The model casts it to its own.
        constants: turn the variables into constants, so that TensorFlow folds batch normalisation into
            convolutions. A large table of words gains nothing from it and takes ten seconds to start.

    Returns:
        A function that may be called from several threads at once.
    """
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype)], autograph=False)
    def call(x: Any) -> Any:
        return model(x, training=False)

    graph = call.get_concrete_function()
    if constants:
        graph = convert_variables_to_constants_v2(graph)

    def run(x: np.ndarray) -> np.ndarray:
        outputs = graph(tf.constant(x, dtype))
        return np.asarray(outputs[0] if constants else outputs)

    return run
