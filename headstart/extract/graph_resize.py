"""Pillow's way of making photos smaller, to the last grey level, in a TensorFlow graph.

`images.decode` squashes a photo by a reduction in whole boxes and then by a bicubic filter in two passes, each rounded
to 8 bits. All of it is done on whole numbers, here as there, so that nothing depends on the order in which they are
added.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from headstart.runtime import tensorflow

GAP = 3.0
"""The boxes leave at least as many times the pixels wanted; see ``reducing_gap`` in Pillow."""
SUPPORT = 2.0
"""How far the bicubic filter reaches, in pixels of the smaller side's scale."""
CUBIC = -0.5
BITS = 22
"""Behind the point, in a filter's weights: with 8 of a pixel, and 2 for what goes beyond, they fill 32."""


def resized(pixels: Any, size: int) -> Any:
    """Whole numbers from 0 to 255 of shape ``(height, width, channels)`` → int32 ``(size, size, channels)``."""
    tf = tensorflow()
    channels = pixels.shape[2]
    sides = tf.cast(tf.shape(pixels)[:2], tf.float64)
    factors = tf.maximum(tf.cast(sides / size / GAP, tf.int32), 1)
    pixels = tf.cond(
        tf.reduce_any(factors > 1), lambda: _reduced(pixels, factors), lambda: tf.cast(pixels, tf.uint8), name="reduce"
    )
    # Pillow hands the box over in single precision.
    extent = tf.cast(tf.cast(sides / tf.cast(factors, tf.float64), tf.float32), tf.float64)
    height, width = tf.unstack(tf.shape(pixels)[:2])
    upright = (height > size) & (height - size > 2 * tf.maximum(width - size, 0)) & rows_first()
    order = tf.where(upright, [0, 1], [1, 0])
    for turn in (order[0], order[1]):
        # One pass works along the first axis; its columns are all the rest.
        x = tf.transpose(pixels, tf.where(turn == 0, [0, 1, 2], [1, 0, 2]))
        shape = tf.shape(x)
        x = _filtered(tf.reshape(x, (shape[0], -1)), extent[turn], size)
        x = tf.reshape(x, (size, shape[1], shape[2]))
        pixels = tf.transpose(x, tf.where(turn == 0, [0, 1, 2], [1, 0, 2]))
    return tf.cast(tf.ensure_shape(pixels, (size, size, channels)), tf.int32)


@cache
def rows_first() -> bool:
    """Whether this Pillow squashes a tall photo from top to bottom first, as it has done since one of its versions.

    Between the passes pixels are rounded and clipped, so that the order shows.
    """
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 9), np.uint8))
    whole, steps = (photo.resize((8, 8), Image.Resampling.BICUBIC), photo.resize((9, 8), Image.Resampling.BICUBIC))
    return whole.tobytes() == steps.resize((8, 8), Image.Resampling.BICUBIC).tobytes()


def _filtered(x: Any, extent: Any, size: int) -> Any:
    """One pass: uint8 ``(length, columns)`` → uint8 ``(size, columns)``."""
    tf = tensorflow()
    product = tf.sparse.sparse_dense_matmul(_weights(tf.shape(x)[0], extent, size), tf.cast(x, tf.int32))
    return tf.cast(tf.clip_by_value(tf.bitwise.right_shift(product + (1 << BITS - 1), BITS), 0, 255), tf.uint8)


def _weights(length: Any, extent: Any, size: int) -> Any:
    """The filter's weights, whole numbers in a sparse matrix ``(size, length)``.

    Args:
        length: rows that there are.
        extent: how many of them are spread over the new ones, float64; the last may count in part.
        size: new rows.
    """
    tf = tensorflow()
    scale = extent / size
    stretch = tf.maximum(scale, 1)
    centres = (tf.range(size, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centres - SUPPORT * stretch + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centres + SUPPORT * stretch + 0.5, tf.int32), length)
    places = first[:, None] + tf.range(2 * tf.cast(tf.math.ceil(SUPPORT * stretch), tf.int32) + 1)
    inside = places < end[:, None]
    distance = tf.abs(tf.cast(places, tf.float64) - centres[:, None] + 0.5) * (1 / stretch)
    weights = tf.where(inside, _bicubic(distance), 0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    weights = tf.cast(tf.sign(weights) * tf.floor(tf.abs(weights) * (1 << BITS) + 0.5), tf.int32)
    cells = tf.where(inside)
    columns = tf.cast(tf.gather_nd(places, cells), tf.int64)
    shape = tf.cast(tf.stack([size, length]), tf.int64)
    return tf.SparseTensor(tf.stack([cells[:, 0], columns], axis=1), tf.gather_nd(weights, cells), shape)


def _bicubic(x: Any) -> Any:
    """Keys' cubic convolution (1981, IEEE Transactions on Acoustics 29) at distances from 0 on."""
    tf = tensorflow()
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return tf.where(x < 1, near, tf.where(x < SUPPORT, far, 0))


def _reduced(pixels: Any, factors: Any) -> Any:
    """The means of whole boxes of these heights and widths; those at the edges may be smaller."""
    tf = tensorflow()
    shape = tf.shape(pixels)
    over = -shape[:2] % factors
    sides = (shape[:2] + over) // factors
    padded = tf.pad(tf.cast(pixels, tf.int32), [[0, over[0]], [0, over[1]], [0, 0]])
    boxes = tf.reshape(padded, tf.stack([sides[0], factors[0], sides[1], factors[1], shape[2]]))
    counts = [
        tf.concat([tf.fill([sides[axis] - 1], factors[axis]), [factors[axis] - over[axis]]], 0) for axis in (0, 1)
    ]
    count = counts[0][:, None, None] * counts[1][None, :, None]
    # Pillow divides by multiplying with a rounded fraction, which is found in single precision.
    part = tf.cast(tf.floor(tf.constant(2.0**32, tf.float32) / tf.cast(256 * count, tf.float32)), tf.int64)
    total = tf.cast(tf.reduce_sum(boxes, axis=(1, 3)) + count // 2, tf.int64)
    means = tf.cast((total * part) // (1 << 24), tf.uint8)
    means.set_shape((None, None, pixels.shape[2]))
    return means
