"""A photo file's bytes → pixels: decoded at reduced scale, turned upright, squashed to a square."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
from PIL import Image
from PIL.Image import Resampling, Transpose
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from headstart.errors import EncoderError, ItemError

DECODED_LIMIT = 50_000_000
"""Pixels that may really be decoded, of all photos at once: up to 0.8 GB on the way, whatever the format."""
JPEG_LIMIT = 250_000_000
"""Pixels a JPEG's header may announce. Decoded at an eighth of its size it costs time and little memory."""
SCANNED_LIMIT = 1_000_000_000
"""Pixels times scans of a JPEG: each goes over the whole photo, and takes only a few bytes."""
SIZES = (1, 1024)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM")
"""Pillow's other formats are no photos, and some of them start other programs."""
ORIENTATION, TILE_SIDES = 0x0112, (322, 323)
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
PIXELS = "JPEG at reduced scale, EXIF upright, squashed to the square by bicubic, alpha over white; 1"
"""What `decode` does, for the encoders' fingerprints. A change that changes pixels changes this number."""


def checked_size(size: object) -> int:
    """Pixels a side that photos may be squashed to.

    Raises:
        EncoderError: not a whole number from 1 to 1024.
    """
    if not isinstance(size, int) or not SIZES[0] <= size <= SIZES[1]:
        raise EncoderError(f"size={size} is no whole number from {SIZES[0]} to {SIZES[1]}, in pixels a side")
    return size


def decode(data: bytes, size: int) -> np.ndarray:
    """A photo file's bytes → uint8 pixels of shape (size, size, 3), red, green, blue.

    The whole photo is squashed to the square: on product photos that beats cropping. A JPEG is decoded at the
    smallest scale that still covers the square, which takes a third of the time and costs no accuracy. Of an
    animation the first picture counts. Many threads may decode at once.

    Photos that are large once decoded wait for one another, so that memory does not go with the number of threads.

    Raises:
        ItemError: no photo, a damaged one, or one of too many pixels.
    """
    if not data:
        raise ItemError("photo is empty (0 bytes)")
    try:
        return _decoded(data, size)
    except Exception as error:  # on damaged files Pillow raises nearly every kind there is
        reason, kind = _told(error)
    raise ItemError(reason, kind)  # not inside the block: Pillow's error holds the photo, and this one may be kept


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of a photo that `decode` can decode, once it is upright.

    Raises:
        ItemError: not a photo.
    """
    photo = _open(data)
    width, height = photo.size
    return (height, width) if _turn(photo) in [UPRIGHT[number] for number in (5, 6, 7, 8)] else (width, height)


def _decoded(data: bytes, size: int) -> np.ndarray:
    photo = _open(data)
    with _ROOM.taken(_decoded_pixels(photo, data, size)):
        photo.load()
        turn = _turn(photo)
        small = _rgb(photo, size)
        del photo  # before the next one comes
    return np.array(small.transpose(turn) if turn is not None else small)


def _told(error: Exception) -> tuple[str, str]:
    """Reason and kind of an ItemError."""
    if isinstance(error, ItemError):
        return str(error), error.kind
    reason = str(error).lower()
    if isinstance(error, Image.DecompressionBombError):
        return f"photo of far more than {DECODED_LIMIT / 1e6:.0f} million pixels", "too large"
    if isinstance(error, MemoryError) or "out of memory" in reason:
        return "photo does not go into memory", "too large"
    if "data too large" in reason or "too much memory" in reason:
        return "photo's comments or colour profile are too large", "too large"
    if "truncated" in reason or isinstance(error, EOFError):
        return "photo is truncated", "damaged"
    return f"photo is damaged ({type(error).__name__})", "damaged"


class _Room:
    """Pixels that threads may decode at the same time."""

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_ROOM = _Room(DECODED_LIMIT)
# Blocks of over 32 MB go back to the system when freed. Of Pillow's own 16 each thread would keep all it ever had.
Image.core.set_block_size(64 << 20)


def _open(data: bytes) -> Image.Image:
    """`Image.open` without its warning on large photos, which no thread can silence for itself alone."""
    Image.init()
    damaged = ""
    for name in FORMATS:
        if name not in Image.OPEN:  # Pillow built without it
            continue
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]) is not True:
            continue
        if name == "JPEG":  # the factory would look for further pictures behind the first one
            factory = JpegImageFile
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            damaged = name
    if damaged:
        raise ItemError(f"photo is damaged or of a rare kind (its {damaged} header cannot be read)")
    raise ItemError("not an image of a known format")


def _decoded_pixels(photo: Image.Image, data: bytes, size: int) -> int:
    """How many pixels are decoded at a time, at most; a JPEG is told the scale.

    Raises:
        ItemError: too many.
    """
    pixels = photo.width * photo.height
    if isinstance(photo, JpegImageFile):
        _guard(pixels, JPEG_LIMIT)
        whole = 0 if (scans := _scans(photo, data)) == 1 else pixels
        if scans * whole > SCANNED_LIMIT:
            raise ItemError(f"photo of {pixels / 1e6:.1f} million pixels in {scans} scans, too many", "too large")
        photo.draft(None, (size, size))
        pixels = max(whole, photo.width * photo.height)
    elif isinstance(photo, TiffImageFile):
        width, height = (side if isinstance(side, int) else 1 for side in map(photo.tag_v2.get, TILE_SIDES))
        pixels = max(pixels, width * height)  # a tile may be larger than the photo
    _guard(pixels, DECODED_LIMIT)
    return pixels


def _scans(photo: JpegImageFile, data: bytes) -> int:
    """How often a JPEG's decoder goes over the photo; 2 or more where it holds the whole in memory at any scale."""
    first = data.rfind(b"\xff\xda", 0, photo.fp.tell() if photo.fp else None)  # its header is what was read last
    in_first = data[first + 4]
    held = photo.info.get("progressive") or in_first < photo.layers
    return max(2, data.count(b"\xff\xda", first)) if held else 1


