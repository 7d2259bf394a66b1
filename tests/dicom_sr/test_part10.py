"""A file of ours is what pydicom would write, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from dicom_sr.content_item import data_set
from dicom_sr.identity import ResultKind
from dicom_sr.part10 import file_meta, part10_bytes

OurObjects = Callable[[Dataset], dict[ResultKind, Dataset]]


def written_by_pydicom(data_set: Dataset) -> bytes:
    file = Dataset(deepcopy(data_set))
    file.file_meta = file_meta(data_set)
    content = BytesIO()
    dcmwrite(content, file, enforce_file_format=True)
    return content.getvalue()


@pytest.fixture
def minimal() -> Dataset:
    return data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.2.3")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_kind_of_object_for_every_real_file(
    ultrasound: Dataset, our_objects: OurObjects
) -> None:
    for kind, result in our_objects(ultrasound).items():
        assert part10_bytes(result) == written_by_pydicom(result), kind


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (None, "Doe^Jane"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Wang^XiaoHong=王^小红"),
        ("GB18030", "Wang^XiaoHong=王^小红"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_texts_in_every_manner_of_character_set(
    source: Dataset, character_set: str | list[str] | None, name: str
) -> None:
    source.PatientName = name
    source.StudyDescription = source.PatientComments = name.replace("^", " ")
    source.OtherPatientIDsSequence = [data_set(PatientID=name, IssuerOfPatientID="B")]
    if character_set is not None:
        source.SpecificCharacterSet = character_set
    content = part10_bytes(source)
    assert content == written_by_pydicom(source)
    assert dcmread(BytesIO(content)).StudyDescription == name.replace("^", " ")


def test_values_of_every_kind(minimal: Dataset) -> None:
    minimal.update(
        data_set(
            ImageType=["DERIVED", "SECONDARY"],
            PatientName="Odd",
            PatientID="",
            OtherPatientNames=["A^B", "C"],
            StudyDate="20250304",
            AccessionNumber=None,
            ReferencedSOPInstanceUIDInFile="1.2.34",
            PixelSpacing=["0.1", "0.25"],
            InstanceNumber="7",
            FrameIncrementPointer=[0x00181063, 0x00181065],
            GraphicData=[1.5, 2.25],
            FloatingPointValue=0.1,
            ImageComments="three",
            ReferencedSeriesSequence=[],
            SourceImageSequence=[data_set(), data_set(ReferencedFrameNumber=[1, 2])],
            Rows=3,
            BitsAllocated=8,
            PixelData=b"\1\2\3",
        )
    )
    assert part10_bytes(minimal) == written_by_pydicom(minimal)


def test_an_ambiguous_representation_is_settled_by_its_neighbours(minimal: Dataset) -> None:
    minimal.PixelRepresentation = 1
    minimal.SmallestImagePixelValue = -5
    content = part10_bytes(minimal)
    assert content == written_by_pydicom(minimal)
    assert dcmread(BytesIO(content))["SmallestImagePixelValue"].VR == "SS"


def test_the_data_set_is_not_changed(source: Dataset) -> None:
    before = deepcopy(source)
    part10_bytes(source)
    assert source == before
    assert not hasattr(source, "file_meta")


def test_what_cannot_be_written_is_refused_without_showing_it(minimal: Dataset) -> None:
    minimal.add(data_set(StudyDescription="王")["StudyDescription"])
    with pytest.raises(ValueError, match=r"^\(0008,1030\) has characters outside iso8859$"):
        part10_bytes(minimal)
    minimal.add(data_set(StudyDescription="x" * 70_000)["StudyDescription"])
    with pytest.raises(ValueError, match=r"^the value of \(0008,1030\) is too long for LO$"):
        part10_bytes(minimal)
