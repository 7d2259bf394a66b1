"""What waits for a destination's commitment, and what a scanner asked us to commit to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.journal.journal import Journal
from service.journal.records import (
    CommitmentJob,
    CommitmentRequest,
    DeliveryJob,
    DeliveryRow,
    DeliveryState,
    ImageState,
    Overdue,
    Stage,
)

AWAITED = (("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3"), ("1.2.840.10008.5.1.4.1.1.7", "1.2.4"))
REQUEST = CommitmentRequest("SCANNER", "192.0.2.7", "1.2.9", AWAITED)


def delivery(journal: Journal, key: str) -> DeliveryRow:
    row = journal.image(key)
    assert row is not None
    return row.deliveries[0]


def state(journal: Journal, key: str) -> ImageState:
    row = journal.image(key)
    assert row is not None
    return row.state


@pytest.fixture
def stored(journal: Journal, analysed: Callable[..., str]) -> DeliveryJob:
    """A parcel that the destination has, and has been asked to commit to as 1.2.5."""
    key = analysed(1, "pacs")
    job = journal.lease_delivery(key, "pacs", 10)
    assert job is not None
    asking = journal.record_stored(job, AWAITED, 10)
    assert asking is not None
    assert journal.name_transaction(asking, "1.2.5")
    journal.wait_for_commitment(asking, 3600)
    return asking


def test_a_stored_parcel_is_delivered_by_its_commitment_alone(
    journal: Journal, stored: DeliveryJob
) -> None:
    assert delivery(journal, stored.parcel).state is DeliveryState.STORED
    assert state(journal, stored.parcel) is ImageState.ANALYSED
    awaited = journal.awaited("1.2.5")
    assert awaited is not None
    assert awaited.awaited == AWAITED

    assert journal.record_committed(stored.parcel, "1.2.5")

    assert delivery(journal, stored.parcel).state is DeliveryState.DELIVERED
    assert state(journal, stored.parcel) is ImageState.DELIVERED
    assert journal.awaited("1.2.5") is None
    assert not journal.record_committed(stored.parcel, "1.2.5")


def test_it_is_asked_about_again_once_the_report_is_late(
    journal: Journal, stored: DeliveryJob, clock
) -> None:
    clock.forward(3599)
    assert journal.overdue(30) == []
    clock.forward(1)
    assert journal.overdue(30) == [Overdue(Stage.DELIVERY, stored.parcel, "pacs")]

    again = journal.lease_delivery(stored.parcel, "pacs", 10)
    assert again is not None
    assert again.awaited == AWAITED
    assert journal.name_transaction(again, "1.2.6")

    assert journal.awaited("1.2.5") is None
    assert not journal.record_committed(stored.parcel, "1.2.5")
    assert journal.record_committed(stored.parcel, "1.2.6")


def test_what_is_not_committed_is_sent_again(journal: Journal, stored: DeliveryJob, clock) -> None:
    assert journal.record_not_committed(stored.parcel, "1.2.5", "not committed", retry_in=5)

    row = delivery(journal, stored.parcel)
    assert (row.state, row.last_error) == (DeliveryState.PENDING, "not committed")
    assert journal.lease_delivery(stored.parcel, "pacs", 10) is None
    clock.forward(5)
    again = journal.lease_delivery(stored.parcel, "pacs", 10)
    assert again is not None
    assert (again.awaited, again.refusals) == ((), 1)
    assert not journal.record_committed(stored.parcel, "1.2.5")


def test_what_is_never_committed_fails_where_it_is_seen(
    journal: Journal, stored: DeliveryJob
) -> None:
    assert journal.record_not_committed(stored.parcel, "1.2.5", "not committed", retry_in=None)

    assert delivery(journal, stored.parcel).state is DeliveryState.FAILED
    assert state(journal, stored.parcel) is ImageState.FAILED
    assert journal.replay([stored.parcel]) == 1
    again = journal.lease_delivery(stored.parcel, "pacs", 10)
    assert again is not None
    assert (again.awaited, again.refusals) == ((), 0)


def test_a_question_that_fails_leaves_the_parcel_stored(
    journal: Journal, stored: DeliveryJob, clock
) -> None:
    clock.forward(3600)
    again = journal.lease_delivery(stored.parcel, "pacs", 10)
    assert again is not None
    journal.record_delivery_failure(again, "no connection", retry_in=7, refused=False)

    row = delivery(journal, stored.parcel)
    assert (row.state, row.last_error) == (DeliveryState.STORED, "no connection")
    clock.forward(7)
    third = journal.lease_delivery(stored.parcel, "pacs", 10)
    assert third is not None
    assert third.awaited == AWAITED


def test_who_lost_the_lease_names_no_transaction(
    journal: Journal, stored: DeliveryJob, clock
) -> None:
    clock.forward(3600)
    assert journal.lease_delivery(stored.parcel, "pacs", 10) is not None
    assert not journal.name_transaction(stored, "1.2.6")
    assert journal.record_stored(stored, AWAITED, 10) is None


def test_a_destination_that_no_longer_commits_has_what_it_has(
    journal: Journal, stored: DeliveryJob
) -> None:
    assert journal.record_delivered(stored)
    assert delivery(journal, stored.parcel).state is DeliveryState.DELIVERED


def test_nobody_waits_for_the_commitment_of_a_withdrawn_result(
    journal: Journal, stored: DeliveryJob, not_analysable
) -> None:
    row = journal.image(stored.parcel)
    assert row is not None
    assert journal.withdraw(row, "f" * 32, not_analysable, {})
    assert delivery(journal, stored.parcel).state is DeliveryState.CANCELLED
    assert journal.awaited("1.2.5") is None


def lease(journal: Journal) -> CommitmentJob:
    job = journal.lease_commitment(REQUEST.key, 10)
    assert job is not None
    return job


def test_a_request_waits_for_its_report(journal: Journal, clock) -> None:
    journal.record_commitment_request(REQUEST, published=False)

    assert journal.overdue(30) == [Overdue(Stage.COMMITMENT, REQUEST.key)]
    clock.forward(3)
    counts = journal.counts()
    assert counts.waiting[Stage.COMMITMENT] == 1
    assert counts.oldest_waiting_seconds[Stage.COMMITMENT] == 3
    job = lease(journal)
    assert job.request == REQUEST
    assert journal.lease_commitment(REQUEST.key, 10) is None
    assert journal.renew_commitment(job, 10)

    assert journal.record_reported(job, not_committed=1)
    assert journal.counts().waiting[Stage.COMMITMENT] == 0
    assert journal.lease_commitment(REQUEST.key, 10) is None


def test_a_report_that_fails_is_tried_again_and_given_up(journal: Journal, clock) -> None:
    journal.record_commitment_request(REQUEST, published=True)
    journal.record_commitment_failure(lease(journal), "no connection", retry_in=5)
    assert journal.lease_commitment(REQUEST.key, 10) is None
    clock.forward(5)
    journal.record_commitment_failure(lease(journal), "no connection", retry_in=None)
    clock.forward(3600)
    assert journal.lease_commitment(REQUEST.key, 10) is None
    assert journal.overdue(30) == []


def test_the_same_transaction_is_one_request_that_can_be_made_again(journal: Journal) -> None:
    journal.record_commitment_request(REQUEST, published=False)
    first = lease(journal)
    fewer = CommitmentRequest("SCANNER", "192.0.2.8", "1.2.9", AWAITED[:1])
    assert fewer.key == REQUEST.key

    journal.record_commitment_request(fewer, published=False)

    assert not journal.record_reported(first, 0), "it was the answer to another question"
    assert lease(journal).request == fewer


def test_another_scanners_transaction_of_the_same_uid_is_its_own(journal: Journal) -> None:
    journal.record_commitment_request(REQUEST, published=False)
    other = CommitmentRequest("OTHER", "192.0.2.7", "1.2.9", AWAITED)
    journal.record_commitment_request(other, published=False)
    assert len(journal.overdue(30)) == 2


def test_the_newest_content_of_an_instance_is_what_is_committed_to(
    journal: Journal, image: Callable[..., object]
) -> None:
    uid = "1.2.3"
    journal.record_received(image(1, sop_instance_uid=uid))
    journal.record_received(image(2, sop_instance_uid=uid))

    kept = journal.kept([("1", uid), ("1", "1.2.4")])

    assert set(kept) == {uid}
    assert (kept[uid].key, kept[uid].digest) == (f"{2:032x}", f"{2:064x}")


def test_more_instances_are_found_than_a_query_may_name(
    journal: Journal, image: Callable[..., object]
) -> None:
    references = [("1", f"1.2.826.0.1.{number}") for number in range(1, 1203)]
    for number in (1, 600, 1202):
        journal.record_received(image(number))
    assert len(journal.kept(references)) == 3
