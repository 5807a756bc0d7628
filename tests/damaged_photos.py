"""Photos as shops have them and as nobody should: whole ones of every kind, damaged ones, bombs."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from headstart.extract.images import UPRIGHT

TURNED = {5: 5, 6: 8, 7: 7, 8: 6}
"""The orientation that undoes each; the others undo themselves."""


def file(photo: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    photo.copy().save(out, kind, **options)  # Pillow leaves the options of the last save on the picture
    return out.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    """Soft colours, no two corners alike."""
    colours = np.array([[[230, 30, 30], [40, 200, 40]], [[40, 40, 220], [240, 240, 200]]], np.uint8)
    return Image.fromarray(colours).resize((64, 48), Image.Resampling.BICUBIC).convert(mode)


def exif(orientation: int) -> Image.Exif:
    noted = Image.Exif()
    noted[0x0112] = orientation
    return noted


def whole_photos() -> dict[str, bytes]:
    """Name → photo, of every kind that this Pillow can write."""
    photo, later = picture(), picture().transpose(Transpose.ROTATE_180)
    grey = np.asarray(picture("L"), np.uint16) * 257
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "baseline.jpg": (photo, "JPEG", {}),
        "progressive.jpg": (photo, "JPEG", {"progressive": True}),
        "sampled.jpg": (photo, "JPEG", {"subsampling": 0, "quality": 95}),
        "cmyk.jpg": (picture("CMYK"), "JPEG", {}),
        "grey.jpg": (picture("L"), "JPEG", {}),
        "two.mpo.jpg": (photo, "MPO", {"save_all": True, "append_images": [later.copy()]}),
        "rgb.png": (photo, "PNG", {}),
        "alpha.png": (picture("RGBA"), "PNG", {}),
        "grey-alpha.png": (picture("LA"), "PNG", {}),
        "palette.png": (picture("P"), "PNG", {}),
        "bits.png": (picture("1"), "PNG", {}),
        "16.png": (Image.fromarray(grey), "PNG", {}),
        "animated.png": (photo, "PNG", {"save_all": True, "append_images": [later]}),
        "lossy.webp": (photo, "WEBP", {}),
        "lossless.webp": (photo, "WEBP", {"lossless": True}),
        "alpha.webp": (picture("RGBA"), "WEBP", {}),
        "animated.webp": (photo, "WEBP", {"save_all": True, "append_images": [later]}),
        "still.gif": (photo, "GIF", {}),
        "animated.gif": (photo, "GIF", {"save_all": True, "append_images": [later]}),
        "plain.tif": (photo, "TIFF", {}),
        "lzw.tif": (photo, "TIFF", {"compression": "tiff_lzw"}),
        "deflate.tif": (photo, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "16.tif": (Image.fromarray(grey), "TIFF", {}),
        "float.tif": (picture("F"), "TIFF", {}),
        "pages.tif": (photo, "TIFF", {"save_all": True, "append_images": [later]}),
        "big.tif": (photo, "TIFF", {"big_tiff": True}),
        "cmyk.tif": (picture("CMYK"), "TIFF", {}),
        "rgb.bmp": (photo, "BMP", {}),
        "palette.bmp": (picture("P"), "BMP", {}),
        "rgb.ppm": (photo, "PPM", {}),
        "still.avif": (photo, "AVIF", {}),
        "wavelets.jp2": (photo, "JPEG2000", {}),
    }
    made = {}
    for name, (image, kind, options) in kinds.items():
        if kind in Image.SAVE or kind == "MPO":
            made[name] = file(image, kind, **options)
    made["ycck.jpg"] = ycck()
    made["interlaced.png"] = interlaced()
    return made


def ycck() -> bytes:
    """A CMYK JPEG whose first three colours are kept as brightness and two differences, inverted as Adobe does."""
    *colours, black = picture("CMYK").split()
    kept = [band.point(lambda value: 255 - value) for band in Image.merge("RGB", colours).convert("YCbCr").split()]
    data = file(Image.merge("CMYK", [*kept, black]), "JPEG", quality=95)
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, pixels: bytes, *others: bytes, colour: int = 2, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlace)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + b"".join(others) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def interlaced() -> bytes:
    """Adam7: seven small pictures, each of every so many rows and columns."""
    pixels = np.asarray(picture())
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    rows = [b"\0" + row.tobytes() for y, dy, x, dx in passes for row in pixels[y::dy, x::dx]]
    return png(64, 48, zlib.compress(b"".join(rows)), interlace=1)


def tiff(width: int, height: int, tile: int, pixels: bytes, comment: int = 1) -> bytes:
    """RGB, compressed, in one tile; its comment is said to have so many bytes."""
    start = 8 + 2 + 13 * 12 + 4
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 2), (277, 3, 1, 3),
        (284, 3, 1, 1), (305, 2, comment, 1), (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, start),
        (325, 4, 1, len(pixels)), (339, 3, 1, 1),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + pixels


def jpeg_of(width: int, height: int, photo: bytes) -> bytes:
    """A JPEG whose header announces another size."""
    data = bytearray(photo)
    at = re.search(rb"\xff[\xc0\xc2]", photo).start()  # type: ignore[union-attr]
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def scan_for_each_colour(photo: bytes) -> bytes:
    """A baseline JPEG, as header only, with the three colours one behind the other."""
    at = photo.index(b"\xff\xda")
    colours = [photo[start : start + 2] for start in range(at + 5, at + 11, 2)]
    scans = b"".join(b"\xff\xda\0\x08\1" + colour + b"\0\x3f\0" + bytes(4) for colour in colours)
    return photo[:at] + scans + b"\xff\xd9"


def first_scan(photo: bytes) -> bytes:
    """A progressive JPEG that ends after its first scan."""
    at = photo.index(b"\xff\xda") + 2
    while photo[at] != 0xFF or photo[at + 1] == 0:
        at += 1
    return photo[:at] + b"\xff\xd9"


def bombs(whole: dict[str, bytes]) -> dict[str, bytes]:
    """Small files that ask for much memory or time. Each is refused as too large."""
    zeros = zlib.compress(bytes(30_000_000), 9)
    flat = file(Image.new("RGB", (3000, 3000), "red"), "JPEG", progressive=True)
    last = flat.rindex(b"\xff\xda")
    webp, animated = bytearray(whole["lossy.webp"]), bytearray(whole["animated.webp"])
    webp[26:30] = struct.pack("<HH", 16_383, 16_383)
    animated[24:30] = b"\xfe\xff\0" * 2
    screen, frame = bytearray(whole["still.gif"]), bytearray(whole["still.gif"])
    screen[6:10] = b"\xff" * 4
    at = frame.index(b"\x2c\0\0\0\0")
    frame[at + 5 : at + 9] = b"\xff" * 4
    return {
        "60000.png": png(60_000, 60_000, zeros),
        "profile.png": png(1, 1, zlib.compress(bytes(4)), chunk(b"iCCP", b"name\0\0" + zeros)),
        "comment.png": png(1, 1, zlib.compress(bytes(4)), chunk(b"zTXt", b"name\0\0" + zeros)),
        "65500.jpg": jpeg_of(65_500, 65_500, whole["baseline.jpg"]),
        "progressive-9000.jpg": jpeg_of(9_000, 9_000, whole["progressive.jpg"]),
        "progressive-15000.jpg": first_scan(jpeg_of(15_000, 15_000, whole["progressive.jpg"])),
        "colours-15000.jpg": scan_for_each_colour(jpeg_of(15_000, 15_000, whole["sampled.jpg"])),
        "scans.jpg": flat[:last] + 200 * flat[last:-2] + b"\xff\xd9",
        "16383.webp": bytes(webp),
        "animated-65535.webp": bytes(animated),
        "screen-65535.gif": bytes(screen),
        "frame-65535.gif": bytes(frame),
        "65535.tif": tiff(65_535, 65_535, 64, zeros),
        "tile-20000.tif": tiff(64, 64, 20_000, zeros),
    }


def no_photos(draw: random.Random) -> dict[str, bytes]:
    return {
        "zero.jpg": b"",
        "one.jpg": b"\xff",
        "zeros.jpg": bytes(5_000),
        "random.jpg": draw.randbytes(5_000),
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "text.jpg": b"see attachment",
        "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "document.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "video.jpg": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(500),
        "archive.jpg": b"PK\3\4" + bytes(500),
    }


def damaged(whole: dict[str, bytes], draw: random.Random) -> dict[str, bytes]:
    """Truncations, wrong headers, flipped bits."""
    made, names = {}, sorted(whole)
    for name, data in whole.items():
        for tenth in range(1, 10):
            made[f"truncated-{tenth}-{name}"] = data[: len(data) * tenth // 10]
        made[f"header-random-{name}"] = draw.randbytes(16) + data[16:]
        made[f"header-zero-{name}"] = bytes(16) + data[16:]
        other = whole[draw.choice([each for each in names if each[-3:] != name[-3:]])]
        made[f"header-other-{name}"] = other[:16] + data[16:]
        for number in range(20):
            place = draw.randrange(min(len(data), 200) if number < 10 else len(data))
            made[f"flipped-{number}-{name}"] = (
                data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
            )
    return made


def turned() -> dict[str, bytes]:
    """The picture as a camera held in each of eight ways keeps it, in every format that has EXIF."""
    made = {}
    for kind, options in {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {}, "TIFF": {}, "AVIF": {}}.items():
        for orientation in range(1, 9):
            turn = UPRIGHT.get(TURNED.get(orientation, orientation))
            held = picture().transpose(turn) if turn is not None else picture()
            if kind in Image.SAVE:
                made[f"turned-{orientation}.{kind.lower()}"] = file(held, kind, exif=exif(orientation), **options)
    return made


def with_damaged_exif(draw: random.Random) -> dict[str, bytes]:
    """Whole photos whose EXIF is not, as browsers show them."""
    made = {}
    for number in range(10):
        junk = b"Exif\0\0" + draw.randbytes(200)
        made[f"exif-{number}.jpg"] = file(picture(), "JPEG", exif=junk, quality=95)
        made[f"exif-{number}.png"] = png(
            64, 48, zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(picture()))),
            chunk(b"eXIf", junk[6:]),
        )  # fmt: skip
    return made


def largest() -> dict[str, bytes]:
    """As many pixels as are allowed, where they take most memory: whole and cut off, for threads to meet."""
    side = 7_000
    webp = file(Image.new("RGB", (side, side), "red"), "WEBP", lossless=True, method=0)
    rows = zlib.compress(bytes((side * 4 + 1) * side), 1)
    return {
        "largest.webp": webp,
        "largest-again.webp": webp + b"\0",
        "largest.png": png(side, side, rows, colour=6),
        "largest-again.png": png(side, side, rows, colour=6) + b"\0",
        **{f"cut-{number}.png": png(side, side, rows, colour=6)[: -1000 * number] for number in range(1, 9)},
    }
