"""What storage commitment messages carry (PS3.4 Annex J.3), as plain values and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydicom.dataset import Dataset

from service.journal.records import Reference

PUSH_MODEL = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP Instance."""

REQUEST_COMMITMENT = 1
"""Action Type ID."""
ALL_COMMITTED = 1
SOME_NOT_COMMITTED = 2
"""Event Type IDs."""

MAX_REFERENCES = 10_000

_Read = TypeVar("_Read")

_UID = re.compile(r"[0-9.]{1,64}")


class UnreadableInformation(Exception):
    """The message does not say what it must; the text is ours."""


@dataclass(frozen=True)
class Report:
    """failed: Failure Reason by SOP Instance UID, 0 where it is not said."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def decoded(read: Callable[[], _Read]) -> _Read:
    """What ``read`` makes of a message. Raises UnreadableInformation, whatever pydicom raises."""
    try:
        return read()
    except UnreadableInformation:
        raise
    except Exception:  # noqa: BLE001
        raise UnreadableInformation("it cannot be decoded") from None


def action_information(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """Of an N-ACTION that asks for commitment."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(each) for each in references]
    return information


def read_action(information: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID, and each reference once. Raises UnreadableInformation."""
    transaction_uid = _uid(information, "TransactionUID")
    references = _references(information.get("ReferencedSOPSequence"))
    if not references:
        raise UnreadableInformation("it refers to nothing")
    return transaction_uid, tuple(dict.fromkeys(reference for reference, _ in references))


def event_information(
    transaction_uid: str, references: Iterable[Reference], failures: Mapping[Reference, int]
) -> tuple[int, Dataset]:
    """Event Type ID and information of an N-EVENT-REPORT.

    references: all that were asked for. failures: Failure Reason of those not committed.
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    committed = [_item(each) for each in references if each not in failures]
    if committed:
        information.ReferencedSOPSequence = committed
    if failures:
        failed = []
        for reference, reason in failures.items():
            item = _item(reference)
            item.FailureReason = reason
            failed.append(item)
        information.FailedSOPSequence = failed
    return (SOME_NOT_COMMITTED if failures else ALL_COMMITTED), information


def read_event(information: Dataset) -> Report:
    """Raises UnreadableInformation."""
    transaction_uid = _uid(information, "TransactionUID")
    failed = {uid: reason for (_, uid), reason in _references(information.get("FailedSOPSequence"))}
    committed = {uid for (_, uid), _ in _references(information.get("ReferencedSOPSequence"))}
    return Report(transaction_uid, frozenset(committed - failed.keys()), failed)


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    return item


def _references(sequence: Sequence[Dataset] | None) -> list[tuple[Reference, int]]:
    if sequence is None:
        return []
    if len(sequence) > MAX_REFERENCES:
        raise UnreadableInformation(f"it refers to more than {MAX_REFERENCES} objects")
    return [
        (
            (_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")),
            int(item.get("FailureReason", 0) or 0),
        )
        for item in sequence
    ]


def _uid(data_set: Dataset, keyword: str) -> str:
    value = str(data_set.get(keyword, ""))
    if not _UID.fullmatch(value):
        raise UnreadableInformation(f"{keyword} is missing, or no UID")
    return value
