"""Encoded photos → pixels in a TensorFlow graph, as `images.decode` makes them.

JPEGs are read by the same library in the same steps, PNG, GIF (its first picture), BMP and WebP by TensorFlow's own
operations. A photo of any other kind counts as none. A damaged one fails the graph: that is TensorFlow's way.
"""

from __future__ import annotations

from typing import Any

from headstart.extract.graph_exif import jpeg_orientation, jpeg_scans
from headstart.extract.graph_resize import resized
from headstart.extract.images import DECODED_LIMIT, JPEG_LIMIT, SCANNED_LIMIT, SIZES
from headstart.runtime import tensorflow

KINDS = NONE, JPEG, PNG, GIF, BMP, WEBP = range(6)
"""What `kinds` tells apart."""
_HEADER = 34
"""Bytes that say a photo's kind and size, but for a JPEG's."""


def kinds(photos: Any, size: int = SIZES[1]) -> Any:
    """What each photo is.

    Args:
        photos: encoded, strings ``(n,)``.
        size: pixels a side that they are to be squashed to, at most: a large JPEG is decoded at a reduced scale.

    Returns:
        One of `KINDS` for each, int32 ``(n,)``, by its first bytes; `NONE` for one of too many pixels, or scans.
    """
    tf = tensorflow()
    filled = tf.strings.join([tf.strings.substr(photos, 0, _HEADER), tf.constant(b"\0" * _HEADER)])
    raw = tf.cast(tf.io.decode_raw(tf.strings.substr(filled, 0, _HEADER), tf.uint8), tf.int64)
    raw = tf.reshape(raw, (-1, _HEADER))  # of no photos it is (0, 0)

    def begins(*starts: bytes, at: int = 0) -> Any:
        found = [tf.reduce_all(raw[:, at : at + len(start)] == list(start), axis=1) for start in starts]
        return tf.reduce_any(found, axis=0)

    def number(at: int, count: int, big: bool = False) -> Any:
        powers = [1 << 8 * power for power in range(count)]
        return tf.reduce_sum(raw[:, at : at + count] * (powers[::-1] if big else powers), axis=1)

    jpeg, webp = begins(b"\xff\xd8\xff"), begins(b"RIFF") & begins(b"WEBPVP8", at=8)
    webp &= ~(begins(b"X", at=15) & (raw[:, 20] // 2 % 2 == 1))  # animated ones crash TensorFlow 2.21
    in_jpeg = tf.map_fn(
        lambda photo: tf.cond(photo[1], lambda: _jpeg_pixels(photo[0], size), lambda: tf.constant(0, tf.int64)),
        (photos, jpeg),
        fn_output_signature=tf.int64,
    )
    corners = number(21, 4)  # of a lossless WebP, 14 bits each
    in_webp = tf.where(
        begins(b"X", at=15),
        (number(24, 3) + 1) * (number(27, 3) + 1),
        tf.where(
            begins(b"L", at=15),
            (corners % (1 << 14) + 1) * (corners // (1 << 14) % (1 << 14) + 1),
            number(26, 2) % (1 << 14) * (number(28, 2) % (1 << 14)),
        ),
    )
    # TensorFlow reads bitmaps of 24 or 32 bits a pixel that are not compressed; rows may go up or down.
    bmp = begins(b"BM") & begins(b"\x18", b"\x20", at=28) & (number(14, 4) >= 40) & (number(30, 4) == 0)
    high = tf.abs(tf.bitcast(tf.cast(number(22, 4), tf.uint32), tf.int32))
    known = {
        JPEG: (jpeg, in_jpeg),
        PNG: (begins(b"\x89PNG\r\n\x1a\n"), number(16, 4, big=True) * number(20, 4, big=True)),
        GIF: (begins(b"GIF87a", b"GIF89a"), number(6, 2) * number(8, 2)),
        BMP: (bmp, number(18, 4) * tf.cast(high, tf.int64)),
        WEBP: (webp, in_webp),
    }
    return tf.add_n([tf.where(mark & (pixels <= DECODED_LIMIT), kind, NONE) for kind, (mark, pixels) in known.items()])


def _jpeg_pixels(data: Any, size: int) -> Any:
    """How many are decoded, int64; more than may be of one that the decoder would go over too often.

    Of more than one scan it holds the whole in memory, at whatever scale.
    """
    tf = tensorflow()
    sides = tf.image.extract_jpeg_shape(data, tf.int64)[:2]
    pixels = tf.reduce_prod(sides)
    large = pixels > DECODED_LIMIT
    most = tf.where(large, 0, tf.cast(SCANNED_LIMIT // tf.maximum(pixels, 1), tf.int32))
    taken = (jpeg_scans(data, most) <= tf.maximum(most, 1)) & (pixels <= JPEG_LIMIT)
    reduced = tf.where(large, pixels // 4 ** tf.cast(_halvings(sides, size), tf.int64), pixels)
    return tf.where(taken, reduced, tf.constant(DECODED_LIMIT + 1, tf.int64))


def _halvings(sides: Any, size: int) -> Any:
    """How often a JPEG is halved while it is decoded: as long as it covers the square, and three times at most."""
    tf = tensorflow()
    return tf.reduce_sum(tf.cast(tf.reduce_min(sides) // size >= [2, 4, 8], tf.int32))


def decoded(photos: Any, kind: Any, size: int) -> Any:
    """Encoded photos ``(n,)`` of these kinds, none of which is `NONE` → uint8 ``(n, size, size, 3)``."""
    tf = tensorflow()

    def one(photo: Any) -> Any:
        data, number = photo
        readers = {
            JPEG: lambda: _jpeg(data, size),
            PNG: lambda: _png(data, size),
            GIF: lambda: resized(_gif(data), size),
            BMP: lambda: resized(_bmp(data), size),
            WEBP: lambda: _over_white(_webp(data), size),
        }
        return tf.cast(tf.switch_case(number - JPEG, [readers[each] for each in KINDS[JPEG:]]), tf.uint8)

    shape = tf.TensorSpec((size, size, 3), tf.uint8)
    # Two at a time: each may take a gigabyte on the way.
    return tf.map_fn(one, (photos, kind), fn_output_signature=shape, parallel_iterations=2)


def _jpeg(data: Any, size: int) -> Any:
    """Decoded at the smallest scale that still covers the square, as Pillow's ``draft`` chooses it."""
    tf = tensorflow()
    halvings = _halvings(tf.image.extract_jpeg_shape(data)[:2], size)

    def at(ratio: int) -> Any:
        return lambda: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    pixels = resized(tf.switch_case(halvings, [at(ratio) for ratio in (1, 2, 4, 8)]), size)
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


def _png(data: Any, size: int) -> Any:
    """Of greys of 16 bits TensorFlow cuts off the lower ones, and those of 4 or fewer it gives a wrong alpha."""
    tf = tensorflow()
    depth, colours = (tf.io.decode_raw(tf.strings.substr(data, at, 1), tf.uint8)[0] for at in (24, 25))

    def large() -> Any:
        values = tf.cast(tf.io.decode_png(data, channels=1, dtype=tf.uint16), tf.float32) * (255 / 65535)
        return resized(tf.tile(tf.cast(tf.round(values), tf.uint8), (1, 1, 3)), size)

    def other() -> Any:
        pixels = tf.io.decode_png(data, channels=4)
        small = (colours == 0) & (depth < 8) & (pixels[:, :, 3:] > 0)
        return _over_white(
            tf.concat([pixels[:, :, :3], tf.maximum(pixels[:, :, 3:], tf.cast(small, tf.uint8) * 255)], axis=2), size
        )

    return tf.cond((colours == 0) & (depth == 16), large, other)


def _webp(data: Any) -> Any:
    tf = tensorflow()
    pixels = tf.io.decode_image(data, expand_animations=False)
    pixels = tf.pad(pixels, [[0, 0], [0, 0], [0, 4 - tf.shape(pixels)[2]]], constant_values=255)
    return tf.ensure_shape(pixels, (None, None, 4))


def _bmp(data: Any) -> Any:
    tf = tensorflow()
    pixels = tf.io.decode_bmp(data)[:, :, :3]
    return tf.ensure_shape(pixels, (None, None, 3))


def _gif(data: Any) -> Any:
    tf = tensorflow()
    return tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3))
