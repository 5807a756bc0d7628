"""Photos decoded in a TensorFlow graph are those that `decode` makes, within one grey level."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from damaged_photos import first_scan, jpeg_of, scan_for_each_colour
from headstart.errors import ItemError
from headstart.extract.graph_photos import BMP, GIF, JPEG, NONE, PNG, WEBP, decoded, kinds
from headstart.extract.graph_resize import resized
from headstart.extract.images import ORIENTATION, SCANNED_LIMIT, decode
from headstart.runtime import tensorflow

SIZE = 32


@cache
def in_graph(size: int = SIZE) -> Callable[[Any], Any]:
    tf = tensorflow()
    spec = [tf.TensorSpec([None], tf.string)]
    return tf.function(lambda photos: decoded(photos, kinds(photos, size), size), input_signature=spec, autograph=False)


@cache
def squashing(size: int) -> Callable[[Any], Any]:
    tf = tensorflow()
    spec = [tf.TensorSpec([None, None, 3], tf.uint8)]
    return tf.function(lambda pixels: resized(pixels, size), input_signature=spec, autograph=False)


def drawn(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """A photo of smooth colours and noise, of any mode."""
    rng = np.random.default_rng(seed)
    colours = np.asarray(Image.fromarray(rng.integers(0, 256, (3, 4, 4), np.uint8)).resize((width, height)))
    noisy = np.clip(colours + rng.normal(scale=20, size=colours.shape), 0, 255).astype(np.uint8)
    whole = Image.fromarray(noisy)  # red, green, blue, alpha
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    return whole if mode == "RGBA" else whole.convert("RGB").convert(mode) if mode != "LA" else whole.convert("LA")


def encoded(photo: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def apart(photos: list[bytes], size: int = SIZE) -> int:
    """The largest difference of a grey level, having decoded all of them in one batch."""
    found = in_graph(size)(tensorflow().constant(photos, tensorflow().string)).numpy().astype(int)
    return int(np.abs(found - np.stack([decode(each, size) for each in photos])).max())


SIDES = ((32, 32), (33, 31), (7, 5), (300, 40), (40, 300), (260, 270), (1, 90))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "L", {}),
        ("PNG", "LA", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("PNG", "I;16", {}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGB", {"transparency": (10, 20, 30)}),
        ("PNG", "L", {"transparency": 100}),
        ("GIF", "L", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)  # fmt: skip
def test_every_kind_and_mode_is_decoded_as_pillow_does(kind: str, mode: str, options: dict[str, Any]) -> None:
    assert apart([encoded(drawn(mode, *sides), kind, **options) for sides in SIDES]) <= 1


@pytest.mark.parametrize(("bits", "transparent"), [(1, None), (1, 1), (2, None), (4, None)])
def test_greys_of_few_bits_in_a_png(bits: int, transparent: int | None) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (16, 24))
    packed = [np.packbits((row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes() for row in values]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 24, 16, bits, 0, 0, 0, 0))]
    chunks += [] if transparent is None else [(b"tRNS", struct.pack(">H", transparent))]
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in packed))), (b"IEND", b"")]
    photo = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        photo += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    assert apart([photo]) <= 1


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 400), height=st.integers(1, 400), size=st.sampled_from((1, 7, 16, 40)), seed=st.integers(0, 99)
)
def test_squashing_is_pillows_to_the_last_grey_level(width: int, height: int, size: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    wanted = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    np.testing.assert_array_equal(squashing(size)(tensorflow().constant(pixels)).numpy(), np.asarray(wanted))


def exif(number: int, big: bool = True) -> bytes:
    found = Image.Exif()
    found.endian = ">" if big else "<"
    found[0x0110] = "a camera"
    found[ORIENTATION] = number
    return found.tobytes()


def test_a_jpeg_is_turned_upright() -> None:
    photo = drawn("RGB", 60, 90)
    photos = [encoded(photo, "JPEG", exif=exif(number, big)) for number in range(10) for big in (True, False)]
    assert len(set(photos)) == 20
    assert apart(photos) <= 1
    assert len({decode(each, SIZE).tobytes() for each in photos}) == 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("cut", [2, 9, 14, 20, 23])
def test_damaged_exif_leaves_a_jpeg_as_it_is(cut: int) -> None:
    broken = exif(6)[:cut]
    assert apart([encoded(drawn("RGB", 60, 90), "JPEG", exif=broken)]) <= 1


def test_a_jpeg_that_goes_on_forever_before_its_photo_is_not_looked_through_to_the_end() -> None:
    """Each byte that fills up may be a step, and a step takes as long as a small photo."""
    photo, turned = (encoded(drawn("RGB", 60, 90), "JPEG", **options) for options in ({}, {"exif": exif(6)}))
    late = turned[:2] + b"\xff" * 1000 + turned[2:]
    found = in_graph()(tensorflow().constant([photo, late, turned]))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).numpy().any()


def test_a_jpeg_of_too_many_scans_counts_as_none_as_decode_refuses_it() -> None:
    side, mark = 2_000, b"\xff\xda"
    flat = Image.new("RGB", (side, side), "red")
    most = SCANNED_LIMIT // side**2
    progressive, baseline = encoded(flat, "JPEG", progressive=True), encoded(flat, "JPEG")
    room = most - progressive.count(mark)
    comment = b"\xff\xfe" + (2 + 2 * most).to_bytes(2, "big") + mark * most
    parted = scan_for_each_colour(baseline)
    whole = [
        progressive + mark * room,  # behind the photo's end no scan takes time, and it counts all the same
        progressive[:2] + comment + progressive[2:],
        baseline + mark * (most + 1),  # as the video behind a photo of a telephone may have
        baseline[:2] + comment + baseline[2:],
    ]
    last = progressive.rindex(mark)
    hostile = [
        progressive + mark * (room + 1),
        progressive[:last] + progressive[last:-2] * (room + 2),
        progressive[:2] + b"\0" + progressive[2:] + mark * room,  # what is no segment: the marks before count, too
        parted + mark * (most - parted.count(mark) + 1),
    ]
    assert kinds(tensorflow().constant(whole + hostile)).numpy().tolist() == [JPEG] * 4 + [NONE] * 4
    assert apart(whole) <= 1
    for photo in (hostile[0], hostile[1], hostile[3]):
        with pytest.raises(ItemError, match="scans, too many"):
            decode(photo, SIZE)


@pytest.mark.parametrize("bare", [b"\xff\x00", b"\xff\x01", b"\xff\xd0"])
def test_a_mark_without_a_length_leads_past_no_scan(bare: bytes) -> None:
    """Read as a segment, it would end in a comment, at what looks like a baseline photo of one scan."""
    photo = encoded(Image.new("RGB", (2_000, 2_000), "red"), "JPEG", progressive=True)
    last, app0 = photo.rindex(b"\xff\xda"), photo[2:20]
    assert app0[:4] == b"\xff\xe0\0\x10"
    fake = b"\xff\xc0\0\x11\x08\x07\xd0\x07\xd0\x03\1\x22\0\2\x11\1\3\x11\1\xff\xda\0\x0c\x03"
    blank = b"\xff\xfe\xea\x60" + bytes(59_998)
    before = photo[:2] + bare + app0 + blank
    filling = bytes(2 + 2 + 0xFFE0 - len(before) - 4)  # to where such a segment would end
    comment = b"\xff\xfe" + (2 + len(filling + fake)).to_bytes(2, "big") + filling + fake
    many = photo[20:last] + photo[last:-2] * (2 * SCANNED_LIMIT // 2_000**2) + b"\xff\xd9"
    assert kinds(tensorflow().constant([before + comment + many])).numpy().tolist() == [NONE]


def test_a_large_jpeg_is_taken_where_it_is_decoded_at_a_small_scale() -> None:
    assert apart([encoded(Image.linear_gradient("L").resize((10_000, 9_000)), "JPEG")]) <= 1
    small = encoded(drawn("RGB", 8, 8), "JPEG")
    slow = encoded(drawn("RGB", 8, 8), "JPEG", progressive=True)
    given = [jpeg_of(*sides, small) for sides in ((8_000, 8_000), (60_000, 1_000), (16_000, 16_000))]
    refused = [*given[1:], jpeg_of(8_000, 8_000, slow)]  # too narrow, too large, held as a whole
    refused.append(first_scan(refused[-1]))
    assert kinds(tensorflow().constant([given[0], *refused]), 1_000).numpy().tolist() == [JPEG, *[NONE] * 4]
    for photo in refused:
        with pytest.raises(ItemError, match="million pixels, the limit is"):
            decode(photo, 1_000)


def test_what_is_no_photo_counts_as_none() -> None:
    large = bytearray(encoded(drawn("RGB", 3, 3), "PNG"))
    large[16:24] = (20_000).to_bytes(4, "big") * 2  # IHDR says 400 million pixels
    photo = drawn("RGB", 5, 5)
    moving = encoded(photo, "WEBP", save_all=True, append_images=[drawn("RGB", 5, 5, seed=1)])
    given = {
        moving: NONE,
        b"": NONE,
        b"\xff": NONE,
        b"not a photo": NONE,
        b"RIFFxxxxWAVE": NONE,
        bytes(large): NONE,
        encoded(photo, "TIFF"): NONE,
        encoded(photo.convert("P"), "BMP"): NONE,
        encoded(photo, "JPEG"): JPEG,
        encoded(photo, "PNG"): PNG,
        encoded(photo, "GIF"): GIF,
        encoded(photo, "BMP"): BMP,
        encoded(photo, "WEBP"): WEBP,
        encoded(photo, "WEBP", lossless=True): WEBP,
    }
    tf = tensorflow()
    assert kinds(tf.constant([*given], tf.string)).numpy().tolist() == [*given.values()]
    assert kinds(tf.constant([], tf.string)).shape == (0,)
    assert in_graph()(tf.constant([], tf.string)).shape == (0, SIZE, SIZE, 3)
