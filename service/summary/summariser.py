"""The summary of a study: lease, the images' results from the journal, one report, deliveries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pydicom import dcmread

from dicom_sr.finding import Box, Decision, ModelIdentity, NotAnalysed
from dicom_sr.reference import InstanceReference
from dicom_sr.study_report import ImageResult, Scored, build_study_report
from service.config import Settings
from service.destination import ObjectKind
from service.journal.journal import Journal
from service.journal.lease import keep_alive
from service.journal.records import AnalysisOutcome, Basis, ImageRow, LesionLink, SummaryJob
from service.log import fault
from service.monitoring.metrics import Metrics
from service.parcel_jobs import after_fault, publish
from service.results import (
    FILES,
    SUMMARY_ALONE_FILE,
    SUMMARY_FILE,
    ResultCheck,
    parcels_for,
)
from service.spool import Spool
from service.summary.attribution import lesions_of, read_view

log = logging.getLogger(__name__)

_Told = tuple[ImageRow, AnalysisOutcome, str]
"""An image of a study, the result that holds, and its parcel."""


class Summariser:
    """Runs in the worker's threads; safe to call twice for one study, at once or later.

    publish_delivery: called with ``parcel, destination``; may raise BrokerUnavailable.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        publish_delivery: Callable[[str, str], None],
        metrics: Metrics,
    ) -> None:
        self._destinations = settings.destinations
        self._retry = settings.retry
        self._lease_seconds = settings.keeper.lease
        self._check = ResultCheck(settings.results.dciodvfy)
        self._spool = spool
        self._journal = journal
        self._publish_delivery = publish_delivery
        self._metrics = metrics

    def run(self, key: str) -> None:
        """Summarise the study, unless it is not quiet, or somebody else is at it.

        A summary that breaks off is recorded and tried again later. Raises JournalError; the lease
        then runs out, and the keeper brings the job back.
        """
        job = self._journal.lease_summary(key, self._lease_seconds)
        if job is None:
            return
        with keep_alive(
            lambda: self._journal.renew_summary(job, self._lease_seconds), self._lease_seconds / 3
        ):
            images = [
                (row, row.outcome, row.parcel)
                for row in self._journal.study_images(job.study_instance_uid)
                if row.outcome and row.outcome.objects and row.parcel
            ]
            links = self._journal.lesion_links(job.study_instance_uid)
            basis = (*((row.key, row.edition) for row, _, _ in images), *_linked(links))
            if not images or basis == job.known:
                self._journal.record_nothing_new(job)
                return
            try:
                files = self._files(job, images, links)
                self._spool.write_results(job.parcel, files)
            except Exception as error:  # noqa: BLE001 whatever it is, it is our fault
                self._record_failure(job, error)
                return
        self._record(job, basis, len(images), [name for name, _ in files])

    def _record(self, job: SummaryJob, basis: Basis, images: int, names: Sequence[str]) -> None:
        parcels = parcels_for(self._destinations, names)
        if not self._journal.record_summary(job, basis, parcels):
            log.info("%s changed while it was summarised", job.key)
            return
        log.info("%s summary %d of %d images", job.key, job.number, images)
        publish(self._publish_delivery, job.parcel, parcels, self._metrics)

    def _files(
        self, job: SummaryJob, images: Sequence[_Told], links: Sequence[LesionLink]
    ) -> list[tuple[str, bytes]]:
        """The forms that the destinations want. Raises InvalidObject, OSError, ReportError."""
        results = [self._result(*told) for told in images]
        headers = [result.image for result in results]
        views = [
            read_view(row.key, header) for (row, _, _), header in zip(images, headers, strict=True)
        ]
        lesions = lesions_of(views, links)
        files = []
        for name, with_reports in ((SUMMARY_FILE, True), (SUMMARY_ALONE_FILE, False)):
            if not parcels_for(self._destinations, [name]):
                continue
            report = build_study_report(
                results,
                number=job.number,
                with_reports=with_reports,
                started_at=job.started_at.astimezone(),
                predecessor=self._predecessor(job, name),
                lesions=lesions,
            )
            files.append((name, self._check.part10(name, report, headers[0], headers[1:])))
        return files

    def _predecessor(self, job: SummaryJob, name: str) -> InstanceReference | None:
        return None if job.replaces is None else self._spool.reference(job.replaces, name)

    def _result(self, row: ImageRow, outcome: AnalysisOutcome, parcel: str) -> ImageResult:
        # Its analysis has read the header before, within limits, in a process of its own.
        header = dcmread(self._spool.image_path(row.key), stop_before_pixels=True)
        return ImageResult(
            image=header,
            result=_said(outcome),
            model=ModelIdentity(outcome.model_name, outcome.model_version, outcome.model_sha256),
            report=self._spool.reference(parcel, FILES[ObjectKind.REPORT]),
        )

    def _record_failure(self, job: SummaryJob, error: Exception) -> None:
        words = f"the summary broke off: {fault(error)}"
        failed = after_fault(error, words, job.attempt, self._retry, self._metrics)
        log.error("%s summary, attempt %d: %s", job.key, job.attempt, failed.words)
        self._journal.record_summary_failure(
            job, failed.words, failed.retry_in, counts=failed.counts
        )


def _linked(links: Sequence[LesionLink]) -> Basis:
    """What of the operator's links a summary is made of; nothing without."""
    return tuple(
        (f"{link.lesion} {link.side or ''} {key}", 0) for link in links for key in link.keys
    )


def _said(outcome: AnalysisOutcome) -> Scored | NotAnalysed:
    if (
        outcome.frame is None
        or outcome.region is None
        or outcome.probability_malignant is None
        or outcome.threshold is None
        or outcome.decision is None
    ):
        return NotAnalysed(outcome.reason or "", outcome.reason_text or "")
    return Scored(
        frame=outcome.frame,
        frames_scored=outcome.frames_scored or 1,
        probability_malignant=outcome.probability_malignant,
        threshold=outcome.threshold,
        decision=Decision(outcome.decision),
        region=Box(*outcome.region),
        unlike_training=outcome.unlike_training,
    )
