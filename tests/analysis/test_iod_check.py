"""What dciodvfy says of an object, in words that may be logged, and what if it says nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_sr.finding import ModelIdentity, NotAnalysed
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from service.iod_check import IodCheck

STUDY = "1.2.3.4.5.2"
WRONG_UID = "9.2.3.wrong"


def report(study: str = STUDY, **header: str) -> Dataset:
    """A report on an image that was not analysed."""
    source = Dataset()
    for keyword, value in header.items():
        setattr(source, keyword, value)
    source.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    source.SOPInstanceUID = "1.2.3.4.5.1"
    source.SeriesInstanceUID = "1.2.3.4.5.3"
    put(source, "StudyInstanceUID", study)
    source.setdefault("PatientName", "Doe^Jane")
    return build_report(
        source,
        NotAnalysed("undecodable", "The pixel data cannot be decoded."),
        ModelIdentity("ResNet50", "1", "ab" * 32, ()),
        revision=0,
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def put(data_set: Dataset, keyword: str, value: str) -> None:
    """Set what pydicom would warn of."""
    vr = {"PatientSex": "CS", "PatientBirthDate": "DA", "StudyInstanceUID": "UI"}[keyword]
    data_set.add(DataElement(keyword, vr, value, validation_mode=0))


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """``program(script)``: a dciodvfy that behaves as the shell script says."""

    def write(script: str) -> str:
        path = tmp_path / "dciodvfy"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_it_is_installed_where_the_tests_run() -> None:
    assert IodCheck.available()


def test_it_is_looked_for_on_the_path(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not IodCheck.available()


def test_valid_object_has_no_errors() -> None:
    assert IodCheck().errors(part10_bytes(report())) == []


def test_missing_attribute_is_named_with_its_module() -> None:
    broken = report()
    del broken.CompletionFlag
    assert IodCheck().errors(part10_bytes(broken)) == [
        "</CompletionFlag(0040,a491)> - Missing attribute for Type 1 Required"
        " - Module=<SRDocumentGeneral>"
    ]


def test_attribute_inside_the_content_tree_is_named_by_its_path() -> None:
    broken = report()
    del broken.ContentSequence[0].RelationshipType
    (error,) = IodCheck().errors(part10_bytes(broken))
    assert error.startswith(
        "</ContentSequence(0040,a730)[1]/RelationshipType(0040,a010)> - Missing"
    )


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSex", "JANE"),
        ("PatientSex", "Module=<JANE>"),
        ("PatientSex", 'JA"NE = <JANE'),
        ("PatientBirthDate", "1970JANE"),
        ("PatientBirthDate", "<JANE>"),
        ("PatientBirthDate", "1\nError - <JANE>"),
    ],
)
def test_value_is_never_told(keyword, value) -> None:
    broken = report()
    put(broken, keyword, value)
    errors = IodCheck().errors(part10_bytes(broken))
    assert any(keyword in error for error in errors)
    # Nor letter by letter: "Character invalid for this VR = 'J'".
    for error in errors:
        assert "JANE" not in error
        assert "'" not in error


def test_error_is_told_once() -> None:
    broken = report()
    put(broken, "PatientSex", "jane")
    errors = IodCheck().errors(part10_bytes(broken))
    assert len(errors) == len(set(errors)) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_malformed_uid_of_the_source_is_no_error_of_ours() -> None:
    content = part10_bytes(report(WRONG_UID))
    assert IodCheck().errors(content, {WRONG_UID, "1.2.3.4.5.1"}) == []
    assert any("StudyInstanceUID" in error for error in IodCheck().errors(content))
    assert any("StudyInstanceUID" in error for error in IodCheck().errors(content, {"9.2.3", ""}))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_errors_of_that_object_remain() -> None:
    broken = report(WRONG_UID)
    del broken.CompletionFlag
    (error,) = IodCheck().errors(part10_bytes(broken), {WRONG_UID})
    assert "CompletionFlag" in error


@pytest.mark.parametrize(
    "header",
    [
        {"SpecificCharacterSet": "GBK", "PatientName": "王^小红"},
        {"SpecificCharacterSet": "GB18030", "PatientName": "红" * 60},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "红" * 60},
    ],
)
def test_letters_that_dciodvfy_misjudges_keep_no_result_back(header: dict[str, str]) -> None:
    assert IodCheck().errors(part10_bytes(report(**header))) == []


def test_bytes_of_a_character_set_that_the_source_did_not_declare_are_no_fault_of_ours() -> None:
    declared = part10_bytes(report(SpecificCharacterSet="ISO_IR 100", PatientName="Müller"))
    undeclared = declared.replace(b"ISO_IR 100", b"ISO_IR 6  ")
    assert undeclared != declared
    assert IodCheck().errors(undeclared) == []


def test_a_text_that_is_too_long_by_any_count_is_an_error() -> None:
    broken = report()
    broken.PatientID = "1" * 65
    (error,) = IodCheck().errors(part10_bytes(broken))
    assert "PatientID" in error


def test_file_that_is_cut_off_has_errors() -> None:
    assert IodCheck().errors(part10_bytes(report())[:-100])


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("kill -SEGV $$", "return code -11"),
        ("exit 127", "return code 127"),
        ("exit 0", "said nothing"),
        ("echo 'Warning - nothing'; exit 1", "said nothing"),
        ("exec sleep 60", "did not end within 0.5 s"),
    ],
)
def test_no_judgement_is_no_error_and_is_logged_once(program, caplog, script, why) -> None:
    check = IodCheck(seconds=0.5, program=program(script))
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert check.errors(b"an object") == []
        assert check.errors(b"an object") == []
    assert time.monotonic() - started < 10
    (record,) = caplog.records
    assert why in record.getMessage()


def test_program_that_is_gone_is_no_error(tmp_path, caplog) -> None:
    assert IodCheck(program=str(tmp_path / "nothing")).errors(b"an object") == []
    assert "cannot be run: No such file or directory" in caplog.text
