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
    top, bottom = area.top * edge, min(area.bottom * edge, height)
    left, right = area.left * edge, min(area.right * edge, width)
    rows = _span(mask[top:bottom, left:right].mean(axis=1))
    columns = _span(mask[top:bottom, left:right].mean(axis=0))
    return Box(left + columns[0], top + rows[0], left + columns[1], top + rows[1])


def _lit_blocks(mask: NDArray[np.bool_], edge: int) -> NDArray[np.bool_]:
    """``(H, W)`` pixels to ``(⌈H/edge⌉, ⌈W/edge⌉)`` blocks."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % edge), (0, -width % edge)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // edge, edge, padded.shape[1] // edge, edge)
    return np.asarray(blocks.mean(axis=(1, 3)) >= _LIT_BLOCK)


def _largest_area(blocks: NDArray[np.bool_]) -> Box | None:
    """Bounds, in blocks, of the largest 4-connected area; of equal ones the uppermost.

    Runs of lit blocks are joined row by row (union–find).
    """
    steps = np.diff(np.pad(blocks, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, columns = (index.tolist() for index in np.nonzero(steps))
    runs = list(zip(rows[::2], columns[::2], columns[1::2], strict=True))
    area = list(range(len(runs)))

    def first_of(run: int) -> int:
        while area[run] != run:
            run = area[run]
        return run

    above = 0
    for run, (row, left, right) in enumerate(runs):
        while runs[above][0] < row - 1:
            above += 1
        for other in range(above, run):
            other_row, other_left, other_right = runs[other]
            if other_row == row - 1 and other_left < right and left < other_right:
                one, two = first_of(run), first_of(other)
                area[max(one, two)] = min(one, two)
    if not runs:
        return None
    sizes = np.zeros(len(runs), dtype=np.int64)
    members = [first_of(run) for run in range(len(runs))]
    for member, (_, left, right) in zip(members, runs, strict=True):
        sizes[member] += right - left
    largest = int(sizes.argmax())
    chosen = [run for run, member in zip(runs, members, strict=True) if member == largest]
    tops, lefts, rights = zip(*chosen, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(tops) + 1)


def _span(share: NDArray[np.float64]) -> tuple[int, int]:
    """First and end of what is lit enough, in a profile that is lit enough somewhere."""
    enough = np.flatnonzero(share >= _LIT_EDGE)
    return int(enough[0]), int(enough[-1]) + 1
