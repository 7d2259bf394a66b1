"""Where the analysed box lies in its image, and how large a pixel is there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_sr.finding import Box
from dicom_sr.source import ReportError, SourceImage, header_items, header_value, read_source

_TWO_DIMENSIONAL, _TISSUE, _CENTIMETRES = 1, 1, 3


def outline(box: Box) -> NDArray[np.float64]:
    """The box as a closed line through its corners, ``(5, 2)`` columns and rows."""
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    return np.array(
        [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=np.float64
    )


def require_inside(image: SourceImage, box: Box) -> None:
    """Raises ReportError if the box leaves the image, as far as the header tells its size."""
    if box.right > (image.columns or box.right) or box.bottom > (image.rows or box.bottom):
        raise ReportError("the analysed box leaves the source image")


def pixel_spacing(source: Dataset, box: Box) -> tuple[float, float] | None:
    """Row and column spacing in mm of the 2D tissue region around the box.

    None if no region holds the box, or if the region's bounds leave the image: such a file was
    cropped or rescaled, and its region may tell a scale that no longer holds.
    """
    image = read_source(source)
    rows, columns = image.rows or 0, image.columns or 0
    for region in header_items(source, "SequenceOfUltrasoundRegions"):
        bounds = _bounds(region)
        if bounds is None or not _is_calibrated_tissue(region):
            continue
        left, top, right, bottom = bounds
        in_image = left >= 0 and top >= 0 and right <= columns and bottom <= rows
        around_box = (
            left <= box.left
            and top <= box.top
            and box.right <= right + 1
            and box.bottom <= bottom + 1
        )
        x, y = (_millimetres(region, f"PhysicalDelta{axis}") for axis in "XY")
        if in_image and around_box and x and y:
            return y, x
    return None


def _millimetres(region: Dataset, keyword: str) -> float | None:
    """The size of a pixel; the header tells centimetres, and negative ones towards the origin."""
    value = header_value(region, keyword)
    if not isinstance(value, float) or not math.isfinite(10 * value):
        return None
    return 10 * abs(value)


def _is_calibrated_tissue(region: Dataset) -> bool:
    return all(
        header_value(region, keyword) == expected
        for keyword, expected in (
            ("RegionSpatialFormat", _TWO_DIMENSIONAL),
            ("RegionDataType", _TISSUE),
            ("PhysicalUnitsXDirection", _CENTIMETRES),
            ("PhysicalUnitsYDirection", _CENTIMETRES),
        )
    )


def _bounds(region: Dataset) -> tuple[int, int, int, int] | None:
    """First and last column and row: left, top, right, bottom (inclusive)."""
    values = [
        header_value(region, keyword)
        for keyword in (
            "RegionLocationMinX0",
            "RegionLocationMinY0",
            "RegionLocationMaxX1",
            "RegionLocationMaxY1",
        )
    ]
    if not all(isinstance(value, int) for value in values):
        return None
    left, top, right, bottom = values
    return left, top, right, bottom
