"""The drawn pictures that the demo checkpoint is trained on."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from zipar_demo.scenes import CLASS_NAMES, SIZE, draw_batch, draw_scene

CLASSES = range(len(CLASS_NAMES))


@pytest.mark.parametrize("class_index", CLASSES, ids=CLASS_NAMES)
def test_the_same_class_and_seed_draw_the_same_pixels(class_index: int) -> None:
    picture = draw_scene(class_index, seed=3)
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, draw_scene(class_index, seed=3))


@pytest.mark.parametrize("class_index", CLASSES, ids=CLASS_NAMES)
def test_seeds_vary_the_picture(class_index: int) -> None:
    assert len({draw_scene(class_index, seed).tobytes() for seed in range(8)}) >= 4


@pytest.mark.parametrize("class_index", CLASSES, ids=CLASS_NAMES)
def test_pictures_have_content_that_varies_over_rows_and_columns(class_index: int) -> None:
    picture = draw_scene(class_index, seed=0).astype(float)
    assert np.ptp(picture) > 100
    assert picture.std(axis=0).mean() > 5
    assert picture.std(axis=1).mean() > 5


def test_all_classes_differ() -> None:
    pictures = [draw_scene(class_index, seed=1).astype(float) for class_index in CLASSES]
    assert min(np.abs(first - second).mean() for first, second in combinations(pictures, 2)) > 10


def test_classes_take_turns_in_a_batch() -> None:
    pictures, labels = draw_batch(first_seed=5, count=3)
    assert labels.tolist() == [5, 6, 7]
    assert np.array_equal(pictures[1], draw_scene(6, seed=6))


def test_a_class_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"class must be 0\.\.13, received 14"):
        draw_scene(14, seed=0)
