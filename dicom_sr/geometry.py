"""Where the analysed box lies in its image, and how large a pixel is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_sr.finding import Box
from dicom_sr.source import header_value

_TWO_DIMENSIONAL, _TISSUE, _CENTIMETRES = 1, 1, 3


def outline(box: Box) -> NDArray[np.float64]:
    """The box as a closed line through its corners, ``(5, 2)`` columns and rows."""
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    return np.array(
        [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=np.float64
    )


def pixel_spacing(source: Dataset, box: Box) -> tuple[float, float] | None:
    """Row and column spacing in mm of the 2D tissue region around the box.

    None if no region holds the box, or if the region's bounds leave the image: such a file was
    cropped or rescaled, and its region may tell a scale that no longer holds.
    """
    rows, columns = header_value(source, "Rows") or 0, header_value(source, "Columns") or 0
    for region in header_value(source, "SequenceOfUltrasoundRegions") or ():
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
        x, y = header_value(region, "PhysicalDeltaX"), header_value(region, "PhysicalDeltaY")
        if in_image and around_box and x and y:
            return 10 * abs(float(y)), 10 * abs(float(x))
    return None


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
    if any(value is None for value in values):
        return None
    left, top, right, bottom = (int(value) for value in values)
    return left, top, right, bottom
