"""Things and animals: each function draws one random picture of its class on an empty canvas."""

from __future__ import annotations

from typing import Final

import numpy as np

from zipar_demo.scenes.backdrop import (
    BLUE,
    BRIGHT,
    INK,
    ORANGE,
    PINK,
    RED,
    TEAL,
    VIOLET,
    WHITE,
    WOOD,
    YELLOW,
    draw_meadow,
    draw_sky,
    draw_smile,
)
from zipar_demo.scenes.canvas import Canvas, Colour, mix, pick, snap

_FURS: Final[tuple[Colour, ...]] = ((244, 160, 74), (150, 152, 164), (74, 70, 84), (240, 218, 180))


def draw_house(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random)
    draw_meadow(canvas, random, 92)
    x, half, base = snap(random, 52, 76), snap(random, 28, 36), 112
    top = snap(random, 64, 68)
    roof, wall = pick(random, (RED, BLUE, VIOLET, TEAL)), pick(random, ((252, 232, 196), (250, 206, 160), WHITE))
    canvas.rectangle(x + half - 16, top - 28, x + half - 8, top, (150, 84, 72))
    canvas.rectangle(x - half, top, x + half, base, wall)
    canvas.polygon([(x - half - 8, top), (x, top - 36), (x + half + 8, top)], roof)
    canvas.rectangle(x - 7, base - 26, x + 7, base, mix(roof, INK, 0.3))
    canvas.ellipse(x + 3, base - 13, 1.6, 1.6, YELLOW)
    for window in (x - half + 10, x + half - 10):
        canvas.rectangle(window - 6, top + 10, window + 6, top + 22, (120, 190, 232))
        canvas.line([(window, top + 10), (window, top + 22)], WHITE, 1.6)
        canvas.line([(window - 6, top + 16), (window + 6, top + 16)], WHITE, 1.6)
    canvas.ellipse(x, top - 14, 5, 5, YELLOW)


def draw_balloon(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random)
    draw_meadow(canvas, random, 108)
    x, y, radius = snap(random, 48, 80), snap(random, 44, 52), snap(random, 28, 32)
    first = pick(random, BRIGHT)
    second = pick(random, (YELLOW, WHITE))
    canvas.line([(x - 16, y + 24), (x - 6, y + 50)], INK, 1.6)
    canvas.line([(x + 16, y + 24), (x + 6, y + 50)], INK, 1.6)
    canvas.polygon([(x - radius * 0.87, y + 16), (x + radius * 0.87, y + 16), (x + 9, y + 42), (x - 9, y + 42)], first)
    for share, colour in ((1, first), (0.68, second), (0.3, first)):
        canvas.ellipse(x, y, radius * share, radius, colour)
    canvas.polygon([(x - radius * 0.5, y + 20), (x + radius * 0.5, y + 20), (x + 6, y + 42), (x - 6, y + 42)], second)
    canvas.polygon([(x - radius * 0.25, y + 20), (x + radius * 0.25, y + 20), (x + 3, y + 42), (x - 3, y + 42)], first)
    canvas.rectangle(x - 8, y + 48, x + 8, y + 60, WOOD)
    canvas.rectangle(x - 9, y + 48, x + 9, y + 51, mix(WOOD, INK, 0.4))


def draw_tree(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random)
    draw_meadow(canvas, random, 92)
    x, y, size = snap(random, 48, 80), snap(random, 48, 52), snap(random, 24, 28)
    crown, fruit = pick(random, (((70, 156, 82), RED), (PINK, WHITE), (ORANGE, YELLOW), ((150, 190, 70), RED)))
    canvas.polygon([(x - 6, y + 12), (x + 6, y + 12), (x + 10, 112), (x - 10, 112)], WOOD)
    shade = mix(crown, INK, 0.15)
    for dx, dy in ((-18, 10), (18, 10)):
        canvas.ellipse(x + dx, y + dy, size - 6, size - 8, shade)
    canvas.ellipse(x, y - 6, size, size, crown)
    canvas.ellipse(x, y + 10, size + 2, size - 10, crown)
    for dx, dy in ((-12, -12), (10, -16), (0, 2), (-20, 10), (20, 8), (12, 16), (-8, 18)):
        canvas.ellipse(x + dx, y + dy, 3.4, 3.4, fruit)


