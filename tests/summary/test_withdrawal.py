"""A result is taken back: a rejection note, a report that replaces it, a new summary."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicom_sr.rejection_note import RejectionReason
from service.journal.records import ImageState
from service.withdrawal import NothingToWithdraw


def named_by(document: Dataset) -> list[str]:
    return [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in document.ContentSequence
        if item.ValueType in ("IMAGE", "COMPOSITE")
    ]


def texts(report: Dataset) -> str:
    return " ".join(str(each.value) for each in report.iterall() if each.keyword == "TextValue")


@pytest.mark.parametrize(
    ("reason", "title"),
    [(RejectionReason.QUALITY, "113001"), (RejectionReason.PATIENT_SAFETY, "113037")],
)
def test_the_note_names_all_that_was_sent_and_nothing_else(office, reason, title) -> None:
    key = office.analysed(1)
    sent = office.row(key).outcome.uids
    office.withdrawal.withdraw(office.row(key), reason, "wrong side marked")
    row = office.row(key)
    assert row.state is ImageState.WITHDRAWN
    note = office.object(row.parcel, "rejection.dcm")
    assert note.ConceptNameCodeSequence[0].CodeValue == title
    assert sorted(named_by(note)) == sorted(sent)
    assert row.sop_instance_uid not in named_by(note)
    assert "wrong side marked" in texts(note)


def test_the_report_is_replaced_by_one_that_says_why(office) -> None:
    key = office.analysed(1)
    old = office.object(key, "sr.dcm")
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "wrong side marked")
    report = office.object(office.row(key).parcel, "sr.dcm")
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert report.SOPInstanceUID != old.SOPInstanceUID
    assert "withdrawn" in texts(report)
    assert "wrong side marked" in texts(report)


def test_it_goes_to_those_who_got_the_result(office_for) -> None:
    office = office_for({"objects": ["sc"]}, {"objects": ["sr", "sc"]}, {"objects": ["summary"]})
    key = office.analysed(1)
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "why")
    parcel = office.row(key).parcel
    sent = {
        each.destination: each.objects
        for each in office.row(key).deliveries
        if each.parcel == parcel
    }
    assert sent == {"pacs-0": ("rejection.dcm",), "pacs-1": ("rejection.dcm", "sr.dcm")}


def test_the_summary_is_revised_and_tells_of_it(office) -> None:
    key = office.analysed(1, 0.9)
    office.analysed(2, 0.2)
    office.wait()
    (first,) = office.summarise()
    office.withdrawal.withdraw(office.row(key), RejectionReason.PATIENT_SAFETY, "why")
    (second,) = office.summarise()
    assert "90" in texts(office.object(first, "summary.dcm"))
    revised = office.object(second, "summary.dcm")
    assert "withdrawn" in texts(revised)
    assert "PredecessorDocumentsSequence" in revised


def test_the_reason_in_words_is_kept_in_the_objects_alone(office) -> None:
    key = office.analysed(1)
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "Jane Doe's right breast")
    assert "Jane" not in repr(office.row(key))


def test_what_was_replaced_before_is_rejected_too(office) -> None:
    key = office.analysed(1, 0.7)
    first = office.row(key).outcome.uids
    office.journal.ask_again(key, "cd" * 32)
    office.scored(key, 0.8)
    second = office.row(key).outcome.uids
    assert not set(first) & set(second)
    replacing = office.object(office.row(key).parcel, "sr.dcm")
    assert "PredecessorDocumentsSequence" in replacing
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "why")
    note = office.object(office.row(key).parcel, "rejection.dcm")
    assert set(named_by(note)) == {*first, *second}


def test_a_second_withdrawal_rejects_what_came_since_the_first(office) -> None:
    key = office.analysed(1, 0.7)
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "why")
    office.journal.ask_again(key, "cd" * 32)
    office.scored(key, 0.8)
    since = office.row(key).outcome.uids
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "again")
    note = office.object(office.row(key).parcel, "rejection.dcm")
    assert sorted(named_by(note)) == sorted(since)


def test_there_must_be_something_to_withdraw(office) -> None:
    with pytest.raises(NothingToWithdraw, match="no result"):
        office.withdrawal.withdraw(office.row(office.image(1)), RejectionReason.QUALITY, "why")
    key = office.analysed(2)
    office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "why")
    with pytest.raises(NothingToWithdraw, match="withdrawn"):
        office.withdrawal.withdraw(office.row(key), RejectionReason.QUALITY, "why")
