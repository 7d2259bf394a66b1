"""The report to a peer that asked for commitment: lease, verdict, N-EVENT-REPORT, journal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydicom.dataset import Dataset
from pynetdicom import build_role
from pynetdicom.association import Association

from service.backoff import spread_wait
from service.commitment.information import PUSH_MODEL, PUSH_MODEL_INSTANCE, event_information
from service.commitment.verdict import failures
from service.config import Settings
from service.ingest.access import Access
from service.journal.journal import Journal
from service.journal.lease import keep_alive
from service.journal.records import CommitmentJob, CommitmentRequest
from service.log import fault
from service.monitoring.metrics import Metrics
from service.scu import AssociationFailed, Peer, associated, status_of
from service.spool import Spool, StoreError

log = logging.getLogger(__name__)

_TOLD_FOR = timedelta(days=7)
"""So long is a peer called that does not answer; it may ask again at any time."""

Send = Callable[[int, Dataset], int | None]
"""Event Type ID and information to the status of the answer; raises AssociationFailed."""


class Reporter:
    """Tells peers what is committed. Thread-safe, and safe to call twice for one request."""

    def __init__(
        self, settings: Settings, spool: Spool, journal: Journal, metrics: Metrics
    ) -> None:
        self._ae_title = settings.ingest.ae_title
        self._retry = settings.retry
        self._lease_seconds = settings.keeper.lease
        self._spool = spool
        self._journal = journal
        self._metrics = metrics
        self._delivery = settings.delivery
        self._access = Access(settings.ingest)

    def calls_back(self, request: CommitmentRequest) -> bool:
        """Whether the report goes over an association of our own."""
        return self._peer(request) is not None

    def report(self, key: str, send: Send | None = None) -> None:
        """Try once, if the journal says that it is due: the body of the Celery task.

        send: over an association that is open; without it a new one is made.
        Each outcome is recorded; nothing is raised but JournalError.
        """
        job = self._journal.lease_commitment(key, self._lease_seconds)
        if job is None:
            return
        with keep_alive(
            lambda: self._journal.renew_commitment(job, self._lease_seconds),
            self._lease_seconds / 3,
        ):
            request = job.request
            peer = self._peer(request)
            if send is None and peer is not None:
                send = self._by_new_association(peer)
            if send is None:
                self._record_failure(
                    job, "the association ended, and no address for reports is configured", None
                )
                return
            try:
                failed = failures(
                    request.references, self._journal.kept(request.references), self._spool
                )
            except StoreError as no_answer:
                self._record_failure(job, str(no_answer), self._retry_in(job, peer))
                return
            error = _send(
                send, *event_information(request.transaction_uid, request.references, failed)
            )
        if error is None:
            if self._journal.record_reported(job, len(failed)):
                self._metrics.commitment_reports.labels("sent").inc()
                log.info(
                    "%s: %d committed, %d not",
                    key,
                    len(request.references) - len(failed),
                    len(failed),
                )
        else:
            self._record_failure(job, error, self._retry_in(job, peer))

    def _peer(self, request: CommitmentRequest) -> Peer | None:
        """Where it takes reports; None where only on the association on which it asks."""
        rule = self._access.rule_for(request.calling_ae_title, request.address)
        if rule is None or rule.commitment_port is None:
            return None
        return Peer(
            host=rule.commitment_host or request.address,
            port=rule.commitment_port,
            ae_title=request.calling_ae_title,
            connect_timeout=self._delivery.connect_timeout,
            dimse_timeout=self._delivery.dimse_timeout,
            tls=rule.commitment_tls,
        )

    def _retry_in(self, job: CommitmentJob, peer: Peer | None) -> float | None:
        if peer is None or datetime.now(UTC) - job.received_at > _TOLD_FOR:
            return None
        return spread_wait(job.attempt, self._retry)

    def _by_new_association(self, peer: Peer) -> Send:
        def send(event_type: int, information: Dataset) -> int | None:
            # PS3.7 D.3.3.4: who opens the association is the SCU, unless it proposes otherwise.
            roles = [build_role(PUSH_MODEL, scp_role=True)]
            contexts = [(PUSH_MODEL, "1.2.840.10008.1.2")]
            with associated(peer, self._ae_title, contexts, roles=roles) as association:
                if not association.is_established:
                    raise AssociationFailed(f"{peer} does not support storage commitment")
                return send_on(association, event_type, information)

        return send

    def _record_failure(self, job: CommitmentJob, error: str, retry_in: float | None) -> None:
        self._journal.record_commitment_failure(job, error, retry_in)
        if retry_in is None:
            self._metrics.commitment_reports.labels("failed").inc()
            log.error("the report of commitment %s failed for good: %s", job.key, error)
        else:
            self._metrics.commitment_reports.labels("retry").inc()
            log.warning("commitment %s: %s; next in %.1f s", job.key, error, retry_in)


def send_on(association: Association, event_type: int, information: Dataset) -> int | None:
    """N-EVENT-REPORT; the status of the answer, None without. Raises AssociationFailed."""
    try:
        response, _ = association.send_n_event_report(
            information, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except RuntimeError:  # pynetdicom's, where the association is no longer established
        raise AssociationFailed("the association has ended") from None
    return status_of(response)


def _send(send: Send, event_type: int, information: Dataset) -> str | None:
    """What went wrong, in words; None if the peer has the report."""
    try:
        status = send(event_type, information)
    except AssociationFailed as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 whatever it is, it is our fault
        return f"the report broke off: {fault(error)}"
    if status is None:
        return "the peer did not answer the report"
    return f"the peer refused the report (0x{status:04X})" if status else None
