"""What is copied from headers that break the rules: examples of what test_any_header.py found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_sr.copied_text import copied_text
from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.part10 import part10_bytes
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.source import ReportError, header_text, header_value, read_source
from dicom_sr.validity import problems

REGION = Box(20, 10, 220, 130)
Report = Callable[..., Dataset]


@pytest.fixture
def report(
    source: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: Callable[..., Finding],
) -> Report:
    """``report(**header)``: the report on a source with that header."""

    def build(region: Box = REGION, **header: object) -> Dataset:
        for keyword, value in header.items():
            put(source, keyword, value)
        return build_report(source, make_finding(region), model, revision=0, started_at=started_at)

    return build


def put(header: Dataset, keyword: str, value: object, vr: str | None = None) -> None:
    """Set an attribute, whatever its value is."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    header.add(DataElement(tag, vr or dictionary_VR(tag), value, validation_mode=IGNORE))


@pytest.mark.parametrize(
    ("keyword", "text", "copied"),
    [
        ("StudyDescription", "Breast", "Breast"),
        ("StudyDescription", "left\\right", "left/right"),
        ("StudyDescription", "two\r\nlines", "two  lines"),
        ("StudyDescription", "x" * 65, "x" * 64),
        ("StudyDescription", "\u3000王", "\u3000王"),
        ("StationName", "ROOM 1, BUILDING 7", "ROOM 1, BUILDING"),
        ("SoftwareVersions", "1.0\\" + "2" * 65, "1.0\\" + "2" * 64),
        ("PatientName", "Doe^Jane^^", "Doe^Jane^^"),
        ("PatientName", "Doe^Jane^^^^^", "Doe^Jane"),
        ("PatientName", "a^b^c^d^e^f", "a^b^c^d^e f"),
        ("PatientName", "x" * 70 + "=王", "x" * 64 + "=王"),
        ("PatientName", "a=b=c=d", "a=b=c"),
        ("PatientName", "Doe\x1bJane", "Doe Jane"),
        ("AccessionNumber", "1234567890123456", "1234567890123456"),
        ("AccessionNumber", "12345678901234567", ""),
        ("AccessionNumber", "A\\B", ""),
        ("StudyID", "\ufffd1", ""),
        ("PatientAge", "55Y", ""),
        ("PatientAge", "055Y", "055Y"),
        ("LossyImageCompressionRatio", "10.5\\2", "10.5\\2"),
        ("LossyImageCompressionRatio", "ten", ""),
        ("LossyImageCompressionRatio", "\\", ""),
    ],
)
def test_what_describes_is_cut_to_fit_and_what_identifies_is_whole_or_left_out(
    keyword: str, text: str, copied: str
) -> None:
    assert copied_text(keyword, text, declared=True) == copied


def test_control_characters_beyond_ascii_may_be_undeclared_chinese() -> None:
    assert copied_text("StudyDescription", "\x81\x9f", declared=False) == "\x81\x9f"
    assert copied_text("StudyDescription", "a\x81b", declared=True) == "a b"


@pytest.mark.parametrize("patient_id", ["P" * 65, "A\\B", "A\nB", "P\ufffd"])
def test_no_result_without_the_patient_s_id(report: Report, patient_id: str) -> None:
    with pytest.raises(ReportError, match=r"^the source image's PatientID is no valid value$"):
        report(PatientID=patient_id)


def test_a_patient_without_an_id_has_none_in_the_result(report: Report) -> None:
    assert report(PatientID="").PatientID == ""


@pytest.mark.parametrize("uid", ["1.2 3", "1.2\\1.3", "1." + "2" * 63, "王"])
def test_what_can_be_no_uid_is_refused(report: Report, uid: str) -> None:
    with pytest.raises(ReportError, match=r"^the source image's StudyInstanceUID is no UID$"):
        report(StudyInstanceUID=uid)


def test_a_box_that_leaves_the_image_is_refused(report: Report) -> None:
    with pytest.raises(ReportError, match=r"^the analysed box leaves the source image$"):
        report(region=Box(20, 10, 301, 130))


