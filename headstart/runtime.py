"""One place where TensorFlow starts, so that its threads are set before anything runs.

TensorFlow and OpenBLAS that both take every core slow each other down up to twenty times; headstart runs its
networks in TensorFlow alone and never lets a BLAS pool work beside it.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType


def cores() -> int:
    """How many processors this process may use: its affinity, or ``OMP_NUM_THREADS`` where that is less.

    Loky, Dask and Ray set that variable for their workers, so that those of one machine share its cores.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(there, int(given))) if given.isdigit() else there


@cache
def tensorflow() -> ModuleType:
    """Import TensorFlow, quiet and with as many threads as there are cores.

    The import takes seconds of processor time: call this only where a network really runs.
    """
    started = time.perf_counter()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _quiet():
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(cores())
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # TensorFlow already ran in this process: its threads are as its owner set them
            pass
        tf.constant(0)  # it greets at its first operation, too
    tf.get_logger().setLevel("ERROR")
    import_seconds.append(time.perf_counter() - started)
    return tf


import_seconds: list[float] = []
"""How long starting TensorFlow took in this process; empty where it was not needed."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on stderr from here on: TensorFlow's C++ greets before its own log level applies."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@cache
def keras() -> ModuleType:
    """Import Keras on TensorFlow. See `tensorflow`."""
    tensorflow()
    import keras

    return keras


def has_gpu() -> bool:
    """TensorFlow has a GPU to run on."""
    return bool(tensorflow().config.list_physical_devices("GPU"))


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras's networks that are built meanwhile have the dtype policy of that name; later ones what it was before."""
    config = keras().config
    before = config.dtype_policy()
    config.set_dtype_policy(name)
    try:
        yield
    finally:
        config.set_dtype_policy(before)


def tuning_policy() -> str:
    """Keras's dtype policy for networks to be fine-tuned here; see `policy_for`."""
    details = tensorflow().config.experimental.get_device_details
    gpus = tensorflow().config.list_physical_devices("GPU")
    return policy_for([details(gpu).get("compute_capability") for gpu in gpus])


def policy_for(capabilities: Sequence[tuple[int, int] | None]) -> str:
    """``mixed_bfloat16`` if all GPUs multiply in bfloat16 in hardware, else ``float32``.

    bfloat16 has the range of float32: unlike float16 it needs no scaling of the loss, lest gradients become zero.
    Variables stay float32, and so do the head and the loss.

    Args:
        capabilities: CUDA's compute capability of each GPU, from 8.0 with bfloat16; None where it has none.
    """
    fast = all(capability is not None and capability >= (8, 0) for capability in capabilities)
    return "mixed_bfloat16" if capabilities and fast else "float32"


@cache
def has_bfloat16() -> bool:
    """TensorFlow multiplies in bfloat16 here when asked to: the processor can, and no GPU takes its place."""
    flags = {"avx512_bf16", "amx_bf16", "bf16"}
    try:
        known = flags & set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(known) and not has_gpu()


def machine() -> str:
    """The processor and the number of cores in use, for receipts and reports."""
    return f"{_processor()}, {cores()} cores, {platform.system()}"


@cache
def _processor() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return model


@cache
def versions() -> dict[str, str]:
    """Python and the libraries that decide vectors and figures, with their versions."""
    names = ("headstart", "tensorflow", "keras", "numpy", "scikit-learn", "pillow", "sentencepiece")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
