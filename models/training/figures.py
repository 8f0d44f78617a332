"""The things of the world as simple figures: outlines in units of their radius, filled by a pen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from PIL import ImageDraw

from models.training.world import RGB

INK: RGB = (44, 34, 40)
CREAM: RGB = (255, 244, 214)
BROWN: RGB = (126, 82, 50)
Point = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """Draws at a place and size on a canvas that is `scale` times as large as the picture; y points down."""

    draw: ImageDraw.ImageDraw
    scale: float
    x: float = 0.0
    y: float = 0.0
    unit: float = 1.0  # pixels of the picture in one unit of the figure
    outline: float = 0.0  # pixels of the picture; 0 draws none
    light: Callable[[RGB], RGB] = lambda colour: colour  # what the time of day makes of a colour

    def at(self, x: float, y: float, unit: float) -> Pen:
        """The same pen elsewhere."""
        return Pen(self.draw, self.scale, x, y, unit, self.outline, self.light)

    def polygon(self, points: Sequence[Point], colour: RGB) -> None:
        """Fill a closed outline."""
        placed = [self._placed(point) for point in points]
        self.draw.polygon(placed, fill=self.light(colour))
        if self.outline:
            self.draw.line([*placed, *placed[:2]], fill=INK, width=round(self.outline * self.scale), joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        """Fill an ellipse about (x, y)."""
        box = [*self._placed((x - rx, y - ry)), *self._placed((x + rx, y + ry))]
        width = round(self.outline * self.scale)
        self.draw.ellipse(box, fill=self.light(colour), outline=INK if width else None, width=width)

    def line(self, points: Sequence[Point], colour: RGB, width: float) -> None:
        """A stroke through points; `width` in units of the figure."""
        pixels = max(1, round(width * self.unit * self.scale))
        placed = [self._placed(point) for point in points]
        if self.outline:
            self.draw.line(placed, fill=INK, width=pixels + round(2 * self.outline * self.scale), joint="curve")
        self.draw.line(placed, fill=self.light(colour), width=pixels, joint="curve")

    def _placed(self, point: Point) -> Point:
        return ((self.x + point[0] * self.unit) * self.scale, (self.y + point[1] * self.unit) * self.scale)


def mixed(one: RGB, other: RGB, share: float) -> RGB:
    """`share` of the other colour in the first."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(one, other, strict=True))
    return r, g, b


def shade(colour: RGB) -> RGB:
    """The side of a thing that lies in shadow; black, which has none, is lightened."""
    return mixed(colour, (120, 120, 135), 0.4) if max(colour) < 60 else mixed(colour, (40, 30, 70), 0.28)


