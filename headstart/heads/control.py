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
        """Learn from texts and their categories, int ``(n,)``, each number from 0 up at least once.

        Texts without a single word leave the frequency of the categories.
        """
        from sklearn.dummy import DummyClassifier
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        known = [text or "" for text in texts]
        # A word met once cannot be learnt from; but where no word is met twice those are all there are.
        for least in (2, 1):
            words = TfidfVectorizer(ngram_range=NGRAMS, min_df=least)
            self._pipeline = make_pipeline(
                words, LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
            )
            try:
                self._pipeline.fit(known, codes)
            except ValueError:
                if hasattr(words, "vocabulary_"):  # it found words: the fault lies elsewhere
                    raise
                continue
            return self
        self._pipeline = make_pipeline(DummyClassifier(strategy="prior")).fit(np.zeros((len(codes), 1)), codes)
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
