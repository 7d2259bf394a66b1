"""The heatmap as bands that a viewer switches on and off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from io import BytesIO

import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.overlay import activation_colours
from dicom_sr.part10 import part10_bytes
from dicom_sr.segmentation import COLOURS, build_segmentation
from dicom_sr.source import ReportError

REGION = Box(21, 10, 220, 131)
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"

Build = Callable[..., Dataset]


@pytest.fixture
def build(
    source: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: Callable[..., Finding],
) -> Build:
    """``build(frame=1, cam=None, **header)``: for ``source`` with changed header attributes."""

    def make(
        frame: int = 1, cam: NDArray[np.float32] | None = None, **header: object
    ) -> Dataset | None:
        for keyword, value in header.items():
            setattr(source, keyword, value)
        fields: dict[str, object] = {"frame": frame}
        if cam is not None:
            fields["cam"] = cam
        finding = make_finding(REGION, **fields)
        return build_segmentation(source, finding, model, revision=0, started_at=started_at)

    return make


def read_back(segmentation: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(part10_bytes(segmentation)))


@pytest.mark.parametrize(("rows", "kind", "bits"), [(200, "BINARY", 1), (201, "FRACTIONAL", 8)])
def test_three_bands_tell_how_much_of_the_maximum_is_reached(
    build: Build, make_finding: Callable[..., Finding], rows: int, kind: str, bits: int
) -> None:
    percent = 100 * make_finding(REGION).cam
    expected = np.zeros((3, rows, 300), dtype=np.uint8)
    inside = expected[:, REGION.top : REGION.bottom, REGION.left : REGION.right]
    inside[0] = (percent >= 30) & (percent < 50)
    inside[1] = (percent >= 50) & (percent < 70)
    inside[2] = percent >= 70
    assert inside.any(axis=(1, 2)).all()
    made = read_back(build(Rows=rows))
    assert (made.SegmentationType, made.BitsStored) == (kind, bits)
    assert (made.pixel_array == expected).all()


def test_the_bands_are_parts_of_the_maximum_of_a_weak_heatmap_too(
    build: Build, make_finding: Callable[..., Finding]
) -> None:
    weak = build(cam=make_finding(REGION).cam * np.float32(2**-6))
    assert weak.PixelData == build().PixelData


def test_a_band_says_what_it_shows(build: Build) -> None:
    segments = build().SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == [
        "Grad-CAM for malignant, 30 to 50 % of its maximum",
        "Grad-CAM for malignant, 50 to 70 % of its maximum",
        "Grad-CAM for malignant, at least 70 % of its maximum",
    ]
    for segment in segments:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmName == segment.SegmentAlgorithmName == "SecondRead ResNet50"
        assert algorithm.AlgorithmVersion == "1.2.0"
        assert "0123456789abcdef" in algorithm.AlgorithmParameters
        assert "Unverified AI result" in segment.SegmentDescription


def test_the_bands_have_the_overlay_s_colours() -> None:
    rgb = activation_colours(np.array([0.4, 0.6, 0.85], dtype=np.float32))
    for colour, expected in zip(COLOURS, rgb, strict=True):
        shown = CIELabColor.from_dicom_value(colour).to_rgb()
        assert np.abs(np.array(shown) - expected).max() <= 2


def test_highdicom_finds_each_band_on_the_source_image(build: Build) -> None:
    segmentation = Segmentation.from_dataset(read_back(build()))
    pixels = segmentation.get_pixels_by_source_instance(["1.2.3.4.5.1"], combine_segments=True)
    assert sorted(np.unique(pixels)) == [0, 1, 2, 3]


def test_highdicom_finds_each_band_on_the_scored_frame(build: Build) -> None:
    cine = build(frame=4, SOPClassUID=MULTI_FRAME, NumberOfFrames=9)
    segmentation = Segmentation.from_dataset(read_back(cine))
    pixels = segmentation.get_pixels_by_source_frame("1.2.3.4.5.1", [4], combine_segments=True)
    assert sorted(np.unique(pixels)) == [0, 1, 2, 3]


def test_the_image_lies_at_the_origin_of_a_frame_of_reference_of_its_own(build: Build) -> None:
    segmentation = build()
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        assert frame.PlanePositionSequence[0].ImagePositionPatient == [0, 0, 0]
    own = segmentation.FrameOfReferenceUID
    assert build().FrameOfReferenceUID == own
    assert build(SOPInstanceUID="1.2.3.4.5.9").FrameOfReferenceUID != own


def spacing(segmentation: Dataset) -> list[float]:
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    return [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]


def test_pixel_spacing_is_the_ultrasound_region_s(build: Build) -> None:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 10, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 250, 199
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.011, 0.012
    assert spacing(build(SequenceOfUltrasoundRegions=[region])) == pytest.approx([0.12, 0.11])


def test_a_pixel_counts_as_a_millimetre_where_no_calibration_is_known(build: Build) -> None:
    assert spacing(build()) == [1, 1]


@pytest.mark.parametrize("header", ["00", "01", None])
def test_it_is_lossy_where_the_source_is(build: Build, header: str | None) -> None:
    assert build(LossyImageCompression=header).LossyImageCompression == (header or "00")


def test_each_has_a_series_of_its_own(build: Build) -> None:
    first, second = build(), build(SOPInstanceUID="1.2.3.4.5.9")
    assert first.StudyInstanceUID == second.StudyInstanceUID == "1.2.3.4.5.2"
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert (first.SeriesNumber, first.Modality) == (9003, "SEG")
    assert first.SeriesDescription == "AI breast ultrasound heatmap, unverified"


def test_without_activation_there_is_nothing_to_show(build: Build) -> None:
    assert build(cam=np.zeros((REGION.height, REGION.width), dtype=np.float32)) is None


@pytest.mark.parametrize(
    ("header", "complaint"),
    [({"Rows": None}, "no Rows"), ({"Columns": None}, "no Columns"), ({"Rows": 130}, "leaves")],
    ids=["no Rows", "no Columns", "box leaves image"],
)
def test_a_source_that_cannot_hold_the_heatmap_is_refused(
    build: Build, header: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ReportError, match=complaint):
        build(**header)


@pytest.mark.parametrize("laterality", [None, "L", "B"])
def test_dciodvfy_accepts_it_whatever_side_the_source_tells(
    build: Build, iod_errors: Callable[[bytes], list[str]], laterality: str | None
) -> None:
    assert iod_errors(part10_bytes(build(Laterality=laterality))) == []
