from __future__ import annotations

import io
import random
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from damaged_photos import first_scan
from headstart.errors import ItemError
from headstart.extract.images import DECODED_LIMIT, JPEG_LIMIT, decode

FLIPKART = Path(__file__).parents[2].parent / "shared" / "flipkart" / "images"


def file(photo: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    photo.save(out, kind, **options)
    return out.getvalue()


def quarters() -> Image.Image:
    """Red and green above, blue and white below."""
    photo = Image.new("RGB", (80, 40), "white")
    photo.paste("red", (0, 0, 40, 20))
    photo.paste("lime", (40, 0, 80, 20))
    photo.paste("blue", (0, 20, 40, 40))
    return photo


def corners(pixels: np.ndarray) -> list[list[int]]:
    """Red, green and blue, 0 or 1, in the middle of each quarter, in reading order."""
    q = len(pixels) // 4
    return [(pixels[row, column] > 127).astype(int).tolist() for row in (q, 3 * q) for column in (q, 3 * q)]


RED, GREEN, BLUE, WHITE, BLACK = [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_whole_photo_is_squashed_to_the_square(kind: str) -> None:
    pixels = decode(file(quarters(), kind), 32)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert corners(pixels) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
        (99, [RED, GREEN, BLUE, WHITE]),
    ],
)
def test_exif_turns_the_photo_upright(orientation: int, upright: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners(decode(file(quarters(), "JPEG", exif=exif, quality=95), 32)) == upright


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_counts_once_in_every_format(kind: str) -> None:
    exif = Image.Exif()
    for orientation, seen in (
        (1, [RED, GREEN, BLUE, WHITE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (6, [BLUE, RED, WHITE, GREEN]),
    ):
        exif[0x0112] = orientation
        assert corners(decode(file(quarters(), kind, exif=exif), 32)) == seen


def test_damaged_exif_costs_no_photo() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = file(quarters(), kind, exif=b"Exif\0\0II*\0" + b"\xff" * 40)
        assert corners(decode(data, 32)) == [RED, GREEN, BLUE, WHITE]


def test_a_large_jpeg_is_close_to_its_full_decoding() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    photo = Image.fromarray(noise).resize((1300, 900), Image.Resampling.BICUBIC)
    exact = np.asarray(photo.resize((64, 64), Image.Resampling.BICUBIC), float)
    assert np.abs(decode(file(photo, "JPEG", quality=95), 64) - exact).mean() < 4


def test_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(file(Image.fromarray(stripes)), 40).astype(int) - 127).max() < 25


def test_alpha_lies_on_white() -> None:
    photo = quarters().convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 40, 20))
    assert corners(decode(file(photo), 32)) == [WHITE, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["LA", "1", "L", "P", "CMYK"])
def test_other_colours(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    source = quarters() if mode in ("P", "CMYK") else quarters().point(lambda value: 255 if value else 0)
    seen = corners(decode(file(source.convert(mode), kind), 32))
    assert seen[3] == WHITE
    assert seen[0] == (RED if mode in ("P", "CMYK") else BLACK)


def test_palette_with_a_transparent_colour() -> None:
    photo = Image.new("P", (8, 8), 0)
    photo.putpalette([0, 0, 0, 255, 0, 0])
    photo.paste(1, (0, 0, 4, 8))
    assert corners(decode(file(photo, transparency=0), 16)) == [RED, WHITE, RED, WHITE]


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    pixels = decode(file(Image.fromarray(np.tile(ramp, (64, 1)))), 64)
    assert np.abs(pixels[32, :, 0].astype(float) - ramp / 257).max() <= 2


def test_floating_point_pixels() -> None:
    ramp = np.tile(np.linspace(-1, 1, 64, dtype=np.float32), (64, 1))
    row = decode(file(Image.fromarray(ramp), "TIFF"), 64)[32, :, 0]
    assert row[0] <= 2 and row[-1] >= 253 and abs(int(row[32]) - 129) < 4
    ramp[7, 9] = np.nan
    with pytest.raises(ItemError, match="pixels that are no numbers"):
        decode(file(Image.fromarray(ramp), "TIFF"), 64)


def test_deep_pixels_of_several_bands_of_rows() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (1100, 1000), np.uint16)  # a band has 2^20 pixels
    exact = Image.fromarray((deep.astype(np.float32) * (255 / 65535)).round().astype(np.uint8))
    assert (decode(file(Image.fromarray(deep)), 64) == decode(file(exact), 64)).all()


