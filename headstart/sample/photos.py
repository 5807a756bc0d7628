"""Photos as a seller might take them: an object somewhere, with its clutter, its light and its faults."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from headstart.sample.clutter import CLUTTER, carton
from headstart.sample.pen import COLOURS, SIDE, Colour, Drawing, Pen, tone

Rng = np.random.Generator
Useless = Literal["noire", "floue", "carton", "de trop près", "ailleurs"]
USELESS: tuple[Useless, ...] = ("noire", "floue", "carton", "de trop près", "ailleurs")
"""What a photo can be that shows nothing of the object."""

SIZES = ((320, 240), (240, 320), (280, 280), (300, 200), (220, 300), (256, 256), (320, 200))


def photo(rng: Rng, drawing: Drawing, colour: Colour) -> Image.Image:
    """An object as its seller photographed it, RGB, 200 to 320 pixels a side."""
    scene = _background(rng, SIZES[int(rng.integers(len(SIZES)))])
    _clutter(rng, scene, int(rng.integers(0, 3)))
    width, height = scene.size
    copies = 1 if rng.random() < 0.8 else int(rng.integers(2, 4))
    style = int(rng.integers(2**32))  # copies of one object are alike
    for k in range(copies):
        size = min(width, height) * rng.uniform(0.8, 1.15) / (1 if copies == 1 else 1.4)
        x = width * ((k + 0.5) / copies + rng.uniform(-0.12, 0.12))
        y = height * (0.5 + rng.uniform(-0.12, 0.12))
        _place(rng, scene, drawing, colour, (x, y), size, np.random.default_rng(style))
    if rng.random() < 0.2:
        _clutter(rng, scene, 1)
    return _finish(rng, scene)


def useless_photo(rng: Rng, kind: Useless, drawing: Drawing, colour: Colour) -> Image.Image:
    """A photo on which the object cannot be made out."""
    size = SIZES[int(rng.integers(len(SIZES)))]
    scene = _background(rng, size)
    middle = size[0] * rng.uniform(0.2, 0.8), size[1] * rng.uniform(0.2, 0.8)
    if kind == "carton":
        _clutter(rng, scene, int(rng.integers(0, 3)))
        _place(rng, scene, carton, (178, 138, 92), middle, min(size) * rng.uniform(0.6, 1.1))
    elif kind == "ailleurs":
        _clutter(rng, scene, int(rng.integers(1, 6)))
    else:
        _clutter(rng, scene, int(rng.integers(0, 4)))
        near = rng.uniform(4, 7) if kind == "de trop près" else rng.uniform(0.5, 1)
        _place(rng, scene, drawing, colour, middle, min(size) * near)
    if kind == "floue":
        scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(9, 18)))
    if kind == "noire":
        scene = ImageEnhance.Brightness(scene).enhance(rng.uniform(0.06, 0.14))
    return _finish(rng, scene)


def retake(rng: Rng, image: Image.Image) -> Image.Image:
    """The same photo posted again: a few pixels cut off its edges."""
    left, top, right, bottom = (int(cut) for cut in rng.integers(0, 5, 4))
    return image.crop((left, top, image.width - right, image.height - bottom))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The photo as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


# What is behind


def _background(rng: Rng, size: tuple[int, int]) -> Image.Image:
    colours = list(COLOURS.values())
    base = tone(colours[int(rng.integers(len(colours)))], rng.uniform(0.6, 1.7))
    scene = Image.new("RGB", size, base)
    surfaces = (_planks, _planks, _tiles, _cloth, _wall, _grass, _plain)
    surfaces[int(rng.integers(len(surfaces)))](rng, scene, base)
    for low, high, depth in ((3, 8, 60), (30, 90, 40)):
        scene = ImageChops.multiply(scene, _cloud(rng, size, int(rng.integers(low, high)), depth))
    return scene


def _cloud(rng: Rng, size: tuple[int, int], cells: int, depth: int) -> Image.Image:
    """Smooth spots of light, white at most and `depth` darker at least, `cells` of them across."""
    spots = rng.integers(255 - depth, 256, (cells, cells), dtype=np.uint8)
    return Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _planks(rng: Rng, scene: Image.Image, base: Colour) -> None:
    woods = ((150, 104, 62), (186, 146, 98), (104, 72, 48), (214, 194, 160))
    wood = woods[int(rng.integers(len(woods)))]
    draw, (width, height) = ImageDraw.Draw(scene), scene.size
    step, lean, across = int(rng.integers(14, 60)), rng.uniform(-30, 30), rng.random() < 0.5
    for i in range(-60, max(width, height) + 60, step):
        shade = tone(wood, rng.uniform(0.75, 1.15))
        far = i + lean
        corners = [(i, 0.0), (i + step, 0.0), (far + step, height), (far, height)]
        if across:
            corners = [(y * width / height, x) for x, y in corners]
        draw.polygon(corners, shade, tone(wood, 0.55))


def _tiles(rng: Rng, scene: Image.Image, base: Colour) -> None:
    draw, (width, height) = ImageDraw.Draw(scene), scene.size
    step, second = int(rng.integers(18, 80)), tone(base, rng.uniform(0.5, 1.4))
    for j, y in enumerate(range(0, height, step)):
        for i, x in enumerate(range(0, width, step)):
            draw.rectangle((x, y, x + step, y + step), base if (i + j) % 2 else second, tone(base, 0.7))


def _cloth(rng: Rng, scene: Image.Image, base: Colour) -> None:
    draw, (width, height) = ImageDraw.Draw(scene), scene.size
    colours = list(COLOURS.values())
    second = tone(colours[int(rng.integers(len(colours)))], 1.3)
    step, lean = int(rng.integers(10, 50)), rng.uniform(-60, 60)
    for i in range(-60, width + 60, step):
        draw.line([(i, 0), (i + lean, height)], second, int(rng.integers(1, step // 2 + 1)))
    if rng.random() < 0.5:
        for i in range(-60, height + 60, step):
            draw.line([(0, i), (width, i - lean)], second, max(1, step // 4))


def _wall(rng: Rng, scene: Image.Image, base: Colour) -> None:
    draw, (width, height) = ImageDraw.Draw(scene), scene.size
    floor = int(height * rng.uniform(0.45, 0.85))
    _planks(rng, scene, base)
    draw.rectangle((0, 0, width, floor), base)
    draw.rectangle((0, floor - 6, width, floor), tone(base, 1.5))
    if rng.random() < 0.4:
        x, y = rng.uniform(0, width * 0.8), rng.uniform(0, floor * 0.4)
        draw.rectangle((x, y, x + 50, y + 40), tone(base, 1.7), tone(base, 0.5), 3)


def _grass(rng: Rng, scene: Image.Image, base: Colour) -> None:
    draw, (width, height) = ImageDraw.Draw(scene), scene.size
    root = base if rng.random() < 0.5 else (84, 124, 60)  # a shaggy carpet, or a lawn
    for x, y, dx, dy in rng.integers((0, 0, -7, -12), (width, height + 12, 8, 0), (500, 4)).tolist():
        draw.line([(x, y), (x + dx, y + dy)], tone(root, 0.6 + (x * 7 + y) % 10 / 12), 2)


def _plain(rng: Rng, scene: Image.Image, base: Colour) -> None:
    """Nothing but the base colour."""


# What is on it


def _clutter(rng: Rng, scene: Image.Image, things: int) -> None:
    width, height = scene.size
    colours = list(COLOURS.values())
    for _ in range(things):
        drawing = CLUTTER[int(rng.integers(len(CLUTTER)))]
        x, y = (rng.uniform(0, 0.28) if rng.random() < 0.5 else rng.uniform(0.72, 1) for _ in range(2))
        size = min(width, height) * rng.uniform(0.2, 0.5)
        _place(rng, scene, drawing, colours[int(rng.integers(len(colours)))], (x * width, y * height), size)


def _place(
    rng: Rng,
    scene: Image.Image,
    drawing: Drawing,
    colour: Colour,
    at: tuple[float, float],
    size: float,
    style: Rng | None = None,
) -> None:
    """Draws an object around a point of the scene, turned, in perspective, with its shadow."""
    pen = Pen(style or rng, colour)
    drawing(pen)
    upright = rng.random() < 0.9
    angle = math.radians(rng.normal(0, 7) if upright else rng.uniform(-180, 180))
    zoom = SIDE / size
    a, b = zoom * math.cos(angle) * rng.uniform(0.9, 1.15), zoom * math.sin(angle) + rng.uniform(-0.2, 0.2)
    d, e = -zoom * math.sin(angle), zoom * math.cos(angle) * rng.uniform(0.9, 1.15)
    if rng.random() < 0.5:
        a, d = -a, -d  # mirrored
    g, h = rng.uniform(-0.0012, 0.0012, 2).tolist()

    # The object fills a square of the photo. With w = g u + h v + 1, its pixel (u, v) shows the pixel
    # ((a u + b v + c) / w, (d u + e v + f) / w) of the drawing; c and f bring middle onto middle.
    side = min(round(size * 1.6), 2 * max(scene.size))
    middle = side / 2
    depth = (g + h) * middle + 1
    c, f = SIDE / 2 * depth - (a + b) * middle, SIDE / 2 * depth - (d + e) * middle
    seen = pen.layer.transform(
        (side, side), Image.Transform.PERSPECTIVE, (a, b, c, d, e, f, g, h), Image.Resampling.BILINEAR
    )
    light, outline = _cloud(rng, (side, side), 3, 80), seen.getchannel("A")
    corner = round(at[0] - middle), round(at[1] - middle)
    fall = corner[0] + int(rng.integers(-9, 10)), corner[1] + int(rng.integers(2, 12))
    shadow = outline.filter(ImageFilter.BoxBlur(rng.uniform(2, 8)))
    shadow = shadow.point([round(alpha * 0.55) for alpha in range(256)])
    scene.paste((10, 10, 14), fall, shadow)
    scene.paste(ImageChops.multiply(seen.convert("RGB"), light), corner, outline)


# What the camera does


def _finish(rng: Rng, scene: Image.Image) -> Image.Image:
    """Bad light, blur, grain, a colour cast, and sometimes the frame of a screenshot."""
    size = scene.size
    if rng.random() < 0.5:
        scene = ImageChops.multiply(scene, _cloud(rng, size, 2, int(rng.integers(50, 150))))
    if rng.random() < 0.2:  # flash
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(20, 60)
        glare = Image.new("L", size)
        ImageDraw.Draw(glare).ellipse((x - r, y - r, x + r, y + r), 230)
        scene.paste((255, 255, 250), mask=glare.filter(ImageFilter.BoxBlur(r * 0.7)))
    scene = ImageEnhance.Brightness(scene).enhance(rng.uniform(0.85, 1.7))
    scene = ImageEnhance.Color(scene).enhance(rng.uniform(0.45, 1.3))
    cast = tuple(int(c) for c in rng.integers(190, 256, 3))
    scene = ImageChops.multiply(scene, Image.new("RGB", size, cast))
    if rng.random() < 0.3:
        scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.4)))
    grain = rng.integers(0, int(rng.integers(6, 45)), (size[1], size[0], 3), dtype=np.uint8)
    scene = ImageChops.add(scene, Image.fromarray(grain), offset=-14)
    if rng.random() < 0.12:
        bar, colour = int(rng.integers(10, 45)), (0, 0, 0) if rng.random() < 0.5 else (255, 255, 255)
        draw = ImageDraw.Draw(scene)
        draw.rectangle((0, 0, size[0], bar), colour)
        draw.rectangle((0, size[1] - bar, size[0], size[1]), colour)
    return scene
