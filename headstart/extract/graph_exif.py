"""Which way up a JPEG is, read from its EXIF segment in a TensorFlow graph."""

from __future__ import annotations

from typing import Any

from headstart.runtime import tensorflow

HEADER = 1 << 18
"""Bytes of a JPEG that are looked through for the segment."""
ORIENTATION, BYTE, SHORT, LONG = 0x0112, 1, 3, 4
"""The tag, and the types of number that it may have."""
_START_OF_SCAN, _APP1, _FILL = 0xDA, 0xE1, 0xFF
_MARK = b"Exif\0\0"
_ENTRY = 12


def jpeg_orientation(data: Any) -> Any:
    """EXIF's orientation of an encoded JPEG, a scalar string → int32; 0 where it says none that can be read."""
    tf = tensorflow()
    raw = tf.io.decode_raw(tf.strings.substr(data, 0, HEADER), tf.uint8)
    size = tf.size(raw)

    def at(places: Any) -> Any:
        """The bytes in these places; 0 behind the last."""
        inside = (places >= 0) & (places < size)
        return tf.where(inside, tf.cast(tf.gather(raw, tf.clip_by_value(places, 0, size - 1)), tf.int32), 0)

    def going(place: Any, found: Any) -> Any:
        return (found == 0) & (place + 4 < size) & (at(place) == 0xFF) & (at(place + 1) != _START_OF_SCAN)

    def step(place: Any, found: Any) -> tuple[Any, Any]:
        marker = at(place + 1)
        length = at(place + 2) * 256 + at(place + 3)
        exif = (marker == _APP1) & tf.reduce_all(at(place + 4 + tf.range(len(_MARK))) == list(_MARK))
        further = tf.where(marker == _FILL, 1, 2 + length)
        return place + further, tf.where(exif, place + 4 + len(_MARK), 0)

    _, start = tf.while_loop(going, step, (tf.constant(2), tf.constant(0)))
    little = at(start) == ord("I")

    def number(places: Any, count: int) -> Any:
        """An unsigned number of `count` bytes in each of these places of the segment."""
        order = tf.where(little, tf.range(count), tf.range(count)[::-1])
        weights = [1 << 8 * power for power in range(count)]  # beyond 31 bits it is negative, which no place is
        return tf.reduce_sum(at(start + places[..., None] + order) * weights, axis=-1)

    directory = tf.clip_by_value(number(tf.constant(4), 4), 0, HEADER)
    entries = directory + 2 + _ENTRY * tf.range(number(directory, 2))
    kind = number(entries + 2, 2)
    value = tf.where(kind == SHORT, number(entries + 8, 2), tf.where(kind == LONG, number(entries + 8, 4), 0))
    value = tf.where(kind == BYTE, at(start + entries + 8), value)
    hits = tf.boolean_mask(value, (number(entries, 2) == ORIENTATION) & (start > 0))
    return tf.reduce_sum(hits[-1:])
