"""The reports of destinations that we asked to commit: what is committed is delivered."""

from __future__ import annotations

import logging
import time

from pydicom.dataset import Dataset
from pynetdicom import evt

from service.backoff import spread_wait
from service.commitment.information import Report, UnreadableInformation, decoded, read_event
from service.journal.journal import Journal, JournalError
from service.journal.records import AwaitedCommitment
from service.monitoring.metrics import Metrics
from service.sections import RetrySettings
from service.tracing import NO_TRACER, Tracer

log = logging.getLogger(__name__)

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_INVALID_ARGUMENT = 0x0115


class Reports:
    """Handler of N-EVENT-REPORT, wherever one arrives: on our association or on the peer's own.

    A report counts only under the Transaction UID of our newest question, which is random.
    """

    def __init__(
        self,
        journal: Journal,
        retry: RetrySettings,
        metrics: Metrics,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._journal = journal
        self._retry = retry
        self._metrics = metrics
        self._tracer = tracer

    def take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Handler of EVT_N_EVENT_REPORT: status and no reply."""
        try:
            report = decoded(lambda: read_event(event.event_information))
        except UnreadableInformation as error:
            self._count("unreadable")
            log.warning("a commitment report is not readable: %s", error)
            return _INVALID_ARGUMENT, None
        try:
            self._take(report)
        except JournalError as error:
            log.error("a commitment report is not recorded: %s", type(error).__name__)
            return _PROCESSING_FAILURE, None
        return _SUCCESS, None

    def _take(self, report: Report) -> None:
        delivery = self._journal.awaited(report.transaction_uid)
        began = time.time()
        if delivery is None:
            self._count("unknown")
            log.info("a commitment report about nothing that waits for one")
            return
        missing = [uid for _, uid in delivery.awaited if uid not in report.committed]
        if missing:
            self._not_committed(delivery, report, missing)
        elif self._journal.record_committed(delivery.parcel, report.transaction_uid):
            self._count("committed")
            self._metrics.deliveries.labels(delivery.destination, "delivered").inc()
            self._tracer.span(
                delivery.image_key, "committed", began, {"destination": delivery.destination}
            )
            log.info("%s committed by %s", delivery.parcel, delivery.destination)

    def _not_committed(
        self, delivery: AwaitedCommitment, report: Report, missing: list[str]
    ) -> None:
        reasons = sorted({f"0x{report.failed.get(uid, 0):04X}" for uid in missing})
        error = (
            f"{len(missing)} of {len(delivery.awaited)} objects not committed"
            f" ({', '.join(reasons)})"
        )
        given_up = delivery.refusals + 1 >= self._retry.refusals
        retry_in = None if given_up else spread_wait(delivery.attempts, self._retry)
        if self._journal.record_not_committed(
            delivery.parcel, report.transaction_uid, error, retry_in
        ):
            self._count("not_committed")
            outcome = "failed" if given_up else "refused"
            self._metrics.deliveries.labels(delivery.destination, outcome).inc()
            log.warning("%s to %s: %s", delivery.parcel, delivery.destination, error)

    def _count(self, outcome: str) -> None:
        self._metrics.commitments.labels(outcome).inc()
