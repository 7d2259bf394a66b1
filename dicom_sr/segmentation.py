"""The heatmap as a Segmentation: bands of the CAM that a viewer can switch on and off."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage

from dicom_sr import codes, identity
from dicom_sr.finding import Finding, ModelIdentity
from dicom_sr.geometry import pixel_spacing, require_inside
from dicom_sr.header import (
    code_item,
    image_reference,
    long_string,
    put_lossy_compression,
    result_header,
    settle_character_set,
)
from dicom_sr.source import ReportError, SourceImage, read_source

SERIES_NUMBER = 9003
SERIES_DESCRIPTION = "AI breast ultrasound heatmap, unverified"

LEVELS = (30, 50, 70)
"""Where the bands begin, in % of the CAM's maximum; each ends where the next one begins."""

COLOURS = ((31793, 46953, 39977), (41812, 43790, 49983), (55606, 32623, 51745))
"""Recommended Display CIELab Value of each band: the overlay's colours at 40, 60 and 85 %."""

_BITS_THAT_VIEWERS_READ = 16
"""OHIF 3.13 takes no padding byte for its own, and Orthanc 1.10 cuts no frame out of a byte."""

UNKNOWN_SPACING = (1.0, 1.0)
"""Row and column spacing, in mm, of an image that has no calibration that can be trusted."""


def build_segmentation(
    source: Dataset,
    finding: Finding,
    model: ModelIdentity,
    *,
    revision: int,
    started_at: datetime,
    edition: int = 0,
) -> Dataset | None:
    """Three bands of the CAM as a Segmentation (DICOM PS3.3 A.51) of the scored frame.

    The bands do not overlap, because OHIF shows only one of several overlapping layers in a stack
    of images. Each is one frame of the source's size. The Segmentation is BINARY where the frames'
    bits fill whole pairs of bytes; otherwise OHIF would never end loading it, and it is FRACTIONAL
    with the values 0 and 1.

    An ultrasound image has no Frame of Reference, but OHIF opens no Segmentation without one: it
    gets one of its own, in which the image lies at the origin. Its spacing is that of the
    ultrasound region around the analysed box, else ``UNKNOWN_SPACING``, whose millimetres are
    pixels: the image itself stays uncalibrated.

    source: the image's header; its pixels are not read, and it is not changed.
    revision, started_at, edition: see ``build_report``; each Segmentation has its own series.
    Returns None if the CAM is all zero: there is nothing to show.

    Raises ReportError if the source lacks a UID, Rows or Columns, or if the box leaves it.
    """
    if not finding.cam.any():
        return None
    image = read_source(source)
    bands = _bands(image, finding)
    uid = identity.result_uid(
        image.sop_instance_uid,
        finding.frame,
        model.sha256,
        identity.ResultKind.SEGMENTATION,
        revision,
        edition,
    )
    segmentation = result_header(
        source,
        model,
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=uid,
        series_instance_uid=identity.own_series_uid(uid),
        started_at=started_at,
    )
    segmentation.Modality = "SEG"
    segmentation.SeriesNumber = SERIES_NUMBER
    segmentation.SeriesDescription = SERIES_DESCRIPTION
    segmentation.InstanceNumber = 1
    segmentation.PatientOrientation = None
    segmentation.ImageType = ["DERIVED", "PRIMARY"]
    segmentation.ContentLabel = "GRAD_CAM"
    segmentation.ContentDescription = long_string(f"Grad-CAM for {finding.decision}")
    segmentation.ContentCreatorName = None
    segmentation.FrameOfReferenceUID = identity.frame_of_reference_uid(image.sop_instance_uid)
    segmentation.PositionReferenceIndicator = None
    segmentation.ReferencedSeriesSequence = [_referenced_series(source, image)]
    _put_segments(segmentation, finding, model)
    _put_functional_groups(segmentation, source, finding)
    _put_dimensions(segmentation, identity.dimension_organization_uid(uid))
    segmentation.LossyImageCompression = "00"
    put_lossy_compression(segmentation, source)
    _put_pixels(segmentation, bands)
    settle_character_set(segmentation, source)
    return segmentation


def band_label(finding: Finding, band: int) -> str:
    """What a viewer calls the band, 0 being the outermost."""
    begin = LEVELS[band]
    within = f"{begin} to {LEVELS[band + 1]}" if band + 1 < len(LEVELS) else f"at least {begin}"
    return f"Grad-CAM for {finding.decision}, {within} % of its maximum"


def _bands(image: SourceImage, finding: Finding) -> NDArray[np.bool_]:
    """``(3, rows, columns)``: which pixels of the frame belong to each band."""
    if image.rows is None or image.columns is None:
        raise ReportError("the source image has no Rows or no Columns")
    box = finding.region
    require_inside(image, box)
    percent = 100 * (finding.cam.astype(np.float64) / float(finding.cam.max()))
    reached = np.stack([percent >= level for level in LEVELS])
    inside = reached.copy()
    inside[:-1] &= ~reached[1:]
    bands = np.zeros((len(LEVELS), image.rows, image.columns), dtype=np.bool_)
    bands[:, box.top : box.bottom, box.left : box.right] = inside
    return bands


