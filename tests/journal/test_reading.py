"""What the journal tells an operator."""

from __future__ import annotations

from collections.abc import Callable

from service.journal.journal import Journal
from service.journal.records import (
    AnalysisOutcome,
    DeliveryState,
    ImageState,
    ReceivedImage,
    Stage,
    StudyState,
)

Image = Callable[..., ReceivedImage]
Analysed = Callable[..., str]


def test_an_empty_journal_counts_zero_everywhere(journal: Journal) -> None:
    counts = journal.counts()

    assert counts.images == dict.fromkeys(ImageState, 0)
    assert counts.deliveries == {}
    assert counts.studies == dict.fromkeys(StudyState, 0)
    assert counts.waiting == dict.fromkeys(Stage, 0)
    assert counts.oldest_waiting_seconds == dict.fromkeys(Stage, 0)
    assert journal.images() == []
    assert journal.image("0" * 32) is None


def test_counts(
    journal: Journal, image: Image, analysed: Analysed, not_analysable: AnalysisOutcome, clock
) -> None:
    journal.record_received(image(1))
    clock.forward(60)
    journal.record_received(image(2))
    journal.record_received(image(3, ignored_reason="key-object"))
    analysed(4, "pacs", "research")
    done = journal.lease_delivery(analysed(5, "pacs"), "pacs", 10)
    assert done is not None
    journal.record_delivered(done)
    job = journal.lease_analysis(journal.record_received(image(6)).key, 10)
    assert job is not None
    journal.record_outcome(job, not_analysable, {})
    clock.forward(5)

    counts = journal.counts()

    assert counts.images == {
        ImageState.RECEIVED: 2,
        ImageState.ANALYSED: 1,
        ImageState.IGNORED: 1,
        ImageState.NOT_ANALYSABLE: 1,
        ImageState.FAILED: 0,
        ImageState.DELIVERED: 1,
        ImageState.WITHDRAWN: 0,
    }
    assert counts.deliveries == {
        ("pacs", DeliveryState.PENDING): 1,
        ("pacs", DeliveryState.STORED): 0,
        ("pacs", DeliveryState.DELIVERED): 1,
        ("pacs", DeliveryState.FAILED): 0,
        ("pacs", DeliveryState.CANCELLED): 0,
        ("research", DeliveryState.PENDING): 1,
        ("research", DeliveryState.STORED): 0,
        ("research", DeliveryState.DELIVERED): 0,
        ("research", DeliveryState.FAILED): 0,
        ("research", DeliveryState.CANCELLED): 0,
    }
    assert counts.not_analysable == {"colour-doppler": 1}
    assert counts.waiting == {
        Stage.ANALYSIS: 2,
        Stage.DELIVERY: 2,
        Stage.SUMMARY: 0,
        Stage.COMMITMENT: 0,
    }
    assert counts.oldest_waiting_seconds == {
        Stage.ANALYSIS: 65,
        Stage.DELIVERY: 5,
        Stage.SUMMARY: 0,
        Stage.COMMITMENT: 0,
    }


def test_the_newest_images_come_first_and_the_oldest_keys(
    journal: Journal, image: Image, clock
) -> None:
    keys = []
    for number in range(5):
        keys.append(journal.record_received(image(number)).key)
        clock.forward(1)

    assert [row.key for row in journal.images(limit=2)] == [keys[4], keys[3]]
    assert journal.keys_in(ImageState.RECEIVED, limit=2) == keys[:2]


def test_the_newest_error_of_each_destination(journal: Journal, analysed: Analysed) -> None:
    for number, error in ((1, "no connection"), (2, "0xA700")):
        job = journal.lease_delivery(analysed(number, "pacs", "research"), "pacs", 10)
        assert job is not None
        journal.record_delivery_failure(job, error, 2, refused=False)

    assert journal.delivery_errors() == {"pacs": "0xA700"}
