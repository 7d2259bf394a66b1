"""What a shadow says: each image once for each model, beside the result, and nowhere else."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date, timedelta

import pytest

from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState
from service.journal.shadow_records import Said, ScoringModel, ShadowState
from service.journal.truth_records import Diagnosis, Source, Subject, Truth

SHADOW = ScoringModel("cd" * 32, "candidate", "8")
SAID = Said(ShadowState.SCORED, None, 0.25, 0.75, 0.5, "benign", True)
DAY = timedelta(days=1)
WITHDRAWN = AnalysisOutcome(ImageState.WITHDRAWN, "ab" * 32, reason="withdrawn")


@pytest.fixture
def result(journal: Journal, scored: AnalysisOutcome):
    """``result(received)``: its key, after its analysis."""

    def make(received, **different: object) -> str:
        key = journal.record_received(received).key
        job = journal.lease_analysis(key, 10)
        assert job is not None
        assert journal.record_outcome(job, replace(scored, **different), {})
        return key

    return make


def scored_by_shadow(journal: Journal, key: str, said: Said = SAID) -> None:
    assert journal.begin_shadow(key, SHADOW)
    journal.record_shadow(key, SHADOW, said)


def test_an_image_is_begun_once_for_each_model(journal: Journal, image, result) -> None:
    key = result(image())
    assert journal.unseen_by_shadow(SHADOW.sha256, DAY, 10) == [key]
    assert journal.begin_shadow(key, SHADOW)
    assert not journal.begin_shadow(key, SHADOW)
    assert journal.unseen_by_shadow(SHADOW.sha256, DAY, 10) == []
    assert journal.begin_shadow(key, replace(SHADOW, sha256="ef" * 32))


def test_of_workers_that_begin_at_the_same_moment_one_does(journal: Journal, image, result) -> None:
    key = result(image())
    barrier, begun = threading.Barrier(4), []

    def begin() -> None:
        barrier.wait(10)
        begun.append(journal.begin_shadow(key, SHADOW))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(begun) == [False, False, False, True]


def test_what_was_released_is_begun_anew_and_what_was_scored_is_kept(
    journal: Journal, image, result
) -> None:
    key = result(image())
    assert journal.begin_shadow(key, SHADOW)
    journal.release_shadow(key, SHADOW)
    scored_by_shadow(journal, key)
    journal.release_shadow(key, SHADOW)
    (pair,) = journal.shadow_pairs()
    assert pair.shadow == SAID


def test_it_sees_results_of_other_models_of_the_last_day_and_no_probe(
    journal: Journal, image, result, clock
) -> None:
    result(image(1))
    clock.forward(2 * DAY.total_seconds())
    older = result(image(2))
    clock.forward(60)
    newer = result(image(3))
    result(image(4), model_sha256=SHADOW.sha256)
    journal.record_received(image(5))
    probe = image(6, calling_ae_title="SECONDREADPROBE")
    journal.announce_probe(probe.sop_instance_uid)
    result(probe)
    withdrawn = journal.image(result(image(7)))
    assert withdrawn is not None
    assert journal.withdraw(withdrawn, "f" * 32, WITHDRAWN, {})
    assert journal.unseen_by_shadow(SHADOW.sha256, DAY, 10) == [newer, older]
    assert journal.unseen_by_shadow(SHADOW.sha256, DAY, 1) == [newer]


def test_it_waits_for_an_analysis_that_could_be_done_and_not_for_one_that_is_not_due(
    journal: Journal, image, scored, clock
) -> None:
    assert not journal.analysis_waits()
    key = journal.record_received(image()).key
    assert journal.analysis_waits()
    job = journal.lease_analysis(key, 10)
    assert job is not None
    assert journal.analysis_waits()
    journal.record_analysis_failure(job, "broke off", 600)
    assert not journal.analysis_waits()
    clock.forward(601)
    assert journal.analysis_waits()
    job = journal.lease_analysis(key, 10)
    assert job is not None
    assert journal.record_outcome(job, scored, {})
    assert not journal.analysis_waits()


def test_a_pair_has_both_and_what_pathology_says(journal: Journal, image, result) -> None:
    study = "1.2.826.0.1.900"
    key = result(image(1, study_instance_uid=study), model_name="now", scanner_model="A")
    scored_by_shadow(journal, key)
    journal.record_truth(
        Truth(Subject.STUDY, study, Diagnosis.MALIGNANT, date(2025, 3, 1), Source.SURGERY, "me")
    )
    (pair,) = journal.shadow_pairs()
    assert (pair.key, pair.study_instance_uid, pair.scanner_model) == (key, study, "A")
    assert pair.active_model == ScoringModel("ab" * 32, "now", "")
    assert pair.active == Said(ShadowState.SCORED, None, 0.75, 0.25, 0.5, "malignant")
    assert (pair.shadow_model, pair.shadow) == (SHADOW, SAID)
    assert (pair.of_image, pair.of_study) == (None, Diagnosis.MALIGNANT)


def test_pairs_are_of_a_time_the_newest_content_and_edition_and_nothing_withdrawn(
    journal: Journal, image, result, scored, clock
) -> None:
    began = clock.now
    first = result(image(1))
    scored_by_shadow(journal, first)
    assert journal.ask_again(first, "ab" * 32)
    job = journal.lease_analysis(first, 10)
    assert job is not None
    assert journal.record_outcome(job, replace(scored, probability_malignant=0.5), {})
    clock.forward(60)
    replaced = result(image(2))
    scored_by_shadow(journal, replaced)
    newer = result(image(3, sop_instance_uid=image(2).sop_instance_uid))
    scored_by_shadow(journal, newer, Said(ShadowState.FAILED, "died"))
    gone = journal.image(result(image(4)))
    assert gone is not None
    scored_by_shadow(journal, gone.key)
    assert journal.withdraw(gone, "f" * 32, WITHDRAWN, {})
    pairs = journal.shadow_pairs()
    assert [pair.key for pair in pairs] == [first, newer]
    assert pairs[0].active.probability_malignant == 0.5
    assert pairs[1].shadow == Said(ShadowState.FAILED, "died")
    assert [pair.key for pair in journal.shadow_pairs(since=clock.now)] == [newer]
    assert [pair.key for pair in journal.shadow_pairs(began, clock.now)] == [first]
    assert [pair.key for pair in journal.shadow_pairs(limit=1)] == [newer]


def test_after_the_shadow_has_replaced_the_result_the_old_one_still_stands_beside_it(
    journal: Journal, image, result, scored
) -> None:
    key = result(image())
    scored_by_shadow(journal, key)
    assert journal.ask_again(key, "ab" * 32)
    job = journal.lease_analysis(key, 10)
    assert job is not None
    assert journal.record_outcome(job, replace(scored, model_sha256=SHADOW.sha256), {})
    (pair,) = journal.shadow_pairs()
    assert pair.active_model.sha256 == "ab" * 32
