"""The gate: which images are analysed, and which part of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pydicom import Dataset

from dicom_sr.finding import Box, NotAnalysed
from dicom_sr.identity import MANUFACTURER, MANUFACTURER_MODEL_NAME
from service.analysis.content_box import content_box
from service.analysis.screening import (
    Screened,
    coloured_pixels,
    screen_frame,
    screen_header,
    solid_share,
)

LIMIT = 0.005


def speckle(rows: int, columns: int) -> np.ndarray:
    grey = np.random.default_rng(1).integers(30, 160, (rows, columns), dtype=np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def region(left: int, top: int, right: int, bottom: int, **changes: int) -> Dataset:
    """A 2D tissue region with inclusive bounds, unless ``changes`` says otherwise."""
    item = Dataset()
    item.RegionSpatialFormat = changes.get("spatial_format", 1)
    item.RegionDataType = changes.get("data_type", 1)
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    return item


def header_reason(header: Dataset) -> str | None:
    refusal = screen_header(header)
    return None if refusal is None else refusal.code


def screened(header: Dataset, frame: np.ndarray) -> Screened:
    result = screen_frame(header, frame, LIMIT)
    assert isinstance(result, Screened), result
    return result


def reason(header: Dataset, frame: np.ndarray) -> str:
    result = screen_frame(header, frame, LIMIT)
    assert isinstance(result, NotAnalysed), result
    return result.code


def test_b_mode_passes(tissue: Dataset) -> None:
    assert header_reason(tissue) is None


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2", ""]
)
def test_other_sop_classes_are_refused(sop_class: str, tissue: Dataset) -> None:
    tissue.SOPClassUID = sop_class
    assert header_reason(tissue) == "sop-class"


def test_our_own_results_are_refused(tissue: Dataset) -> None:
    tissue.Manufacturer = MANUFACTURER
    tissue.ManufacturerModelName = MANUFACTURER_MODEL_NAME
    assert header_reason(tissue) == "own-result"
    tissue.ManufacturerModelName = "another product"
    assert header_reason(tissue) is None


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (["ORIGINAL", "PRIMARY", "BREAST", "0001"], None),
        (["ORIGINAL", "PRIMARY", "BREAST", "0401"], None),  # spatially related frames
        (["ORIGINAL", "PRIMARY", "BREAST"], None),
        (["ORIGINAL", "PRIMARY", "", "SMALL"], None),  # not the bit field
        (["DERIVED", "SECONDARY"], None),
        (["ORIGINAL", "PRIMARY", "", "0011"], "imaging-mode"),  # 2D and colour Doppler
        (["ORIGINAL", "PRIMARY", "", "0003"], "imaging-mode"),  # 2D and M-mode
        (["ORIGINAL", "PRIMARY", "", "0101"], "imaging-mode"),  # 2D and power Doppler
        (["ORIGINAL", "PRIMARY", "", "0201"], "imaging-mode"),  # 2D and tissue characterisation
    ],
)
def test_the_imaging_modes_of_image_type(
    image_type: list[str], expected: str | None, tissue: Dataset
) -> None:
    tissue.ImageType = image_type
    assert header_reason(tissue) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spatial_format": 2}, "m-mode-or-spectral"),
        ({"spatial_format": 3, "data_type": 3}, "m-mode-or-spectral"),
        *(({"data_type": number}, "doppler-or-elastography") for number in range(2, 8)),
        ({"spatial_format": 4, "data_type": 10}, None),  # an ECG below the picture
        ({"spatial_format": 0, "data_type": 0}, None),
    ],
)
def test_the_kinds_of_regions(
    changes: dict[str, int], expected: str | None, tissue: Dataset
) -> None:
    tissue.SequenceOfUltrasoundRegions = [
        region(0, 0, 319, 119),
        region(0, 120, 319, 239, **changes),
    ]
    assert header_reason(tissue) == expected


@pytest.mark.parametrize(
    ("bounds", "box", "source"),
    [
        ((20, 10, 299, 229), Box(20, 10, 300, 230), "ultrasound region"),
        ((20, 10, 320, 240), Box(20, 10, 320, 240), "ultrasound region"),  # MaxX = Columns
        ((20, 10, 299, 330), Box(20, 10, 300, 240), "ultrasound region, clamped"),
        ((20, 10, 299, 900), Box(0, 0, 320, 240), "content box"),  # less than half is left
        ((40, 20, 599, 459), Box(0, 0, 320, 240), "content box"),  # rescaled by two
        ((400, 20, 599, 200), Box(0, 0, 320, 240), "content box"),  # wholly outside
        ((20, 10, 10, 229), Box(0, 0, 320, 240), "content box"),  # upside down
    ],
)
def test_the_box_comes_from_the_region_if_it_fits(
    bounds: tuple[int, int, int, int], box: Box, source: str, tissue: Dataset
) -> None:
    tissue.SequenceOfUltrasoundRegions = [region(*bounds)]
    result = screened(tissue, speckle(240, 320))
    assert result.boxes == (box,)
    assert result.source == source
    assert bool(result.remarks) == (source != "ultrasound region" and bounds != (20, 10, 10, 229))


def test_without_regions_the_content_is_boxed(tissue: Dataset) -> None:
    frame = np.zeros((240, 320, 3), dtype=np.uint8)
    frame[40:200, 100:300] = speckle(160, 200)
    frame[::10, 80:82] = 255  # a scale beside it
    frame[4:12, 10:60:3] = 255  # a line of text
    result = screened(tissue, frame)
    assert result.boxes == (Box(100, 40, 300, 200),)
    assert result.source == "content box"


def test_of_a_cropped_image_the_content_is_boxed(tissue: Dataset) -> None:
    tissue.ImageType = ["DERIVED", "SECONDARY", "BREAST", "0001", "CROPPED_IMAGE"]
    tissue.SequenceOfUltrasoundRegions = [region(20, 10, 299, 229)]
    result = screened(tissue, speckle(240, 320))
    assert result.boxes == (Box(0, 0, 320, 240),)
    assert any("cropped" in remark for remark in result.remarks)
    assert any("derived" in remark for remark in result.remarks)


def test_both_views_of_a_dual_view_are_scored(tissue: Dataset) -> None:
    tissue.SequenceOfUltrasoundRegions = [region(0, 0, 149, 239), region(160, 0, 319, 239)]
    result = screened(tissue, speckle(240, 320))
    assert result.boxes == (Box(160, 0, 320, 240), Box(0, 0, 150, 240))
    assert any("2 pictures" in remark for remark in result.remarks)


def test_of_a_dual_view_only_the_grey_view_is_scored(tissue: Dataset) -> None:
    tissue.SequenceOfUltrasoundRegions = [region(0, 0, 159, 239), region(160, 0, 319, 239)]
    frame = speckle(240, 320)
    frame[50:100, 200:250] = (220, 30, 30)
    assert screened(tissue, frame).boxes == (Box(0, 0, 160, 240),)


@pytest.mark.parametrize(("edge", "passes"), [(64, True), (63, False)])
def test_a_small_box_is_refused(edge: int, passes: bool, tissue: Dataset) -> None:
    tissue.SequenceOfUltrasoundRegions = [region(20, 10, 20 + edge - 1, 200)]
    result = screen_frame(tissue, speckle(240, 320), LIMIT)
    assert isinstance(result, Screened) == passes
    if isinstance(result, NotAnalysed):
        assert result.code == "too-small"
        assert result.text.isascii(), "a report may have no character set"


@pytest.mark.parametrize("with_region", [True, False])
def test_a_black_image_is_refused(with_region: bool, tissue: Dataset) -> None:
    if with_region:
        tissue.SequenceOfUltrasoundRegions = [region(20, 10, 299, 229)]
    assert reason(tissue, np.full((240, 320, 3), 3, dtype=np.uint8)) == "no-content"


def test_colour_in_the_box_is_refused(tissue: Dataset) -> None:
    tissue.SequenceOfUltrasoundRegions = [region(0, 0, 199, 199)]
    frame = speckle(240, 320)
    frame[50:64, 50:64] = (230, 40, 20)  # 0.49 %
    result = screened(tissue, frame)
    assert any("Coloured marks" in remark for remark in result.remarks)
    frame[50:65, 50:65] = (230, 40, 20)  # 0.56 %
    assert reason(tissue, frame) == "doppler-or-elastography"


def test_colour_outside_the_box_does_no_harm(tissue: Dataset) -> None:
    tissue.SequenceOfUltrasoundRegions = [region(0, 0, 199, 199)]
    frame = speckle(240, 320)
    frame[:, 210:300] = (230, 40, 20)
    assert screened(tissue, frame).remarks == ()


def test_thin_coloured_lines_are_marks_and_no_doppler(tissue: Dataset) -> None:
    frame = speckle(240, 320)
    frame[:, 20:320:30][:, :10] = (255, 255, 0)
    assert coloured_pixels(frame).mean() > 5 * LIMIT
    assert any("Coloured marks" in remark for remark in screened(tissue, frame).remarks)


def test_a_tinted_grey_scale_is_no_colour() -> None:
    tinted = speckle(240, 320).astype(float) * (0.82, 0.9, 1)
    assert not coloured_pixels(tinted.astype(np.uint8)).any()


@pytest.mark.parametrize(
    ("body_part", "passes"),
    [
        *(("BREAST", True), ("", True), ("乳腺", True), ("CHEST", True), ("AXILLA", True)),
        *(("HEART", False), ("thyroid", False)),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_the_body_part(body_part: str, passes: bool, tissue: Dataset) -> None:
    tissue.SpecificCharacterSet = "ISO_IR 192"
    tissue.BodyPartExamined = body_part
    result = screen_frame(tissue, speckle(240, 320), LIMIT)
    assert isinstance(result, Screened) == passes
    if isinstance(result, NotAnalysed):
        assert result.code == "other-body-part"


def test_colour_comes_before_the_body_part(tissue: Dataset) -> None:
    tissue.BodyPartExamined = "HEART"
    frame = speckle(240, 320)
    frame[50:100, 50:100] = (230, 40, 20)
    assert reason(tissue, frame) == "doppler-or-elastography"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (3, 3), (60, 90)])
@pytest.mark.parametrize("density", [0.0, 0.5, 0.9, 1.0])
def test_the_opening_is_that_of_pillows_rank_filters(
    shape: tuple[int, int], density: float
) -> None:
    coloured = np.random.default_rng(3).random(shape) < density
    mask = Image.fromarray(coloured.astype(np.uint8) * 255)
    opened = mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3))
    assert solid_share(coloured) == (np.asarray(opened) > 0).mean()


def test_the_texts_hold_nothing_of_the_header(tissue: Dataset) -> None:
    tissue.PatientName = tissue.BodyPartExamined = "HEART"
    refusal = screen_frame(tissue, speckle(240, 320), LIMIT)
    assert isinstance(refusal, NotAnalysed)
    assert "HEART" not in refusal.text


def test_the_content_box_is_the_largest_area() -> None:
    frame = np.zeros((300, 400, 3), dtype=np.uint8)
    frame[20:80, 20:120] = 90
    frame[100:280, 200:380] = 90
    assert content_box(frame) == Box(200, 100, 380, 280)


def test_areas_that_touch_are_one() -> None:
    frame = np.zeros((128, 128, 3), dtype=np.uint8)
    frame[8:120, 8:40] = 90  # a U: its arms meet at the bottom only
    frame[8:120, 80:112] = 90
    frame[96:120, 8:112] = 90
    assert content_box(frame) == Box(8, 8, 112, 120)


def test_nothing_lit_has_no_content_box() -> None:
    assert content_box(np.zeros((100, 100, 3), dtype=np.uint8)) is None
