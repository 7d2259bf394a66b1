"""Which images are analysed, and which part of them: pure functions of header and pixels.

The gate's order: SOP class, our own results, imaging modes of Image Type, ultrasound regions,
colour, body part. ``screen_header`` does what needs no pixels, ``screen_frame`` the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_sr.finding import Box, NotAnalysed
from dicom_sr.identity import MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_sr.source import header_text
from service.analysis.content_box import content_box, lit
from service.analysis.regions import Region, tissue_boxes, ultrasound_regions
from service.sop_classes import ANALYSED

_Pixel = TypeVar("_Pixel", bound=np.generic)

SMALLEST_EDGE = 64
"""Pixels; a smaller box holds too little for the network."""

_TWO_DIMENSIONAL, _SPATIALLY_RELATED = 0x0001, 0x0400
_LEAST_LIT = 0.01
_LEAST_MARKS = 0.0002

# Defined terms of Body Part Examined (PS3.16 Annex L) that are surely not the breast. CHEST,
# AXILLA, free text and everything unknown is analysed: refusing a breast is the worse mistake.
_OTHER_BODY_PARTS = frozenset(
    {
        *("ABDOMEN", "ABDOMENPELVIS", "ADRENAL", "ANKLE", "AORTA", "APPENDIX", "ARM", "BLADDER"),
        *("BRAIN", "CAROTID", "CALF", "COLON", "ELBOW", "EYE", "FETUS", "FOOT", "FOREARM"),
        *("GALLBLADDER", "HAND", "HEAD", "HEART", "HIP", "KIDNEY", "KNEE", "LEG", "LIVER"),
        *("LUMBAR", "LUNG", "NECK", "OVARY", "PANCREAS", "PAROTID", "PELVIS", "PENIS"),
        *("PROSTATE", "RECTUM", "SCROTUM", "SHOULDER", "SPLEEN", "STOMACH", "TESTIS", "THIGH"),
        *("THYMUS", "THYROID", "TONGUE", "UTERUS", "VAGINA", "WRIST"),
    }
)


@dataclass(frozen=True)
class Screened:
    """A frame that may be scored.

    boxes: what to score; two for a dual view, one otherwise.
    source: where the boxes come from, for ``Finding.region_source``.
    """

    boxes: tuple[Box, ...]
    source: str
    remarks: tuple[str, ...]


def screen_header(header: Dataset) -> NotAnalysed | None:
    """What the header alone can refuse; None lets the image pass."""
    if header_text(header, "SOPClassUID") not in ANALYSED:
        return NotAnalysed("sop-class", "The object is not an ultrasound image.")
    if (
        header_text(header, "Manufacturer") == MANUFACTURER
        and header_text(header, "ManufacturerModelName") == MANUFACTURER_MODEL_NAME
    ):
        return NotAnalysed("own-result", "The image is itself a result of this software.")
    modes = _imaging_modes(header)
    if modes & ~(_TWO_DIMENSIONAL | _SPATIALLY_RELATED):
        return NotAnalysed(
            "imaging-mode", "The image type names other imaging modes than two-dimensional B-mode."
        )
    return _screen_regions(ultrasound_regions(header))


def screen_frame(
    header: Dataset, frame: NDArray[np.uint8], coloured_share: float
) -> Screened | NotAnalysed:
    """Choose the boxes of one frame.

    header: has passed ``screen_header``.
    frame: ``(H, W, 3)`` uint8 RGB.
    coloured_share: the largest share (0–1) of coloured pixels that a box may have.
    """
    boxes, source, remarks = _boxes(header, frame)
    if not boxes:
        return NotAnalysed("no-content", "The image shows nothing that could be analysed.")
    boxes = tuple(box for box in boxes if min(box.width, box.height) >= SMALLEST_EDGE)
    if not boxes:
        return NotAnalysed(
            "too-small", f"The picture is smaller than {SMALLEST_EDGE} x {SMALLEST_EDGE} pixels."
        )
    coloured = coloured_pixels(frame)
    grey = tuple(box for box in boxes if solid_share(_inside(coloured, box)) <= coloured_share)
    if not grey:
        return NotAnalysed(
            "doppler-or-elastography",
            "The picture is coloured, as Doppler and elastography are; only B-mode is analysed.",
        )
    shown = tuple(box for box in grey if lit(_inside(frame, box)).mean() >= _LEAST_LIT)
    if not shown:
        return NotAnalysed("no-content", "The image shows nothing that could be analysed.")
    if header_text(header, "BodyPartExamined").upper() in _OTHER_BODY_PARTS:
        return NotAnalysed("other-body-part", "The header names another body part than the breast.")
    marked = any(_inside(coloured, box).mean() >= _LEAST_MARKS for box in shown)
    return Screened(shown, source, (*remarks, *_frame_remarks(boxes, shown, marked)))


def _imaging_modes(header: Dataset) -> int:
    """Image Type value 4, a bit field in hexadecimal (PS3.3 C.8.5.6.1.1); 0 where it is not."""
    values = header_text(header, "ImageType").split("\\")
    try:
        return int(values[3], 16) if len(values[3]) == 4 else 0
    except (IndexError, ValueError):
        return 0


def _screen_regions(regions: tuple[Region, ...]) -> NotAnalysed | None:
    if any(region.is_trace for region in regions):
        return NotAnalysed(
            "m-mode-or-spectral", "The image holds an M-mode or a spectral Doppler trace."
        )
    if any(region.is_flow for region in regions):
        return NotAnalysed("doppler-or-elastography", "The image holds a region of Doppler data.")
    return None


def _boxes(
    header: Dataset, frame: NDArray[np.uint8]
) -> tuple[tuple[Box, ...], str, tuple[str, ...]]:
    """Boxes, their source and remarks about the header."""
    image_type = header_text(header, "ImageType").upper().split("\\")
    remarks: list[str] = []
    if image_type[0] == "DERIVED":
        remarks.append("The image is derived from another one.")
    if "CROPPED_IMAGE" in image_type:
        remarks.append("It was cropped; the region bounds of its header are from before that.")
    else:
        rows, columns = frame.shape[:2]
        found = tissue_boxes(ultrasound_regions(header), rows, columns)
        if found.boxes:
            return found.boxes, found.source, (*remarks, *found.remarks)
        remarks.extend(found.remarks)
    box = content_box(frame)
    return (() if box is None else (box,)), "content box", tuple(remarks)


def _frame_remarks(boxes: tuple[Box, ...], shown: tuple[Box, ...], marked: bool) -> list[str]:
    remarks = []
    if len(boxes) > 1:
        remarks.append(
            f"The image shows {len(boxes)} pictures; {len(shown)} were scored and the most "
            "suspicious is reported."
        )
    if marked:
        remarks.append("Coloured marks, such as calipers or text, lie inside the analysed region.")
    return remarks


def coloured_pixels(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """``(H, W, 3)`` to ``(H, W)``: clearly coloured, unlike a tinted grey scale or JPEG noise.

    Chroma (max − min) above 32 and above 40 % of the brightest channel.
    """
    red, green, blue = (frame[..., channel] for channel in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    chroma = brightest - np.minimum(np.minimum(red, green), blue)
    coloured = chroma > 32
    coloured[coloured] = 5 * chroma[coloured].astype(np.int16) > 2 * brightest[coloured].astype(
        np.int16
    )
    return np.asarray(coloured)


def solid_share(coloured: NDArray[np.bool_]) -> float:
    """Share (0–1) of coloured pixels after an opening by 3 × 3.

    The opening takes away what is thinner than 3 pixels: calipers, text, focus markers.
    """
    if not coloured.any():
        return 0.0
    eroded = _of_neighbours(np.logical_and, coloured)
    return float(_of_neighbours(np.logical_or, eroded).mean()) if eroded.any() else 0.0


def _of_neighbours(combine: np.ufunc, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(H, W)``: each pixel combined with its 3 × 3 neighbours; the edge is repeated outwards."""
    padded = np.pad(mask, 1, mode="edge")
    rows = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
    return np.asarray(combine(combine(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))


def _inside(pixels: NDArray[_Pixel], box: Box) -> NDArray[_Pixel]:
    return pixels[box.top : box.bottom, box.left : box.right]
