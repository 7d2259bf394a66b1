"""The overlay as a Secondary Capture Image in the source's study."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_sr import codes, identity
from dicom_sr.finding import Finding, ModelIdentity
from dicom_sr.geometry import pixel_spacing
from dicom_sr.header import (
    code_item,
    image_reference,
    long_string,
    put_lossy_compression,
    result_header,
    settle_character_set,
)
from dicom_sr.source import read_source

SERIES_NUMBER = 9002
SERIES_DESCRIPTION = "AI breast ultrasound overlay, unverified"


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
    put_lossy_compression(capture, source)
    spacing = pixel_spacing(source, finding.region)
    if spacing is not None:
        capture.PixelSpacing = [f"{value:.8g}" for value in spacing]
    _put_pixels(capture, overlay)
    settle_character_set(capture, source)
    return capture


def _source_image(source: Dataset, frame: int) -> Dataset:
    item = image_reference(source, frame)
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    return item


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
