"""A pen that draws one object on a transparent square, in hundredths of its side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageDraw

T = TypeVar("T")
Colour = tuple[int, int, int]
Pattern = Literal["uni", "rayures", "carreaux", "pois", "zigzag"]

SIDE = 320
"""Side of the square an object is drawn on, in pixels; a photo shows it smaller, which smooths its edges."""

COLOURS: dict[str, Colour] = {
    "noir": (34, 34, 38),
    "blanc": (240, 239, 234),
    "gris": (140, 143, 147),
    "argent": (190, 194, 200),
    "doré": (201, 162, 74),
    "rouge": (190, 38, 42),
    "bordeaux": (110, 24, 42),
    "rose": (232, 150, 172),
    "orange": (228, 122, 42),
    "moutarde": (206, 164, 44),
    "vert": (62, 130, 72),
    "kaki": (104, 106, 70),
    "turquoise": (64, 168, 172),
    "bleu": (52, 100, 178),
    "bleu marine": (28, 44, 88),
    "violet": (112, 70, 142),
    "beige": (214, 196, 164),
    "marron": (108, 72, 46),
}
"""The colours that both the photos and the texts know."""

STEEL: tuple[Colour, ...] = ((186, 190, 196), (150, 154, 160), (204, 176, 98), (214, 168, 148), (60, 60, 66))
WOOD: tuple[Colour, ...] = ((150, 104, 62), (192, 150, 98), (96, 62, 40), (222, 198, 160), (236, 234, 228))
PLASTIC: tuple[Colour, ...] = ((36, 36, 40), (66, 68, 74), (176, 180, 186), (232, 232, 232))
CLOTH: tuple[Pattern, ...] = ("uni", "uni", "rayures", "carreaux", "pois", "zigzag")
WHITE: Colour = (244, 243, 240)
SKIN: tuple[Colour, ...] = ((232, 196, 168), (196, 148, 116), (120, 82, 60))


def tone(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor below 1) or lighter (above 1: by ``factor - 1`` of the way to white)."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in colour)
    else:
        r, g, b = (round(c + (255 - c) * min(factor - 1, 1)) for c in colour)
    return r, g, b


class Pen:
    """Draws on `layer`; every coordinate is between 0 and 100, x to the right and y down."""

    def __init__(self, rng: np.random.Generator, main: Colour) -> None:
        self.rng = rng
        self.main = main
        self.other = self.pick(list(COLOURS.values()))
        self.layer = Image.new("RGBA", (SIDE, SIDE))
        self._draw = ImageDraw.Draw(self.layer)

    # Chance

    def u(self, low: float, high: float) -> float:
        """A number between two others."""
        return float(self.rng.uniform(low, high))

    def maybe(self, chance: float = 0.5) -> bool:
        """True with this chance."""
        return bool(self.rng.random() < chance)

    def pick(self, choices: Sequence[T]) -> T:
        """One of several."""
        return choices[int(self.rng.integers(len(choices)))]

    # Shapes

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0, edge: bool = True
    ) -> None:
        """A rectangle, its corners rounded by `radius`."""
        self._draw.rounded_rectangle(
            self._px(x0, y0, x1, y1), radius * SIDE / 100, (*fill, 255), self._edge(fill, edge), 2
        )

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, edge: bool = True) -> None:
        """An ellipse in a rectangle."""
        self._draw.ellipse(self._px(x0, y0, x1, y1), (*fill, 255), self._edge(fill, edge), 2)

    def disc(self, x: float, y: float, radius: float, fill: Colour, edge: bool = True) -> None:
        """A circle."""
        self.oval(x - radius, y - radius, x + radius, y + radius, fill, edge)

    def shape(self, points: Sequence[tuple[float, float]], fill: Colour, edge: bool = True) -> None:
        """A polygon."""
        self._draw.polygon(self._points(points), (*fill, 255), self._edge(fill, edge), 2)

    def line(self, points: Sequence[tuple[float, float]], fill: Colour, width: float = 1.5) -> None:
        """A line through the points."""
        self._draw.line(self._points(points), (*fill, 255), self._width(width), joint="curve")

    def arc(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        start: float,
        end: float,
        fill: Colour,
        width: float = 3,
    ) -> None:
        """A piece of an ellipse's edge, from one angle to another in degrees, clockwise from the right."""
        self._draw.arc(self._px(x0, y0, x1, y1), start, end, (*fill, 255), self._width(width))

    def hole(self, x: float, y: float, radius: float) -> None:
        """A round hole through which the background shows."""
        self._draw.ellipse(self._px(x - radius, y - radius, x + radius, y + radius), (0, 0, 0, 0))

    def pattern(self, fill: Colour, kind: Pattern, step: float = 8) -> None:
        """Prints a pattern over all that is drawn so far, as on cloth or china."""
        if kind == "uni":
            return
        ink = Image.new("RGBA", (SIDE, SIDE))
        draw = ImageDraw.Draw(ink)
        step_px = step * SIDE / 100
        marks = [i * step_px for i in range(int(SIDE / step_px) + 1)]
        thick = max(2, round(step_px * self.u(0.2, 0.5)))
        for i in marks:
            if kind in ("rayures", "carreaux"):
                draw.line([(i, 0), (i, SIDE)], (*fill, 255), thick)
            if kind == "carreaux":
                draw.line([(0, i), (SIDE, i)], (*fill, 190), thick)
            if kind == "pois":
                for j in marks:
                    draw.ellipse((j - thick, i - thick, j + thick, i + thick), (*fill, 255))
            if kind == "zigzag":
                points = [(x, i + (step_px / 2 if n % 2 else 0)) for n, x in enumerate(marks)]
                draw.line(points, (*fill, 255), max(2, thick // 2))
        ink.putalpha(ImageChops.multiply(ink.getchannel("A"), self.layer.getchannel("A")))
        self.layer.alpha_composite(ink)

    def around(self, x: float, y: float, radius: float, degrees: float) -> tuple[float, float]:
        """The point at an angle on a circle, clockwise from twelve o'clock."""
        angle = math.radians(degrees - 90)
        return x + radius * math.cos(angle), y + radius * math.sin(angle)

    def _px(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        k = SIDE / 100
        return min(x0, x1) * k, min(y0, y1) * k, max(x0, x1) * k, max(y0, y1) * k

    def _points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * SIDE / 100, y * SIDE / 100) for x, y in points]

    def _width(self, width: float) -> int:
        return max(1, round(width * SIDE / 100))

    def _edge(self, fill: Colour, edge: bool) -> tuple[int, int, int, int] | None:
        return (*tone(fill, 0.72), 255) if edge else None


Drawing = Callable[[Pen], None]
"""Draws one object."""
