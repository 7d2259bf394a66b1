"""One worker has an analysis at a time; what it says is written once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.journal.journal import Journal
from service.journal.records import (
    AnalysisJob,
    AnalysisOutcome,
    DeliveryState,
    ImageState,
    ReceivedImage,
)

Image = Callable[..., ReceivedImage]


@pytest.fixture
def key(journal: Journal, image: Image) -> str:
    return journal.record_received(image(1)).key


def lease(journal: Journal, key: str) -> AnalysisJob:
    job = journal.lease_analysis(key, lease_seconds=10)
    assert job is not None
    return job


def state(journal: Journal, key: str) -> ImageState:
    row = journal.image(key)
    assert row is not None
    return row.state


def test_a_lease_tells_all_that_the_analysis_needs(journal: Journal, key: str, clock) -> None:
    received_at = clock.now
    clock.forward(3)

    job = lease(journal, key)

    assert (job.key, job.revision, job.attempt) == (key, 0, 1)
    assert job.received_at == received_at
    assert job.started_at == clock.now


def test_an_unknown_image_gives_no_job(journal: Journal) -> None:
    assert journal.lease_analysis("0" * 32, 10) is None


def test_a_leased_job_is_nobody_elses_until_the_lease_runs_out(
    journal: Journal, key: str, clock
) -> None:
    first = lease(journal, key)
    clock.forward(9)
    assert journal.lease_analysis(key, 10) is None
    clock.forward(1)

    second = lease(journal, key)

    assert second.attempt == 2
    assert second.lease != first.lease
    assert second.started_at == first.started_at, "a retry writes the same bytes"


def test_a_heartbeat_keeps_the_lease(journal: Journal, key: str, clock) -> None:
    job = lease(journal, key)
    clock.forward(9)
    assert journal.renew_analysis(job, 10)
    clock.forward(9)
    assert journal.lease_analysis(key, 10) is None


def test_who_lost_the_lease_to_another_changes_nothing(
    journal: Journal, key: str, clock, scored: AnalysisOutcome, not_analysable: AnalysisOutcome
) -> None:
    slow = lease(journal, key)
    clock.forward(11)
    fast = lease(journal, key)

    assert not journal.renew_analysis(slow, 10)
    journal.record_analysis_failure(slow, "DecodeError", retry_in=None)
    assert not journal.record_outcome(slow, not_analysable, {"pacs": not_analysable.objects})
    assert state(journal, key) is ImageState.RECEIVED

    assert journal.record_outcome(fast, scored, {"pacs": scored.objects})
    assert not journal.record_outcome(slow, not_analysable, {"pacs": not_analysable.objects})
    row = journal.image(key)
    assert row is not None
    assert row.outcome == scored
    assert len(row.deliveries) == 1


def test_who_is_late_but_was_not_replaced_may_still_finish(
    journal: Journal, key: str, clock, scored: AnalysisOutcome
) -> None:
    job = lease(journal, key)
    clock.forward(60)
    assert journal.renew_analysis(job, 10)
    clock.forward(60)
    assert journal.record_outcome(job, scored, {"pacs": scored.objects})


def test_an_outcome_is_read_as_it_was_written(
    journal: Journal, key: str, clock, scored: AnalysisOutcome
) -> None:
    job = lease(journal, key)
    clock.forward(2)
    journal.record_outcome(job, scored, {"pacs": scored.objects, "research": scored.objects})

    row = journal.image(key)

    assert row is not None
    assert row.state is ImageState.ANALYSED
    assert row.outcome == scored
    assert row.analysed_at == clock.now
    assert [(each.destination, each.state) for each in row.deliveries] == [
        ("pacs", DeliveryState.PENDING),
        ("research", DeliveryState.PENDING),
    ]


def test_a_reason_is_an_outcome_that_is_delivered_too(
    journal: Journal, key: str, not_analysable: AnalysisOutcome
) -> None:
    journal.record_outcome(lease(journal, key), not_analysable, {"pacs": not_analysable.objects})

    row = journal.image(key)

    assert row is not None
    assert row.state is ImageState.NOT_ANALYSABLE
    assert row.outcome == not_analysable
    assert len(row.deliveries) == 1


def test_an_outcome_is_recorded_once(journal: Journal, key: str, scored: AnalysisOutcome) -> None:
    job = lease(journal, key)
    assert journal.record_outcome(job, scored, {"pacs": scored.objects})
    assert not journal.record_outcome(job, scored, {"pacs": scored.objects})
    assert journal.counts().deliveries["pacs", DeliveryState.PENDING] == 1


@pytest.mark.parametrize(("objects", "destinations"), [((), ["pacs"]), (("sr.dcm",), [])])
def test_with_nothing_or_nowhere_to_send_the_outcome_is_the_end(
    journal: Journal, key: str, clock, objects: tuple[str, ...], destinations: list[str]
) -> None:
    outcome = AnalysisOutcome(ImageState.NOT_ANALYSABLE, "ab", objects, reason="undecodable")
    journal.record_outcome(lease(journal, key), outcome, dict.fromkeys(destinations, objects))
    clock.forward(3600)

    assert state(journal, key) is ImageState.NOT_ANALYSABLE
    assert journal.overdue(publish_grace=0) == []


def test_an_analysis_cannot_end_in_any_other_state(journal: Journal, key: str) -> None:
    job = lease(journal, key)
    with pytest.raises(ValueError, match="delivered"):
        journal.record_outcome(job, AnalysisOutcome(ImageState.DELIVERED, "ab"), {})
    assert state(journal, key) is ImageState.RECEIVED


def test_after_a_failure_the_next_try_waits_its_time(journal: Journal, key: str, clock) -> None:
    journal.record_analysis_failure(lease(journal, key), "OutOfMemory: no words", retry_in=2)
    assert journal.lease_analysis(key, 10) is None
    clock.forward(2)

    assert lease(journal, key).attempt == 2
    row = journal.image(key)
    assert row is not None
    assert row.last_error == "OutOfMemory: no words"


def test_after_the_last_failure_the_image_has_failed(journal: Journal, key: str, clock) -> None:
    journal.record_analysis_failure(lease(journal, key), "OutOfMemory", retry_in=None)
    clock.forward(3600)

    assert state(journal, key) is ImageState.FAILED
    assert journal.lease_analysis(key, 10) is None
    assert journal.overdue(publish_grace=0) == []


def test_success_forgets_the_error(
    journal: Journal, key: str, clock, scored: AnalysisOutcome
) -> None:
    journal.record_analysis_failure(lease(journal, key), "OutOfMemory", retry_in=2)
    clock.forward(2)
    journal.record_outcome(lease(journal, key), scored, {})

    row = journal.image(key)

    assert row is not None
    assert row.last_error is None