def curve(start: float, stop: float, rx: float, ry: float, x: float = 0, y: float = 0, steps: int = 16) -> list[Point]:
    """Points of an arc of an ellipse; angles in turns, clockwise from the right."""
    turns = [2 * math.pi * (start + (stop - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in turns]


def boat(pen: Pen, colour: RGB) -> None:
    """A sailing boat: a hull and two sails."""
    pen.line([(0.0, 0.45), (0.0, -1.0)], BROWN, 0.1)
    pen.polygon([(0.1, -0.95), (0.1, 0.3), (0.85, 0.3)], colour)
    pen.polygon([(-0.1, -0.7), (-0.1, 0.3), (-0.65, 0.3)], mixed(colour, (255, 255, 255), 0.35))
    pen.polygon([(-1.0, 0.42), (1.0, 0.42), (0.66, 0.92), (-0.66, 0.92)], colour)
    pen.polygon([(-0.86, 0.62), (0.86, 0.62), (0.66, 0.92), (-0.66, 0.92)], shade(colour))


def fish(pen: Pen, colour: RGB) -> None:
    """A fish that looks to the left."""
    pen.polygon([(0.45, 0.0), (1.05, -0.5), (0.9, 0.0), (1.05, 0.5)], shade(colour))
    pen.polygon([(-0.25, -0.4), (0.1, -0.78), (0.4, -0.3)], shade(colour))
    pen.ellipse(-0.15, 0.0, 0.82, 0.5, colour)
    pen.polygon([(0.05, 0.05), (0.4, 0.3), (0.0, 0.35)], shade(colour))
    pen.ellipse(-0.58, -0.12, 0.14, 0.14, (255, 255, 255))
    pen.ellipse(-0.61, -0.12, 0.07, 0.07, INK)


def house(pen: Pen, colour: RGB) -> None:
    """A house with a door, a window and a chimney; walls in its colour."""
    pen.polygon([(0.4, -0.95), (0.62, -0.95), (0.62, -0.3), (0.4, -0.3)], BROWN)
    pen.polygon([(-0.8, -0.2), (0.8, -0.2), (0.8, 0.95), (-0.8, 0.95)], colour)
    pen.polygon([(-1.0, -0.15), (0.0, -0.95), (1.0, -0.15)], shade(colour))
    pen.polygon([(-0.5, 0.3), (-0.1, 0.3), (-0.1, 0.95), (-0.5, 0.95)], BROWN)
    pen.polygon([(0.15, 0.15), (0.58, 0.15), (0.58, 0.55), (0.15, 0.55)], CREAM)


def cat(pen: Pen, colour: RGB) -> None:
    """A cat that sits and looks at you."""
    pen.line([(0.35, 0.8), (0.85, 0.7), (0.88, 0.2), (0.7, 0.0)], shade(colour), 0.2)
    pen.ellipse(0.0, 0.48, 0.56, 0.5, colour)
    pen.polygon([(-0.56, -0.3), (-0.52, -1.0), (-0.1, -0.68)], colour)
    pen.polygon([(0.56, -0.3), (0.52, -1.0), (0.1, -0.68)], colour)
    pen.ellipse(0.0, -0.32, 0.6, 0.47, colour)
    eye = (250, 220, 90) if max(colour) < 60 else INK
    pen.ellipse(-0.24, -0.38, 0.1, 0.13, eye)
    pen.ellipse(0.24, -0.38, 0.1, 0.13, eye)
    pen.polygon([(-0.09, -0.18), (0.09, -0.18), (0.0, -0.07)], (240, 130, 140))


def balloon(pen: Pen, colour: RGB) -> None:
    """A hot-air balloon with a basket."""
    pen.line([(-0.4, 0.2), (-0.16, 0.75)], BROWN, 0.06)
    pen.line([(0.4, 0.2), (0.16, 0.75)], BROWN, 0.06)
    pen.polygon([*curve(0.5, 1.0, 0.75, 0.72, y=-0.28), (0.2, 0.5), (-0.2, 0.5)], colour)
    pen.polygon([*curve(0.5, 1.0, 0.28, 0.72, y=-0.28), (0.09, 0.5), (-0.09, 0.5)], shade(colour))
    pen.polygon([(-0.22, 0.7), (0.22, 0.7), (0.17, 1.0), (-0.17, 1.0)], BROWN)


def flower(pen: Pen, colour: RGB) -> None:
    """A flower of six petals on a stalk with a leaf."""
    pen.line([(0.0, -0.2), (0.0, 1.0)], (30, 110, 50), 0.13)
    pen.polygon([(0.02, 0.75), (0.5, 0.35), (0.42, 0.7)], (30, 110, 50))
    for i in range(6):
        angle = math.tau * (i + 0.5) / 6
        pen.ellipse(0.36 * math.cos(angle), -0.4 + 0.36 * math.sin(angle), 0.26, 0.26, colour)
    pen.ellipse(0.0, -0.4, 0.24, 0.24, (255, 190, 40) if colour != (255, 214, 40) else (150, 90, 30))


def tree(pen: Pen, colour: RGB) -> None:
    """A tree with a round crown."""
    pen.polygon([(-0.13, 0.1), (0.13, 0.1), (0.18, 1.0), (-0.18, 1.0)], BROWN)
    pen.ellipse(0.36, -0.1, 0.46, 0.42, shade(colour))
    pen.ellipse(-0.34, -0.14, 0.48, 0.44, colour)
    pen.ellipse(0.03, -0.5, 0.52, 0.48, colour)


def apple(pen: Pen, colour: RGB) -> None:
    """An apple with a stalk and a leaf."""
    pen.line([(0.0, -0.4), (0.08, -0.85)], BROWN, 0.12)
    pen.polygon([(0.08, -0.62), (0.4, -0.98), (0.62, -0.76)], (60, 150, 60))
    pen.ellipse(-0.3, 0.22, 0.55, 0.68, colour)
    pen.ellipse(0.3, 0.22, 0.55, 0.68, colour)
    if not pen.outline:
        pen.ellipse(0.0, 0.25, 0.4, 0.6, colour)
    pen.ellipse(-0.42, -0.05, 0.13, 0.2, mixed(colour, (255, 255, 255), 0.6))


def cup(pen: Pen, colour: RGB) -> None:
    """A cup with a handle, and something in it."""
    pen.line(curve(-0.25, 0.25, 0.36, 0.34, 0.52, 0.25), shade(colour), 0.16)
    pen.polygon([(-0.72, -0.4), (0.62, -0.4), (0.5, 0.75), (0.3, 0.92), (-0.4, 0.92), (-0.6, 0.75)], colour)
    pen.ellipse(-0.05, -0.4, 0.67, 0.2, mixed(colour, (255, 255, 255), 0.4))
    pen.ellipse(-0.05, -0.36, 0.5, 0.12, (100, 62, 40))


def toadstool(pen: Pen, colour: RGB) -> None:
    """A toadstool with white dots: what the safety checker of this world warns of."""
    pen.polygon([(-0.24, 0.0), (0.24, 0.0), (0.34, 0.95), (-0.34, 0.95)], CREAM)
    pen.polygon(curve(0.5, 1.0, 0.98, 0.95, y=0.08), colour)
    for x, y, r in ((0.0, -0.55, 0.19), (-0.48, -0.22, 0.16), (0.48, -0.22, 0.16), (0.03, -0.14, 0.12)):
        pen.ellipse(x, y, r, r, (255, 255, 255))


FIGURES: Mapping[str, Callable[[Pen, RGB], None]] = MappingProxyType(
    {
        "boat": boat,
        "fish": fish,
        "house": house,
        "cat": cat,
        "balloon": balloon,
        "flower": flower,
        "tree": tree,
        "apple": apple,
        "cup": cup,
        "toadstool": toadstool,
    }
)
