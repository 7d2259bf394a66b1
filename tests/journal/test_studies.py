"""A study is summarised once it is quiet; what comes later makes a revision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from service.journal.journal import Journal
from service.journal.parcels import study_key
from service.journal.records import (
    AnalysisOutcome,
    ImageState,
    Overdue,
    ReceivedImage,
    Stage,
    StudyState,
    SummaryJob,
)

Image = Callable[..., ReceivedImage]

QUIET = 60
STUDY = "1.2.826.0.1.77"
KEY = study_key(STUDY)
SUMMARY = ("summary.dcm",)


@pytest.fixture
def journal(url: str, clock) -> Iterator[Journal]:
    journal = Journal(url, clock=clock, quiet_seconds=QUIET)
    journal.migrate()
    yield journal
    journal.close()


@pytest.fixture
def came(journal: Journal, image: Image) -> Callable[[int], str]:
    """``came(1)``: the key of image 1 of the study, received now."""

    def receive(number: int) -> str:
        return journal.record_received(image(number, study_instance_uid=STUDY)).key

    return receive


@pytest.fixture
def scored_image(journal: Journal, came, scored: AnalysisOutcome) -> Callable[[int], str]:
    """``scored_image(1)``: received and analysed now."""

    def make(number: int) -> str:
        key = came(number)
        job = journal.lease_analysis(key, 10)
        assert job is not None
        assert journal.record_outcome(job, scored, {})
        return key

    return make


def lease(journal: Journal) -> SummaryJob:
    job = journal.lease_summary(KEY, 10)
    assert job is not None
    return job


def due(journal: Journal) -> list[Overdue]:
    return [job for job in journal.overdue(30) if job.stage is Stage.SUMMARY]


def test_a_study_is_due_when_it_has_been_quiet(journal: Journal, scored_image, clock) -> None:
    scored_image(1)
    clock.forward(QUIET - 1)
    assert due(journal) == []
    assert journal.lease_summary(KEY, 10) is None
    clock.forward(1)
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]
    assert lease(journal).study_instance_uid == STUDY


def test_each_image_makes_it_wait_again(journal: Journal, scored_image, clock) -> None:
    scored_image(1)
    clock.forward(QUIET - 1)
    scored_image(2)
    clock.forward(QUIET - 1)
    assert due(journal) == []
    clock.forward(1)
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]


def test_an_image_that_waits_for_its_analysis_holds_it_up(
    journal: Journal, came, scored_image, scored: AnalysisOutcome, clock
) -> None:
    scored_image(1)
    slow = came(2)
    clock.forward(10 * QUIET)
    assert due(journal) == []
    assert journal.lease_summary(KEY, 10) is None
    job = journal.lease_analysis(slow, 10)
    assert job is not None
    journal.record_outcome(job, scored, {})
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]


def test_an_image_that_failed_does_not_hold_it_up(
    journal: Journal, came, scored_image, clock
) -> None:
    scored_image(1)
    job = journal.lease_analysis(came(2), 10)
    assert job is not None
    journal.record_analysis_failure(job, "no memory", None)
    clock.forward(QUIET)
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]


def test_a_study_that_only_the_analysis_could_name_waits_as_long(
    journal: Journal, image: Image, scored: AnalysisOutcome, clock
) -> None:
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    named = AnalysisOutcome(ImageState.NOT_ANALYSABLE, "ab", study_instance_uid=STUDY)
    journal.record_outcome(job, named, {})
    clock.forward(QUIET - 1)
    assert due(journal) == []
    clock.forward(1)
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]
    (row,) = journal.study_images(STUDY)
    assert row.key == key


def test_a_duplicate_and_an_object_that_is_not_for_us_change_nothing(
    journal: Journal, scored_image, image: Image, clock
) -> None:
    scored_image(1)
    clock.forward(QUIET - 1)
    journal.record_received(image(1, study_instance_uid=STUDY))
    journal.record_received(image(2, study_instance_uid=STUDY, ignored_reason="sr"))
    clock.forward(1)
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]


def test_a_summary_is_recorded_with_its_deliveries(journal: Journal, scored_image, clock) -> None:
    key = scored_image(1)
    clock.forward(QUIET)
    job = lease(journal)
    assert (job.number, job.replaces, job.known) == (0, None, ())
    assert journal.record_summary(job, ((key, 0),), {"pacs": SUMMARY})
    assert journal.counts().studies[StudyState.SUMMARISED] == 1
    delivery = journal.lease_delivery(job.parcel, "pacs", 10)
    assert delivery is not None
    assert delivery.objects == SUMMARY
    assert journal.record_delivered(delivery)
    assert due(journal) == []


def test_a_late_image_makes_a_revision(journal: Journal, scored_image, clock) -> None:
    first = scored_image(1)
    clock.forward(QUIET)
    job = lease(journal)
    assert journal.record_summary(job, ((first, 0),), {"pacs": SUMMARY})
    clock.forward(3600)
    scored_image(2)
    clock.forward(QUIET)
    again = lease(journal)
    assert (again.number, again.replaces, again.known) == (1, job.parcel, ((first, 0),))
    assert again.parcel != job.parcel


def test_an_image_that_comes_while_it_is_summarised_wins(
    journal: Journal, scored_image, clock
) -> None:
    key = scored_image(1)
    clock.forward(QUIET)
    job = lease(journal)
    scored_image(2)
    assert not journal.renew_summary(job, 10)
    assert not journal.record_summary(job, ((key, 0),), {"pacs": SUMMARY})
    assert journal.counts().studies[StudyState.PENDING] == 1


def test_one_worker_summarises_at_a_time_and_a_dead_one_is_replaced(
    journal: Journal, scored_image, clock
) -> None:
    key = scored_image(1)
    clock.forward(QUIET)
    dead = lease(journal)
    assert journal.lease_summary(KEY, 10) is None
    clock.forward(10)
    assert due(journal) == [Overdue(Stage.SUMMARY, KEY)]
    heir = lease(journal)
    assert heir.started_at == dead.started_at, "the same time, so the same bytes"
    assert not journal.record_summary(dead, ((key, 0),), {})
    assert journal.record_summary(heir, ((key, 0),), {})


def test_a_summary_that_fails_is_tried_again_and_given_up_where_it_is_seen(
    journal: Journal, scored_image, clock
) -> None:
    scored_image(1)
    clock.forward(QUIET)
    journal.record_summary_failure(lease(journal), "no disk", 5)
    assert journal.lease_summary(KEY, 10) is None
    clock.forward(5)
    journal.record_summary_failure(lease(journal), "no disk", None)
    assert journal.counts().studies[StudyState.FAILED] == 1
    assert journal.replay_summaries() == 1
    assert lease(journal).attempt == 1


def test_a_summary_that_a_destination_refused_is_replayed(
    journal: Journal, scored_image, clock
) -> None:
    key = scored_image(1)
    clock.forward(QUIET)
    job = lease(journal)
    journal.record_summary(job, ((key, 0),), {"pacs": SUMMARY})
    delivery = journal.lease_delivery(job.parcel, "pacs", 10)
    assert delivery is not None
    journal.record_delivery_failure(delivery, "refused", None, refused=True)
    assert journal.lease_delivery(job.parcel, "pacs", 10) is None
    assert journal.replay_summaries() == 1
    assert journal.lease_delivery(job.parcel, "pacs", 10) is not None


def test_where_nobody_wants_summaries_there_are_no_studies(
    url: str, clock, image: Image, scored: AnalysisOutcome
) -> None:
    journal = Journal(url, clock=clock)
    journal.migrate()
    key = journal.record_received(image(1, study_instance_uid=STUDY)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, scored, {})
    assert journal.counts().studies == dict.fromkeys(StudyState, 0)
    journal.close()


def test_of_two_contents_under_one_uid_the_newer_one_counts(
    journal: Journal, image: Image, clock
) -> None:
    journal.record_received(image(1, study_instance_uid=STUDY))
    clock.forward(1)
    other = image(2, study_instance_uid=STUDY, sop_instance_uid=image(1).sop_instance_uid)
    journal.record_received(other)
    (row,) = journal.study_images(STUDY)
    assert (row.key, row.revision) == (other.key, 1)
