"""Storage commitment on the Ingest AE: what peers ask for, and what destinations report."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from service.association import Handler
from service.commitment.information import (
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    UnreadableInformation,
    decoded,
    read_action,
)
from service.commitment.reporter import Reporter, send_on
from service.commitment.reports import Reports
from service.config import Settings
from service.journal.journal import Journal, JournalError
from service.journal.records import CommitmentRequest
from service.monitoring.metrics import Metrics
from service.spool import Spool
from service.tracing import NO_TRACER, Tracer

log = logging.getLogger(__name__)

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_NO_SUCH_INSTANCE = 0x0112
_INVALID_ARGUMENT = 0x0115
_NO_SUCH_ACTION = 0x0123

_QUIET_SECONDS = 0.5


@dataclass
class _Speaking:
    """On one association: reports go one by one, and not while the peer goes on asking.

    pynetdicom takes a request that crosses ours for its answer.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    asked_at: float = 0.0

    @property
    def quiet_seconds(self) -> float:
        return time.monotonic() - self.asked_at


class CommitmentScp:
    """A request is answered Success once its row is durable; the report follows.

    A peer with an address for reports is called by the delivery worker, which the keeper tells of
    it; any other gets its report on the association on which it asked.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        metrics: Metrics,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._journal = journal
        self._reporter = Reporter(settings, spool, journal, metrics)
        self._reports = Reports(journal, settings.retry, metrics, tracer)
        self._metrics = metrics
        self._speaking: WeakKeyDictionary[Association, _Speaking] = WeakKeyDictionary()

    @property
    def handlers(self) -> Sequence[Handler]:
        return [
            (evt.EVT_N_ACTION, self._requested),
            (evt.EVT_N_EVENT_REPORT, self._reports.take),
        ]

    def _requested(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Handler of EVT_N_ACTION: status and no reply."""
        status = self._status(event)
        self._metrics.commitment_requests.labels("refused" if status else "accepted").inc()
        return status, None

    def _status(self, event: evt.Event) -> int:
        if event.request.RequestedSOPInstanceUID != PUSH_MODEL_INSTANCE:  # type: ignore[union-attr]
            return _NO_SUCH_INSTANCE
        if event.action_type != REQUEST_COMMITMENT:
            return _NO_SUCH_ACTION
        peer = event.assoc.requestor
        try:
            transaction_uid, references = decoded(lambda: read_action(event.action_information))
        except UnreadableInformation as error:
            log.warning("a request for commitment is not readable: %s", error)
            return _INVALID_ARGUMENT
        request = CommitmentRequest(
            peer.ae_title.strip(), str(peer.address), transaction_uid, references
        )
        here = not self._reporter.calls_back(request)
        try:
            self._journal.record_commitment_request(request, published=here)
        except JournalError as error:
            log.error("a request for commitment is not recorded: %s", type(error).__name__)
            return _PROCESSING_FAILURE
        log.info("%s: commitment to %d objects asked for", request.key, len(references))
        if here:
            self._speaking.setdefault(event.assoc, _Speaking()).asked_at = time.monotonic()
            self._report_after_answer(event.assoc, request.key)
        return _SUCCESS

    def _report_after_answer(self, association: Association, key: str) -> None:
        """The report must not overtake the answer: it goes once a PDU of that is out."""

        def sent(event: evt.Event) -> None:
            if isinstance(event.pdu, P_DATA_TF):
                association.unbind(evt.EVT_PDU_SENT, sent)
                threading.Thread(
                    target=self._report, args=(association, key), name="commitment", daemon=True
                ).start()

        association.bind(evt.EVT_PDU_SENT, sent)

    def _report(self, association: Association, key: str) -> None:
        speaking = self._speaking.setdefault(association, _Speaking())
        with speaking.lock:
            while association.is_established and speaking.quiet_seconds < _QUIET_SECONDS:
                time.sleep(_QUIET_SECONDS / 10)
            try:
                self._reporter.report(key, lambda *report: send_on(association, *report))
            except JournalError as error:
                log.error("%s is reported later: %s", key, type(error).__name__)
