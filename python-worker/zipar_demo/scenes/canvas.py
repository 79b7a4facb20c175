"""A supersampled drawing surface and the random choices that every scene shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE: Final = 128
_SCALE: Final = 4

Colour = tuple[int, int, int]
Point = tuple[float, float]
Choice = TypeVar("Choice")


class Canvas:
    """Draws flat shapes on a square of SIZE x SIZE units, origin at the top left."""

    def __init__(self, background: Colour = (255, 255, 255)) -> None:
        self._image = Image.new("RGB", (SIZE * _SCALE, SIZE * _SCALE), background)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def gradient(self, top: Colour, bottom: Colour, start: float = 0, end: float = SIZE) -> None:
        """Fill the full width between two heights with a vertical gradient."""
        first, last = round(start * _SCALE), round(end * _SCALE)
        for line in range(first, last):
            colour = mix(top, bottom, (line - first) / max(1, last - first))
            self._draw.line((0, line, SIZE * _SCALE, line), fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self._draw.ellipse(_scaled((x - rx, y - ry, x + rx, y + ry)), fill=fill)

    def rectangle(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        self._draw.rectangle(_scaled((left, top, right, bottom)), fill=fill)

    def polygon(self, points: Sequence[Point], fill: Colour, opacity: float = 1) -> None:
        flat = [value for point in points for value in point]
        self._draw.polygon(_scaled(flat), fill=(*fill, round(255 * opacity)))

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        flat = [value for point in points for value in point]
        self._draw.line(_scaled(flat), fill=fill, width=round(width * _SCALE), joint="curve")

    def arc(self, x: float, y: float, radius: float, start: float, end: float, fill: Colour, width: float) -> None:
        """Draw part of a circle; angles in degrees, clockwise from three o'clock."""
        box = _scaled((x - radius, y - radius, x + radius, y + radius))
        self._draw.arc(box, start, end, fill=fill, width=round(width * _SCALE))

    def pie(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour) -> None:
        """Draw a slice of an ellipse; angles as in `arc`."""
        self._draw.pieslice(_scaled((x - rx, y - ry, x + rx, y + ry)), start, end, fill=fill)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the finished picture as pixels: [SIZE, SIZE, 3]."""
        return np.asarray(self._image.reduce(_SCALE), dtype=np.uint8)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; `share` is the part of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def pick(random: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[int(random.integers(len(choices)))]


def snap(random: np.random.Generator, low: int, high: int, step: int = 4) -> int:
    """Draw a coordinate on a coarse raster, which keeps the number of distinct edges small."""
    return low + step * int(random.integers((high - low) // step + 1))


def _scaled(values: Sequence[float]) -> list[float]:
    return [value * _SCALE for value in values]