def _guard(pixels: int, limit: int) -> None:
    if pixels > limit:
        raise ItemError(f"photo of {pixels / 1e6:.1f} million pixels, the limit is {limit / 1e6:.0f}", "too large")


def _turn(photo: Image.Image) -> Transpose | None:
    """What turns a loaded photo upright. Pillow has turned a TIFF by then, and removed the note of it."""
    try:
        return UPRIGHT.get(photo.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF is damaged, as it often is, and the photo is not
        return None


def _rgb(photo: Image.Image, size: int) -> Image.Image:
    """The whole photo in a square of red, green and blue, whatever its colours were."""
    if photo.mode.startswith("I") or photo.mode == "F":
        photo = _grey(photo)
    elif photo.has_transparency_data:
        photo = photo.convert("RGBA")
    elif photo.mode not in ("L", "RGB", "CMYK"):
        photo = photo.convert("RGB")
    photo = photo.resize((size, size), Resampling.BICUBIC, reducing_gap=3.0)
    if photo.mode == "RGBA":
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo)
    return photo.convert("RGB")


def _grey(photo: Image.Image) -> Image.Image:
    """16 bits to 8 by division, where Pillow would clip; real numbers from their least to their greatest."""
    low, high = cast(tuple[float, float], photo.getextrema()) if photo.mode == "F" else (0, 65535)
    scale = 255 / ((high - low) or 1)
    grey = Image.new("L", photo.size)
    rows = max(1, (1 << 20) // photo.width)  # at a time, for the memory of it
    for top in range(0, photo.height, rows):
        values = np.asarray(photo.crop((0, top, photo.width, min(top + rows, photo.height))), np.float32)
        if not np.isfinite(values).all():
            raise ItemError("photo is damaged (it has pixels that are no numbers)")
        with np.errstate(over="ignore"):
            scaled = (values - low) * scale
        grey.paste(Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8)), (0, top))
    return grey
