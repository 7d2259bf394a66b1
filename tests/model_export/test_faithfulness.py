"""Deletion and insertion on a model whose only evidence is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from model_export.explanation.faithfulness import (
    CENTRE,
    Measures,
    Removed,
    area,
    centre_map,
    measure,
    random_map,
    summarise,
)

SQUARE = (slice(4, 14), slice(6, 16))
"""Off the centre of 60 × 60 pixels."""


def _mean_brightness(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    return np.array([image[SQUARE].mean() / 255 for image in images])


def _scene() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    pixels = np.full((60, 60), 30, dtype=np.uint8)
    pixels[SQUARE] = 250
    mask = (pixels == 250).astype(np.uint8)
    return pixels, mask, mask.astype(np.float32)


@pytest.mark.parametrize("removed", ["blur", "black"])
def test_the_map_of_the_models_evidence_beats_centre_and_noise(removed: Removed) -> None:
    pixels, mask, perfect = _scene()
    best, centre, noise = (
        measure(heatmap, pixels, mask, _mean_brightness, 12, removed)
        for heatmap in (perfect, centre_map(60, 60), random_map(60, 60, seed=1))
    )
    assert (best.hit, best.energy) == (1, 1)
    assert centre.hit == 0
    for other in (centre, noise):
        assert best.deletion_area < other.deletion_area - 0.05
        assert best.insertion_area > other.insertion_area + 0.05


def test_the_worst_map_is_worse_than_noise() -> None:
    pixels, mask, perfect = _scene()
    worst = measure(1 - perfect, pixels, mask, _mean_brightness)
    noise = measure(random_map(60, 60, seed=1), pixels, mask, _mean_brightness)
    assert worst.deletion_area > noise.deletion_area + 0.05
    assert worst.insertion_area < noise.insertion_area - 0.05


def test_curves_begin_and_end_with_the_whole_and_the_blurred_or_black_image() -> None:
    pixels, mask, perfect = _scene()
    whole = 250 / 255
    found = measure(perfect, pixels, mask, _mean_brightness, steps=5, removed="black")
    assert found.deletion.shape == found.insertion.shape == (6,)
    assert (found.deletion[0], found.deletion[-1]) == (pytest.approx(whole), 0)
    assert found.insertion[-1] == pytest.approx(whole)
    assert 30 / 255 < found.insertion[0] < whole
    # A fifth of the pixels is more than the square: all evidence is gone in the first step.
    assert found.deletion[1] == 0
    assert found.insertion[1] == pytest.approx(whole)


def test_an_empty_map_removes_pixels_in_no_order() -> None:
    pixels, mask, _ = _scene()
    found = measure(np.zeros((60, 60), np.float32), pixels, mask, _mean_brightness, 4, "black")
    np.testing.assert_allclose(found.deletion * 255 / 250, [1, 0.75, 0.5, 0.25, 0], atol=0.15)
    assert (found.hit, found.energy) == (0, 0)


def test_the_area_is_that_of_trapezoids() -> None:
    assert area(np.array([1.0, 0.0])) == 0.5
    assert area(np.array([1.0, 1.0, 0.0])) == 0.75


def _made(hit: float, level: float) -> Measures:
    curve = np.full(5, level)
    return Measures(hit, hit / 2, curve, curve)


def test_the_summary_holds_means_differences_and_only_masked_images() -> None:
    ours = [_made(1, 0.2), _made(0, 0.4), _made(math.nan, 0.6)]
    centre = [_made(0, 0.1), _made(0, 0.1), _made(math.nan, 0.1)]
    found = summarise({"gradcam": ours, CENTRE: centre}, ["a", "b", "c"])[0]
    hits, energy = found.figures["pointing game"], found.figures["energy inside"]
    assert hits is not None
    assert energy is not None
    assert (hits.value, energy.value) == (0.5, 0.25)
    deletion, beyond = found.figures["deletion"], found.against_centre["insertion"]
    assert deletion is not None
    assert beyond is not None
    assert deletion.value == pytest.approx(0.4)
    assert beyond.value == pytest.approx(0.3)
    assert deletion.lower < deletion.value < deletion.upper
    np.testing.assert_allclose(found.deletion, 0.4)


def test_without_masks_the_lesions_figures_are_absent() -> None:
    measures = [_made(math.nan, 0.2), _made(math.nan, 0.4)]
    found = summarise({CENTRE: measures}, ["a", "b"])[0]
    assert found.figures["pointing game"] is None
    assert found.figures["deletion"] is not None
