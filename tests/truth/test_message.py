"""An ORU^R01 is read, and answered, whatever it is."""

from __future__ import annotations

from datetime import UTC, date, datetime

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.journal.truth_records import Diagnosis, Source, Subject
from service.truth.message import Code, NotTaken, answer, decoded, head_of, read_result
from service.truth.settings import TruthSettings

TODAY = date(2026, 6, 1)
ORU = "\r".join(
    [
        "MSH|^~\\&|PATHOLOGY|LAB|SECONDREAD|US|20260310101500||ORU^R01^ORU_R01|4711|P|2.5.1",
        "PID|1||12345^^^HOSPITAL||DOE^JANE||19600101|F",
        "OBR|1|A1|B1|22637-3^Pathology report final diagnosis^LN|||20260309080000",
        "OBX|1|CWE|22637-3^Final diagnosis^LN||M^Malignant^L||||||F|||20260310",
        "ZDS|1.2.900.1^LAB^Application^DICOM",
    ]
)
HERE = TruthSettings(malignant=("M",), benign=("B",), source=Source.SURGERY)


def read(text: str = ORU, settings: TruthSettings = HERE):
    return read_result(text, settings, "hl7 192.0.2.1", TODAY)


def test_the_diagnosis_of_a_study() -> None:
    truth = read()
    assert (truth.subject, truth.uid) == (Subject.STUDY, "1.2.900.1")
    assert truth.diagnosis is Diagnosis.MALIGNANT
    assert truth.dated == date(2026, 3, 9)
    assert (truth.source, truth.teller) == (Source.SURGERY, "hl7 192.0.2.1")
    assert read(ORU.replace("M^Malignant", "b^Benign")).diagnosis is Diagnosis.BENIGN


def test_a_value_may_be_a_text_and_the_uid_an_observation() -> None:
    settings = TruthSettings(
        study_uid="OBX:110180", codes=("DX",), malignant=("Invasive carcinoma",), benign=("Cyst",)
    )
    head = ORU.split("\r")[:3]
    text = "\r".join(
        [
            *head,
            "OBX|1|ST|DX^Diagnosis||invasive CARCINOMA||||||C",
            "OBX|2|ST|110180^Study Instance UID^DCM||1.2.3||||||F",
        ]
    )
    truth = read(text, settings)
    assert (truth.uid, truth.diagnosis) == ("1.2.3", Diagnosis.MALIGNANT)


def test_of_several_final_diagnoses_the_worst_counts() -> None:
    benign = "\rOBX|2|CWE|22637-3||B||||||F"
    assert read(ORU + benign).diagnosis is Diagnosis.MALIGNANT
    preliminary = ORU.replace("||||||F|", "||||||P|")
    assert read(preliminary + benign).diagnosis is Diagnosis.BENIGN


@pytest.mark.parametrize(
    ("old", "new", "code", "why"),
    [
        ("ORU^R01", "ADT^A01", Code.REJECT, "only ORU"),
        ("||||||F|", "||||||P|", Code.ERROR, "no diagnosis is final"),
        ("OBX|1|CWE|22637-3", "OBX|1|CWE|718-7", Code.ERROR, "no observation with a known code"),
        ("M^Malignant", "X^DOE", Code.ERROR, "none of truth.malignant"),
        ("ZDS|1.2.900.1", "ZDS|", Code.ERROR, "no Study Instance UID at ZDS-1.1"),
        ("ZDS|1.2.900.1", "ZDS|DOE", Code.ERROR, "the UID is none"),
        ("ZDS|", "ZDS|1.2.3\rZDS|", Code.ERROR, "more than one study"),
        ("20260309080000", "20270309", Code.ERROR, "still to come"),
        ("20260309080000", "soon", Code.ERROR, "the date is none"),
    ],
)
def test_what_is_not_taken_says_why_and_repeats_nothing(
    old: str, new: str, code: Code, why: str
) -> None:
    with pytest.raises(NotTaken, match=why) as told:
        read(ORU.replace(old, new))
    assert told.value.code is code
    assert "DOE" not in told.value.text


def test_the_answer_goes_back_to_its_sender() -> None:
    text = answer(head_of(ORU), Code.ERROR, "no such study", datetime(2026, 6, 1, tzinfo=UTC))
    ack = hl7.parse(text)
    assert (str(ack["MSH.F3"]), str(ack["MSH.F5"])) == ("SECONDREAD", "PATHOLOGY")
    assert str(ack.segment("MSH")[9]) == "ACK^R01^ACK"
    assert [str(ack[f"MSA.F{number}"]) for number in (1, 2, 3)] == ["AE", "4711", "no such study"]


@pytest.mark.parametrize(
    ("named", "encoding"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("GB 18030-2000", "gb18030"),
        ("", "utf-8"),
    ],
)
def test_characters_are_read_as_the_message_says(named: str, encoding: str) -> None:
    value = "bösartig" if encoding == "latin-1" else "恶性"
    text = ORU.replace("|2.5.1", "|2.5.1||||||" + named).replace("M^Malignant", value)
    settings = TruthSettings(malignant=(value,), benign=("B",))
    assert read(decoded(text.encode(encoding)), settings).diagnosis is Diagnosis.MALIGNANT


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: ("MSH" + text).encode()))
def test_whatever_comes_has_an_answer(block: bytes) -> None:
    text = decoded(block)
    with pytest.raises(NotTaken) as told:
        read(text)
    ack = answer(head_of(text), told.value.code, told.value.text, datetime.now(UTC))
    assert ack.startswith("MSH")
    assert ack.count("\r") == 2


@given(st.data())
def test_a_spoilt_message_is_read_or_has_a_reason(data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(ORU)))
    until = data.draw(st.integers(where, min(len(ORU), where + 40)))
    spoilt = ORU[:where] + data.draw(st.text(max_size=10)) + ORU[until:]
    try:
        outcome = read(spoilt)
    except NotTaken as error:
        outcome = error
    assert "DOE" not in str(outcome)
    assert answer(head_of(spoilt), Code.ACCEPT, "", datetime.now(UTC)).count("\r") == 2


def test_no_value_may_mean_both() -> None:
    with pytest.raises(ValueError, match="both malignant and benign"):
        TruthSettings(malignant=("X",), benign=("x",))
