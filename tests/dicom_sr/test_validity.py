"""Every real ultrasound file gets results that independent tools accept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_sr.finding import Box, Finding, ModelIdentity, NotAnalysed
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture

JPEG_XL = "1.2.840.10008.1.2.4.111"
NOT_ANALYSED = NotAnalysed("undecodable", "The pixel data cannot be decoded.")

MakeFinding = Callable[..., Finding]


def middle_frame(source: Dataset) -> int:
    return (int(source.get("NumberOfFrames") or 1) + 1) // 2


def analysed_box(source: Dataset) -> Box:
    """The first 2D tissue region where it lies inside the image, else the whole frame."""
    for region in source.get("SequenceOfUltrasoundRegions", []):
        right, bottom = region.RegionLocationMaxX1, region.RegionLocationMaxY1
        inside = right < source.Columns and bottom < source.Rows
        if inside and region.RegionSpatialFormat == 1 and region.RegionDataType == 1:
            left, top = region.RegionLocationMinX0, region.RegionLocationMinY0
            return Box(left, top, right + 1, bottom + 1)
    return Box(0, 0, source.Columns, source.Rows)


def wrong_uids(source: Dataset) -> list[str]:
    """The UIDs that the source itself has wrong: a result must name it as it is."""
    uids = [source.SOPInstanceUID, source.SeriesInstanceUID, source.StudyInstanceUID]
    return [uid for uid in uids if not UID(uid).is_valid or uid[:2] not in ("0.", "1.", "2.")]


def own_faults(source: Dataset, errors: list[str]) -> list[str]:
    """The errors that quote a UID which the source itself has wrong."""
    return [e for e in errors if any(f"<{uid}>" in e for uid in wrong_uids(source))]


@pytest.fixture
def dump(run_tool: Callable[..., str], tmp_path: Path) -> Callable[[Dataset, bytes], str]:
    """``dump(source, part10)``: the report as dsrdump prints it, with long texts whole."""

    def print_report(source: Dataset, content: bytes) -> str:
        path = tmp_path / "report.dcm"
        path.write_bytes(content)
        accept_invalid_values = ["-Ev"] if wrong_uids(source) else []
        return run_tool("dsrdump", "+Pl", *accept_invalid_values, str(path))

    return print_report


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_report(
    ultrasound: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: MakeFinding,
    iod_errors: Callable[[bytes], list[str]],
    dump: Callable[[Dataset, bytes], str],
) -> None:
    finding = make_finding(analysed_box(ultrasound), frame=middle_frame(ultrasound))
    content = part10_bytes(
        build_report(ultrasound, finding, model, revision=0, started_at=started_at)
    )
    errors = iod_errors(content)
    assert errors == own_faults(ultrasound, errors)
    printed = dump(ultrasound, content)
    assert '"Probability of cancer")="73.21" (%,UCUM,"Percent")' in printed
    assert '"Probability of benign")="26.79" (%,UCUM,"Percent")' in printed
    assert '"Assessment Category")=(21594007,SCT,"Malignant")' in printed
    assert f'"Algorithm Name")="{model.name}"' in printed
    assert "Unverified AI result, for research use only." in printed


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_report_of_not_analysed(
    ultrasound: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    iod_errors: Callable[[bytes], list[str]],
    dump: Callable[[Dataset, bytes], str],
) -> None:
    content = part10_bytes(
        build_report(ultrasound, NOT_ANALYSED, model, revision=0, started_at=started_at)
    )
    errors = iod_errors(content)
    assert errors == own_faults(ultrasound, errors)
    printed = dump(ultrasound, content)
    assert "Not analysed: The pixel data cannot be decoded (reason: undecodable)." in printed


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_overlay(
    ultrasound: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: MakeFinding,
    iod_errors: Callable[[bytes], list[str]],
    read_frame: Callable[[Dataset, int], NDArray[np.uint8]],
) -> None:
    if ultrasound.file_meta.TransferSyntaxUID == JPEG_XL:
        pytest.skip("JPEG XL is not decoded: such a file is never analysed")
    finding = make_finding(analysed_box(ultrasound), frame=middle_frame(ultrasound))
    overlay = draw_overlay(read_frame(ultrasound, finding.frame), finding, model)
    capture = build_secondary_capture(
        ultrasound, overlay, finding, model, revision=0, started_at=started_at
    )
    errors = iod_errors(part10_bytes(capture))
    assert errors == own_faults(ultrasound, errors)
