"""The control: TF-IDF of words and pairs of words with logistic regression. What every approach must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from headstart.errors import ModelError
from headstart.heads.fusion import normalised

STRENGTH = 30.0
"""Inverse of the logistic regression's penalty, as scikit-learn's ``C``."""
NGRAMS = (1, 2)
SETTINGS = {"n-grams": "1–2", "term frequency": "1 + log", "C": STRENGTH, "class weights": "balanced"}
_UNSEEN = -30.0  # logit of a category that there was nothing to learn of


class Control:
    """TF-IDF 1–2-grams and logistic regression: fitted by scikit-learn, kept as plain arrays.

    Attributes:
        words: the V words and pairs of words it counts.
        idf: weight of each ``(V,)``.
        coefficients: ``(K, V)`` float32.
        intercept: ``(K,)``.
    """

    words: list[str]
    idf: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    def fit(self, texts: Sequence[str | None], codes: np.ndarray, classes: int | None = None) -> Control:
        """Learn from texts and their categories.

        Texts without a single word leave the frequency of the categories.

        Args:
            texts: n of them, None where a listing has none.
            codes: category numbers, int ``(n,)``.
            classes: how many categories there are; by default those up to the highest number.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        self.__dict__.pop("_vectorizer", None)  # of another fit
        known = [text or "" for text in texts]
        seen, count = np.unique(codes, return_counts=True)
        classes = int(seen[-1]) + 1 if classes is None else classes
        self.words, self.idf = [], np.zeros(0)
        self.coefficients = np.zeros((classes, 0), np.float32)
        self.intercept = np.full(classes, _UNSEEN)
        self.intercept[seen] = np.log(count / count.sum())
        # A word met once cannot be learnt from; but where no word is met twice those are all there are.
        for least in (2, 1) if len(seen) > 1 else ():
            vectorizer = TfidfVectorizer(ngram_range=NGRAMS, min_df=least, sublinear_tf=True)
            try:
                matrix = vectorizer.fit_transform(known)
            except ValueError:  # no word is left
                continue
            with threadpool_limits(1):  # beside TensorFlow's threads, those of BLAS wait for each other
                model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000).fit(matrix, codes)
            rows, constants = model.coef_, model.intercept_
            if len(seen) == 2:  # scikit-learn keeps the second category's lead over the first
                rows, constants = np.vstack([-rows / 2, rows / 2]), np.append(-constants / 2, constants / 2)
            self.words, self.idf = vectorizer.get_feature_names_out().tolist(), vectorizer.idf_
            self.coefficients = np.zeros((classes, len(self.words)), np.float32)
            self.coefficients[seen], self.intercept[seen] = rows, constants
            break
        return self

    def probabilities(self, texts: Sequence[str | None]) -> np.ndarray:
        """Probability of each category, ``(n, K)``."""
        return np.asarray(np.exp(self.log_probabilities(texts)))

    def log_probabilities(self, texts: Sequence[str | None]) -> np.ndarray:
        """The logarithms of `probabilities`."""
        scores = np.tile(self.intercept, (len(texts), 1))
        if self.words and len(texts):
            scores += self._vectorizer.transform([text or "" for text in texts]) @ self.coefficients.T
        return normalised(scores)

    def arrays(self) -> dict[str, np.ndarray]:
        """What it has learnt, without objects: for an ``.npz`` file."""
        return {
            "words": np.frombuffer("\n".join(self.words).encode(), np.uint8),  # no word holds a line's end
            "idf": self.idf,
            "coefficients": self.coefficients,
            "intercept": self.intercept,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Control:
        """Read what `arrays` gave.

        Raises:
            ModelError: an array is missing, or they do not fit together.
        """
        control = cls()
        try:
            control.words = np.asarray(arrays["words"], np.uint8).tobytes().decode().split("\n")
            control.idf, control.coefficients, control.intercept = (
                np.asarray(arrays[name]) for name in ("idf", "coefficients", "intercept")
            )
        except (KeyError, ValueError) as error:
            raise ModelError(f"the words are damaged ({error}): train the classifier again") from None
        if control.words == [""]:
            control.words = []
        shape = (len(control.intercept), len(control.words))
        if control.coefficients.shape != shape or control.idf.shape != shape[1:]:
            raise ModelError("the words are damaged (their arrays do not fit together): train the classifier again")
        return control

    @cached_property
    def _vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=NGRAMS, sublinear_tf=True, vocabulary=self.words)
        vectorizer.idf_ = self.idf
        return vectorizer


def control_fold(
    texts: Sequence[str | None], codes: np.ndarray, train: np.ndarray, test: np.ndarray, classes: int | None = None
) -> np.ndarray:
    """Learn from the rows `train` and give the probabilities of the rows `test`."""
    if not len(test):
        return np.zeros((0, int(codes.max()) + 1 if classes is None else classes))
    control = Control().fit([texts[row] for row in train], codes[train], classes)
    return control.probabilities([texts[row] for row in test])
