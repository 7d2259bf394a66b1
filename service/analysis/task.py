"""One message of the analysis queue: lease, analyse, keep the results, record the outcome."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from service.analysis.analyser import Analyser, Analysis
from service.backoff import wait_seconds
from service.config import Settings
from service.journal.journal import Journal
from service.journal.lease import keep_alive
from service.journal.records import AnalysisJob, AnalysisOutcome, ImageState
from service.log import fault
from service.monitoring.metrics import Metrics
from service.queue.publisher import BrokerUnavailable
from service.spool import Spool

log = logging.getLogger(__name__)


class SpoolFileMissing(Exception):
    """The journal knows the image, the spool does not hold it."""


class WorkerDied(Exception):
    """The worker did not live to the end of any attempt: the image may be what kills it."""


_FAILURES: dict[type[Exception], str] = {
    SpoolFileMissing: (
        "the image's file is missing from the spool: restore it and replay, or send it again"
    ),
    WorkerDied: "the worker died in every attempt: look for a lack of memory, then replay",
}


class AnalysisTask:
    """Runs in the worker's threads; safe to call twice for one key, at once or later.

    publish_delivery: called with ``key, destination``; may raise BrokerUnavailable.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        analyser: Analyser,
        publish_delivery: Callable[[str, str], None],
        metrics: Metrics,
    ) -> None:
        self._retry = settings.retry
        self._lease_seconds = settings.keeper.lease
        self._destinations = tuple(destination.name for destination in settings.destinations)
        self._report_not_analysed = settings.delivery.report_not_analysed
        self._spool = spool
        self._journal = journal
        self._analyser = analyser
        self._publish_delivery = publish_delivery
        self._metrics = metrics

    def run(self, key: str) -> None:
        """Analyse the image, unless it is done or somebody else is at it.

        An analysis that breaks off by our fault is recorded and tried again later. Raises
        JournalError; the lease then runs out, and the keeper brings the job back.
        """
        job = self._journal.lease_analysis(key, self._lease_seconds)
        if job is None:
            return
        with keep_alive(
            lambda: self._journal.renew_analysis(job, self._lease_seconds), self._lease_seconds / 3
        ):
            try:
                analysis = self._analyse(job)
            except Exception as error:  # noqa: BLE001 whatever it is, it is our fault
                self._record_failure(job, error)
                return
            destinations = self._destinations_of(analysis.outcome)
            recorded = self._journal.record_outcome(job, analysis.outcome, destinations)
        if not recorded:
            log.info("%s was finished by another worker", key)
            return
        self._count(analysis)
        log.info("%s %s %s", key, analysis.outcome.state, analysis.outcome.reason or "")
        self._publish(key, destinations)

    def _analyse(self, job: AnalysisJob) -> Analysis:
        if job.attempt > self._retry.analysis_attempts:
            raise WorkerDied
        path = self._spool.image_path(job.key)
        if not path.is_file():
            raise SpoolFileMissing
        # The results' dates are in the site's time zone, which is this machine's.
        started_at = job.started_at.astimezone()
        analysis = self._analyser.analyse(path, revision=job.revision, started_at=started_at)
        self._spool.write_results(job.key, analysis.files)
        return analysis

    def _destinations_of(self, outcome: AnalysisOutcome) -> tuple[str, ...]:
        wanted = outcome.state is ImageState.ANALYSED or self._report_not_analysed
        return self._destinations if outcome.objects and wanted else ()

    def _record_failure(self, job: AnalysisJob, error: Exception) -> None:
        final = job.attempt >= self._retry.analysis_attempts
        wait = None if final else wait_seconds(job.attempt, self._retry, random.random())  # noqa: S311
        text = _FAILURES.get(type(error), f"the analysis broke off: {fault(error)}")
        log.error("%s attempt %d: %s", job.key, job.attempt, text)
        self._journal.record_analysis_failure(job, text, wait)
        if final:
            self._metrics.outcomes.labels(ImageState.FAILED, type(error).__name__).inc()

    def _count(self, analysis: Analysis) -> None:
        outcome = analysis.outcome
        if analysis.unlike_training:
            self._metrics.unlike_training.inc()
        self._metrics.outcomes.labels(outcome.state, outcome.reason or "").inc()
        for stage, seconds in outcome.stage_seconds.items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        if outcome.probability_malignant is not None:
            self._metrics.malignant_probability.observe(outcome.probability_malignant)

    def _publish(self, key: str, destinations: tuple[str, ...]) -> None:
        for destination in destinations:
            try:
                self._publish_delivery(key, destination)
            except BrokerUnavailable:
                self._metrics.publish_failures.inc()
