"""Pointing game and energy on maps made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model_export.pointing import energy_inside, pointing_hit

MASK = np.zeros((4, 5), dtype=np.uint8)
MASK[1:3, 1:3] = 1


def _map(**places: float) -> np.ndarray:
    """``_map(p12=1)`` is 1 in row 1, column 2, and 0 elsewhere."""
    heatmap = np.zeros((4, 5), dtype=np.float32)
    for place, value in places.items():
        heatmap[int(place[1]), int(place[2])] = value
    return heatmap


def test_the_maximum_decides_the_pointing_game() -> None:
    assert pointing_hit(_map(p12=0.9, p04=0.8), MASK)
    assert not pointing_hit(_map(p12=0.8, p04=0.9), MASK)
    assert not pointing_hit(_map(p03=1), MASK)


def test_the_energy_is_the_share_of_the_sum() -> None:
    assert energy_inside(_map(p11=0.25, p22=0.5, p04=0.25), MASK) == pytest.approx(0.75)
    assert energy_inside(_map(p04=1), MASK) == 0
    everywhere = np.full((4, 5), 0.3, dtype=np.float32)
    assert energy_inside(everywhere, MASK) == pytest.approx(MASK.mean())


def test_a_map_that_shows_nothing_hits_nothing() -> None:
    """Also where the first pixel, which argmax gives then, lies in the lesion."""
    everywhere = np.ones((4, 5), dtype=np.uint8)
    assert not pointing_hit(_map(), everywhere)
    assert energy_inside(_map(), everywhere) == 0
