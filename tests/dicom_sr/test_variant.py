"""A destination's own form of our objects, and that one UID never means two contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_sr.identity import ResultKind, variant_uid
from dicom_sr.part10 import part10_bytes
from dicom_sr.reference import reference_to
from dicom_sr.variant import REPORT_CLASSES, CharacterSetPolicy, Variant, as_variant

COMPREHENSIVE_3D, COMPREHENSIVE, ENHANCED = REPORT_CLASSES
KINDS = list(ResultKind)
REPORTS = (ResultKind.REPORT, ResultKind.STUDY_REPORT)
OTHER_CLASS = Variant(report_class=ENHANCED)
NAME = "Müller^Jürgen"

Objects = dict[ResultKind, Dataset]


@pytest.fixture
def header(source: Dataset) -> Dataset:
    """A monochrome source with a name in Latin-1."""
    source.PhotometricInterpretation = "MONOCHROME2"
    source.SpecificCharacterSet = "ISO_IR 100"
    source.PatientName = NAME
    return source


@pytest.fixture
def objects(header: Dataset, our_objects: Callable[[Dataset], Objects]) -> Objects:
    return our_objects(header)


def references(data_set: Dataset) -> Iterator[tuple[str, str]]:
    """Class and UID of every object that is referred to, at any depth."""
    if "ReferencedSOPInstanceUID" in data_set:
        yield data_set.ReferencedSOPClassUID, data_set.ReferencedSOPInstanceUID
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                yield from references(item)


def places(sequence: list[Dataset]) -> list[tuple[str, str, str, str]]:
    """Study, series, class and UID of the objects in a hierarchical reference."""
    return [
        (
            study.StudyInstanceUID,
            series.SeriesInstanceUID,
            each.ReferencedSOPClassUID,
            each.ReferencedSOPInstanceUID,
        )
        for study in sequence
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    ]


def place(data_set: Dataset) -> tuple[str, str, str, str]:
    own = reference_to(data_set)
    return (
        own.study_instance_uid,
        own.series_instance_uid,
        own.sop_class_uid,
        own.sop_instance_uid,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_destination_without_wishes_gets_the_object_itself(
    objects: Objects, kind: ResultKind
) -> None:
    assert as_variant(objects[kind], Variant()) is objects[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_another_form_has_another_uid_and_another_series(
    objects: Objects, kind: ResultKind
) -> None:
    original = objects[kind]
    forms = [
        original,
        as_variant(original, OTHER_CLASS),
        as_variant(original, Variant(report_class=COMPREHENSIVE)),
        as_variant(original, Variant(character_set=CharacterSetPolicy.UTF_8)),
        as_variant(original, Variant(series_numbers=((kind, 7),))),
        as_variant(original, Variant(series_descriptions=((kind, "AI"),))),
    ]
    for uids in (
        {form.SOPInstanceUID for form in forms},
        {form.SeriesInstanceUID for form in forms},
    ):
        assert len(uids) == len(forms)
        assert all(UID(uid).is_valid for uid in uids)
    assert {form.StudyInstanceUID for form in forms} == {"1.2.3.4.5.2"}


def test_a_form_keeps_its_uid() -> None:
    # A fixed value: another spelling of the variant would rename what the archives hold.
    assert (
        variant_uid("1.2.3", OTHER_CLASS.canonical())
        == "2.25.122570604259236918540058545360576030986"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_form_is_always_the_same_bytes_and_the_original_stays(
    objects: Objects, kind: ResultKind
) -> None:
    variant = Variant(ENHANCED, CharacterSetPolicy.GB18030, ((kind, 7),), ((kind, "AI 乳腺"),))
    before = part10_bytes(objects[kind])
    form = part10_bytes(as_variant(objects[kind], variant))
    assert part10_bytes(objects[kind]) == before
    assert part10_bytes(as_variant(objects[kind], variant)) == form
    from_file = pydicom.dcmread(BytesIO(before))
    assert part10_bytes(as_variant(from_file, variant)) == form


def test_the_order_of_the_wishes_does_not_matter(objects: Objects) -> None:
    wishes = ((ResultKind.REPORT, 1), (ResultKind.OVERLAY, 2))
    report = objects[ResultKind.REPORT]
    one, other = (as_variant(report, Variant(series_numbers=w)) for w in (wishes, wishes[::-1]))
    assert part10_bytes(one) == part10_bytes(other)


@pytest.mark.parametrize("report_class", [COMPREHENSIVE, ENHANCED])
def test_only_reports_change_their_class(objects: Objects, report_class: str) -> None:
    for kind, original in objects.items():
        form = as_variant(original, Variant(report_class=report_class))
        expected = report_class if kind in REPORTS else original.SOPClassUID
        assert form.SOPClassUID == expected
        assert form.get("ContentSequence") is None or len(form.ContentSequence) == len(
            original.ContentSequence
        )


@pytest.mark.parametrize(
    ("kind", "names_source", "names_ours"),
    [
        (ResultKind.KEY_OBJECTS, True, (ResultKind.OVERLAY, ResultKind.REPORT)),
        (ResultKind.REJECTION_NOTE, False, (ResultKind.OVERLAY, ResultKind.REPORT)),
        (ResultKind.STUDY_REPORT, True, (ResultKind.REPORT,)),
    ],
)
def test_a_form_refers_to_the_forms_of_our_objects(
    header: Dataset,
    objects: Objects,
    kind: ResultKind,
    names_source: bool,
    names_ours: tuple[ResultKind, ...],
) -> None:
    forms = {each: as_variant(original, OTHER_CLASS) for each, original in objects.items()}
    named = [place(header)] if names_source else []
    named += [place(forms[each]) for each in names_ours]
    assert places(forms[kind].CurrentRequestedProcedureEvidenceSequence) == named
    in_content = {each for item in forms[kind].ContentSequence for each in references(item)}
    assert in_content == {(each[2], each[3]) for each in named}


@pytest.mark.parametrize("kind", REPORTS)
def test_a_form_replaces_the_form_of_its_predecessor(objects: Objects, kind: ResultKind) -> None:
    report = objects[kind]
    (before,) = places(report.PredecessorDocumentsSequence)
    earlier = Dataset()
    earlier.StudyInstanceUID, earlier.SeriesInstanceUID = before[:2]
    earlier.SOPClassUID, earlier.SOPInstanceUID = before[2:]
    earlier.SeriesNumber = report.SeriesNumber
    (after,) = places(as_variant(report, OTHER_CLASS).PredecessorDocumentsSequence)
    assert after == place(as_variant(earlier, OTHER_CLASS))
    assert after != before


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_image_keeps_its_uids(
    header: Dataset, objects: Objects, kind: ResultKind
) -> None:
    def to_source(data_set: Dataset) -> list[tuple[str, str]]:
        return [each for each in references(data_set) if each[0] == header.SOPClassUID]

    assert to_source(as_variant(objects[kind], OTHER_CLASS)) == to_source(objects[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_series_get_the_destination_s_number_and_description(
    objects: Objects, kind: ResultKind
) -> None:
    variant = Variant(series_numbers=((kind, 7),), series_descriptions=((kind, "KI"),))
    form = as_variant(objects[kind], variant)
    assert (form.SeriesNumber, form.SeriesDescription) == (7, "KI")
    for other in set(KINDS) - {kind}:
        form = as_variant(objects[other], variant)
        assert form.SeriesNumber == objects[other].SeriesNumber
        assert form.SeriesDescription == objects[other].SeriesDescription


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("policy", "written"),
    [
        (CharacterSetPolicy.SOURCE, NAME.encode("latin-1")),
        (CharacterSetPolicy.UTF_8, NAME.encode()),
        (CharacterSetPolicy.GB18030, NAME.encode("gb18030")),
    ],
)
def test_texts_are_written_in_the_destination_s_character_set(
    objects: Objects, kind: ResultKind, policy: CharacterSetPolicy, written: bytes
) -> None:
    content = part10_bytes(as_variant(objects[kind], Variant(ENHANCED, policy)))
    assert written in content
    assert str(pydicom.dcmread(BytesIO(content)).PatientName) == NAME


def test_a_description_that_the_source_s_character_set_lacks_makes_it_utf_8(
    objects: Objects,
) -> None:
    kind = ResultKind.OVERLAY
    form = as_variant(objects[kind], Variant(series_descriptions=((kind, "AI 乳腺"),)))
    read = pydicom.dcmread(BytesIO(part10_bytes(form)))
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert (read.SeriesDescription, str(read.PatientName)) == ("AI 乳腺", NAME)


@pytest.mark.parametrize("kind", KINDS)
def test_undeclared_bytes_are_not_guessed_at(
    header: Dataset, our_objects: Callable[[Dataset], Objects], kind: ResultKind
) -> None:
    raw = "王^小红".encode("gbk")
    del header.SpecificCharacterSet
    header.PatientName = raw.decode("latin-1")
    variant = Variant(
        character_set=CharacterSetPolicy.UTF_8, series_descriptions=((kind, "AI 乳腺"),)
    )
    original = our_objects(header)[kind]
    content = part10_bytes(as_variant(original, variant))
    read = pydicom.dcmread(BytesIO(content))
    assert raw in content
    assert "SpecificCharacterSet" not in read
    assert read.SeriesDescription == original.SeriesDescription


def test_no_report_of_ours_is_of_another_class() -> None:
    with pytest.raises(ValueError, match="cannot be of the class"):
        Variant(report_class="1.2.840.10008.5.1.4.1.1.88.11")


def test_a_foreign_object_has_no_form(header: Dataset) -> None:
    with pytest.raises(ValueError, match="not an object of ours"):
        as_variant(header, OTHER_CLASS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("report_class", [COMPREHENSIVE, ENHANCED])
def test_dciodvfy_accepts_every_form(
    objects: Objects,
    iod_errors: Callable[[bytes], list[str]],
    kind: ResultKind,
    report_class: str,
) -> None:
    variant = Variant(report_class, CharacterSetPolicy.UTF_8, ((kind, 7),))
    assert iod_errors(part10_bytes(as_variant(objects[kind], variant))) == []


@pytest.mark.parametrize(
    ("report_class", "title"),
    [(COMPREHENSIVE, "Comprehensive SR Document"), (ENHANCED, "Enhanced SR Document")],
)
def test_dsrdump_reads_the_same_tree(
    objects: Objects,
    run_tool: Callable[..., str],
    tmp_path: Path,
    report_class: str,
    title: str,
) -> None:
    def dump(report: Dataset) -> list[str]:
        path = tmp_path / "report.dcm"
        path.write_bytes(part10_bytes(report))
        return run_tool("dsrdump", "+U8", str(path)).splitlines()

    report = objects[ResultKind.REPORT]
    before, after = dump(report), dump(as_variant(report, Variant(report_class=report_class)))
    assert after[0] == title
    tree = before.index('<CONTAINER:(,,"Imaging Measurement Report")=SEPARATE>')
    assert after[tree:] == before[tree:]
