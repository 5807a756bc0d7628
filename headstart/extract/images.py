"""A photo file's bytes → pixels: decoded at reduced scale, turned upright, squashed to a square."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image
from PIL.Image import Resampling, Transpose
from PIL.JpegImagePlugin import JpegImageFile

from headstart.errors import EncoderError, ItemError

DECODED_LIMIT = 50_000_000
"""Pixels that may really be decoded: 150 MB of them as RGB."""
JPEG_LIMIT = 250_000_000
"""Pixels a JPEG's header may announce. Decoded at an eighth of its size it costs time and little memory."""
SIZES = (1, 1024)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM")
"""Pillow's other formats are no photos, and some of them start other programs."""
ORIENTATION = 0x0112
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

    Raises:
        ItemError: no photo, a damaged one, or one of too many pixels.
    """
    if not data:
        raise ItemError("photo is empty (0 bytes)")
    try:
        photo = _open(data)
        if photo.format == "JPEG":
            _guard(photo.width * photo.height, JPEG_LIMIT)
            whole = photo.width * photo.height if photo.info.get("progressive") else 0
            photo.draft(None, (size, size))
            _guard(max(whole, photo.width * photo.height), DECODED_LIMIT)
        else:
            _guard(photo.width * photo.height, DECODED_LIMIT)
        turn = UPRIGHT.get(photo.getexif().get(ORIENTATION, 1))
        small = _rgb(photo, size)
        return np.array(small.transpose(turn) if turn is not None else small)
    except ItemError:
        raise
    except Exception as error:  # on damaged files Pillow raises nearly every kind there is
        reason = str(error).lower()
        if "truncated" in reason or isinstance(error, EOFError):
            raise ItemError("photo is truncated") from error
        raise ItemError(f"photo is damaged ({type(error).__name__})") from error


def _open(data: bytes) -> Image.Image:
    """`Image.open` without its warning on large photos, which no thread can silence for itself alone."""
    Image.init()
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
            continue
    raise ItemError("not an image that Pillow knows")


def _guard(pixels: int, limit: int) -> None:
    if pixels > limit:
        raise ItemError(f"photo of {pixels / 1e6:.1f} million pixels, the limit is {limit / 1e6:.0f}")


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
    values = np.asarray(photo, np.float32)
    low, high = (0, 65535) if photo.mode != "F" else (float(values.min()), float(values.max()))
    scaled = (values - low) * (255 / ((high - low) or 1))
    return Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8))
