"""A result can be replaced by another analysis, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, DeliveryState, ImageRow, ImageState

Analysed = Callable[..., str]

NOTE = ("rejection.dcm", "sr.dcm")
WITHDRAWN = AnalysisOutcome(
    ImageState.WITHDRAWN, "ab" * 32, objects=NOTE, reason="withdrawn-quality"
)
PARCEL = "f" * 32


def row(journal: Journal, key: str) -> ImageRow:
    found = journal.image(key)
    assert found is not None
    return found


def deliver(journal: Journal, parcel: str, destination: str = "pacs") -> None:
    job = journal.lease_delivery(parcel, destination, 10)
    assert job is not None
    assert journal.record_delivered(job)


@pytest.fixture
def delivered(journal: Journal, analysed: Analysed) -> str:
    key = analysed(1, "pacs")
    deliver(journal, key)
    assert row(journal, key).state is ImageState.DELIVERED
    return key


def test_the_first_result_lies_under_the_images_own_key(journal: Journal, delivered: str) -> None:
    (result,) = row(journal, delivered).results
    assert (result.edition, result.parcel) == (0, delivered)


def test_a_new_analysis_makes_the_next_edition(
    journal: Journal, delivered: str, scored: AnalysisOutcome, clock
) -> None:
    clock.forward(3600)
    assert journal.ask_again(delivered, "cd" * 32)
    assert row(journal, delivered).state is ImageState.RECEIVED
    job = journal.lease_analysis(delivered, 10)
    assert job is not None
    assert (job.edition, job.replaces, job.started_at) == (1, delivered, clock.now)
    assert job.parcel != delivered
    better = replace(scored, model_sha256="cd" * 32, probability_malignant=0.9)
    assert journal.record_outcome(job, better, {"pacs": better.objects})
    now = row(journal, delivered)
    assert [result.outcome.model_sha256 for result in now.results] == ["ab" * 32, "cd" * 32]
    assert now.outcome is not None
    assert now.outcome.probability_malignant == 0.9
    deliver(journal, job.parcel)
    assert row(journal, delivered).state is ImageState.DELIVERED


def test_the_older_edition_may_still_arrive_and_decides_nothing(
    journal: Journal, analysed: Analysed, scored: AnalysisOutcome
) -> None:
    key = analysed(1, "pacs")
    assert journal.ask_again(key, "cd" * 32)
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, scored, {"pacs": scored.objects})
    deliver(journal, key)
    assert row(journal, key).state is ImageState.ANALYSED
    deliver(journal, job.parcel)
    assert row(journal, key).state is ImageState.DELIVERED


def test_what_is_at_work_failed_or_without_result_is_not_asked_again(
    journal: Journal, image, analysed: Analysed
) -> None:
    received = journal.record_received(image(1)).key
    assert not journal.ask_again(received, "cd" * 32)
    failed = journal.lease_analysis(journal.record_received(image(2)).key, 10)
    assert failed is not None
    journal.record_analysis_failure(failed, "no memory", None)
    assert not journal.ask_again(failed.key, "cd" * 32)
    assert not journal.ask_again("0" * 32, "cd" * 32)


def test_a_new_analysis_that_fails_is_replayed_as_an_analysis(
    journal: Journal, delivered: str
) -> None:
    journal.ask_again(delivered, "cd" * 32)
    job = journal.lease_analysis(delivered, 10)
    assert job is not None
    journal.record_analysis_failure(job, "no memory", None)
    assert row(journal, delivered).state is ImageState.FAILED
    assert journal.replay([delivered]) == 1
    assert row(journal, delivered).state is ImageState.RECEIVED


def test_a_withdrawal_is_an_edition_that_goes_where_the_result_went(
    journal: Journal, delivered: str
) -> None:
    assert journal.withdraw(row(journal, delivered), PARCEL, WITHDRAWN, {"pacs": NOTE})
    now = row(journal, delivered)
    assert (now.state, now.edition, now.parcel) == (ImageState.WITHDRAWN, 1, PARCEL)
    assert now.outcome is not None
    assert now.outcome.reason == "withdrawn-quality"
    deliver(journal, PARCEL)
    assert row(journal, delivered).state is ImageState.WITHDRAWN


def test_what_was_not_yet_delivered_is_cancelled(
    journal: Journal, analysed: Analysed, clock
) -> None:
    key = analysed(1, "pacs", "research")
    job = journal.lease_delivery(key, "pacs", 10)
    assert job is not None
    assert journal.withdraw(row(journal, key), PARCEL, WITHDRAWN, {"pacs": NOTE})
    old = [each for each in row(journal, key).deliveries if each.parcel == key]
    assert {each.state for each in old} == {DeliveryState.CANCELLED}
    assert not journal.record_delivered(job), "too late: the note is on its way"
    clock.forward(3600)
    assert [each.key for each in journal.overdue(30)] == [PARCEL]


def test_a_note_that_waits_still_goes_out_after_a_second_withdrawal(
    journal: Journal, delivered: str, scored: AnalysisOutcome
) -> None:
    assert journal.withdraw(row(journal, delivered), PARCEL, WITHDRAWN, {"pacs": NOTE})
    assert journal.ask_again(delivered, "cd" * 32)
    job = journal.lease_analysis(delivered, 10)
    assert job is not None
    journal.record_outcome(job, scored, {"pacs": scored.objects})
    assert journal.withdraw(row(journal, delivered), "e" * 32, WITHDRAWN, {"pacs": NOTE})
    states = {each.parcel: each.state for each in row(journal, delivered).deliveries}
    assert states == {
        delivered: DeliveryState.DELIVERED,
        PARCEL: DeliveryState.PENDING,
        job.parcel: DeliveryState.CANCELLED,
        "e" * 32: DeliveryState.PENDING,
    }


def test_only_one_of_two_withdrawals_counts(journal: Journal, delivered: str) -> None:
    seen = row(journal, delivered)
    assert journal.withdraw(seen, PARCEL, WITHDRAWN, {"pacs": NOTE})
    assert not journal.withdraw(seen, "e" * 32, WITHDRAWN, {"pacs": NOTE})
    assert len(row(journal, delivered).results) == 2


def test_a_note_that_is_refused_is_seen_and_replayed(journal: Journal, delivered: str) -> None:
    journal.withdraw(row(journal, delivered), PARCEL, WITHDRAWN, {"pacs": NOTE})
    job = journal.lease_delivery(PARCEL, "pacs", 10)
    assert job is not None
    journal.record_delivery_failure(job, "refused", None, refused=True)
    assert row(journal, delivered).state is ImageState.FAILED
    assert journal.replay([delivered]) == 1
    assert row(journal, delivered).state is ImageState.WITHDRAWN
    assert journal.lease_delivery(PARCEL, "pacs", 10) is not None


def test_a_withdrawn_image_can_be_analysed_again(journal: Journal, delivered: str) -> None:
    journal.withdraw(row(journal, delivered), PARCEL, WITHDRAWN, {"pacs": NOTE})
    assert journal.ask_again(delivered, "cd" * 32)
    job = journal.lease_analysis(delivered, 10)
    assert job is not None
    assert (job.edition, job.replaces) == (2, PARCEL)


def test_a_report_that_was_kept_back_is_sent_once_when_asked_for(
    journal: Journal, image, not_analysable: AnalysisOutcome
) -> None:
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, not_analysable, {})
    for _ in range(2):
        journal.deliver(row(journal, key), {"pacs": not_analysable.objects})
    assert len(row(journal, key).deliveries) == 1
    deliver(journal, key)
    assert row(journal, key).state is ImageState.DELIVERED


def test_an_image_is_found_by_a_result_of_it(
    journal: Journal, image, scored: AnalysisOutcome
) -> None:
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, replace(scored, uids=("2.25.11", "2.25.12")), {})
    assert journal.keys_of_result("2.25.12") == [key]
    assert journal.keys_of_result("2.25.1") == []
    assert journal.keys_of_result("%") == []
