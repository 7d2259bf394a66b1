"""The overlay as a Secondary Capture Image in the source's study."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
)

from dicom_sr import codes, identity
from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.header import (
    code_item,
    image_reference,
    long_string,
    result_header,
    settle_character_set,
)
from dicom_sr.source import header_text, header_value, read_source

SERIES_NUMBER = 9002
SERIES_DESCRIPTION = "AI breast ultrasound overlay, unverified"

_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
_TWO_DIMENSIONAL, _TISSUE, _CENTIMETRES = 1, 1, 3


def build_secondary_capture(
    source: Dataset,
    overlay: NDArray[np.uint8],
    finding: Finding,
    model: ModelIdentity,
    *,
    revision: int,
    started_at: datetime,
    edition: int = 0,
) -> Dataset:
    """Wrap the overlay of one frame as a single-frame, uncompressed RGB image.

    source: the image's header; its pixels are not read, and it is not changed.
    overlay: ``(H2, W2, 3)`` uint8 RGB, at the source's scale, its top left pixel the source's.
    revision, started_at, edition: see ``build_report``; all overlays of a study share one series.

    Raises ReportError if the source lacks a UID that the image must refer to.
    """
    image = read_source(source)
    capture = result_header(
        source,
        model,
        sop_class_uid=SecondaryCaptureImageStorage,
        sop_instance_uid=identity.result_uid(
            image.sop_instance_uid,
            finding.frame,
            model.sha256,
            identity.ResultKind.OVERLAY,
            revision,
            edition,
        ),
        series_instance_uid=identity.overlay_series_uid(image.study_instance_uid, model.sha256),
        started_at=started_at,
    )
    capture.Modality = "OT"
    capture.SeriesNumber = SERIES_NUMBER
    capture.SeriesDescription = SERIES_DESCRIPTION
    capture.ConversionType = "WSD"
    capture.InstanceNumber = image.instance_number
    capture.ImageType = ["DERIVED", "SECONDARY", "OTHER", "AI_OVERLAY"]
    capture.PatientOrientation = None
    if image.laterality:
        capture.ImageLaterality = image.laterality
    else:
        capture.Laterality = None
    capture.BurnedInAnnotation = "YES"
    capture.RecognizableVisualFeatures = "NO"
    capture.DerivationDescription = long_string(f"Grad-CAM overlay by {model.name}")
    capture.SourceImageSequence = [_source_image(source, finding.frame)]
    _put_lossy_compression(capture, source)
    spacing = _pixel_spacing(source, finding.region)
    if spacing is not None:
        capture.PixelSpacing = [f"{value:.8g}" for value in spacing]
    _put_pixels(capture, overlay)
    settle_character_set(capture, source)
    return capture


def _source_image(source: Dataset, frame: int) -> Dataset:
    item = image_reference(source, frame)
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    return item


def _put_lossy_compression(capture: Dataset, source: Dataset) -> None:
    """Once lossy, always lossy (DICOM PS3.3 C.7.6.1.1.5): carried over, or told by the syntax."""
    lossy = header_text(source, "LossyImageCompression")
    meta = getattr(source, "file_meta", Dataset())
    if UID(header_text(meta, "TransferSyntaxUID")) in _LOSSY:
        lossy = "01"
    if lossy not in ("00", "01"):
        return
    capture.LossyImageCompression = lossy
    if lossy == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            value = header_value(source, keyword)
            if value is not None:
                setattr(capture, keyword, value)


def _pixel_spacing(source: Dataset, box: Box) -> tuple[float, float] | None:
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


def _put_pixels(capture: Dataset, overlay: NDArray[np.uint8]) -> None:
    """Image Pixel Module (DICOM PS3.3 C.7.6.3); pixel data are padded to an even length."""
    capture.SamplesPerPixel = 3
    capture.PhotometricInterpretation = "RGB"
    capture.PlanarConfiguration = 0
    capture.Rows, capture.Columns = overlay.shape[:2]
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit = 7
    capture.PixelRepresentation = 0
    pixels = np.ascontiguousarray(overlay).tobytes()
    capture.PixelData = pixels + b"\0" * (len(pixels) % 2)
    capture["PixelData"].VR = "OB"
