"""Endless training pictures, drawn by code: flat, cheerful, one of CLASS_NAMES each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zipar_demo.scenes import objects, scenery
from zipar_demo.scenes.canvas import SIZE, Canvas

_PAINTERS: Final[dict[str, Callable[[Canvas, np.random.Generator], None]]] = {
    "lighthouse": scenery.draw_lighthouse,
    "sunset": scenery.draw_sunset,
    "mountains": scenery.draw_mountains,
    "sailboat": scenery.draw_sailboat,
    "rainbow": scenery.draw_rainbow,
    "house": objects.draw_house,
    "balloon": objects.draw_balloon,
    "tree": objects.draw_tree,
    "cat": objects.draw_cat,
    "fish": objects.draw_fish,
    "mushroom": objects.draw_mushroom,
    "rocket": objects.draw_rocket,
    "snowman": objects.draw_snowman,
    "zigzag": scenery.draw_zigzag,
}
CLASS_NAMES: Final[tuple[str, ...]] = tuple(_PAINTERS)

__all__ = ["CLASS_NAMES", "SIZE", "draw_batch", "draw_scene"]


def draw_scene(class_index: int, seed: int) -> NDArray[np.uint8]:
    """Draw one picture: [SIZE, SIZE, 3]; the same class and seed give the same pixels."""
    if not 0 <= class_index < len(CLASS_NAMES):
        raise ValueError(f"class must be 0..{len(CLASS_NAMES) - 1}, received {class_index}")
    canvas = Canvas()
    _PAINTERS[CLASS_NAMES[class_index]](canvas, np.random.default_rng((class_index, seed)))
    return canvas.pixels()


def draw_batch(first_seed: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw pictures: [count, SIZE, SIZE, 3] and labels: [count], classes taking turns."""
    seeds = range(first_seed, first_seed + count)
    labels = np.array([seed % len(CLASS_NAMES) for seed in seeds], dtype=np.int64)
    pictures = np.stack([draw_scene(int(label), seed) for label, seed in zip(labels, seeds, strict=True)])
    return pictures, labels
