"""The contour, the box and the score, drawn over the image by a viewer that applies PR."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dicom_sr.contour import cam_contour
from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.part10 import part10_bytes
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.source import ReportError

REGION = Box(20, 10, 220, 130)
GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"
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
        source.PhotometricInterpretation = "MONOCHROME2"
        for keyword, value in header.items():
            setattr(source, keyword, value)
        fields: dict[str, object] = {"frame": frame}
        if cam is not None:
            fields["cam"] = cam
        return build_presentation_state(
            source, make_finding(REGION, **fields), model, revision=0, started_at=started_at
        )

    return make


@pytest.mark.parametrize(
    ("photometric", "sop_class"),
    [
        ("MONOCHROME1", GRAYSCALE),
        ("MONOCHROME2", GRAYSCALE),
        ("PALETTE COLOR", COLOUR),
        ("RGB", COLOUR),
        ("YBR_FULL_422", COLOUR),
        ("YBR_RCT", COLOUR),
    ],
)
def test_the_class_follows_the_image_s_colours(
    build: Build, photometric: str, sop_class: str
) -> None:
    state = build(PhotometricInterpretation=photometric)
    assert state.SOPClassUID == sop_class
    assert ("ICCProfile" in state) == (sop_class == COLOUR)
    assert ("PresentationLUTShape" in state) == (sop_class == GRAYSCALE)


def test_header_says_what_it_is(build: Build, started_at: datetime) -> None:
    state = build()
    assert (state.Modality, state.SeriesNumber) == ("PR", 9005)
    assert state.SeriesDescription == "AI breast ultrasound contours, unverified"
    assert state.PresentationCreationDate == started_at.strftime("%Y%m%d")
    assert state.StudyInstanceUID == "1.2.3.4.5.2"


@pytest.mark.parametrize(
    ("sop_class", "frame"), [("1.2.840.10008.5.1.4.1.1.6.1", None), (MULTI_FRAME, 4)]
)
def test_it_applies_to_the_image_or_to_its_scored_frame(
    build: Build, sop_class: str, frame: int | None
) -> None:
    (series,) = build(frame or 1, SOPClassUID=sop_class).ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.4.5.3"
    (image,) = series.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == "1.2.3.4.5.1"
    assert image.get("ReferencedFrameNumber") == frame


def test_the_box_and_the_contour_are_drawn_on_one_layer(
    build: Build, make_finding: Callable[..., Finding]
) -> None:
    state = build()
    (annotation,) = state.GraphicAnnotationSequence
    (layer,) = state.GraphicLayerSequence
    assert annotation.GraphicLayer == layer.GraphicLayer
    box, contour = (
        np.array(line.GraphicData).reshape(-1, 2) for line in annotation.GraphicObjectSequence
    )
    assert box.tolist() == [[20, 10], [220, 10], [220, 130], [20, 130], [20, 10]]
    expected = cam_contour(make_finding(REGION).cam, REGION)
    assert expected is not None
    assert np.allclose(contour, expected)
    for line in annotation.GraphicObjectSequence:
        assert (line.GraphicType, line.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
        assert line.NumberOfGraphicPoints * 2 == len(line.GraphicData)


def test_the_text_tells_the_score_and_that_nobody_verified_it(build: Build) -> None:
    (annotation,) = build().GraphicAnnotationSequence
    (text,) = annotation.TextObjectSequence
    assert text.UnformattedTextValue.splitlines() == [
        "Malignant: malignancy score 73.2 %, threshold 41.0 %",
        "AI, unverified, research use only",
    ]


@pytest.mark.parametrize(
    ("ratio", "shown"), [(None, [1, 1]), ([536, 670], [536, 670]), ([0, 0], [1, 1])]
)
def test_the_whole_image_is_shown_in_its_own_proportions(
    build: Build, ratio: list[int] | None, shown: list[int]
) -> None:
    (area,) = build(PixelAspectRatio=ratio).DisplayedAreaSelectionSequence
    assert area.DisplayedAreaTopLeftHandCorner == [1, 1]
    assert area.DisplayedAreaBottomRightHandCorner == [300, 200]
    assert area.PresentationPixelAspectRatio == shown


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_a_monochrome_image_as_it_was(
    build: Build, source: Dataset, run_tool: Callable[..., str], tmp_path: Path, photometric: str
) -> None:
    state = build(
        PhotometricInterpretation=photometric,
        RescaleSlope="0.5",
        RescaleIntercept="10",
        RescaleType="US",
        WindowCenter=["60", "20"],
        WindowWidth=["70", "10"],
    )
    source.SamplesPerPixel = 1
    source.BitsAllocated = source.BitsStored = 8
    source.HighBit, source.PixelRepresentation = 7, 0
    source.PixelData = np.random.default_rng(5).integers(0, 256, 60000, dtype=np.uint8).tobytes()
    source["PixelData"].VR = "OB"
    image, overlay = tmp_path / "image.dcm", tmp_path / "state.dcm"
    image.write_bytes(part10_bytes(source))
    overlay.write_bytes(part10_bytes(state))
    plain, applied = tmp_path / "plain.pgm", tmp_path / "applied.pgm"
    run_tool("dcm2pnm", "+Wi", "1", "+op", str(image), str(plain))
    run_tool("dcmp2pgm", "-p", str(overlay), str(image), str(applied))
    seen, expected = (np.asarray(Image.open(path)).astype(int) for path in (applied, plain))
    assert expected.std() > 50
    assert np.abs(seen - expected).max() <= 1


def test_a_window_without_width_is_left_out(build: Build) -> None:
    assert "SoftcopyVOILUTSequence" not in build(WindowCenter="0", WindowWidth="0")


def test_the_source_s_own_colour_profile_is_kept(build: Build) -> None:
    state = build(PhotometricInterpretation="RGB", ICCProfile=b"profile ")
    assert state.ICCProfile == b"profile "


def test_the_states_of_a_study_share_a_series(build: Build) -> None:
    first, second = build(), build(SOPInstanceUID="1.2.3.4.5.9")
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_without_activation_there_is_no_contour_to_draw(build: Build) -> None:
    assert build(cam=np.zeros((REGION.height, REGION.width), dtype=np.float32)) is None


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "PhotometricInterpretation"])
def test_a_source_that_does_not_say_how_it_is_shown_is_refused(build: Build, keyword: str) -> None:
    with pytest.raises(ReportError, match=f"no .*{keyword}"):
        build(**{keyword: None})


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
@pytest.mark.parametrize("laterality", [None, "L", "B"])
def test_dciodvfy_accepts_it_whatever_side_the_source_tells(
    build: Build,
    iod_errors: Callable[[bytes], list[str]],
    laterality: str | None,
    photometric: str,
) -> None:
    state = build(Laterality=laterality, PhotometricInterpretation=photometric)
    assert iod_errors(part10_bytes(state)) == []