def _referenced_series(source: Dataset, image: SourceImage) -> Dataset:
    """Common Instance Reference (DICOM PS3.3 C.12.2)."""
    item = Dataset()
    item.SeriesInstanceUID = image.series_instance_uid
    item.ReferencedInstanceSequence = [image_reference(source)]
    return item


def _put_segments(segmentation: Dataset, finding: Finding, model: ModelIdentity) -> None:
    """Segmentation Image (DICOM PS3.3 C.8.20.2) with its Segment Descriptions (C.8.20.4)."""
    segmentation.SegmentsOverlap = "NO"
    segmentation.SegmentSequence = []
    for band, colour in enumerate(COLOURS):
        item = Dataset()
        item.SegmentNumber = band + 1
        item.SegmentLabel = long_string(band_label(finding, band))
        item.SegmentDescription = f"Unverified AI result by {model.name} {model.version}"
        item.SegmentAlgorithmType = "AUTOMATIC"
        item.SegmentAlgorithmName = long_string(model.name)
        item.SegmentationAlgorithmIdentificationSequence = [_algorithm(model)]
        item.SegmentedPropertyCategoryCodeSequence = [code_item(codes.SPATIAL_CONCEPT)]
        item.SegmentedPropertyTypeCodeSequence = [
            code_item(codes.GRADIENT_WEIGHTED_CLASS_ACTIVATION)
        ]
        item.RecommendedDisplayCIELabValue = list(colour)
        segmentation.SegmentSequence.append(item)


def _algorithm(model: ModelIdentity) -> Dataset:
    """Algorithm Identification Macro (DICOM PS3.3 Table 10-19)."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(codes.ARTIFICIAL_INTELLIGENCE)]
    item.AlgorithmName = long_string(model.name)
    item.AlgorithmVersion = long_string(model.version)
    item.AlgorithmParameters = f"model_sha256={model.sha256}"
    item.AlgorithmSource = identity.MANUFACTURER
    return item


def _put_functional_groups(segmentation: Dataset, source: Dataset, finding: Finding) -> None:
    """Multi-frame Functional Groups (DICOM PS3.3 C.7.6.16), one frame a band."""
    spacing = pixel_spacing(source, finding.region) or UNKNOWN_SPACING
    measures = Dataset()
    measures.PixelSpacing = [f"{value:.8g}" for value in spacing]
    measures.SliceThickness = "1"
    orientation = Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    segmentation.SharedFunctionalGroupsSequence = [shared]
    segmentation.PerFrameFunctionalGroupsSequence = [
        _frame(source, finding.frame, band + 1) for band in range(len(LEVELS))
    ]


def _frame(source: Dataset, source_frame: int, segment: int) -> Dataset:
    position = Dataset()
    position.ImagePositionPatient = [0, 0, 0]
    content = Dataset()
    content.DimensionIndexValues = [segment]
    identification = Dataset()
    identification.ReferencedSegmentNumber = segment
    origin = image_reference(source, source_frame)
    origin.SpatialLocationsPreserved = "YES"
    origin.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    derivation = Dataset()
    derivation.DerivationCodeSequence = [code_item(codes.SEGMENTATION)]
    derivation.SourceImageSequence = [origin]
    item = Dataset()
    item.FrameContentSequence = [content]
    item.PlanePositionSequence = [position]
    item.SegmentIdentificationSequence = [identification]
    item.DerivationImageSequence = [derivation]
    return item


def _put_dimensions(segmentation: Dataset, uid: str) -> None:
    """Multi-frame Dimension (DICOM PS3.3 C.7.6.17): the frames are told apart by their segment."""
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    index = Dataset()
    index.DimensionOrganizationUID = uid
    index.DimensionIndexPointer = Tag("ReferencedSegmentNumber")
    index.FunctionalGroupPointer = Tag("SegmentIdentificationSequence")
    index.DimensionDescriptionLabel = "Segment Number"
    segmentation.DimensionOrganizationSequence = [organization]
    segmentation.DimensionIndexSequence = [index]


def _put_pixels(segmentation: Dataset, bands: NDArray[np.bool_]) -> None:
    """Image Pixel Module, and how its values are meant (DICOM PS3.3 C.8.20.2)."""
    frames, rows, columns = bands.shape
    segmentation.NumberOfFrames, segmentation.Rows, segmentation.Columns = frames, rows, columns
    segmentation.SamplesPerPixel = 1
    segmentation.PhotometricInterpretation = "MONOCHROME2"
    segmentation.PixelRepresentation = 0
    if rows * columns % _BITS_THAT_VIEWERS_READ == 0:
        # The lowest bit first, the frames follow without a gap (DICOM PS3.5 8.1.1, Annex D).
        segmentation.SegmentationType = "BINARY"
        segmentation.BitsAllocated = segmentation.BitsStored = 1
        segmentation.HighBit = 0
        pixels = np.packbits(bands, axis=None, bitorder="little").tobytes()
    else:
        segmentation.SegmentationType = "FRACTIONAL"
        segmentation.SegmentationFractionalType = "OCCUPANCY"
        segmentation.MaximumFractionalValue = 1
        segmentation.BitsAllocated = segmentation.BitsStored = 8
        segmentation.HighBit = 7
        pixels = bands.astype(np.uint8).tobytes()
    segmentation.PixelData = pixels + b"\0" * (len(pixels) % 2)
    segmentation["PixelData"].VR = "OB"
