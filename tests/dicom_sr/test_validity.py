"""Every real ultrasound file gets results that independent tools accept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_sr.finding import Finding, ModelIdentity, NotAnalysed
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture

JPEG_XL = "1.2.840.10008.1.2.4.111"
NOT_ANALYSED = NotAnalysed("undecodable", "The pixel data cannot be decoded.")

OurErrors = Callable[[Dataset, Dataset], list[str]]
FindingIn = Callable[[Dataset], Finding]


@pytest.fixture
def dump(
    run_tool: Callable[..., str], wrong_uids: Callable[[Dataset], list[str]], tmp_path: Path
) -> Callable[[Dataset, Dataset], str]:
    """``dump(source, report)``: the report as dsrdump prints it, with long texts whole."""

    def print_report(source: Dataset, report: Dataset) -> str:
        path = tmp_path / "report.dcm"
        path.write_bytes(part10_bytes(report))
        accept_invalid_values = ["-Ev"] if wrong_uids(source) else []
        return run_tool("dsrdump", "+Pl", *accept_invalid_values, str(path))

    return print_report


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_report(
    ultrasound: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    finding_in: FindingIn,
    our_errors: OurErrors,
    dump: Callable[[Dataset, Dataset], str],
) -> None:
    finding = finding_in(ultrasound)
    report = build_report(ultrasound, finding, model, revision=0, started_at=started_at)
    assert our_errors(ultrasound, report) == []
    printed = dump(ultrasound, report)
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
    our_errors: OurErrors,
    dump: Callable[[Dataset, Dataset], str],
) -> None:
    report = build_report(ultrasound, NOT_ANALYSED, model, revision=0, started_at=started_at)
    assert our_errors(ultrasound, report) == []
    printed = dump(ultrasound, report)
    assert "Not analysed: The pixel data cannot be decoded (reason: undecodable)." in printed


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_overlay(
    ultrasound: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    finding_in: FindingIn,
    our_errors: OurErrors,
    read_frame: Callable[[Dataset, int], NDArray[np.uint8]],
) -> None:
    if ultrasound.file_meta.TransferSyntaxUID == JPEG_XL:
        pytest.skip("JPEG XL is not decoded: such a file is never analysed")
    finding = finding_in(ultrasound)
    overlay = draw_overlay(read_frame(ultrasound, finding.frame), finding, model)
    capture = build_secondary_capture(
        ultrasound, overlay, finding, model, revision=0, started_at=started_at
    )
    assert our_errors(ultrasound, capture) == []
