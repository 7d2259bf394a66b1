"""A clock that is set back holds nothing up; one that is set forward does nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from service.journal.journal import Journal
from service.journal.records import Overdue, Stage

DAY = 86400.0


@pytest.fixture
def journal(url: str, clock) -> Iterator[Journal]:
    journal = Journal(url, clock=clock, longest_wait=1000)
    journal.migrate()
    yield journal
    journal.close()


def test_a_job_of_tomorrow_is_due_at_once(
    journal: Journal, image: Callable[..., object], clock
) -> None:
    clock.forward(DAY)
    key = journal.record_received(image()).key
    clock.now -= timedelta(seconds=DAY)

    assert journal.overdue(30) == [Overdue(Stage.ANALYSIS, key)]
    assert journal.lease_analysis(key, 10) is not None


def test_a_lease_of_tomorrow_is_worth_nothing(
    journal: Journal, image: Callable[..., object], clock
) -> None:
    key = journal.record_received(image()).key
    clock.forward(DAY)
    assert journal.lease_analysis(key, 10) is not None
    clock.now -= timedelta(seconds=DAY)

    assert journal.overdue(30) == [Overdue(Stage.ANALYSIS, key)]
    again = journal.lease_analysis(key, 10)
    assert again is not None
    assert again.attempt == 2


def test_a_job_that_waits_as_long_as_one_may_still_waits(
    journal: Journal, image: Callable[..., object], clock
) -> None:
    key = journal.record_received(image()).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_analysis_failure(job, "busy", retry_in=1000)
    assert journal.overdue(30) == []
    assert journal.lease_analysis(key, 10) is None


def test_who_loses_its_lease_to_a_forward_jump_writes_no_second_result(
    journal: Journal, image: Callable[..., object], scored, clock
) -> None:
    key = journal.record_received(image()).key
    first = journal.lease_analysis(key, 10)
    assert first is not None
    clock.forward(DAY)
    second = journal.lease_analysis(key, 10)
    assert second is not None

    assert journal.record_outcome(second, scored, {})
    assert not journal.record_outcome(first, scored, {})
    row = journal.image(key)
    assert row is not None
    assert len(row.results) == 1


def test_a_new_job_of_some_minutes_ahead_is_due_at_once(
    journal: Journal, image: Callable[..., object], clock
) -> None:
    """No longer than a retry may wait; but nobody has tried it."""
    clock.forward(300)
    key = journal.record_received(image()).key
    clock.forward(-300)
    assert journal.overdue(30) == [Overdue(Stage.ANALYSIS, key)]
    assert journal.overdue(30) == [], "once, then the message has its time"
    assert journal.lease_analysis(key, 10) is not None


def test_a_study_may_wait_for_quiet_however_long_that_is(
    url: str, image: Callable[..., object], scored, clock
) -> None:
    journal = Journal(url, clock=clock, longest_wait=1000, quiet_seconds=5000)
    journal.migrate()
    key = journal.record_received(image(study_instance_uid="1.2.3")).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    assert journal.record_outcome(job, scored, {})
    assert journal.overdue(30) == []
    clock.forward(5000)
    assert [each.stage for each in journal.overdue(30)] == [Stage.SUMMARY]
    journal.close()


def test_only_what_waits_for_a_commitment_may_wait_as_long_as_one(
    url: str, analysed, clock
) -> None:
    """A retry of an hour ahead is none, where a destination may take an hour to commit."""
    journal = Journal(url, clock=clock, longest_wait=1000, commitment_wait=3600)
    journal.migrate()
    key = analysed(1, "committing", "other")
    committing = journal.lease_delivery(key, "committing", 10)
    assert committing is not None
    asking = journal.record_stored(committing, (), 10)
    assert asking is not None
    journal.wait_for_commitment(asking, 3600)
    other = journal.lease_delivery(key, "other", 10)
    assert other is not None
    journal.record_delivery_failure(other, "it is down", retry_in=1000, refused=False)
    assert journal.overdue(30) == []

    clock.forward(-100)
    assert journal.overdue(30) == [Overdue(Stage.DELIVERY, key, "other")]
    clock.forward(-DAY)
    assert Overdue(Stage.DELIVERY, key, "committing") in journal.overdue(30)
    journal.close()
