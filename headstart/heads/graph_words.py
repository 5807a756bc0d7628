"""The TF-IDF control in a TensorFlow graph: `Control.log_probabilities` of strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart.heads.control import NGRAMS, Control
from headstart.runtime import tensorflow

_OTHERS = r"[^\p{L}\p{N}_]+"
r"""What scikit-learn's ``\w`` is not."""


class Words:
    """Scores of categories by a text's words and pairs of words.

    Attributes:
        tracked: what must be saved with the graph.
    """

    def __init__(self, control: Control, folder: Path) -> None:
        """
        Args:
            control: fitted.
            folder: for the file of its words, which must be there until the graph is saved.
        """
        tf = tensorflow()
        self._count = len(control.words)
        self._intercept = tf.Variable(control.intercept.astype(np.float32), trainable=False, name="intercept")
        self.tracked: list[Any] = [self._intercept]
        if not self._count:
            return
        path = folder / "words.txt"
        path.write_bytes("\n".join(control.words).encode())
        asset = tf.saved_model.Asset(str(path))
        index = tf.lookup.TextFileIndex
        words = tf.lookup.TextFileInitializer(
            asset.asset_path, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
        )
        self._table = tf.lookup.StaticHashTable(words, -1)
        self._idf = tf.Variable(control.idf.astype(np.float32), trainable=False, name="idf")
        coefficients = np.ascontiguousarray(control.coefficients.T, np.float32)
        self._coefficients = tf.Variable(coefficients, trainable=False, name="coefficients")
        self.tracked += [asset, self._table, self._idf, self._coefficients]

    def log_probabilities(self, texts: Any) -> Any:
        """Strings ``(n,)`` → float32 ``(n, K)``."""
        tf = tensorflow()
        rows = tf.size(texts, tf.int64)
        scores = tf.zeros((rows, 1)) + self._intercept
        if self._count:
            grams = ngrams(texts)
            ids = self._table.lookup(grams.flat_values)
            known = ids >= 0
            cells = tf.boolean_mask(grams.value_rowids() * self._count + ids, known)
            cells, _, counts = tf.unique_with_counts(cells)
            row, word = cells // self._count, cells % self._count
            weights = (1 + tf.math.log(tf.cast(counts, tf.float32))) * tf.gather(self._idf, word)
            length = tf.sqrt(tf.math.unsorted_segment_sum(weights**2, row, rows))
            weights /= tf.gather(length, row)
            shares = weights[:, None] * tf.gather(self._coefficients, word)
            scores += tf.math.unsorted_segment_sum(shares, row, rows)
        return tf.nn.log_softmax(scores)


def ngrams(texts: Any) -> Any:
    """Strings ``(n,)`` → words and pairs of words of each, as scikit-learn finds them; ragged strings ``(n, None)``."""
    tf = tensorflow()
    lower = tf.strings.lower(tf.strings.regex_replace(texts, "\0", " "), encoding="utf-8")  # ICU stops at a NUL
    words = tf.strings.split(tf.strings.regex_replace(lower, _OTHERS, " "), " ")
    long = tf.strings.length(words.flat_values, unit="UTF8_CHAR") > 1
    words = tf.ragged.boolean_mask(words, words.with_flat_values(long))
    return tf.strings.ngrams(words, NGRAMS, separator=" ")
