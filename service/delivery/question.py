"""Asking a destination to commit: a new transaction each time, and then its report is awaited."""

from __future__ import annotations

from pydicom.uid import generate_uid

from service.commitment.reports import Reports
from service.commitment.request import NotSupported, ask
from service.config import Settings
from service.delivery.policy import Verdict
from service.delivery.transport import dimse_peer
from service.destination import DimseDestination
from service.journal.journal import Journal
from service.journal.records import DeliveryJob
from service.monitoring.metrics import Metrics
from service.scu import AssociationFailed
from service.tracing import Tracer

_STAY_SECONDS = 2.0
"""For a report on the same association; afterwards the destination must call us."""


class Question:
    """For one destination. Thread-safe."""

    def __init__(
        self,
        destination: DimseDestination,
        settings: Settings,
        journal: Journal,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self._name = destination.name
        self._peer = dimse_peer(destination, settings.delivery)
        self._ae_title = settings.delivery.ae_title
        self._patience = destination.commitment_timeout
        self._journal = journal
        self._metrics = metrics
        self._reports = Reports(journal, settings.retry, metrics, tracer)

    def ask(self, job: DeliveryJob) -> tuple[Verdict, str]:
        """Ask about ``job.awaited``; STORED says that the question was taken, not its answer.

        Returns the verdict, and what went wrong in words. Raises JournalError.
        """
        # Of a UUID: nobody can guess it, and so report in the destination's place.
        transaction_uid = str(generate_uid(prefix=None))
        if not self._journal.name_transaction(job, transaction_uid):
            return Verdict.RETRY, "the lease was lost"
        try:
            ask(
                self._peer,
                self._ae_title,
                transaction_uid,
                job.awaited,
                self._reports.take,
                lambda: self._journal.awaited(transaction_uid) is None,
                _STAY_SECONDS,
            )
        except AssociationFailed as error:
            return Verdict.RETRY, str(error)
        except NotSupported as error:
            return Verdict.REFUSED, str(error)
        self._journal.wait_for_commitment(job, self._patience)
        self._metrics.deliveries.labels(self._name, "stored").inc()
        return Verdict.STORED, ""
