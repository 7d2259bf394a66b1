"""The overlay as an image of its own, in the source's study."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import JPEGBaseline8Bit

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.part10 import part10_bytes
from dicom_sr.secondary_capture import build_secondary_capture

REGION = Box(20, 10, 220, 130)

Build = Callable[..., Dataset]


@pytest.fixture(scope="module")
def overlay() -> NDArray[np.uint8]:
    """Odd in both directions: its bytes need padding."""
    return np.random.default_rng(3).integers(0, 256, (251, 301, 3), dtype=np.uint8)


@pytest.fixture
def build(
    source: Dataset,
    overlay: NDArray[np.uint8],
    model: ModelIdentity,
    started_at: datetime,
    make_finding: Callable[..., Finding],
) -> Build:
    """``build(frame=1, **header)``: the capture for ``source`` with changed header attributes."""

    def make(frame: int = 1, **header: object) -> Dataset:
        for keyword, value in header.items():
            setattr(source, keyword, value)
        finding = make_finding(REGION, frame=frame)
        return build_secondary_capture(
            source, overlay, finding, model, revision=0, started_at=started_at
        )

    return make


def ultrasound_region(**attributes: object) -> Dataset:
    """A 2D tissue region around the box, calibrated in cm."""
    region = Dataset()
    values = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionLocationMinX0": 20,
        "RegionLocationMinY0": 10,
        "RegionLocationMaxX1": 219,
        "RegionLocationMaxY1": 129,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.011,
        "PhysicalDeltaY": -0.012,
    }
    for keyword, value in (values | attributes).items():
        setattr(region, keyword, value)
    return region


def test_header_says_what_it_is(build: Build) -> None:
    capture = build()
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert list(capture.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "AI_OVERLAY"]
    assert capture.ConversionType == "WSD"
    assert capture.Modality == "OT"
    assert capture.BurnedInAnnotation == "YES"
    assert capture.RecognizableVisualFeatures == "NO"
    assert capture.ContentQualification == "RESEARCH"
    assert capture.StudyInstanceUID == "1.2.3.4.5.2"
    assert capture.InstanceNumber == 7


@pytest.mark.parametrize(
    ("sop_class", "frame"),
    [("1.2.840.10008.5.1.4.1.1.6.1", None), ("1.2.840.10008.5.1.4.1.1.3.1", 4)],
)
def test_source_image_is_named_with_its_frame(
    build: Build, sop_class: str, frame: int | None
) -> None:
    (reference,) = build(frame or 1, SOPClassUID=sop_class).SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == "1.2.3.4.5.1"
    assert reference.get("ReferencedFrameNumber") == frame
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_dcmtk_shows_exactly_the_overlay(
    build: Build, overlay: NDArray[np.uint8], run_tool: Callable[..., str], tmp_path: Path
) -> None:
    path, picture = tmp_path / "capture.dcm", tmp_path / "capture.ppm"
    path.write_bytes(part10_bytes(build()))
    assert "E:" not in run_tool("dcm2pnm", "+op", str(path), str(picture))
    assert (np.asarray(Image.open(picture)) == overlay).all()


def test_pixel_spacing_is_the_region_s_in_mm(build: Build) -> None:
    capture = build(SequenceOfUltrasoundRegions=[ultrasound_region()])
    assert [float(value) for value in capture.PixelSpacing] == pytest.approx([0.12, 0.11])


@pytest.mark.parametrize(
    "region",
    [
        ultrasound_region(RegionLocationMaxX1=400),
        ultrasound_region(RegionLocationMinX0=60),
        ultrasound_region(PhysicalUnitsYDirection=4),
        ultrasound_region(PhysicalDeltaX=0.0),
        ultrasound_region(RegionSpatialFormat=2),
        ultrasound_region(RegionDataType=2),
        Dataset(),
    ],
    ids=["leaves the image", "not around the box", "not cm", "no scale", "M-mode", "flow", "empty"],
)
def test_no_pixel_spacing_from_a_region_that_cannot_be_trusted(
    build: Build, region: Dataset
) -> None:
    assert "PixelSpacing" not in build(SequenceOfUltrasoundRegions=[region])


def test_no_pixel_spacing_from_the_header_alone(build: Build) -> None:
    assert "PixelSpacing" not in build(PixelSpacing=[0.1, 0.1])


@pytest.mark.parametrize("lossy", ["00", "01"])
def test_lossy_compression_is_carried_over(build: Build, lossy: str) -> None:
    capture = build(
        LossyImageCompression=lossy,
        LossyImageCompressionRatio=[12.5],
        LossyImageCompressionMethod="ISO_10918_1",
    )
    assert capture.LossyImageCompression == lossy
    assert capture.get("LossyImageCompressionRatio") == (12.5 if lossy == "01" else None)
    assert capture.get("LossyImageCompressionMethod") == ("ISO_10918_1" if lossy == "01" else None)


def test_a_lossy_transfer_syntax_tells_where_the_header_is_silent(
    build: Build, source: Dataset
) -> None:
    assert "LossyImageCompression" not in build()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert build().LossyImageCompression == "01"


def test_laterality_only_where_the_header_says_it(
    build: Build, iod_errors: Callable[[bytes], list[str]]
) -> None:
    assert "ImageLaterality" not in build()
    capture = build(Laterality="L")
    assert capture.ImageLaterality == "L"
    assert iod_errors(part10_bytes(capture)) == []


def test_overlays_of_a_study_share_a_series(build: Build) -> None:
    first, second = build(), build(SOPInstanceUID="1.2.3.4.5.9")
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
