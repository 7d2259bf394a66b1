"""Where the picture lies in a frame whose header does not say it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_sr.finding import Box
from service.analysis.preprocessing import luminance

BACKGROUND = 8
"""Grey levels up to this one count as black: JPEG leaves some noise in it."""

_BLOCKS = 128
_LIT_BLOCK = 0.35
_LIT_EDGE = 0.1


def lit(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """``(H, W[, 3])`` to ``(H, W)``: which pixels are not background."""
    return luminance(frame) > BACKGROUND


def content_box(frame: NDArray[np.uint8]) -> Box | None:
    """The bounding box of the largest connected lit area, None if nothing is lit.

    frame: ``(H, W, 3)`` uint8 RGB.

    Works on a grid of at most 128 × 128 blocks: a block is lit if 35 % of its pixels are, which
    closes the gaps in speckle and leaves out scales, lines and most text. The box is then
    trimmed while less than 10 % of an edge is lit.
    """
    mask = lit(frame)
    height, width = mask.shape
    edge = max(4, -(-max(height, width) // _BLOCKS))
    area = _largest_area(_lit_blocks(mask, edge))
    if area is None:
        return None
    top, bottom = int(area[0].min()) * edge, min((int(area[0].max()) + 1) * edge, height)
    left, right = int(area[1].min()) * edge, min((int(area[1].max()) + 1) * edge, width)
    rows = _span(mask[top:bottom, left:right].mean(axis=1))
    columns = _span(mask[top:bottom, left:right].mean(axis=0))
    return Box(left + columns[0], top + rows[0], left + columns[1], top + rows[1])


def _lit_blocks(mask: NDArray[np.bool_], edge: int) -> NDArray[np.bool_]:
    """``(H, W)`` pixels to ``(⌈H/edge⌉, ⌈W/edge⌉)`` blocks."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % edge), (0, -width % edge)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // edge, edge, padded.shape[1] // edge, edge)
    return np.asarray(blocks.mean(axis=(1, 3)) >= _LIT_BLOCK)


def _largest_area(blocks: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Rows and columns of the largest 4-connected area (a flood fill from each unseen block)."""
    waiting = {(int(row), int(column)) for row, column in np.argwhere(blocks)}
    largest: list[tuple[int, int]] = []
    while waiting:
        area = [waiting.pop()]
        for row, column in area:
            for neighbour in (
                *((row - 1, column), (row + 1, column)),
                *((row, column - 1), (row, column + 1)),
            ):
                if neighbour in waiting:
                    waiting.remove(neighbour)
                    area.append(neighbour)
        # Sets have no order that lasts: ties go to the area that starts first.
        if (-len(area), min(area)) < (-len(largest), min(largest, default=(0, 0))):
            largest = area
    if not largest:
        return None
    found = np.asarray(largest)
    return found[:, 0], found[:, 1]


def _span(share: NDArray[np.float64]) -> tuple[int, int]:
    """First and end of what is lit enough, in a profile that is lit enough somewhere."""
    enough = np.flatnonzero(share >= _LIT_EDGE)
    return int(enough[0]), int(enough[-1]) + 1
