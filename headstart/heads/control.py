"""The control: TF-IDF of words and pairs of words with logistic regression. What every approach must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRENGTH = 30.0
"""Inverse of the logistic regression's penalty, as scikit-learn's ``C``."""
NGRAMS = (1, 2)
SETTINGS = {"n-grams": "1–2", "C": STRENGTH, "class weights": "balanced"}


class Control:
    """TF-IDF 1–2-grams and logistic regression, by scikit-learn."""

    def fit(self, texts: Sequence[str | None], codes: np.ndarray) -> Control:
        """Learn from texts and their categories, int ``(n,)``, each number from 0 up at least once."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self._pipeline = make_pipeline(
            # A word met once cannot be learnt from; a handful of texts has no other words.
            TfidfVectorizer(ngram_range=NGRAMS, min_df=2 if len(texts) >= 100 else 1),
            LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000),
        )
        self._pipeline.fit([text or "" for text in texts], codes)
        return self

    def probabilities(self, texts: Sequence[str | None]) -> np.ndarray:
        """Probability of each category, ``(n, k)``."""
        probabilities: np.ndarray = self._pipeline.predict_proba([text or "" for text in texts])
        return probabilities


def control_fold(texts: Sequence[str | None], codes: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Learn from the rows `train` and give the probabilities of the rows `test`, on one thread of BLAS."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        control = Control().fit([texts[row] for row in train], codes[train])
        return control.probabilities([texts[row] for row in test])
