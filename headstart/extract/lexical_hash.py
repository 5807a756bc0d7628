"""Words and pairs of words, hashed and projected: a text in any language → 2,048 numbers, without weights.

What a bag of words knows (a brand, a model, a material) and a sentence encoder blurs. Feature hashing (Weinberger et
al., arXiv 0902.2206) and a sparse random projection (Li, Hastie and Church, "Very Sparse Random Projections", KDD 2006)
in one step: an n-gram's hash says in which four of the 2,048 places it is added and with which signs, one place in each
quarter (Kane and Nelson, "Sparser Johnson-Lindenstrauss Transforms", arXiv 1012.1577). Inner products of the vectors
are those of the bags of words, within about 1/√2048 = 0.02.

The same on every machine, for all time: CRC-32 of a word's UTF-8, then SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn
from zlib import crc32

import numpy as np

from headstart.errors import EncoderError
from headstart.extract.encoder import CHOOSE, Encoder, InGraph

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Chinese characters: written without spaces, each is a word."""
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e"
r"""Accents, points and vowel signs that belong to the word they stand in, and that ``\w`` is not sure of."""
_WORD = re.compile(f"[{_ALONE}]|[^\\W{_ALONE}]+(?:[{_MARKS}]+[^\\W{_ALONE}]*)*")

_PLACES = 4
"""Where an n-gram is added."""
_PLACE_BITS, _SIGN_BITS = 9, 1
_USED = _PLACES * (_PLACE_BITS + _SIGN_BITS)
"""Bits of an n-gram's hash that decide anything; the number of the text stands above them."""
_BLOCK = 128
"""Texts whose sums stay in the processor's cache."""


class LexicalHash(Encoder):
    """A vector of length about 1 for a text; near where texts share words. A text without words is all zeros.

    Words are runs of letters, digits and underscores in any script, in lower case, with their accents. Each word and
    each pair of neighbours weighs 1 + log(how often it occurs), and the weights of a text have length 1 before they are
    projected.
    """

    name = "lexical-hash"
    modality = "text"
    dim = 2048
    batch = 1024

    def prepare(self, item: str) -> np.ndarray:
        """A text → CRC-32 of each of its words, uint64 of shape (words,)."""
        return np.array([crc32(word.encode()) for word in _WORD.findall(item.lower())], np.uint64)

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Words' CRC-32s → float32 vectors of shape (len(batch), 2048); each depends on its own text only."""
        blocks = [self._encode(batch[start : start + _BLOCK]) for start in range(0, len(batch), _BLOCK)]
        return np.concatenate([np.empty((0, self.dim), np.float32), *blocks])

    def _encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        words = np.concatenate([np.empty(0, np.uint64), *batch])
        text = np.repeat(np.arange(len(batch), dtype=np.uint64), [len(each) for each in batch])
        pair = text[:-1] == text[1:]
        grams = np.concatenate([words, ((words[:-1] << np.uint64(32)) | words[1:])[pair]])
        rows = np.concatenate([text, text[1:][pair]])

        used = _splitmix64(grams) & np.uint64((1 << _USED) - 1)
        found, counts = np.unique((rows << np.uint64(_USED)) | used, return_counts=True)
        rows = (found >> np.uint64(_USED)).astype(np.int64)
        weights = 1 + np.log(counts)
        squares = np.bincount(rows, weights**2, minlength=len(batch))
        weights /= np.sqrt(_PLACES * squares[rows])

        size = self.dim // _PLACES
        out = np.empty((len(batch), self.dim), np.float32)
        for number in range(_PLACES):
            bits = (found >> np.uint64(number * (_PLACE_BITS + _SIGN_BITS))).astype(np.int64)
            places = rows * size + ((bits >> _SIGN_BITS) & (size - 1))
            sums = np.bincount(places, np.where(bits & 1, -weights, weights), minlength=len(batch) * size)
            out[:, number * size : (number + 1) * size] = sums.reshape(len(batch), size)
        return out

    def spec(self) -> dict[str, Any]:
        return {
            "weights": "none",
            "words": "lower case; runs of letters, digits, marks; kana and Chinese characters one by one",
            "n-grams": [1, 2],
            "hash": "SplitMix64 of CRC-32 of UTF-8, of two words the first in the upper half",
            "counts": "1 + log(count), L2",
            "projection": f"{_PLACES} signs of 1/2, one in each quarter, from the hash, lowest bits first",
        }

    def in_graph(self, network: Any = None) -> InGraph:
        raise EncoderError(f"{self.name} cannot be exported, it hashes words in Python: {CHOOSE}")

    def trainable(self) -> NoReturn:
        raise EncoderError(
            f"{self.name} has no weights to fine-tune: choose another encoder, such as use-multilingual-v3"
        )


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64's output for each state, uint64: distinct for distinct states, every bit as good as a coin's."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
