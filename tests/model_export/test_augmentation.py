"""Augmentation changes an image, never its lesion's presence, and is repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_export.dataset import read_manifest
from model_export.training.augmentation import augment


@pytest.mark.parametrize("lesion_crops", [0.0, 1.0])
def test_it_keeps_the_lesion_and_is_repeatable(data_folder: Path, lesion_crops: float) -> None:
    for image in read_manifest(data_folder / "bus-bra")[::400]:
        for seed in range(5):
            rng, twin = np.random.default_rng(seed), np.random.default_rng(seed)
            pixels, mask = augment(image.pixels(), image.mask(), rng, lesion_crops)
            again, _ = augment(image.pixels(), image.mask(), twin, lesion_crops)
            assert pixels.shape == mask.shape
            assert pixels.dtype == np.uint8
            assert mask.any()
            np.testing.assert_array_equal(pixels, again)


def test_lesion_crops_show_the_lesion_larger(data_folder: Path) -> None:
    shares: dict[float, list[float]] = {0.0: [], 1.0: []}
    for image in read_manifest(data_folder / "bus-bra")[::100]:
        for lesion_crops, found in shares.items():
            rng = np.random.default_rng(0)
            _, mask = augment(image.pixels(), image.mask(), rng, lesion_crops)
            found.append(float(mask.mean()))
    assert np.mean(shares[1.0]) > 1.5 * np.mean(shares[0.0])
