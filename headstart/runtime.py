"""One place where TensorFlow starts, so that its threads are set before anything runs.

TensorFlow and OpenBLAS that both take every core slow each other down up to twenty times; headstart runs its
networks in TensorFlow alone and never lets a BLAS pool work beside it.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType


def cores() -> int:
    """How many processors this process may use (its affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def tensorflow() -> ModuleType:
    """Import TensorFlow, quiet and with as many threads as there are cores.

    The import takes seconds of processor time: call this only where a network really runs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(cores())
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow already ran in this process: its threads are as its owner set them
        pass
    tf.get_logger().setLevel("ERROR")
    return tf


@cache
def keras() -> ModuleType:
    """Import Keras on TensorFlow. See `tensorflow`."""
    tensorflow()
    import keras

    return keras
