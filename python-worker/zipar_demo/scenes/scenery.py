"""Landscapes: each function draws one random picture of its class on an empty canvas."""

from __future__ import annotations

from typing import Final

import numpy as np

from zipar_demo.scenes.backdrop import (
    BLUE,
    INK,
    ORANGE,
    PINK,
    RED,
    TEAL,
    VIOLET,
    WHITE,
    WOOD,
    YELLOW,
    draw_cloud,
    draw_meadow,
    draw_sea,
    draw_sky,
)
from zipar_demo.scenes.canvas import SIZE, Canvas, Colour, mix, pick, snap

_WATER: Final[tuple[Colour, Colour]] = ((70, 160, 214), (40, 104, 176))
_DUSK: Final[tuple[tuple[Colour, Colour, Colour], ...]] = (
    ((250, 130, 84), (255, 206, 120), (122, 72, 140)),
    ((120, 84, 176), (255, 160, 132), (70, 60, 132)),
    ((246, 106, 122), (255, 196, 150), (58, 84, 148)),
)


def draw_lighthouse(canvas: Canvas, random: np.random.Generator) -> None:
    if random.random() < 0.5:
        canvas.gradient((58, 62, 130), (238, 150, 150), 0, 92)
        lit = True
    else:
        draw_sky(canvas, random, 92)
        lit = False
    draw_sea(canvas, 88, _WATER)
    x, top = snap(random, 44, 84), snap(random, 28, 36)
    if lit:
        canvas.polygon([(x, top), (0, top - 16), (0, top + 16)], YELLOW, 0.6)
        canvas.polygon([(x, top), (SIZE, top - 16), (SIZE, top + 16)], YELLOW, 0.6)
    canvas.ellipse(x, 116, 44, 20, (120, 108, 110))
    canvas.ellipse(x, 108, 34, 10, (112, 176, 92))
    paint, base = pick(random, (RED, BLUE)), 108
    edge = 8 + top + 4
    for band in range(5):
        upper = edge + (base - edge) * band / 5
        lower = edge + (base - edge) * (band + 1) / 5
        half_upper, half_lower = 8 + 1.4 * band, 8 + 1.4 * (band + 1)
        outline = [(x - half_upper, upper), (x + half_upper, upper), (x + half_lower, lower), (x - half_lower, lower)]
        canvas.polygon(outline, paint if band % 2 == 0 else WHITE)
    canvas.rectangle(x - 7, top - 6, x + 7, edge, YELLOW)
    canvas.rectangle(x - 12, edge - 3, x + 12, edge, INK)
    canvas.polygon([(x - 10, top - 6), (x + 10, top - 6), (x, top - 18)], paint)


def draw_sunset(canvas: Canvas, random: np.random.Generator) -> None:
    top, low, sea = pick(random, _DUSK)
    horizon = snap(random, 68, 84)
    x, radius = snap(random, 40, 88), snap(random, 20, 28)
    canvas.gradient(top, low, 0, horizon)
    canvas.ellipse(x, horizon - 4, radius, radius, (255, 236, 150))
    draw_sea(canvas, horizon, (mix(sea, low, 0.35), sea))
    for stripe in range(5):
        y = horizon + 5 + 9 * stripe
        canvas.ellipse(x + (4 if stripe % 2 else -4), y, radius - 3 * stripe, 2.2, (255, 222, 150))
    for bird in range(int(random.integers(3))):
        bx, by = (24, 104)[bird], 24 + 8 * bird
        canvas.line([(bx - 7, by - 3), (bx, by + 1), (bx + 7, by - 3)], INK, 2)


def draw_mountains(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random)
    rock = pick(random, ((112, 122, 160), (134, 116, 150)))
    peaks = [(snap(random, 16, 32), snap(random, 52, 64)), (snap(random, 96, 112), snap(random, 52, 64))]
    peaks.append((snap(random, 52, 76), snap(random, 28, 40)))
    for x, top in peaks:
        half = (112 - top) * 0.75
        canvas.polygon([(x - half, 112), (x, top), (x + half, 112)], rock)
        canvas.polygon([(x, top), (x + half, 112), (x, 112)], mix(rock, INK, 0.25))
        snow = (112 - top) * 0.3
        cap = snow * 0.75
        zigzag = [(x + cap, top + snow), (x + cap / 3, top + snow - 5), (x, top + snow + 3)]
        zigzag += [(x - cap / 3, top + snow - 5), (x - cap, top + snow)]
        canvas.polygon([(x, top), *zigzag], WHITE)
    draw_meadow(canvas, random, 94)
    for x in (16, 32, 100, 116):
        if random.random() < 0.6:
            _draw_pine(canvas, x, 116)


def _draw_pine(canvas: Canvas, x: float, base: float) -> None:
    canvas.rectangle(x - 2, base - 6, x + 2, base + 2, WOOD)
    canvas.polygon([(x - 9, base - 4), (x, base - 26), (x + 9, base - 4)], (36, 108, 84))


def draw_sailboat(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random, 92)
    horizon = snap(random, 80, 88)
    draw_sea(canvas, horizon, _WATER)
    x, base = snap(random, 48, 80), horizon + 12
    sails = pick(random, ((WHITE, RED), (YELLOW, ORANGE), (WHITE, TEAL), (PINK, WHITE)))
    mast = base - snap(random, 64, 72)
    canvas.rectangle(x - 1.5, mast - 4, x + 1.5, base, WOOD)
    canvas.polygon([(x + 4, mast), (x + 4, base - 8), (x + 36, base - 8)], sails[0])
    canvas.polygon([(x - 4, mast + 12), (x - 4, base - 8), (x - 28, base - 8)], sails[1])
    hull = pick(random, (RED, BLUE, WOOD))
    canvas.polygon([(x - 36, base - 4), (x + 40, base - 4), (x + 28, base + 12), (x - 26, base + 12)], hull)
    canvas.polygon([(x - 36, base - 4), (x + 40, base - 4), (x + 37, base), (x - 34, base)], WHITE)
    for wave in range(4):
        wx = 16 + 32 * wave
        canvas.arc(wx, 104, 9, 20, 160, (170, 216, 240), 2.5)
        canvas.arc(wx + 16, 114, 9, 20, 160, (170, 216, 240), 2.5)


def draw_rainbow(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random)
    x, radius, base = snap(random, 56, 72), snap(random, 48, 56), 100
    for band, colour in enumerate((RED, ORANGE, YELLOW, (96, 190, 96), BLUE, VIOLET)):
        canvas.arc(x, base, radius - 5 * band, 180, 360, colour, 5.5)
    draw_meadow(canvas, random, 88)
    draw_cloud(canvas, x - radius + 13, 92, 1.1)
    draw_cloud(canvas, x + radius - 13, 92, 1.1)


def draw_zigzag(canvas: Canvas, random: np.random.Generator) -> None:
    colours = pick(
        random,
        (
            (RED, WHITE, TEAL, YELLOW),
            (VIOLET, PINK, WHITE, BLUE),
            (ORANGE, YELLOW, WHITE, RED),
            (TEAL, WHITE, BLUE, (150, 214, 120)),
        ),
    )
    half = pick(random, (16, 32))
    height, phase = 16, int(random.integers(4))
    for band in range(-4, 12):
        y = band * height
        crest = [(x, y + (0 if (x // half) % 2 else half * 0.75)) for x in range(0, SIZE + half, half)]
        canvas.polygon([*crest, (SIZE, SIZE * 2), (0, SIZE * 2)], colours[(band + phase) % 4])