def draw_cat(canvas: Canvas, random: np.random.Generator) -> None:
    light = pick(random, ((170, 222, 236), (252, 218, 190), (206, 226, 170), (222, 204, 242)))
    canvas.gradient(light, mix(light, WHITE, 0.4))
    fur, eyes = pick(random, _FURS), pick(random, ((120, 200, 90), YELLOW))
    x, y, rx = snap(random, 56, 72), snap(random, 68, 76), snap(random, 40, 44)
    for side in (-1, 1):
        canvas.polygon([(x + side * 40, y - 50), (x + side * 8, y - 26), (x + side * 38, y - 8)], fur)
        canvas.polygon([(x + side * 35, y - 40), (x + side * 17, y - 24), (x + side * 33, y - 14)], PINK)
    canvas.ellipse(x, y + 52, 34, 30, mix(fur, INK, 0.15))
    canvas.ellipse(x, y, rx, 34, fur)
    canvas.ellipse(x, y + 15, 18, 13, mix(fur, WHITE, 0.6))
    for side in (-1, 1):
        canvas.ellipse(x + side * 17, y - 6, 9, 9, WHITE)
        canvas.ellipse(x + side * 17, y - 6, 7.5, 8, eyes)
        canvas.ellipse(x + side * 17, y - 6, 3.4, 7, INK)
        for slope in (-4, 4):
            canvas.line([(x + side * 22, y + 14), (x + side * 48, y + 14 + slope)], INK, 1.4)
        canvas.arc(x + side * 5, y + 14, 5, 10, 170, INK, 2)
    canvas.polygon([(x - 6, y + 6), (x + 6, y + 6), (x, y + 13)], (232, 96, 120))


def draw_fish(canvas: Canvas, random: np.random.Generator) -> None:
    canvas.gradient((104, 204, 226), (38, 112, 182))
    canvas.ellipse(64, 132, 90, 20, (240, 214, 150))
    for weed in (12, 28, 100, 116):
        if random.random() < 0.6:
            canvas.line([(weed, 120), (weed - 4, 108), (weed + 4, 96), (weed, 84)], (48, 160, 110), 5)
    facing = pick(random, (-1, 1))
    x, y = 64 - 8 * facing + snap(random, -8, 8), snap(random, 52, 68)
    body, band = pick(random, ((ORANGE, WHITE), (YELLOW, VIOLET), (RED, YELLOW), (PINK, WHITE)))
    fin = mix(body, RED, 0.35)
    canvas.polygon([(x - facing * 26, y), (x - facing * 50, y - 22), (x - facing * 50, y + 22)], fin)
    canvas.polygon([(x - facing * 14, y - 18), (x + facing * 14, y - 20), (x - facing * 12, y - 34)], fin)
    canvas.polygon([(x - facing * 8, y + 18), (x + facing * 10, y + 20), (x - facing * 8, y + 32)], fin)
    canvas.ellipse(x, y, 36, 24, body)
    for offset, half in ((-18, 19), (2, 22)):
        left = x + facing * offset
        canvas.polygon([(left - 4, y - half), (left + 4, y - half), (left + 4, y + half), (left - 4, y + half)], band)
    canvas.ellipse(x + facing * 20, y - 6, 7, 7, WHITE)
    canvas.ellipse(x + facing * 22, y - 6, 3.6, 3.6, INK)
    canvas.arc(x + facing * 28, y + 4, 6, 30, 150, INK, 2)
    for bubble in range(int(random.integers(1, 4))):
        radius = 4 - bubble / 2
        canvas.ellipse(x + facing * (44 + 2 * bubble), y - 14 - 14 * bubble, radius, radius, (214, 242, 250))


def draw_mushroom(canvas: Canvas, random: np.random.Generator) -> None:
    draw_sky(canvas, random)
    draw_meadow(canvas, random, 96)
    x, y, rx = snap(random, 52, 76), snap(random, 68, 72), snap(random, 40, 44)
    cap = pick(random, (RED, ORANGE, VIOLET, BLUE))
    canvas.ellipse(x, 112, 22, 8, (236, 220, 196))
    canvas.rectangle(x - 18, y - 4, x + 18, 110, (252, 238, 214))
    canvas.pie(x, y, rx, 44, 180, 360, cap)
    canvas.ellipse(x, y, rx, 7, mix(cap, INK, 0.25))
    for dx, dy, size in ((0, -30, 8), (-22, -16, 7), (22, -16, 7), (-4, -8, 4), (12, -36, 3)):
        canvas.ellipse(x + dx, y + dy, size, size * 0.9, WHITE)
    draw_smile(canvas, x, y + 18, 9)
    canvas.ellipse(x - 14, y + 25, 3.4, 2.4, PINK)
    canvas.ellipse(x + 14, y + 25, 3.4, 2.4, PINK)