@pytest.mark.parametrize(("vr", "value"), [("UL", b"abc"), ("FD", b"1.5"), ("XX", b"")])
def test_bytes_that_are_no_value_of_their_vr_are_no_value(
    source: Dataset, vr: str, value: bytes
) -> None:
    tag = Tag("StudyDescription")
    source[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    assert header_value(source, "StudyDescription") is None
    assert header_text(source, "StudyDescription") == ""


def test_neither_bytes_nor_a_sequence_are_a_text(source: Dataset) -> None:
    put(source, "StudyDescription", b"abcd", "OB")
    put(source, "PatientName", [Dataset()], "SQ")
    assert header_text(source, "StudyDescription") == ""
    assert header_text(source, "PatientName") == ""


@pytest.mark.parametrize("frames", [1, 10, None])
def test_the_class_tells_whether_a_frame_is_named(report: Report, frames: int | None) -> None:
    """dciodvfy permits no frame number in a reference to an image of a single-frame class."""
    put_frames = {} if frames is None else {"NumberOfFrames": frames}
    single = report(**put_frames)
    assert b"\x08\x00\x60\x11IS" not in part10_bytes(single)  # Referenced Frame Number
    several = report(SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", **put_frames)
    assert b"\x08\x00\x60\x11IS" in part10_bytes(several)


def test_sizes_and_numbers_that_no_attribute_holds_are_no_numbers(source: Dataset) -> None:
    put(source, "Rows", 65536, "UL")
    put(source, "InstanceNumber", 2**31)
    image = read_source(source)
    assert image.rows is None
    assert image.instance_number == 1


@pytest.mark.parametrize(
    ("keyword", "value", "vr"),
    [
        ("PhysicalDeltaX", float("nan"), "FD"),
        ("PhysicalDeltaX", float("inf"), "FD"),
        ("PhysicalDeltaY", 1e308, "FD"),
        ("PhysicalDeltaY", "0.1", "LO"),
        ("RegionLocationMaxX1", 299.5, "FD"),
        ("RegionLocationMinX0", "left", "LO"),
    ],
)
def test_no_pixel_spacing_from_a_region_of_odd_numbers(
    source: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: Callable[..., Finding],
    keyword: str,
    value: object,
    vr: str,
) -> None:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 299, 199
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.01
    source.SequenceOfUltrasoundRegions = [region]

    def spacing() -> object:
        overlay = np.zeros((200, 300, 3), np.uint8)
        capture = build_secondary_capture(
            source, overlay, make_finding(REGION), model, revision=0, started_at=started_at
        )
        assert problems(capture, source) == []
        return capture.get("PixelSpacing")

    assert spacing() == [0.1, 0.1]
    put(region, keyword, value, vr)
    assert spacing() is None


@pytest.mark.parametrize("ratio", [[2**31, 1], [1, 2, 3], [0, 1], "1"])
def test_pixels_of_an_odd_aspect_ratio_are_square(
    source: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: Callable[..., Finding],
    ratio: object,
) -> None:
    source.PhotometricInterpretation = "RGB"
    put(source, "PixelAspectRatio", ratio)
    put(source, "ICCProfile", "no bytes", "LO")
    state = build_presentation_state(
        source, make_finding(REGION), model, revision=0, started_at=started_at
    )
    assert state is not None
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [1, 1]
    assert problems(state, source) == []


def test_patient_identity_removed_is_told_with_a_method_or_not_at_all(report: Report) -> None:
    told = report(PatientIdentityRemoved="YES", DeidentificationMethod="By hand\\Cropped")
    read = dcmread(BytesIO(part10_bytes(told)), force=True)
    assert read.PatientIdentityRemoved == "YES"
    assert read.DeidentificationMethod == ["By hand", "Cropped"]
    assert "PatientIdentityRemoved" not in report(PatientIdentityRemoved="MAYBE")
