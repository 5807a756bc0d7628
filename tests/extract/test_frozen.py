from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import numpy as np
import pytest

from headstart.errors import EncoderError
from headstart.extract.frozen import checked_precision, frozen
from headstart.runtime import has_bfloat16, tensorflow

X = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
MATRIX = np.random.default_rng(1).normal(size=(256, 256)).astype(np.float32)


def product(precision: str):  # type: ignore[no-untyped-def]
    tf = tensorflow()
    return frozen(lambda x: tf.matmul(x, MATRIX), (None, 256), "float32", precision=checked_precision(precision))


def test_float32_is_float32() -> None:
    np.testing.assert_allclose(product("float32")(X), X @ MATRIX, rtol=1e-3, atol=1e-3)


def test_bfloat16_is_refused_where_it_would_be_float32_all_the_same() -> None:
    if has_bfloat16():
        pytest.skip("this processor multiplies in bfloat16")
    with pytest.raises(EncoderError, match="AVX512_BF16"):
        product("bfloat16")


def test_bfloat16_in_one_thread_is_none_of_another_threads() -> None:
    if not has_bfloat16():
        pytest.skip("this processor does not multiply in bfloat16")
    exact, fast = product("float32"), product("bfloat16")
    wanted = exact(X)
    rounded = np.abs(fast(X) - wanted).max()
    assert 1e-3 < rounded < 1

    found: list[np.ndarray] = []
    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(lambda: [fast(X) for _ in range(200)]) for _ in range(2)]
        while not all(each.done() for each in busy):
            new = Thread(target=lambda: found.append(exact(X)))  # a new thread has no settings of its own yet
            new.start()
            new.join()
    assert len(found) > 10 and all(np.abs(each - wanted).max() < 1e-3 for each in found)
    np.testing.assert_array_equal(exact(X), wanted)
