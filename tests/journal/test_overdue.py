"""The keeper publishes a job when nobody has it and no message for it is under way."""

from __future__ import annotations

from collections.abc import Callable

from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, Overdue, ReceivedImage, Stage

Image = Callable[..., ReceivedImage]
Analysed = Callable[..., str]
GRACE = 30.0


def test_a_fresh_image_was_just_published_by_ingest(journal: Journal, image: Image, clock) -> None:
    key = journal.record_received(image(1)).key
    clock.forward(GRACE - 1)
    assert journal.overdue(GRACE) == []
    clock.forward(1)
    assert journal.overdue(GRACE) == [Overdue(Stage.ANALYSIS, key)]


def test_what_was_named_counts_as_published(journal: Journal, image: Image, clock) -> None:
    key = journal.record_received(image(1)).key
    clock.forward(GRACE)
    assert journal.overdue(GRACE) == [Overdue(Stage.ANALYSIS, key)]
    assert journal.overdue(GRACE) == []
    clock.forward(GRACE)
    assert journal.overdue(GRACE) == [Overdue(Stage.ANALYSIS, key)]


def test_a_running_job_is_left_alone(journal: Journal, image: Image, clock) -> None:
    job = journal.lease_analysis(journal.record_received(image(1)).key, lease_seconds=10)
    assert job is not None
    for _ in range(20):
        clock.forward(5)
        assert journal.renew_analysis(job, 10)
        assert journal.overdue(GRACE) == []


def test_a_killed_workers_job_comes_back_at_the_first_look_after_its_lease(
    journal: Journal, image: Image, clock
) -> None:
    key = journal.record_received(image(1)).key
    journal.lease_analysis(key, lease_seconds=10)
    clock.forward(9)
    assert journal.overdue(GRACE) == []
    clock.forward(1)
    assert journal.overdue(GRACE) == [Overdue(Stage.ANALYSIS, key)]
    clock.forward(1)
    assert journal.overdue(GRACE) == [], "once, then the message has its time"


def test_a_retry_comes_back_when_it_is_due(journal: Journal, image: Image, clock) -> None:
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_analysis_failure(job, "OutOfMemory", retry_in=5)
    clock.forward(4)
    assert journal.overdue(GRACE) == []
    clock.forward(1)
    assert journal.overdue(GRACE) == [Overdue(Stage.ANALYSIS, key)]


def test_deliveries_come_back_in_the_same_way(journal: Journal, analysed: Analysed, clock) -> None:
    lost, killed, retried = (analysed(number, "pacs") for number in (1, 2, 3))
    journal.lease_delivery(killed, "pacs", 10)
    job = journal.lease_delivery(retried, "pacs", 10)
    assert job is not None
    journal.record_delivery_failure(job, "no connection", 20, refused=False)

    assert journal.overdue(GRACE) == []
    clock.forward(10)
    assert journal.overdue(GRACE) == [Overdue(Stage.DELIVERY, killed, "pacs")]
    clock.forward(10)
    assert journal.overdue(GRACE) == [Overdue(Stage.DELIVERY, retried, "pacs")]
    clock.forward(10)
    assert journal.overdue(GRACE) == [Overdue(Stage.DELIVERY, lost, "pacs")]


def test_a_finished_job_never_comes_back(journal: Journal, analysed: Analysed, clock) -> None:
    job = journal.lease_delivery(analysed(1, "pacs"), "pacs", 10)
    assert job is not None
    journal.record_delivered(job)
    clock.forward(86400)
    assert journal.overdue(GRACE) == []


def test_the_oldest_come_first_and_no_more_than_asked(
    journal: Journal, image: Image, analysed: Analysed, clock
) -> None:
    first = journal.record_received(image(1)).key
    clock.forward(1)
    second = analysed(2, "pacs")
    clock.forward(1)
    third = journal.record_received(image(3)).key
    clock.forward(GRACE)

    assert journal.overdue(GRACE, limit=2) == [
        Overdue(Stage.ANALYSIS, first),
        Overdue(Stage.DELIVERY, second, "pacs"),
    ]
    assert journal.overdue(GRACE, limit=2) == [Overdue(Stage.ANALYSIS, third)]


def test_a_replayed_image_comes_back_at_the_next_look(
    journal: Journal, image: Image, clock
) -> None:
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_analysis_failure(job, "OutOfMemory", retry_in=None)
    assert journal.overdue(GRACE) == []
    journal.replay([key])
    assert journal.overdue(GRACE) == [Overdue(Stage.ANALYSIS, key)]


def test_a_result_was_just_published_by_the_analysis(
    journal: Journal, image: Image, clock, scored: AnalysisOutcome
) -> None:
    """Although the image itself waited long before."""
    key = journal.record_received(image(1)).key
    clock.forward(3600)
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, scored, {"pacs": scored.objects})
    assert journal.overdue(GRACE) == []
    clock.forward(GRACE)
    assert journal.overdue(GRACE) == [Overdue(Stage.DELIVERY, key, "pacs")]
