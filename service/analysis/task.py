"""One message of the analysis queue: lease, analyse, keep the results, record the outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from dicom_sr.reference import InstanceReference
from service.analysis.analyser import Analyser, Analysis
from service.analysis.model_package import ModelPackageError
from service.analysis.models_in_hand import AskedModelMissing
from service.config import Settings
from service.destination import ObjectKind
from service.journal.journal import Journal, JournalError
from service.journal.lease import keep_alive
from service.journal.records import AnalysisJob, AnalysisOutcome, ImageState, Parcels
from service.log import fault
from service.monitoring.drift import ScannerModels
from service.monitoring.metrics import Metrics
from service.parcel_jobs import after_fault, publish
from service.results import FILES, parcels_for
from service.sections import ReportNotAnalysed
from service.spool import Spool, SpoolFileDamaged
from service.tracing import NO_TRACER, Tracer

log = logging.getLogger(__name__)


class SpoolFileMissing(Exception):
    """The journal knows the image, the spool does not hold it."""


class WorkerDied(Exception):
    """The worker did not live to the end of any attempt: the image may be what kills it."""


_FAILURES: dict[type[Exception], str] = {
    SpoolFileMissing: (
        "the image's file is missing from the spool: restore it and replay, or send it again"
    ),
    ModelPackageError: (
        "its study's model cannot be loaded: see `secondread model list`, install it again, replay"
    ),
    AskedModelMissing: "the model that was asked for is not installed any more: install it, replay",
    SpoolFileDamaged: (
        "the image's file in the spool is not what was put there: restore it and replay, or send it"
        " again"
    ),
    WorkerDied: "the worker died in every attempt: look for a lack of memory, then replay",
}


class Models(Protocol):
    """What gives each image its model, see ``ModelsInHand``."""

    def analyser_for(self, job: AnalysisJob, /) -> AbstractContextManager[Analyser]: ...


class AnalysisTask:
    """Runs in the worker's threads; safe to call twice for one key, at once or later.

    publish_delivery: called with ``parcel, destination``; may raise BrokerUnavailable.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        models: Models,
        publish_delivery: Callable[[str, str], None],
        metrics: Metrics,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._retry = settings.retry
        self._lease_seconds = settings.keeper.lease
        self._destinations = settings.destinations
        self._probed = settings.probe.destinations
        self._report_not_analysed = settings.results.report_not_analysed
        self._spool = spool
        self._journal = journal
        self._models = models
        self._publish_delivery = publish_delivery
        self._metrics = metrics
        self._scanners = ScannerModels()

    def run(self, key: str) -> None:
        """Analyse the image, unless it is done or somebody else is at it.

        An analysis that breaks off by our fault is recorded and tried again later. Raises
        JournalError; the lease then runs out, and the keeper brings the job back.
        """
        job = self._journal.lease_analysis(key, self._lease_seconds)
        if job is None:
            return
        began = time.time()
        self._tracer.span(key, "waited for a worker", job.received_at.timestamp(), {})
        with keep_alive(
            lambda: self._journal.renew_analysis(job, self._lease_seconds), self._lease_seconds / 3
        ):
            try:
                analysis = self._analyse(job)
            except JournalError:
                raise
            except Exception as error:  # noqa: BLE001 whatever it is, it is our fault
                self._tracer.span(key, "analysis", began, {"attempt": job.attempt}, good=False)
                self._record_failure(job, error)
                return
            parcels = self._parcels(analysis.outcome)
            if job.probe:
                parcels = {name: parcels[name] for name in self._probed if name in parcels}
            recorded = self._journal.record_outcome(job, analysis.outcome, parcels)
        if not recorded:
            log.info("%s was finished by another worker", key)
            return
        self._trace(job, began, analysis.outcome)
        if not job.probe:
            self._count(analysis)
        log.info("%s %s %s", key, analysis.outcome.state, analysis.outcome.reason or "")
        publish(self._publish_delivery, job.parcel, parcels, self._metrics)

    def _analyse(self, job: AnalysisJob) -> Analysis:
        if job.attempt > self._retry.analysis_attempts:
            raise WorkerDied
        path = self._spool.image_path(job.key)
        if not path.is_file():
            raise SpoolFileMissing
        # The results' dates are in the site's time zone, which is this machine's.
        started_at = job.started_at.astimezone()
        with self._models.analyser_for(job) as analyser:
            analysis = analyser.analyse(
                path,
                revision=job.revision,
                started_at=started_at,
                edition=job.edition,
                predecessor=self._predecessor(job),
            )
        self._spool.write_results(job.parcel, analysis.files)
        return analysis

    def _predecessor(self, job: AnalysisJob) -> InstanceReference | None:
        """The report that the new one replaces, if there was one."""
        if job.replaces is None:
            return None
        return self._spool.reference(job.replaces, FILES[ObjectKind.REPORT])

    def _parcels(self, outcome: AnalysisOutcome) -> Parcels:
        always = self._report_not_analysed is ReportNotAnalysed.ALWAYS
        if outcome.state is ImageState.ANALYSED or always:
            return parcels_for(self._destinations, outcome.objects)
        return {}

    def _record_failure(self, job: AnalysisJob, error: Exception) -> None:
        words = _FAILURES.get(type(error), f"the analysis broke off: {fault(error)}")
        failed = after_fault(error, words, job.attempt, self._retry, self._metrics)
        log.error("%s attempt %d: %s", job.key, job.attempt, failed.words)
        self._journal.record_analysis_failure(
            job, failed.words, failed.retry_in, counts=failed.counts
        )
        if failed.retry_in is None:
            self._metrics.outcomes.labels(ImageState.FAILED, type(error).__name__).inc()

    def _trace(self, job: AnalysisJob, began: float, outcome: AnalysisOutcome) -> None:
        stages = {f"seconds.{name}": value for name, value in outcome.stage_seconds.items()}
        self._tracer.span(
            job.key,
            "analysis",
            began,
            {
                "attempt": job.attempt,
                "state": outcome.state.value,
                "reason": outcome.reason or "",
                **stages,
            },
        )

    def _count(self, analysis: Analysis) -> None:
        outcome = analysis.outcome
        if outcome.unlike_training:
            self._metrics.unlike_training.inc()
        self._metrics.outcomes.labels(outcome.state, outcome.reason or "").inc()
        for stage, seconds in outcome.stage_seconds.items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        if outcome.probability_malignant is not None:
            self._metrics.malignant_probability.labels(
                self._scanners.label(outcome.scanner_model), outcome.model_version
            ).observe(outcome.probability_malignant)
