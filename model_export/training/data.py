"""Images as the network sees them: augmented for training, as the service does it otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from model_export.dataset import LabelledImage
from model_export.training.augmentation import augment
from model_export.training.plan import TrainingPlan
from service.analysis.preprocessing import Preprocessing, placement, preprocess


class TrainingSet(Dataset[tuple[Tensor, Tensor, int]]):
    """Augmented inputs ``(3, S, S)``, lesion masks ``(1, S, S)``, and labels of one epoch.

    What an image becomes hangs on the plan's seed, the epoch and its index alone, so that a run
    that was interrupted goes on as if it had not been.
    """

    def __init__(
        self,
        images: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], int]],
        plan: TrainingPlan,
        epoch: int,
    ) -> None:
        self._images = images
        self._plan = plan
        self._epoch = epoch
        self._spec = plan.preprocessing(plan.size_at(epoch))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        pixels, mask, label = self._images[index]
        rng = np.random.default_rng([self._plan.seed, self._epoch, index])
        pixels, mask = augment(pixels, mask, rng, self._plan.lesion_crops)
        return torch.from_numpy(preprocess(pixels, self._spec)), place_mask(mask, self._spec), label


class ValidationSet(Dataset[tuple[Tensor, int]]):
    """Inputs ``(3, S, S)`` exactly as the service makes them, and labels."""

    def __init__(self, images: Sequence[LabelledImage], spec: Preprocessing) -> None:
        self._images = images
        self._spec = spec

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._images[index]
        return torch.from_numpy(preprocess(image.pixels(), self._spec)), image.label


def place_mask(mask: NDArray[np.uint8], spec: Preprocessing) -> Tensor:
    """``(H, W)`` 0/1 to ``(1, size, size)`` float32, placed as :func:`preprocess` places it."""
    place = placement(mask.shape[0], mask.shape[1], spec)
    fitted = Image.fromarray(mask).resize((place.width, place.height), Image.Resampling.NEAREST)
    canvas = np.zeros((1, spec.size, spec.size), dtype=np.float32)
    rows = slice(place.top, place.top + place.height)
    canvas[0, rows, place.left : place.left + place.width] = np.asarray(fitted)
    return torch.from_numpy(canvas)
