"""Whether a heatmap lies on the lesion: the pointing game and the share of its energy inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pointing_hit(cam: NDArray[np.float32], mask: NDArray[np.uint8]) -> bool:
    """Whether the maximum of ``cam`` lies inside ``mask``, both ``(H, W)``; no hit if it is all 0.

    The pointing game of Zhang et al. (IJCV 2018;126:1084), without its tolerance of 15 pixels.
    """
    row, column = np.unravel_index(int(cam.argmax()), cam.shape)
    return bool(mask[row, column]) and float(cam.max()) > 0


def energy_inside(cam: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Share of the sum of ``cam`` (not negative) that lies inside ``mask``, 0–1; 0 if it is all 0.

    The energy-based pointing game of Wang et al. (Score-CAM, CVPR Workshops 2020, eq. 6).
    """
    total = float(cam.sum(dtype=np.float64))
    return float((cam * (mask > 0)).sum(dtype=np.float64)) / total if total > 0 else 0.0