def draw_rocket(canvas: Canvas, random: np.random.Generator) -> None:
    canvas.gradient((30, 30, 78), pick(random, ((86, 62, 140), (40, 92, 150))))
    planet = pick(random, (ORANGE, PINK, TEAL))
    right = random.random() < 0.5
    px, py = (104 if right else 24), snap(random, 24, 32)
    canvas.ellipse(px, py, 13, 13, planet)
    canvas.line([(px - 20, py + 5), (px + 20, py - 5)], mix(planet, WHITE, 0.6), 3)
    for sx, sy in ((12, 76), (36, 12), (116, 84), (84, 12), (20, 108), (108, 116), (12, 52), (116, 60)):
        if random.random() < 0.6:
            canvas.ellipse(sx, sy, 2, 2, (255, 244, 190))
    x, y = snap(random, 56, 72), snap(random, 52, 60)
    paint = pick(random, (RED, BLUE, TEAL, ORANGE))
    flame = snap(random, 16, 28)
    canvas.polygon([(x - 11, y + 36), (x + 11, y + 36), (x, y + 40 + flame)], ORANGE)
    canvas.polygon([(x - 6, y + 36), (x + 6, y + 36), (x, y + 36 + flame * 0.6)], YELLOW)
    for side in (-1, 1):
        canvas.polygon([(x + side * 12, y + 8), (x + side * 30, y + 40), (x + side * 10, y + 34)], paint)
    canvas.ellipse(x, y, 17, 42, WHITE)
    canvas.rectangle(x - 12, y + 28, x + 12, y + 37, mix(paint, INK, 0.35))
    canvas.pie(x, y - 10, 14.5, 33, 205, 335, paint)
    canvas.polygon([(x - 13, y - 23), (x + 13, y - 23), (x, y - 10)], WHITE)
    canvas.ellipse(x, y - 2, 10, 10, paint)
    canvas.ellipse(x, y - 2, 7, 7, (166, 222, 244))


def draw_snowman(canvas: Canvas, random: np.random.Generator) -> None:
    top = pick(random, ((120, 172, 226), (150, 150, 216), (96, 190, 206)))
    canvas.gradient(top, mix(top, WHITE, 0.5), 0, 104)
    for flake_x, flake_y in ((16, 24), (36, 52), (16, 76), (112, 16), (96, 44), (112, 72), (60, 8), (28, 8)):
        if random.random() < 0.6:
            canvas.ellipse(flake_x, flake_y, 2.6, 2.6, WHITE)
    canvas.ellipse(64, 128, 110, 32, (238, 244, 250))
    x, y = snap(random, 48, 80), snap(random, 44, 48)
    scarf, hat = pick(random, (RED, TEAL, VIOLET)), pick(random, (INK, BLUE))
    for side in (-1, 1):
        canvas.line([(x + side * 22, y + 36), (x + side * 42, y + 20)], WOOD, 2.6)
    canvas.ellipse(x, y + 48, 30, 28, (226, 236, 246))
    canvas.ellipse(x, y + 46, 28, 26, WHITE)
    canvas.ellipse(x, y, 20, 19, WHITE)
    canvas.rectangle(x - 12, y - 34, x + 12, y - 13, hat)
    canvas.rectangle(x - 20, y - 16, x + 20, y - 12, hat)
    canvas.rectangle(x - 12, y - 20, x + 12, y - 16, scarf)
    canvas.rectangle(x - 18, y + 16, x + 18, y + 23, scarf)
    canvas.polygon([(x + 6, y + 20), (x + 16, y + 20), (x + 16, y + 40), (x + 8, y + 40)], scarf)
    draw_smile(canvas, x, y - 4, 8)
    canvas.polygon([(x, y), (x, y + 5), (x + 15, y + 4)], ORANGE)
    for button in (34, 46, 58):
        canvas.ellipse(x, y + button, 2.4, 2.4, INK)
