"""What pathology says of a case: kept, corrected, and held beside the result that holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState
from service.journal.truth_records import Diagnosis, Source, Subject, Taken, Truth

STUDY = "1.2.826.0.1.900"
BENIGN = Truth(
    Subject.STUDY, STUDY, Diagnosis.BENIGN, date(2026, 3, 1), Source.BIOPSY, "pathologist"
)
MALIGNANT = replace(
    BENIGN, diagnosis=Diagnosis.MALIGNANT, dated=date(2026, 3, 9), source=Source.SURGERY
)


@pytest.fixture
def scored_image(journal: Journal, image, scored: AnalysisOutcome):
    """``scored_image(1, probability_malignant=0.9)``: the key of an image of ``STUDY``."""

    def make(number: int = 1, *, revision_of: int | None = None, **different: object) -> str:
        uid = f"1.2.826.0.1.{revision_of or number}"
        came = image(number, study_instance_uid=STUDY, sop_instance_uid=uid)
        key = journal.record_received(came).key
        job = journal.lease_analysis(key, 10)
        assert job is not None
        outcome = replace(scored, model_version="7", scanner_model="A", **different)
        assert journal.record_outcome(job, outcome, {})
        return key

    return make


def test_a_diagnosis_is_taken_once_and_repeating_it_changes_nothing(
    journal: Journal, scored_image
) -> None:
    scored_image()
    assert journal.record_truth(BENIGN) is Taken.TAKEN
    assert journal.record_truth(BENIGN) is Taken.UNCHANGED
    assert [row.diagnosis for row in journal.truth_history(STUDY)] == [Diagnosis.BENIGN]


def test_a_later_one_corrects_it_and_what_was_said_before_stays_with_who_and_when(
    journal: Journal, scored_image, clock
) -> None:
    scored_image()
    journal.record_truth(BENIGN)
    first = clock.now
    clock.forward(3600)
    assert journal.record_truth(replace(MALIGNANT, teller="surgeon")) is Taken.CORRECTED
    before, holds = journal.truth_history(STUDY)
    assert (before.diagnosis, before.teller, before.came_at) == (
        Diagnosis.BENIGN,
        "pathologist",
        first,
    )
    assert (holds.diagnosis, holds.teller, holds.came_at) == (
        Diagnosis.MALIGNANT,
        "surgeon",
        clock.now,
    )
    assert holds.dated == date(2026, 3, 9)
    assert journal.judged_images()[0].diagnosis is Diagnosis.MALIGNANT


def test_an_old_file_that_is_read_again_undoes_no_correction(
    journal: Journal, scored_image
) -> None:
    scored_image()
    journal.record_truth(MALIGNANT)
    assert journal.record_truth(BENIGN) is Taken.OLDER
    assert journal.judged_images()[0].diagnosis is Diagnosis.MALIGNANT
    assert journal.record_truth(BENIGN, replace=True) is Taken.CORRECTED
    assert journal.judged_images()[0].diagnosis is Diagnosis.BENIGN


def test_of_a_study_that_never_came_nothing_is_kept(journal: Journal, scored_image) -> None:
    scored_image()
    for told in (replace(BENIGN, uid="1.2.3"), replace(BENIGN, subject=Subject.IMAGE)):
        assert journal.record_truth(told) is Taken.UNKNOWN
    assert journal.truth_history("1.2.3") == []
    assert journal.judged_images() == []


def test_an_images_own_diagnosis_goes_before_its_studys(journal: Journal, scored_image) -> None:
    cyst, tumour = scored_image(1), scored_image(2)
    journal.record_truth(MALIGNANT)
    journal.record_truth(replace(BENIGN, subject=Subject.IMAGE, uid="1.2.826.0.1.1"))
    found = {row.key: row for row in journal.judged_images()}
    assert (found[cyst].diagnosis, found[cyst].source) == (Diagnosis.BENIGN, Source.BIOPSY)
    assert (found[tumour].diagnosis, found[tumour].source) == (
        Diagnosis.MALIGNANT,
        Source.SURGERY,
    )
    assert found[cyst].of_study is Diagnosis.MALIGNANT


def test_the_result_that_holds_is_judged(journal: Journal, scored_image, scored) -> None:
    """The newest edition of the newest content; nothing that was withdrawn or not analysed."""
    journal_key = scored_image(1, probability_malignant=0.9)
    journal.record_truth(MALIGNANT)
    assert journal.ask_again(journal_key, "cd" * 32)
    job = journal.lease_analysis(journal_key, 10)
    assert job is not None
    again = replace(scored, model_version="8", probability_malignant=0.2, decision="benign")
    assert journal.record_outcome(job, again, {})
    [row] = journal.judged_images()
    assert (row.model_version, row.probability_malignant, row.malignant) == ("8", 0.2, False)
    assert (row.frame, row.region) == (scored.frame, scored.region)

    newer = scored_image(3, revision_of=1)
    assert [row.key for row in journal.judged_images()] == [newer]

    held = journal.image(newer)
    assert held is not None
    taken_back = AnalysisOutcome(state=ImageState.WITHDRAWN, model_sha256="ab" * 32)
    assert journal.withdraw(held, "f" * 32, taken_back, {})
    assert journal.judged_images() == []


def test_what_was_not_analysed_has_no_score_to_judge(
    journal: Journal, image, not_analysable: AnalysisOutcome
) -> None:
    key = journal.record_received(image(1, study_instance_uid=STUDY)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_outcome(job, not_analysable, {})
    assert journal.record_truth(MALIGNANT) is Taken.TAKEN
    assert journal.judged_images() == []
