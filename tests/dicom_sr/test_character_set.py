"""Names arrive as they left, whatever character set the scanner writes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_sr.identity import ResultKind
from dicom_sr.part10 import part10_bytes
from dicom_sr.variant import CharacterSetPolicy, Variant, as_variant

CHINESE = "Wang^XiaoHong=王^小红"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
JAPANESE_KATAKANA = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
KOREAN = "Kim^Heejung=金^熙中=김^희중"
LATIN = "Müller^Jürgen"


GB2312_TO_G1, KSC5601_TO_G1 = b"\x1b$)A", b"\x1b$)C"


def designated(name: str, escape: bytes, encoding: str) -> bytes:
    """A name as PS3.5 Annexes I and K write it: each component of the groups after the first
    designates its character set anew.
    """
    alphabetic, *others = name.split("=")
    groups = [
        b"^".join(escape + component.encode(encoding) for component in group.split("^"))
        for group in others
    ]
    return b"=".join([alphabetic.encode("ascii"), *groups])


IR_58 = designated(CHINESE, GB2312_TO_G1, "gb2312")
IR_149 = designated(KOREAN, KSC5601_TO_G1, "euc_kr")
# The bytes of the examples in PS3.5 H.3.1 and H.3.2.
IR_87 = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
IR_13_87 = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
    b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
)

# What the scanner declares and writes, the name, and what our objects declare.
SCANNERS = {
    "GB18030": ("GB18030", CHINESE.encode("gb18030"), CHINESE, "GB18030"),
    "GBK": ("GBK", CHINESE.encode("gbk"), CHINESE, "GBK"),
    "UTF-8": ("ISO_IR 192", CHINESE.encode(), CHINESE, "ISO_IR 192"),
    "IR 58": ("\\ISO 2022 IR 58", IR_58, CHINESE, "ISO_IR 192"),
    "IR 87": ("\\ISO 2022 IR 87", IR_87, JAPANESE, "ISO_IR 192"),
    "IR 13 and 87": (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        IR_13_87,
        JAPANESE_KATAKANA,
        "ISO_IR 192",
    ),
    "IR 149": ("\\ISO 2022 IR 149", IR_149, KOREAN, "ISO_IR 192"),
    "Latin-1": ("ISO_IR 100", LATIN.encode("latin-1"), LATIN, "ISO_IR 100"),
    "Latin-1 as extension": ("ISO 2022 IR 100", LATIN.encode("latin-1"), LATIN, "ISO_IR 100"),
}
KINDS = list(ResultKind)
# Debian's dcmtk knows neither GBK nor, with the C library's conversions, these of ISO 2022.
DECLARED_AS_DCMTK_KNOWS = ["GB18030", "UTF-8", "IR 58", "IR 149", "Latin-1"]
WRITTEN_AS_DCMTK_KNOWS = [scanner for scanner in SCANNERS if scanner != "GBK"]

Objects = dict[ResultKind, Dataset]
Write = Callable[[str | None, bytes], bytes]
Build = Callable[[str | None, bytes], Objects]
PatientNameInDcmtk = Callable[[bytes], str]


@pytest.fixture
def write(source: Dataset) -> Write:
    """``write(character_set, name)``: the source's file, the name in these raw bytes."""

    def make(character_set: str | None, name: bytes) -> bytes:
        del source.PatientName
        source.SpecificCharacterSet = character_set
        source.PhotometricInterpretation = "MONOCHROME2"
        raw = part10_bytes(source)
        padded = name + b" " * (len(name) % 2)
        element = b"\x10\x00\x10\x00PN" + struct.pack("<H", len(padded)) + padded
        place = raw.index(b"\x10\x00\x20\x00LO")
        return raw[:place] + element + raw[place:]

    return make


@pytest.fixture
def build(write: Write, our_objects: Callable[[Dataset], Objects]) -> Build:
    """``build(character_set, name)``: our objects for a source that was read from such a file."""

    def make(character_set: str | None, name: bytes) -> Objects:
        return our_objects(pydicom.dcmread(BytesIO(write(character_set, name))))

    return make


@pytest.fixture
def name_in_dcmtk(run_tool: Callable[..., str], tmp_path: Path) -> PatientNameInDcmtk:
    """``name_in_dcmtk(part10)``: the line on Patient's Name, as dcmdump shows it in UTF-8."""

    def read(content: bytes) -> str:
        path = tmp_path / "object.dcm"
        path.write_bytes(content)
        return run_tool("dcmdump", "+U8", "+P", "PatientName", str(path))

    return read


@pytest.mark.parametrize("scanner", DECLARED_AS_DCMTK_KNOWS)
def test_the_scanner_s_own_bytes_are_what_dcmtk_takes_for_the_name(
    write: Write, name_in_dcmtk: PatientNameInDcmtk, scanner: str
) -> None:
    declared, raw, name, _ = SCANNERS[scanner]
    assert f"[{name}]" in name_in_dcmtk(write(declared, raw))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scanner", SCANNERS)
def test_names_stay_intact(build: Build, scanner: str, kind: ResultKind) -> None:
    declared, raw, name, written = SCANNERS[scanner]
    content = part10_bytes(build(declared, raw)[kind])
    result = pydicom.dcmread(BytesIO(content))
    assert result.SpecificCharacterSet == written
    assert str(result.PatientName) == name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scanner", WRITTEN_AS_DCMTK_KNOWS)
def test_dcmtk_reads_the_same_name(
    build: Build, name_in_dcmtk: PatientNameInDcmtk, scanner: str, kind: ResultKind
) -> None:
    declared, raw, name, _ = SCANNERS[scanner]
    assert f"[{name}]" in name_in_dcmtk(part10_bytes(build(declared, raw)[kind]))


@pytest.mark.parametrize("policy", [CharacterSetPolicy.UTF_8, CharacterSetPolicy.GB18030])
@pytest.mark.parametrize("scanner", SCANNERS)
def test_names_stay_intact_in_the_character_set_that_a_destination_wants(
    build: Build, name_in_dcmtk: PatientNameInDcmtk, scanner: str, policy: CharacterSetPolicy
) -> None:
    declared, raw, name, _ = SCANNERS[scanner]
    for original in build(declared, raw).values():
        content = part10_bytes(as_variant(original, Variant(character_set=policy)))
        assert str(pydicom.dcmread(BytesIO(content)).PatientName) == name
        assert f"[{name}]" in name_in_dcmtk(content)


@pytest.mark.parametrize("kind", KINDS)
def test_undeclared_bytes_come_out_as_they_came_in(build: Build, kind: ResultKind) -> None:
    raw = "王^小红".encode("gbk")
    content = part10_bytes(build(None, raw)[kind])
    assert "SpecificCharacterSet" not in pydicom.dcmread(BytesIO(content))
    assert raw in content