def test_of_an_animation_the_first_picture_counts() -> None:
    later = Image.new("RGB", (80, 40), "black")
    for kind in ("GIF", "WEBP", "PNG"):
        data = file(quarters(), kind, save_all=True, append_images=[later])
        assert corners(decode(data, 32)) == [RED, GREEN, BLUE, WHITE]
    assert corners(decode(file(quarters(), "MPO", save_all=True, append_images=[later]), 32))[0] == RED


def test_one_pixel() -> None:
    assert decode(file(Image.new("RGB", (1, 1), "red")), 8).mean((0, 1)).tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"photo is empty \(0 bytes\)"),
        (b"<html>404 Not Found</html>", "not an image of a known format"),
        (b"\xff\xd8\xff", "photo is truncated|not an image|damaged"),
        (file(Image.new("L", (9, 9)), "GIF")[:9], r"photo is damaged or of a rare kind \(its GIF header"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
    ],
)
def test_what_is_no_photo(data: bytes, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        decode(data, 32)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_truncated(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    data = file(noise, kind)
    with pytest.raises(ItemError, match="photo is truncated") as refused:
        decode(data[: len(data) // 2], 32)
    assert refused.value.kind == "damaged"
    assert refused.value.__context__ is None, "Pillow's error would keep the photo in memory"


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header announces more pixels than the file has."""
    data = bytearray(file(Image.new("RGB", (8, 8))))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def huge_jpeg(width: int, height: int, progressive: bool = False) -> bytes:
    data = bytearray(file(Image.new("RGB", (8, 8)), "JPEG", progressive=progressive))
    start = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[start + 5 : start + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (huge_png(11_000, 8_520), f"photo of 93.7 million pixels, the limit is {DECODED_LIMIT // 10**6}"),
        (huge_png(100_000, 100_000), "photo of 10000.0 million pixels"),
        (huge_jpeg(30_000, 30_000), f"photo of 900.0 million pixels, the limit is {JPEG_LIMIT // 10**6}"),
        # A progressive JPEG is held whole in memory, whatever the scale.
        (huge_jpeg(11_000, 8_520, progressive=True), "photo of 93.7 million pixels"),
        (first_scan(huge_jpeg(11_000, 8_520, progressive=True)), "photo of 93.7 million pixels"),
        # Too narrow to be decoded at reduced scale.
        (huge_jpeg(60_000, 1_000), "photo of 60.0 million pixels"),
    ],
)
def test_too_many_pixels_are_refused_without_a_warning(data: bytes, reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ItemError, match=reason) as refused:
            decode(data, 1_000)
    assert refused.value.kind == "too large"


def test_a_baseline_jpeg_beyond_pillows_own_limit() -> None:
    data = file(Image.new("L", (10_000, 9_000), 200), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, 32).mean() == 200


def test_garbage_never_raises_anything_else() -> None:
    draw = random.Random(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"):
        try:
            whole = file(quarters(), kind)
        except (KeyError, OSError):  # this Pillow cannot write it
            continue
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    assert decode(bytes(data), 16).shape == (16, 16, 3)
                except ItemError as error:
                    assert "\n" not in str(error)


def test_many_threads_see_the_same_pixels() -> None:
    data = [file(quarters(), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP")] * 20
    alone = [decode(each, 32) for each in data]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: decode(each, 32), data))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_largest_flipkart_photo() -> None:
    path = FLIPKART / "5518124b75d6c6dfee4c2e4c0cfa716a.jpg"
    if not path.is_file():
        pytest.skip("the Flipkart sample is not beside the repository")
    assert decode(path.read_bytes(), 224).std() > 10
