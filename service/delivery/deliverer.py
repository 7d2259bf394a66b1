"""One delivery: lease, one way to the destination, a whole parcel, one line in the journal."""

from __future__ import annotations

import logging
import random
import time
from datetime import UTC, datetime

from service.audit.messages import Message, Node, Outcome, instances_transferred
from service.audit.trail import AuditTrail
from service.config import Settings
from service.delivery.form import files_for, variant_for
from service.delivery.lanes import Lane
from service.delivery.policy import Next, Verdict, after_failure, judge, judge_all
from service.delivery.question import Question
from service.delivery.transport import way_to
from service.destination import Destination, DimseDestination
from service.journal.journal import Journal
from service.journal.lease import keep_alive
from service.journal.records import DeliveryJob, Reference
from service.log import fault
from service.monitoring.metrics import Metrics
from service.results import InvalidObject, ResultCheck
from service.scu import AssociationFailed, UnreadableFile, storage_object
from service.spool import Spool, StoreError
from service.tracing import NO_TRACER, Tracer

log = logging.getLogger(__name__)

_POSTPONED_SECONDS = (30.0, 60.0)
"""So that the keeper does not publish little else than what a destination that hangs waits for."""


class Deliverer:
    """Sends parcels to the configured destinations. Thread-safe.

    Raises ConfigurationError if a destination's secret or certificate cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        metrics: Metrics,
        trail: AuditTrail,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._trail = trail
        self._tracer = tracer
        self._ae_title = settings.delivery.ae_title
        self._destinations = {item.name: item for item in settings.destinations}
        self._ways = {item.name: way_to(item, settings.delivery) for item in settings.destinations}
        self._questions = {
            item.name: Question(item, settings, journal, metrics, tracer)
            for item in settings.destinations
            if isinstance(item, DimseDestination) and item.storage_commitment
        }
        # A single destination has nobody beside it who would have to wait.
        several = settings.destinations if len(settings.destinations) > 1 else ()
        self._lanes = {item.name: Lane() for item in several}
        self._retry = settings.retry
        self._lease_seconds = settings.keeper.lease
        self._check = ResultCheck(settings.results.dciodvfy)
        self._spool = spool
        self._journal = journal
        self._metrics = metrics

    def deliver(self, parcel: str, destination_name: str) -> None:
        """Try once, if the journal says that it is due: the body of the Celery task.

        Each outcome is recorded; nothing is raised but JournalError, and the keeper then brings
        the job back.
        """
        lane = self._lanes.get(destination_name)
        if lane is None:
            self._attempt(parcel, destination_name)
            return
        number = lane.enter()
        if number is None:
            seconds = random.uniform(*_POSTPONED_SECONDS)  # noqa: S311 - it spreads retries
            self._journal.postpone_delivery(parcel, destination_name, seconds)
            return
        stored = False
        try:
            stored = self._attempt(parcel, destination_name)
        finally:
            lane.leave(number, stored=stored)

    def _attempt(self, parcel: str, destination_name: str) -> bool:
        """Whether there is nothing wrong with the destination."""
        job = self._journal.lease_delivery(parcel, destination_name, self._lease_seconds)
        if job is None:
            return True
        destination = self._destinations.get(destination_name)
        if destination is None:
            self._record_failure(
                job, "the destination is no longer configured", Next(None, refused=False)
            )
            return True
        question = self._questions.get(destination_name)
        started, began = time.monotonic(), time.time()
        with keep_alive(
            lambda: self._journal.renew_delivery(job, self._lease_seconds), self._lease_seconds / 3
        ):
            if job.awaited and question is not None:
                verdict, words = question.ask(job)
            elif job.awaited:  # the destination no longer commits, and has what it has
                verdict, words = Verdict.STORED, ""
            else:
                verdict, words = self._deliver(job, destination, question)
        self._metrics.delivery_seconds.labels(destination_name).observe(time.monotonic() - started)
        self._tracer.span(
            job.image_key,
            "commitment asked for" if job.awaited else "delivery",
            began,
            {"destination": destination_name, "attempt": job.attempt, "error": words},
            good=verdict is Verdict.STORED,
        )
        if verdict is not Verdict.STORED:
            jitter = random.random()  # noqa: S311 - it spreads retries, it protects nothing
            self._record_failure(
                job, words, after_failure(verdict, job.attempt, job.refusals, self._retry, jitter)
            )
        elif question is None and self._journal.record_delivered(job):
            self._metrics.deliveries.labels(destination_name, "delivered").inc()
            log.info("%s delivered to %s", parcel, destination_name)
        return verdict is Verdict.STORED

    def _transfer(
        self,
        job: DeliveryJob,
        destination: Destination,
        verdict: Verdict,
        words: str,
        sent: tuple[Reference, ...],
    ) -> Message:
        """The audit message of a parcel that was offered to its destination."""
        study = job.study_instance_uid
        if study is None:
            reference = self._spool.reference(job.parcel, job.objects[0])
            study = reference.study_instance_uid if reference else None
        return instances_transferred(
            Node(self._ae_title),
            Node(destination.name, destination.address),
            study,
            sent,
            Outcome.SUCCESS if verdict is Verdict.STORED else Outcome.MINOR_FAILURE,
            words,
        )

    def _deliver(
        self, job: DeliveryJob, destination: Destination, question: Question | None
    ) -> tuple[Verdict, str]:
        """Send, and where the destination commits, record that before it is asked to."""
        verdict, words, sent = self._send(job, destination)
        if sent:
            self._trail.write(self._transfer(job, destination, verdict, words, sent))
        if verdict is Verdict.STORED and job.received_at is not None:
            seconds = (datetime.now(UTC) - job.received_at).total_seconds()
            self._metrics.image_seconds.labels(destination.name).observe(max(0.0, seconds))
        if verdict is not Verdict.STORED or question is None:
            return verdict, words
        asking = self._journal.record_stored(job, sent, self._lease_seconds)
        return question.ask(asking) if asking else (Verdict.RETRY, "another worker has sent it")

    def _send(
        self, job: DeliveryJob, destination: Destination
    ) -> tuple[Verdict, str, tuple[Reference, ...]]:
        """All objects on one way: the verdict, what went wrong in words, and what was sent."""
        try:
            paths = [self._spool.result_path(job.parcel, name) for name in job.objects]
            ours = {path: storage_object(path) for path in paths}
            contexts = [(each.sop_class_uid, each.transfer_syntax_uid) for each in ours.values()]
            with self._ways[destination.name].open(contexts) as transport:
                variant = variant_for(destination, transport.report_class)
                files = files_for(
                    destination.name, paths, job.parcel, variant, self._spool, self._check
                )
                sent = [ours.get(path) or storage_object(path) for path in files]
                outcomes = transport.send(sent)
        except AssociationFailed as error:
            return Verdict.RETRY, str(error), ()
        except InvalidObject as error:
            self._metrics.invalid_objects.inc()
            return Verdict.REFUSED, str(error), ()
        except UnreadableFile as error:
            return Verdict.REFUSED, str(error), ()
        except StoreError as error:
            return Verdict.RETRY, str(error), ()
        except Exception as error:  # noqa: BLE001 whatever it is, it is our fault
            return Verdict.REFUSED, f"the delivery broke off: {fault(error)}", ()
        wrong = [
            f"{outcome.path.name}: {outcome.text}"
            for outcome in outcomes
            if judge(outcome) is not Verdict.STORED
        ]
        references = tuple((each.sop_class_uid, each.sop_instance_uid) for each in sent)
        return judge_all(outcomes), "; ".join(wrong), references

    def _record_failure(self, job: DeliveryJob, words: str, following: Next) -> None:
        self._journal.record_delivery_failure(job, words, following.retry_in, following.refused)
        if following.retry_in is None:
            outcome = "failed"
            log.error("%s to %s failed for good: %s", job.parcel, job.destination, words)
        else:
            outcome = "refused" if following.refused else "retry"
            log.warning(
                "%s to %s, attempt %d: %s; next in %.1f s",
                job.parcel,
                job.destination,
                job.attempt,
                words,
                following.retry_in,
            )
        self._metrics.deliveries.labels(job.destination, outcome).inc()
