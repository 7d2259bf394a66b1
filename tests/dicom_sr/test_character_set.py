"""Names arrive as they left, whatever character set the scanner writes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_sr.finding import ModelIdentity, NotAnalysed
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report

NAME = "Wang^XiaoHong=王^小红"
NOT_ANALYSED = NotAnalysed("too-small", "The image is too small.")
GB2312_TO_G1 = b"\x1b$)A"
IR_58 = b"Wang^XiaoHong=" + b"^".join(GB2312_TO_G1 + p.encode("gb2312") for p in ("王", "小红"))

Build = Callable[[str | None, bytes], bytes]


@pytest.fixture
def build(source: Dataset, model: ModelIdentity, started_at: datetime) -> Build:
    """``build(character_set, name)``: the report on a source that was read with these raw bytes."""

    def make(character_set: str | None, name: bytes) -> bytes:
        del source.PatientName
        source.SpecificCharacterSet = character_set
        content = BytesIO()
        pydicom.dcmwrite(content, source, implicit_vr=False, little_endian=True)
        padded = name + b" " * (len(name) % 2)
        element = b"\x10\x00\x10\x00PN" + struct.pack("<H", len(padded)) + padded
        raw = content.getvalue()
        place = raw.index(b"\x10\x00\x20\x00LO")
        read = pydicom.dcmread(BytesIO(raw[:place] + element + raw[place:]), force=True)
        return part10_bytes(
            build_report(read, NOT_ANALYSED, model, revision=0, started_at=started_at)
        )

    return make


@pytest.mark.parametrize(
    ("declared", "raw", "written"),
    [
        ("GB18030", NAME.encode("gb18030"), "GB18030"),
        ("ISO_IR 192", NAME.encode(), "ISO_IR 192"),
        ("GBK", NAME.encode("gbk"), "GBK"),
        ("\\ISO 2022 IR 58", IR_58, "ISO_IR 192"),
    ],
    ids=["GB18030", "UTF-8", "GBK", "ISO 2022 IR 58"],
)
def test_chinese_names_stay_intact(build: Build, declared: str, raw: bytes, written: str) -> None:
    report = pydicom.dcmread(BytesIO(build(declared, raw)))
    assert report.SpecificCharacterSet == written
    assert str(report.PatientName) == NAME


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("GB18030", NAME.encode("gb18030")),
        ("ISO_IR 192", NAME.encode()),
        ("\\ISO 2022 IR 58", IR_58),
    ],
    ids=["GB18030", "UTF-8", "ISO 2022 IR 58"],
)
def test_dcmtk_reads_the_chinese_name(
    build: Build, run_tool: Callable[..., str], tmp_path: Path, declared: str, raw: bytes
) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(build(declared, raw))
    assert f"[{NAME}]" in run_tool("dcmdump", "+U8", "+P", "PatientName", str(path))


def test_a_latin_name_stays_latin(build: Build) -> None:
    report = pydicom.dcmread(BytesIO(build("ISO 2022 IR 100", "Müller^Jörg".encode("latin-1"))))
    assert report.SpecificCharacterSet == "ISO_IR 100"
    assert str(report.PatientName) == "Müller^Jörg"


def test_undeclared_bytes_come_out_as_they_came_in(build: Build) -> None:
    raw = "王^小红".encode("gbk")
    content = build(None, raw)
    assert "SpecificCharacterSet" not in pydicom.dcmread(BytesIO(content))
    assert raw in content
