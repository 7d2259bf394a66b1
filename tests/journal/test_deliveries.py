"""Each destination gets the results of an image; the image is delivered once all have them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from service.journal.journal import Journal
from service.journal.records import DeliveryJob, DeliveryRow, DeliveryState, ImageState

Analysed = Callable[..., str]


def lease(journal: Journal, key: str, destination: str = "pacs") -> DeliveryJob:
    job = journal.lease_delivery(key, destination, lease_seconds=10)
    assert job is not None
    return job


def state(journal: Journal, key: str) -> ImageState:
    row = journal.image(key)
    assert row is not None
    return row.state


def delivery(journal: Journal, key: str) -> DeliveryRow:
    row = journal.image(key)
    assert row is not None
    return row.deliveries[0]


def test_a_lease_names_what_is_to_be_sent(journal: Journal, analysed: Analysed) -> None:
    job = lease(journal, analysed(1, "pacs"))

    assert job.objects == ("sr.dcm", "sc.dcm")
    assert (job.destination, job.attempt, job.refusals) == ("pacs", 1, 0)
    assert journal.lease_delivery(job.parcel, "elsewhere", 10) is None


def test_one_worker_delivers_at_a_time(journal: Journal, analysed: Analysed, clock) -> None:
    first = lease(journal, analysed(1, "pacs"))
    clock.forward(9)
    assert journal.lease_delivery(first.parcel, "pacs", 10) is None
    assert journal.renew_delivery(first, 10)
    clock.forward(9)
    assert journal.lease_delivery(first.parcel, "pacs", 10) is None
    clock.forward(1)

    assert lease(journal, first.parcel).attempt == 2
    assert not journal.renew_delivery(first, 10)


def test_an_image_is_delivered_once_every_destination_has_it(
    journal: Journal, analysed: Analysed, clock
) -> None:
    key = analysed(1, "pacs", "research")

    assert journal.record_delivered(lease(journal, key, "pacs"))
    assert state(journal, key) is ImageState.ANALYSED
    clock.forward(5)
    assert journal.record_delivered(lease(journal, key, "research"))

    row = journal.image(key)
    assert row is not None
    assert row.state is ImageState.DELIVERED
    assert row.delivered_at == clock.now
    assert journal.lease_delivery(key, "pacs", 10) is None


def test_what_the_destination_stored_counts_even_after_the_lease(
    journal: Journal, analysed: Analysed, clock
) -> None:
    slow = lease(journal, analysed(1, "pacs"))
    clock.forward(11)
    fast = lease(journal, slow.parcel)

    assert journal.record_delivered(slow)
    assert not journal.record_delivered(fast)
    assert state(journal, slow.parcel) is ImageState.DELIVERED


def test_who_lost_the_lease_cannot_report_a_failure(
    journal: Journal, analysed: Analysed, clock
) -> None:
    slow = lease(journal, analysed(1, "pacs"))
    clock.forward(11)
    fast = lease(journal, slow.parcel)

    journal.record_delivery_failure(slow, "refused", retry_in=None, refused=True)

    assert state(journal, slow.parcel) is ImageState.ANALYSED
    assert journal.renew_delivery(fast, 10)


def test_after_a_failure_the_next_try_waits_its_time(
    journal: Journal, analysed: Analysed, clock
) -> None:
    key = analysed(1, "pacs")
    journal.record_delivery_failure(lease(journal, key), "no connection", 2, refused=False)

    waiting = delivery(journal, key)
    assert (waiting.state, waiting.last_error) == (DeliveryState.PENDING, "no connection")
    assert waiting.next_attempt_at is not None
    assert (waiting.next_attempt_at - clock.now).total_seconds() == 2
    assert journal.lease_delivery(key, "pacs", 10) is None
    clock.forward(2)
    job = lease(journal, key)
    assert (job.attempt, job.refusals) == (2, 0)


def test_refusals_are_counted_apart_from_attempts(
    journal: Journal, analysed: Analysed, clock
) -> None:
    key = analysed(1, "pacs")
    for refused in (True, False, True):
        journal.record_delivery_failure(lease(journal, key), "0xA900", 1, refused)
        clock.forward(1)

    job = lease(journal, key)

    assert (job.attempt, job.refusals) == (4, 2)


def test_one_destination_that_refuses_fails_the_image_but_stops_no_other(
    journal: Journal, analysed: Analysed
) -> None:
    key = analysed(1, "pacs", "research")

    journal.record_delivery_failure(lease(journal, key), "0xA900", None, refused=True)

    assert state(journal, key) is ImageState.FAILED
    assert delivery(journal, key).state is DeliveryState.FAILED
    assert journal.lease_delivery(key, "pacs", 10) is None
    assert journal.record_delivered(lease(journal, key, "research"))
    assert state(journal, key) is ImageState.FAILED


def test_success_forgets_the_error(journal: Journal, analysed: Analysed, clock) -> None:
    key = analysed(1, "pacs")
    journal.record_delivery_failure(lease(journal, key), "no connection", 2, refused=False)
    assert journal.delivery_errors() == {"pacs": "no connection"}
    clock.forward(2)
    journal.record_delivered(lease(journal, key))

    assert delivery(journal, key).last_error is None
    assert journal.delivery_errors() == {}


def test_the_last_two_destinations_at_the_same_moment_still_end_the_image(
    journal: Journal, analysed: Analysed
) -> None:
    """Without a lock on the image each would see the other one unfinished."""
    keys = [analysed(number, "pacs", "research") for number in range(20)]
    barrier = threading.Barrier(2)

    def deliver_to(destination: str) -> None:
        for key in keys:
            job = lease(journal, key, destination)
            barrier.wait(10)
            assert journal.record_delivered(job)

    threads = [threading.Thread(target=deliver_to, args=(each,)) for each in ("pacs", "research")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(journal.keys_in(ImageState.DELIVERED)) == set(keys)


def test_a_postponed_delivery_waits_without_an_attempt(journal: Journal, analysed, clock) -> None:
    key = analysed(1, "pacs")
    journal.postpone_delivery(key, "pacs", 40)
    assert journal.lease_delivery(key, "pacs", 10) is None
    assert journal.overdue(0) == []
    clock.forward(40)
    assert [job.key for job in journal.overdue(30)] == [key]
    job = journal.lease_delivery(key, "pacs", 10)
    assert job is not None
    assert job.attempt == 1
    journal.postpone_delivery(key, "pacs", 40)  # who has it keeps it
    assert journal.record_delivered(job)
