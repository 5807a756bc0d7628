"""Texts as `headstart.texts` and the encoders prepare them, in a TensorFlow graph.

TensorFlow brings Unicode tables of its own: letters that came into Unicode after the version that this Python knows, or
before it and after TensorFlow's, may be told apart otherwise. No code point has another composed form.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from headstart.errors import EncoderError, one_line
from headstart.runtime import tensorflow

EXTRA = "pip install 'headstart[export]'"
_SPACE = r"[\t-\r\x1c-\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
"""What Python strips."""


def text_operations() -> Any:
    """TensorFlow Text, whose operations a graph may hold.

    Raises:
        EncoderError: it is not installed, or is built for another TensorFlow.
    """
    tensorflow()
    try:
        return importlib.import_module("tensorflow_text")
    except Exception as error:  # built for another TensorFlow, it does not raise an ImportError
        raise EncoderError(
            f"exporting takes tensorflow-text in the version of the installed TensorFlow ({one_line(error)}): {EXTRA}"
        ) from None


def cleaned(texts: Any) -> Any:
    """Strings (n,) → the same as `texts.join_fields` leaves them; bytes that are no UTF-8 become U+FFFD."""
    tf = tensorflow()
    valid = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    stripped = tf.strings.regex_replace(valid, rf"\A{_SPACE}+|{_SPACE}+\z", "")
    return text_operations().normalize_utf8(stripped, "NFC")


def in_groups(network: Callable[[Any], Any], ids: Any, padding: int, budget: int, dim: int) -> Any:
    """A network of token ids, run on some texts of about one length at a time, as `batching.alike` groups them.

    Args:
        network: int32 ``(n, time)`` → float32 ``(n, dim)``.
        ids: int32 ``(n, time)``, n at least 1.
        padding: what stands behind a shorter text's ids.
        budget: ids in a group, padding included; one text may have more.
        dim: of the vectors.
    """
    tf = tensorflow()
    lengths = tf.reduce_sum(tf.cast(ids != padding, tf.int32), axis=1)
    order = tf.argsort(lengths, direction="DESCENDING")
    count = tf.size(order)

    def group(start: Any, groups: Any) -> tuple[Any, Any]:
        longest = lengths[order[start]]
        end = tf.minimum(start + tf.maximum(budget // longest, 1), count)
        vectors = network(tf.gather(ids, order[start:end])[:, :longest])
        return end, groups.write(groups.size(), vectors)

    empty = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=(None, dim))
    _, groups = tf.while_loop(lambda start, _: start < count, group, (0, empty), parallel_iterations=1)
    return tf.gather(tf.ensure_shape(groups.concat(), (None, dim)), tf.argsort(order))


def truncated(texts: Any, characters: int) -> Any:
    """The first so many characters of each text."""
    return tensorflow().strings.substr(texts, 0, characters, unit="UTF8_CHAR")
