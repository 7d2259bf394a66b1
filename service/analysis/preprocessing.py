"""The one definition of how pixels become the network's input.

Training, evaluation, export checks and the service all call :func:`preprocess` with the
:class:`Preprocessing` that the model package's manifest carries, so they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field


class Preprocessing(BaseModel):
    """What the network was trained to see.

    size: edge of the square input in pixels.
    fit: ``letterbox`` keeps the aspect ratio and pads with black, ``stretch`` does not keep it.
    colour: ``luminance`` converts to ITU-R 601 luma and repeats it in three channels.
    interpolation: Pillow's bilinear filter, which widens its support when it shrinks (antialiased).
    mean, std: per channel, on the scale 0–1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=1024, ge=32, le=4096)
    fit: Literal["letterbox", "stretch"] = "letterbox"
    colour: Literal["luminance"] = "luminance"
    interpolation: Literal["bilinear-antialias"] = "bilinear-antialias"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Placement:
    """Where the image lies inside the network's input, in input pixels (half-open)."""

    left: int
    top: int
    width: int
    height: int


def placement(height: int, width: int, spec: Preprocessing) -> Placement:
    """Place an image of ``height`` × ``width`` pixels in the ``spec.size`` square, centred."""
    if height < 1 or width < 1:
        raise ValueError(f"an image of {width}x{height} pixels has no area")
    if spec.fit == "stretch":
        return Placement(0, 0, spec.size, spec.size)
    scale = spec.size / max(height, width)
    fitted_width = max(1, round(width * scale))
    fitted_height = max(1, round(height * scale))
    return Placement(
        (spec.size - fitted_width) // 2,
        (spec.size - fitted_height) // 2,
        fitted_width,
        fitted_height,
    )


def luminance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(H, W)`` or ``(H, W, 3)`` RGB uint8 to ``(H, W)`` uint8 by ITU-R 601 weights."""
    if image.ndim == 2:
        return image
    return np.asarray(Image.fromarray(image).convert("L"))


def preprocess(image: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.float32]:
    """``(H, W)`` or ``(H, W, 3)`` RGB uint8 to ``(3, size, size)`` float32, normalised."""
    place = placement(image.shape[0], image.shape[1], spec)
    fitted = Image.fromarray(luminance(image)).resize(
        (place.width, place.height), Image.Resampling.BILINEAR
    )
    canvas = np.zeros((spec.size, spec.size), dtype=np.uint8)
    canvas[place.top : place.top + place.height, place.left : place.left + place.width] = (
        np.asarray(fitted)
    )
    grey = canvas.astype(np.float32) / np.float32(255)
    mean = np.asarray(spec.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(spec.std, dtype=np.float32)[:, None, None]
    return np.asarray((grey[None] - mean) / std, dtype=np.float32)


def normalise_cam(cam: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a CAM to 0–1 as pytorch-grad-cam's ``scale_cam_image`` does.

    A map that is the same everywhere (all zero: no place raised the logit) becomes all zero.
    """
    shifted = cam - cam.min()
    return np.asarray(shifted / (np.float32(1e-7) + shifted.max()), dtype=np.float32)


def cam_to_image(
    cam: NDArray[np.float32], height: int, width: int, spec: Preprocessing
) -> NDArray[np.float32]:
    """Bring a raw CAM from the network's grid to the image that was preprocessed.

    cam: ``(h, w)`` float32, not negative.
    Returns ``(height, width)`` float32, 0–1: the CAM at input resolution (bilinear), scaled to 0–1
    there, which is pytorch-grad-cam's result; then cut to the placement and fitted to the image.
    """
    place = placement(height, width, spec)
    full = Image.fromarray(cam).resize((spec.size, spec.size), Image.Resampling.BILINEAR)
    scaled = normalise_cam(np.asarray(full))
    box = (place.left, place.top, place.left + place.width, place.top + place.height)
    fitted = Image.fromarray(scaled).crop(box).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted, dtype=np.float32)
