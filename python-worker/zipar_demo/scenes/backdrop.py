"""Skies, suns, clouds and grounds that several scenes share."""

from __future__ import annotations

from typing import Final

import numpy as np

from zipar_demo.scenes.canvas import SIZE, Canvas, Colour, mix, pick, snap

WHITE: Final[Colour] = (252, 252, 248)
INK: Final[Colour] = (52, 48, 64)
YELLOW: Final[Colour] = (255, 210, 72)
RED: Final[Colour] = (226, 72, 66)
BLUE: Final[Colour] = (60, 120, 206)
TEAL: Final[Colour] = (42, 168, 160)
ORANGE: Final[Colour] = (246, 146, 58)
VIOLET: Final[Colour] = (138, 92, 190)
PINK: Final[Colour] = (246, 142, 170)
WOOD: Final[Colour] = (140, 92, 60)
GREENS: Final[tuple[Colour, ...]] = ((126, 196, 84), (88, 176, 96))
BRIGHT: Final[tuple[Colour, ...]] = (RED, BLUE, TEAL, ORANGE, VIOLET)
_SKIES: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((98, 178, 240), (204, 234, 252)),
    ((128, 206, 226), (250, 240, 206)),
    ((160, 168, 236), (252, 214, 216)),
)


def draw_sky(canvas: Canvas, random: np.random.Generator, end: float = SIZE) -> None:
    """Fill a gradient sky, then put a sun in one upper corner and a cloud in the other."""
    top, bottom = pick(random, _SKIES)
    canvas.gradient(top, bottom, 0, end)
    side = int(random.integers(2))
    if random.random() < 0.7:
        canvas.ellipse(20 if side == 0 else SIZE - 20, 20, 11, 11, YELLOW)
    if random.random() < 0.6:
        draw_cloud(canvas, SIZE - 24 if side == 0 else 24, snap(random, 20, 28))


def draw_cloud(canvas: Canvas, x: float, y: float, size: float = 1) -> None:
    canvas.ellipse(x - 9 * size, y + 1 * size, 9 * size, 6 * size, WHITE)
    canvas.ellipse(x + 9 * size, y + 1 * size, 9 * size, 6 * size, WHITE)
    canvas.ellipse(x, y - 2 * size, 10 * size, 9 * size, WHITE)


def draw_meadow(canvas: Canvas, random: np.random.Generator, top: float) -> None:
    """Draw two overlapping green hills whose crests lie around `top`."""
    near = pick(random, GREENS)
    canvas.ellipse(100, top + 56, 96, 58, mix(near, (40, 110, 90), 0.3))
    canvas.ellipse(32, top + 64, 110, 62, near)


def draw_sea(canvas: Canvas, top: float, colours: tuple[Colour, Colour]) -> None:
    """Fill everything below `top` with a gradient of water."""
    canvas.gradient(colours[0], colours[1], top, SIZE)


def draw_smile(canvas: Canvas, x: float, y: float, radius: float, fill: Colour = INK) -> None:
    """Draw two eyes and a smile centred on a point."""
    canvas.ellipse(x - radius, y, 2.6, 3.4, fill)
    canvas.ellipse(x + radius, y, 2.6, 3.4, fill)
    canvas.arc(x, y + 2, radius * 0.8, 25, 155, fill, 2)
