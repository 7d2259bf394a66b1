"""All images of a study get one model, whoever chooses first; an operator may ask for another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from service.journal.journal import Journal
from service.journal.records import AnalysisJob, AnalysisOutcome, ReceivedImage

OLD, NEW, OTHER = "0a" * 32, "0b" * 32, "0c" * 32
STUDY = "1.2.900.1"


def received(
    journal: Journal, image: Callable[..., ReceivedImage], number: int, study: str | None = STUDY
) -> str:
    one = replace(image(number), study_instance_uid=study)
    journal.record_received(one)
    return one.key


def leased(journal: Journal, key: str) -> AnalysisJob:
    job = journal.lease_analysis(key, 10)
    assert job is not None
    return job


def test_who_chooses_first_chooses_for_the_study(journal: Journal, image) -> None:
    first, second = (received(journal, image, number) for number in (1, 2))
    job = leased(journal, first)
    assert (job.study_instance_uid, job.study_model, job.model_asked) == (STUDY, None, None)
    assert journal.choose_model(STUDY, OLD) == OLD
    assert journal.choose_model(STUDY, NEW) == OLD
    assert leased(journal, second).study_model == OLD
    assert journal.choose_model("1.2.900.2", NEW) == NEW


def test_many_that_choose_at_once_agree(journal: Journal) -> None:
    packages = [f"{number:064x}" for number in range(8)]
    with ThreadPoolExecutor(len(packages)) as threads:
        chosen = set(threads.map(lambda each: journal.choose_model(STUDY, each), packages))
    assert len(chosen) == 1
    assert journal.choose_model(STUDY, OLD) in chosen


def test_a_model_that_is_gone_is_replaced_once(journal: Journal) -> None:
    assert journal.choose_model(STUDY, OLD) == OLD
    assert journal.choose_model(STUDY, NEW, instead_of=OLD) == NEW
    assert journal.choose_model(STUDY, OTHER, instead_of=OLD) == NEW


def test_a_study_that_was_begun_before_tells_who_scored_it(
    journal: Journal, image, scored: AnalysisOutcome, not_analysable: AnalysisOutcome
) -> None:
    keys = [received(journal, image, number) for number in range(1, 5)]
    outcomes = (not_analysable, scored, replace(scored, model_sha256="cd" * 32))
    for key, outcome in zip(keys[:3], outcomes, strict=True):
        assert journal.record_outcome(leased(journal, key), outcome, {})
    assert leased(journal, keys[3]).scored_by == scored.model_sha256


def test_who_asks_for_another_model_gets_it_for_the_rest_of_the_study(
    journal: Journal, image, scored: AnalysisOutcome
) -> None:
    first, late = (received(journal, image, number) for number in (1, 2))
    journal.choose_model(STUDY, OLD)
    assert journal.record_outcome(leased(journal, first), scored, {})
    assert journal.ask_again(first, NEW)
    job = leased(journal, first)
    assert (job.model_asked, job.edition) == (NEW, 1)
    assert leased(journal, late).study_model == NEW
    assert journal.choose_model(STUDY, OLD) == NEW


def test_an_image_without_a_study_may_be_asked_for_too(
    journal: Journal, image, not_analysable: AnalysisOutcome
) -> None:
    key = received(journal, image, 1, study=None)
    assert leased(journal, key).study_instance_uid is None
    journal_job = replace(not_analysable, study_instance_uid=None)
    other = received(journal, image, 2, study=None)
    assert journal.record_outcome(leased(journal, other), journal_job, {})
    assert journal.ask_again(other, NEW)
    assert leased(journal, other).model_asked == NEW


def test_models_that_waiting_images_were_promised_are_known(
    journal: Journal, image, scored: AnalysisOutcome
) -> None:
    first = received(journal, image, 1)
    received(journal, image, 2, study="1.2.900.2")
    assert journal.awaited_models() == set()
    journal.choose_model(STUDY, OLD)
    assert journal.awaited_models() == {OLD}
    assert journal.record_outcome(leased(journal, first), scored, {})
    assert journal.awaited_models() == set()
    assert journal.ask_again(first, NEW)
    assert journal.awaited_models() == {NEW}
