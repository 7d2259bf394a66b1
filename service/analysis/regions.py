"""The Sequence of Ultrasound Regions (PS3.3 C.8.5.5), and what real scanners write into it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from dicom_sr.finding import Box
from dicom_sr.source import header_value

_TWO_DIMENSIONAL, _M_MODE, _SPECTRAL = 1, 2, 3
_TISSUE = 1
_FLOW = range(2, 8)
_BOUNDS = (
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
)
_OVERSHOOT = 2
_LEAST_LEFT = 0.5
_MOST = 32
_TOO_MANY = "The header has more regions than a screen shows, and they were not used."
_UNUSABLE = "The region bounds of the header do not fit the image and were not used."


@dataclass(frozen=True)
class Region:
    """One item: formats and types by their numbers in C.8.5.5.1.1 and .2, bounds in pixels.

    right, bottom: half-open, the header's last column and row plus one.
    """

    spatial_format: int
    data_type: int
    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_tissue(self) -> bool:
        return self.spatial_format == _TWO_DIMENSIONAL and self.data_type == _TISSUE

    @property
    def is_trace(self) -> bool:
        """M-mode or spectral."""
        return self.spatial_format in (_M_MODE, _SPECTRAL)

    @property
    def is_flow(self) -> bool:
        """Colour flow, Doppler or one of its traces."""
        return self.data_type in _FLOW


@dataclass(frozen=True)
class TissueBoxes:
    """boxes: largest first, empty if the regions cannot be used; remarks then say why."""

    boxes: tuple[Box, ...]
    source: str = "ultrasound region"
    remarks: tuple[str, ...] = ()


def ultrasound_regions(header: Dataset) -> tuple[Region, ...]:
    """The items that can be read; an item without bounds or formats is left out."""
    regions = []
    for item in header_value(header, "SequenceOfUltrasoundRegions") or ():
        values = [
            header_value(item, keyword)
            for keyword in ("RegionSpatialFormat", "RegionDataType", *_BOUNDS)
        ]
        if all(isinstance(value, int) for value in values):
            spatial_format, data_type, left, top, right, bottom = values
            regions.append(Region(spatial_format, data_type, left, top, right + 1, bottom + 1))
    return tuple(regions)


def tissue_boxes(regions: tuple[Region, ...], rows: int, columns: int) -> TissueBoxes:
    """The 2D tissue regions as boxes inside an image of ``rows`` × ``columns``.

    Bounds that leave the image by more than 2 pixels mean that the image was changed after they
    were written. If they leave it along one axis and at least half of the region is left, it was
    cut off there, and the region is clamped. Otherwise (rescaled, moved) they are not used.
    """
    tissue = [
        region
        for region in regions
        if region.is_tissue and region.right > region.left >= 0 and region.bottom > region.top >= 0
    ]
    if len(tissue) > _MOST:
        return TissueBoxes((), remarks=(_TOO_MANY,))
    boxes = []
    clamped = False
    for region in tissue:
        beyond = (region.right - columns > _OVERSHOOT, region.bottom - rows > _OVERSHOOT)
        box = _clamped(region, rows, columns)
        if box is None or all(beyond) or not _enough_left(box, region):
            return TissueBoxes((), remarks=(_UNUSABLE,))
        clamped = clamped or any(beyond)
        boxes.append(box)
    boxes.sort(key=lambda box: -box.width * box.height)
    if clamped:
        remark = "The image was cut off after the region bounds of its header were written."
        return TissueBoxes(tuple(boxes), "ultrasound region, clamped", (remark,))
    return TissueBoxes(tuple(boxes))


def _clamped(region: Region, rows: int, columns: int) -> Box | None:
    if region.left >= columns or region.top >= rows:
        return None
    return Box(region.left, region.top, min(region.right, columns), min(region.bottom, rows))


def _enough_left(box: Box, region: Region) -> bool:
    whole = (region.right - region.left) * (region.bottom - region.top)
    return box.width * box.height >= _LEAST_LEFT * whole
