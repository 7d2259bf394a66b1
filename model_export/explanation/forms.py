"""How a heatmap is shown on its image; all pictures are ``(H, W, 3)`` uint8 RGB."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_sr.overlay import OUTLINE, activation_colours, blend_activation
from model_export.explanation.choices import Form

LEVELS = (0.25, 0.5, 0.75)
"""Of the map's maximum, at which its contours are drawn."""


def draw(form: Form, pixels: NDArray[np.uint8], heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map ``(H, W)``, 0–1, on the image ``(H, W)`` uint8; side-by-side is 2 W wide."""
    image = grey_to_rgb(pixels)
    if form is Form.CONTOUR:
        return _contours(image, heatmap)
    overlay = blend_activation(image, heatmap)
    if form is Form.SIDE_BY_SIDE:
        return np.concatenate([image, overlay], axis=1)
    return overlay


def grey_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(H, W)`` to ``(H, W, 3)``."""
    return np.repeat(pixels[..., None], 3, axis=2)


def outline_lesion(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with the outline of the lesion mask ``(H, W)``."""
    return _lines(picture, mask.astype(np.float32), 0.5, OUTLINE)


def _contours(picture: NDArray[np.uint8], heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    for level in LEVELS:
        red, green, blue = np.round(activation_colours(np.array(level, np.float32))).astype(int)
        picture = _lines(picture, heatmap, level, (int(red), int(green), int(blue)))
    return picture


def _lines(
    picture: NDArray[np.uint8],
    surface: NDArray[np.float32],
    level: float,
    colour: tuple[int, int, int],
) -> NDArray[np.uint8]:
    # A border of zeros closes the lines of what reaches the edge.
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    width = max(1, round(min(surface.shape) / 200))
    for line in contour_generator(z=np.pad(surface, 1)).lines(level):
        pen.line([(x - 1, y - 1) for x, y in np.asarray(line)], fill=colour, width=width)
    return np.asarray(canvas)
