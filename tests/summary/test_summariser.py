"""A quiet study gets one report; late images make a revision that replaces it."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from service.journal.records import StudyState


def texts(report: Dataset) -> str:
    return " ".join(str(each.value) for each in report.iterall() if each.keyword == "TextValue")


def referenced(report: Dataset) -> set[str]:
    return {
        str(each.value)
        for each in report.CurrentRequestedProcedureEvidenceSequence[0].iterall()
        if each.keyword == "ReferencedSOPInstanceUID"
    }


def test_the_summary_names_every_image_and_its_report(office) -> None:
    keys = [office.analysed(1, 0.7), office.analysed(2, 0.2), office.refused(3)]
    office.wait()
    (parcel,) = office.summarise()
    report = office.object(parcel, "summary.dcm")
    rows = [office.row(key) for key in keys]
    assert {row.sop_instance_uid for row in rows} <= referenced(report)
    assert {row.outcome.uids[0] for row in rows} <= referenced(report)
    assert "70" in texts(report)
    assert "coloured" in texts(report)
    assert "Unverified AI result" in texts(report)
    assert office.journal.counts().studies[StudyState.SUMMARISED] == 1


def test_before_the_study_is_quiet_nothing_is_made(office) -> None:
    office.analysed(1)
    office.wait(59)
    assert office.summarise() == []


def test_a_late_image_makes_a_revision_with_its_predecessor(office) -> None:
    office.analysed(1)
    office.wait()
    (first,) = office.summarise()
    office.wait(3600)
    late = office.analysed(2)
    office.wait()
    (second,) = office.summarise()
    before, after = (office.object(parcel, "summary.dcm") for parcel in (first, second))
    assert after.SOPInstanceUID != before.SOPInstanceUID
    (study,) = after.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert series.SeriesInstanceUID == before.SeriesInstanceUID
    assert office.row(late).sop_instance_uid in referenced(after)
    assert "PredecessorDocumentsSequence" not in before


def test_where_nothing_is_new_no_revision_is_made(office) -> None:
    key = office.analysed(1)
    office.wait()
    assert len(office.summarise()) == 1
    office.image(2)
    job = office.journal.lease_analysis(office.journal.keys_in("received")[0], 10)
    office.journal.record_analysis_failure(job, "no memory", None)
    office.wait()
    assert office.summarise() == []
    assert office.row(key).outcome is not None


def test_a_destination_without_reports_gets_a_summary_that_needs_none(office_for) -> None:
    office = office_for({"objects": ["summary"]}, {"objects": ["sr", "summary"]})
    key = office.analysed(1)
    office.wait()
    (parcel, again) = office.summarise()
    assert parcel == again
    jobs = [office.journal.lease_delivery(parcel, f"pacs-{n}", 10) for n in (0, 1)]
    assert [job.objects for job in jobs] == [("summary-alone.dcm",), ("summary.dcm",)]
    alone, whole = (office.object(parcel, job.objects[0]) for job in jobs)
    own_report = office.row(key).outcome.uids[0]
    assert own_report not in referenced(alone)
    assert own_report in referenced(whole)
    assert alone.SOPInstanceUID != whole.SOPInstanceUID


def test_who_takes_over_from_a_dead_worker_writes_the_same_bytes(office, monkeypatch) -> None:
    office.analysed(1)
    office.wait()
    with monkeypatch.context() as dying:
        dying.setattr(office.journal, "record_summary", lambda *_: False)
        assert office.summarise() == []
    (path,) = office.spool.root.glob("results/*/*/summary.dcm")
    written = path.read_bytes()
    office.wait(10)
    (parcel,) = office.summarise()
    assert path.parent.name == parcel
    assert path.read_bytes() == written


def test_a_summary_that_breaks_off_is_tried_again_and_seen(office, monkeypatch) -> None:
    key = office.analysed(1)
    path: Path = office.spool.image_path(key)
    content = path.read_bytes()
    path.unlink()
    office.wait()
    assert office.summarise() == []
    assert office.journal.counts().studies[StudyState.PENDING] == 1
    path.write_bytes(content)
    office.wait(900)
    assert len(office.summarise()) == 1


def test_after_all_attempts_the_summary_has_failed_until_it_is_replayed(office) -> None:
    key = office.analysed(1)
    path: Path = office.spool.image_path(key)
    content = path.read_bytes()
    path.unlink()
    for _ in range(office.settings.retry.analysis_attempts):
        office.wait(900)
        assert office.summarise() == []
    assert office.journal.counts().studies[StudyState.FAILED] == 1
    path.write_bytes(content)
    assert office.journal.replay_summaries() == 1
    assert len(office.summarise()) == 1
