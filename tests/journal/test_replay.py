"""An operator's command brings failed images back, and touches no other."""

from __future__ import annotations

from collections.abc import Callable

from service.journal.journal import Journal
from service.journal.records import DeliveryState, ImageState, ReceivedImage

Image = Callable[..., ReceivedImage]
Analysed = Callable[..., str]


def fail_delivery(journal: Journal, key: str, destination: str = "pacs") -> None:
    job = journal.lease_delivery(key, destination, 10)
    assert job is not None
    journal.record_delivery_failure(job, "0xA900", None, refused=True)


def test_a_failed_analysis_starts_afresh(journal: Journal, image: Image) -> None:
    key = journal.record_received(image(1)).key
    first = journal.lease_analysis(key, 10)
    assert first is not None
    journal.record_analysis_failure(first, "OutOfMemory", retry_in=None)

    assert journal.replay([key]) == 1

    again = journal.lease_analysis(key, 10)
    assert again is not None
    assert again.attempt == 1
    assert again.started_at == first.started_at, "the same identity, the same bytes"


def test_a_failed_delivery_is_sent_again_without_a_new_analysis(
    journal: Journal, analysed: Analysed
) -> None:
    key = analysed(1, "pacs", "research")
    done = journal.lease_delivery(key, "research", 10)
    assert done is not None
    journal.record_delivered(done)
    fail_delivery(journal, key)

    assert journal.replay([key]) == 1

    row = journal.image(key)
    assert row is not None
    assert row.state is ImageState.ANALYSED
    assert [each.state for each in row.deliveries] == [
        DeliveryState.PENDING,
        DeliveryState.DELIVERED,
    ]
    assert journal.lease_analysis(key, 10) is None
    again = journal.lease_delivery(key, "pacs", 10)
    assert again is not None
    assert (again.attempt, again.refusals) == (1, 0)
    assert journal.record_delivered(again)
    assert journal.keys_in(ImageState.DELIVERED) == [key]


def test_an_image_that_was_not_analysable_is_so_again(
    journal: Journal, image: Image, not_analysable
) -> None:
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, not_analysable, {"pacs": not_analysable.objects})
    fail_delivery(journal, key)

    assert journal.replay([key]) == 1
    assert journal.keys_in(ImageState.NOT_ANALYSABLE) == [key]


def test_only_failed_images_are_replayed_and_only_once(
    journal: Journal, image: Image, analysed: Analysed
) -> None:
    waiting = journal.record_received(image(1)).key
    sent = analysed(2, "pacs")
    failed = analysed(3, "pacs")
    fail_delivery(journal, failed)
    other_failed = analysed(4, "pacs")
    fail_delivery(journal, other_failed)

    assert journal.replay([waiting, sent, failed, "no such key"]) == 1
    assert journal.replay([waiting, sent, failed, "no such key"]) == 0
    assert journal.replay([]) == 0
    assert journal.keys_in(ImageState.FAILED) == [other_failed]
