"""Whether a heatmap shows what the model uses: on the lesion, and by deletion and insertion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from model_export.explanation.choices import Removed
from model_export.pointing import energy_inside, pointing_hit
from model_export.statistics import Interval, bootstrap_by_patient

CENTRE, RANDOM = "centre", "random"
"""The maps that know nothing of the model: a Gaussian in the centre, and noise."""

BLUR = 0.05
"""Standard deviation of the blur, as a share of the image's longer edge."""
_CENTRE_WIDTH = 0.2

Probabilities = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float64]]
"""Images to ``(N,)`` probabilities of the class that the map is for."""


@dataclass(frozen=True)
class Measures:
    """Of one map on one image.

    hit, energy: see :mod:`model_export.pointing`; nan without a lesion mask.
    deletion, insertion: ``(steps + 1,)`` probability of the class, from no pixel removed
        (inserted) to all.
    """

    hit: float
    energy: float
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, 0–1; low is good."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve, 0–1; high is good."""
        return area(self.insertion)


FIGURES: Mapping[str, Callable[[Measures], float]] = {
    "pointing game": lambda measures: measures.hit,
    "energy inside": lambda measures: measures.energy,
    "deletion": lambda measures: measures.deletion_area,
    "insertion": lambda measures: measures.insertion_area,
}


@dataclass(frozen=True)
class Summary:
    """Means of one method over images, with 95 % intervals from a bootstrap by patient.

    figures: by the names of ``FIGURES``. against_centre: the same, less the centre Gaussian's on
    the same images. None where no image has a mask or there are too few patients.
    deletion, insertion: the mean curves.
    """

    method: str
    figures: Mapping[str, Interval | None]
    against_centre: Mapping[str, Interval | None]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


def measure(
    heatmap: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    probabilities: Probabilities,
    steps: int = 12,
    removed: Removed = Removed.BLUR,
) -> Measures:
    """Judge one map ``(H, W)`` of the image ``(H, W)``.

    mask: 1 inside the lesion, all 0 if there is none.
    removed: what stands where a pixel was deleted. Insertion begins with the blurred image.
    Deletion and insertion are those of RISE (Petsiuk et al., BMVC 2018), in ``steps`` equal steps.
    """
    ranks = _ranks(heatmap)
    blurred = gaussian_filter(pixels, BLUR * max(pixels.shape))
    nothing = blurred if removed is Removed.BLUR else np.zeros_like(pixels)
    limits = [round(step / steps * pixels.size) for step in range(steps + 1)]
    deletion = probabilities([np.where(ranks < limit, nothing, pixels) for limit in limits])
    insertion = probabilities([np.where(ranks < limit, pixels, blurred) for limit in limits])
    known = bool(mask.any())
    return Measures(
        float(pointing_hit(heatmap, mask)) if known else math.nan,
        energy_inside(heatmap, mask) if known else math.nan,
        deletion,
        insertion,
    )


def area(curve: NDArray[np.float64]) -> float:
    """Area under ``(n + 1,)`` values over 0–1, by trapezoids."""
    return float(np.trapezoid(curve, dx=1 / (curve.size - 1)))


def centre_map(height: int, width: int) -> NDArray[np.float32]:
    """A Gaussian in the centre, a fifth of the edges wide: where lesions lie in cropped images."""
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    squares = rows[:, None] ** 2 + columns[None] ** 2
    return np.asarray(np.exp(-squares / (2 * _CENTRE_WIDTH**2)), dtype=np.float32)


def random_map(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Noise, 0–1."""
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def summarise(measured: Mapping[str, Sequence[Measures]], patients: Sequence[str]) -> list[Summary]:
    """Means by method, over the same images in the same order for each.

    measured: by method; ``CENTRE`` must be one of them. patients: of each image.
    """
    values = {
        method: {name: np.array([of(one) for one in found]) for name, of in FIGURES.items()}
        for method, found in measured.items()
    }
    centre = values[CENTRE]
    return [
        Summary(
            method,
            {name: _mean(values[method][name], patients) for name in FIGURES},
            {name: _mean(values[method][name] - centre[name], patients) for name in FIGURES},
            np.mean([one.deletion for one in found], axis=0),
            np.mean([one.insertion for one in found], axis=0),
        )
        for method, found in measured.items()
    ]


def _mean(values: NDArray[np.float64], patients: Sequence[str]) -> Interval | None:
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return None
    kept = values[known]
    return bootstrap_by_patient(np.asarray(patients)[known], lambda rows: float(kept[rows].mean()))


def _ranks(heatmap: NDArray[np.float32]) -> NDArray[np.int64]:
    """``(H, W)``: 0 for the highest pixel. Equal ones come in random order: in reading order,
    what is equally unimportant would be removed from the top down."""
    noise = np.random.default_rng(0).random(heatmap.size)
    order = np.lexsort((noise, -heatmap.ravel()))
    ranks = np.empty(heatmap.size, dtype=np.int64)
    ranks[order] = np.arange(heatmap.size)
    return ranks.reshape(heatmap.shape)
