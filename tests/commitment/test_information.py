"""The messages of storage commitment, and those that are none."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from service.commitment.information import (
    ALL_COMMITTED,
    MAX_REFERENCES,
    SOME_NOT_COMMITTED,
    UnreadableInformation,
    action_information,
    event_information,
    read_action,
    read_event,
)

SR = ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3")
SC = ("1.2.840.10008.5.1.4.1.1.7", "1.2.4")


def test_a_request_is_read_as_it_was_written() -> None:
    assert read_action(action_information("1.2.9", [SR, SC])) == ("1.2.9", (SR, SC))


def test_a_reference_counts_once() -> None:
    assert read_action(action_information("1.2.9", [SR, SR, SC])) == ("1.2.9", (SR, SC))


def test_a_report_of_success_has_no_failed_sequence() -> None:
    event_type, information = event_information("1.2.9", [SR, SC], {})
    assert event_type == ALL_COMMITTED
    assert "FailedSOPSequence" not in information
    report = read_event(information)
    assert (report.committed, report.failed) == ({"1.2.3", "1.2.4"}, {})


def test_a_report_names_each_failure_with_its_reason() -> None:
    event_type, information = event_information("1.2.9", [SR, SC], {SC: 0x0112})
    assert event_type == SOME_NOT_COMMITTED
    report = read_event(information)
    assert (report.committed, report.failed) == ({"1.2.3"}, {"1.2.4": 0x0112})


def test_where_nothing_is_committed_no_empty_sequence_is_sent() -> None:
    _, information = event_information("1.2.9", [SC], {SC: 0x0112})
    assert "ReferencedSOPSequence" not in information


def test_what_a_report_calls_both_committed_and_failed_is_not_committed() -> None:
    _, information = event_information("1.2.9", [SR, SC], {SC: 0x0110})
    information.ReferencedSOPSequence = action_information("1", [SR, SC]).ReferencedSOPSequence
    assert read_event(information).committed == {"1.2.3"}


@pytest.mark.parametrize("missing", ["TransactionUID", "ReferencedSOPSequence"])
def test_a_request_without_its_parts_is_none(missing: str) -> None:
    information = action_information("1.2.9", [SR])
    del information[missing]
    with pytest.raises(UnreadableInformation):
        read_action(information)


@pytest.mark.parametrize("uid", ["", "DOE^JANE", "1" * 65])
def test_a_uid_is_one(uid: str) -> None:
    information = action_information("1.2.9", [SR])
    information.ReferencedSOPSequence[0].add_new("ReferencedSOPInstanceUID", "LO", uid)
    with pytest.raises(UnreadableInformation) as error:
        read_action(information)
    assert "DOE" not in str(error.value)


def test_a_request_about_a_whole_archive_is_refused() -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SR
    information = action_information("1.2.9", [])
    information.ReferencedSOPSequence = [item] * (MAX_REFERENCES + 1)
    with pytest.raises(UnreadableInformation, match="more than"):
        read_action(information)
