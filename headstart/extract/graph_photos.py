"""Encoded photos → pixels in a TensorFlow graph, as `images.decode` makes them.

JPEGs are read by the same library in the same steps, PNG, GIF (its first picture), BMP and WebP by TensorFlow's own
operations. A photo of any other kind counts as none. A damaged one fails the graph: that is TensorFlow's way.
"""

from __future__ import annotations

from typing import Any

from headstart.extract.graph_exif import jpeg_orientation
from headstart.extract.graph_resize import resized
from headstart.runtime import tensorflow

KINDS = NONE, JPEG, PNG, GIF, BMP, WEBP = range(6)
"""What `kinds` tells apart."""


def kinds(photos: Any) -> Any:
    """One of `KINDS` for each encoded photo, int32 ``(n,)``, by its first bytes."""
    tf = tensorflow()

    def begins(*starts: bytes, at: int = 0) -> Any:
        long = tf.strings.length(photos) >= at + len(starts[0])
        head = tf.strings.substr(tf.where(long, photos, b" " * (at + len(starts[0]))), at, len(starts[0]))
        return tf.reduce_any([head == start for start in starts], axis=0)

    marks = {
        JPEG: begins(b"\xff\xd8\xff"),
        PNG: begins(b"\x89PNG\r\n\x1a\n"),
        GIF: begins(b"GIF87a", b"GIF89a"),
        BMP: _readable_bmp(photos) & begins(b"BM"),
        WEBP: begins(b"RIFF") & begins(b"WEBPVP8", at=8),
    }
    return tf.add_n([tf.where(mark, kind, NONE) for kind, mark in marks.items()])


def decoded(photos: Any, kind: Any, size: int) -> Any:
    """Encoded photos ``(n,)`` of these kinds, none of which is `NONE` → uint8 ``(n, size, size, 3)``."""
    tf = tensorflow()

    def one(photo: Any) -> Any:
        data, number = photo
        readers = {
            JPEG: lambda: _jpeg(data, size),
            PNG: lambda: _over_white(tf.io.decode_png(data, channels=4), size),
            GIF: lambda: resized(_gif(data), size),
            BMP: lambda: resized(_bmp(data), size),
            WEBP: lambda: _over_white(tf.io.decode_webp(data, channels=4)[0], size),
        }
        return tf.cast(tf.switch_case(number - JPEG, [readers[each] for each in KINDS[JPEG:]]), tf.uint8)

    return tf.map_fn(one, (photos, kind), fn_output_signature=tf.TensorSpec((size, size, 3), tf.uint8))


def _jpeg(data: Any, size: int) -> Any:
    """Decoded at the smallest scale that still covers the square, as Pillow's ``draft`` chooses it."""
    tf = tensorflow()
    shape = tf.image.extract_jpeg_shape(data)
    room = tf.minimum(shape[0] // size, shape[1] // size)
    scale = tf.reduce_sum(tf.cast(room >= [2, 4, 8], tf.int32))

    def at(ratio: int) -> Any:
        return lambda: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    pixels = resized(tf.switch_case(scale, [at(ratio) for ratio in (1, 2, 4, 8)]), size)
    return _upright(pixels, jpeg_orientation(data))


def _upright(pixels: Any, orientation: Any) -> Any:
    """A square as EXIF's orientation means it to be seen: 1 to 8, and anything else for as it is."""
    tf = tensorflow()

    def member(numbers: tuple[int, ...]) -> Any:
        return tf.reduce_any(orientation == numbers)

    pixels = tf.cond(member((5, 6, 7, 8)), lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf.cond(member((3, 4, 7, 8)), lambda: tf.reverse(pixels, [0]), lambda: pixels)
    return tf.cond(member((2, 3, 6, 7)), lambda: tf.reverse(pixels, [1]), lambda: pixels)


def _over_white(pixels: Any, size: int) -> Any:
    """Red, green, blue and alpha ``(height, width, 4)`` → ``(size, size, 3)``, over white; rounded as Pillow rounds."""
    tf = tensorflow()
    pixels = tf.cast(pixels, tf.int32)
    small = resized(tf.concat([_divided(pixels[:, :, :3] * pixels[:, :, 3:]), pixels[:, :, 3:]], axis=2), size)
    colour, alpha = small[:, :, :3], small[:, :, 3:]
    whole = (alpha == 0) | (alpha == 255)
    colour = tf.where(whole, colour, tf.minimum(255 * colour // tf.maximum(alpha, 1), 255))
    blend = 128 * (colour * alpha + 255 * (255 - alpha)) + 128 * 128
    return (blend // 256 + blend) // (256 * 128)


def _divided(product: Any) -> Any:
    """By 255, rounded, for products of two bytes."""
    product += 128
    return (product // 256 + product) // 256


def _readable_bmp(photos: Any) -> Any:
    """Which bitmaps are of a kind that TensorFlow reads: 24 or 32 bits a pixel, not compressed; ``(n,)`` bool."""
    tf = tensorflow()
    long = tf.strings.length(photos) >= 54
    header = tf.io.decode_raw(tf.strings.substr(tf.where(long, photos, b" " * 54), 0, 54), tf.uint8)
    header = tf.ensure_shape(header, (None, 54))
    plain = (header[:, 14] >= 40) & (header[:, 30] == 0)
    return long & plain & ((header[:, 28] == 24) | (header[:, 28] == 32))


def _bmp(data: Any) -> Any:
    tf = tensorflow()
    pixels = tf.io.decode_bmp(data)[:, :, :3]
    return tf.ensure_shape(pixels, (None, None, 3))


def _gif(data: Any) -> Any:
    tf = tensorflow()
    return tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3))
