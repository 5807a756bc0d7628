"""What a JPEG's segments say, read in a TensorFlow graph: which way up it is, how often its decoder goes over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headstart.runtime import tensorflow

HEADER = 1 << 18
"""Bytes of a JPEG that are looked through for the segment."""
ORIENTATION, BYTE, SHORT, LONG = 0x0112, 1, 3, 4
"""The tag, and the types of number that it may have."""
SEGMENTS = 200
"""That are walked through, at most; a hostile file has one in every byte."""
_START_OF_SCAN, _APP1, _FILL = 0xDA, 0xE1, 0xFF
_BARE = [0x00, 0x01, *range(0xD0, 0xDA)]
"""Marks without a length behind them, which no photo has before its first scan."""
_FRAMES = [0xC0, 0xC1, 0xC2]
"""Segments that say how the photo is stored: baseline, extended, progressive. The decoder knows no other."""
_MARK = b"Exif\0\0"
_ENTRY = 12


def jpeg_orientation(data: Any) -> Any:
    """EXIF's orientation of an encoded JPEG, a scalar string → int32; 0 where it says none that can be read."""
    tf = tensorflow()
    at = _bytes(tf.strings.substr(data, 0, HEADER))

    def noted(place: Any, _: Any) -> Any:
        exif = (at(place + 1) == _APP1) & tf.reduce_all(at(place + 4 + tf.range(len(_MARK))) == list(_MARK))
        return tf.where(exif, place + 4 + len(_MARK), 0)

    _, start = _walked(at, noted, lambda found: found > 0)
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


def jpeg_scans(data: Any, most: Any) -> Any:
    """How often the decoder of an encoded JPEG goes over it, a scalar string → int32, as `images.decode` counts it.

    Args:
        data: the file.
        most: where no more marks of a scan are in the file, be it in its metadata, their number will do: to count them
            takes a fraction of a millisecond, to walk through the segments several.
    """
    tf = tensorflow()
    marks = _scan_marks(data)
    return tf.cond(marks <= most, lambda: marks, lambda: _scans(data))


def _scans(data: Any) -> Any:
    tf = tensorflow()
    at, size = _bytes(data), tf.strings.length(data)

    def noted(place: Any, found: Any) -> Any:
        return tf.where(tf.reduce_any(at(place + 1) == _FRAMES), place, found)

    first, frame = _walked(at, noted, lambda _: False)
    interleaved = (at(first + 1) == _START_OF_SCAN) & (frame > 0) & (at(first + 4) == at(frame + 9))
    first = tf.minimum(first, size)
    return tf.where(
        interleaved & (at(frame + 1) != _FRAMES[2]),
        1,
        tf.maximum(2, _scan_marks(tf.strings.substr(data, first, size - first))),
    )


def _scan_marks(data: Any) -> Any:
    """How often there is 0xFF 0xDA, in pairs of bytes that begin at an even or at an odd place."""
    tf = tensorflow()
    size = tf.strings.length(data)
    pairs = [
        tf.io.decode_raw(tf.strings.substr(data, start, (size - start) // 2 * 2), tf.int16, little_endian=False)
        for start in (0, tf.minimum(1, size))
    ]
    return tf.add_n([tf.math.count_nonzero(each == 0xFFDA - (1 << 16), dtype=tf.int32) for each in pairs])


def _bytes(data: Any) -> Callable[[Any], Any]:
    """What gives the bytes of a scalar string in any places, int32; 0 behind the last."""
    tf = tensorflow()
    raw = tf.io.decode_raw(data, tf.uint8)
    size = tf.size(raw)

    def at(places: Any) -> Any:
        inside = (places >= 0) & (places < size)
        return tf.where(inside, tf.cast(tf.gather(raw, tf.clip_by_value(places, 0, size - 1)), tf.int32), 0)

    return at


def _walked(
    at: Callable[[Any], Any], noted: Callable[[Any, Any], Any], enough: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """From segment to segment of a JPEG: where its first scan begins, or what is no segment, and what was noted.

    Args:
        at: of `_bytes`.
        noted: the place of a segment and what was noted before, 0 at first → what is noted from then on.
        enough: what was noted → whether to stop there.
    """
    tf = tensorflow()

    def going(place: Any, found: Any) -> Any:
        segment = (at(place) == 0xFF) & ~tf.reduce_any(at(place + 1) == [*_BARE, _START_OF_SCAN])
        return segment & ~tf.convert_to_tensor(enough(found))

    def step(place: Any, found: Any) -> tuple[Any, Any]:
        further = tf.where(at(place + 1) == _FILL, 1, 2 + at(place + 2) * 256 + at(place + 3))
        return place + further, noted(place, found)

    place, found = tf.while_loop(going, step, (tf.constant(2), tf.constant(0)), maximum_iterations=SEGMENTS)
    return place, found
