"""The outline of a CAM as a polygon of few points."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray

from dicom_sr.finding import Box

LEVEL = 0.5
_TOLERANCE = 0.5


def cam_contour(cam: NDArray[np.float32], region: Box) -> NDArray[np.float64] | None:
    """Outline the largest area where the CAM reaches ``LEVEL`` of its maximum.

    cam: ``(region.height, region.width)`` float32, non-negative.
    Returns ``(n, 2)`` columns and rows in pixels of the full frame, the last point equal to the
    first, simplified to within half a pixel; None if the CAM is all zero. As DICOM PS3.3 C.18.6.1.2
    has it, 0\\0 is the top left corner of the first pixel, whose centre therefore is 0.5\\0.5.
    """
    maximum = float(cam.max())
    if maximum <= 0:
        return None
    x, y, z = _surroundings(cam, LEVEL * maximum)
    lines = contour_generator(x, y, z).lines(LEVEL * maximum)
    largest = max((np.asarray(line, dtype=np.float64) for line in lines), key=_area)
    # The centre of the n-th pixel, counted from 1, is at n - 0.5.
    inside = np.clip(largest - 0.5, 0, (region.width, region.height))
    return simplify(inside + np.array([region.left, region.top]), _TOLERANCE)


def _surroundings(
    cam: NDArray[np.float32], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The part of the CAM that lies above the level, and one pixel around it.

    Beyond the CAM there are zeros, which close the lines that would leave it.
    Returns the numbers of the columns ``(w,)`` and rows ``(h,)``, counted from 1, and the values
    ``(h, w)``.
    """
    # A level that is rounded down to float32 leaves nothing out.
    above = cam >= np.nextafter(np.float32(level), np.float32(0))
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    top, bottom, left, right = rows[0] - 1, rows[-1] + 2, columns[0] - 1, columns[-1] + 2
    values = np.zeros((bottom - top, right - left))
    height, width = cam.shape
    known = cam[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    first_row, first_column = max(-top, 0), max(-left, 0)
    values[first_row : first_row + known.shape[0], first_column : first_column + known.shape[1]] = (
        known
    )
    return np.arange(left + 1.0, right + 1), np.arange(top + 1.0, bottom + 1), values


def simplify(polygon: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Leave out points of a closed polygon that lie within ``tolerance`` pixels of the outline.

    The Ramer–Douglas–Peucker algorithm, begun at the first point and the one farthest from it.
    """
    farthest = int(np.argmax(np.hypot(*(polygon - polygon[0]).T)))
    last = len(polygon) - 1
    keep = {0, farthest, last}
    pending = [(0, farthest), (farthest, last)]
    while pending:
        start, end = pending.pop()
        if end - start < 2:
            continue
        distances = _distances(polygon[start + 1 : end], polygon[start], polygon[end])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = start + 1 + worst
            keep.add(middle)
            pending += [(start, middle), (middle, end)]
    return polygon[sorted(keep)]


def _area(polygon: NDArray[np.float64]) -> float:
    """Area of a closed polygon in square pixels (shoelace formula)."""
    x, y = polygon.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2


def _distances(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances of points from the line through ``start`` and ``end`` in pixels."""
    direction = end - start
    length = float(np.hypot(*direction))
    offsets = points - start
    if length == 0:
        return np.asarray(np.hypot(*offsets.T))
    across = offsets[:, 0] * direction[1] - offsets[:, 1] * direction[0]
    return np.asarray(np.abs(across) / length)
