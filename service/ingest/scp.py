"""The storage SCP: an image is answered Success once its file and its journal row are on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.association import Acceptor, application_entity
from service.audit.messages import Message, Node, Outcome, instances_transferred
from service.audit.trail import AuditTrail
from service.commitment.information import PUSH_MODEL
from service.ingest.arrival import Arrival, Excess
from service.ingest.background_publisher import BackgroundPublisher
from service.ingest.commitment import CommitmentScp
from service.ingest.data_set import UnreadableDataSet, sop_identity, study_identity
from service.ingest.guard import Guard
from service.ingest.scanners import Scanners
from service.ingest.settings import IngestSettings
from service.journal.journal import Journal, JournalError
from service.journal.records import PROBE_AE_TITLE, Receipt, ReceivedImage
from service.monitoring.metrics import Metrics
from service.sop_classes import ANALYSED, IGNORED, TRANSFER_SYNTAXES, ignored_reason
from service.spool import Spool, image_key
from service.tracing import NO_TRACER, Tracer

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000

_EXCESS = {
    Excess.OBJECT: (CANNOT_UNDERSTAND, "larger than ingest.max_object_bytes"),
    Excess.DISK: (OUT_OF_RESOURCES, "the disk is nearly full"),
    Excess.SPOOL: (OUT_OF_RESOURCES, "the spool cannot be written"),
}
"""Status and comment."""
_LEFT_OVER_SECONDS = 3600.0
_LAST_KEYS_SECONDS = 5.0


class Refusal(Exception):
    """A C-STORE that is answered with a failure (status: PS3.4 Table B.2-1, PS3.7 Annex C).

    The text is sent back as Error Comment: at most 64 characters, nothing of the data set.
    """

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


class StorageScp:
    """Receives images into the spool and the journal, and tells ``publish`` their keys.

    settings: AE title, address, who may associate, limits, timeouts, low-water mark.
    publish: called in a thread of its own with the key of each image to analyse; it may be slow
        and it may raise.
    commitment: what answers requests and reports of storage commitment.
    trail: is told of each image, before its sender is.

    A data set is written as it comes. An image that is refused leaves no row, and nothing in
    ``incoming/``; if only the row failed, its file stays under its key, where the scanner's next
    attempt finds it (to remove it could take it from another association that stores the same
    image at this moment).
    """

    def __init__(
        self,
        settings: IngestSettings,
        spool: Spool,
        journal: Journal,
        publish: Callable[[str], None],
        metrics: Metrics,
        commitment: CommitmentScp,
        trail: AuditTrail,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._guard = Guard(settings, spool.incoming, metrics, trail)
        self._trail = trail
        self._settings = settings
        self._spool = spool
        self._journal = journal
        self._metrics = metrics
        self._publisher = BackgroundPublisher(publish, metrics)
        self._scanners = Scanners(settings, journal, metrics)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            *commitment.handlers,
        ]
        self._acceptor = Acceptor(
            _application_entity(settings), settings.host, settings.port, handlers, self._guard
        )

    def start(self) -> None:
        """Clear what a crash left in ``incoming/``, and listen. Raises OSError, JournalError."""
        self._spool.prepare()
        _remove_left_overs(self._spool.incoming)
        self._guard.warn_if_nobody_else_is_let_in()
        self._scanners.remember()
        self._acceptor.start()
        self._publisher.start()
        self._metrics.associations.set_function(self._acceptor.open_associations)

    @property
    def port(self) -> int:
        return self._acceptor.port

    def stop(self, drain: float) -> None:
        """Accept no more; open associations may finish for ``drain`` seconds."""
        self._acceptor.stop(drain)
        self._publisher.stop(_LAST_KEYS_SECONDS)

    def _store(self, event: evt.Event) -> Dataset:
        """Handler of EVT_C_STORE; returns the response's status."""
        try:
            return self._stored_or_refused(event)
        finally:
            self._guard.answered(event)

    def _stored_or_refused(self, event: evt.Event) -> Dataset:
        started = time.monotonic()
        arrival = self._guard.arrival(event)
        if arrival is None:  # pynetdicom asks for none of these
            self._metrics.received.labels("refused").inc()
            return _response(CANNOT_UNDERSTAND, "there is no data set")
        image = _described(event, arrival)
        try:
            _require_same_identity(image, arrival.head)
            receipt = self._keep(image, arrival)
        except Refusal as refusal:
            return self._refused(event, image, refusal)
        except Exception:
            log.exception("%s refused by a fault of ours", image.key)
            fault = Refusal(PROCESSING_FAILURE, "processing failure")
            return self._refused(event, image, fault)
        self._metrics.store_seconds.observe(time.monotonic() - started)
        self._trail.write(self._transfer(event, image))
        if not receipt.duplicate:
            self._trace(event, image, arrival)
        self._stored(image, receipt)
        return _response(SUCCESS)

    def _keep(self, image: ReceivedImage, arrival: Arrival) -> Receipt:
        """Make file and row durable, in this order. Raises Refusal."""
        arrival.finish()
        if arrival.excess is not None:
            if arrival.error:
                log.error("the spool cannot be written: %s", arrival.error)
            raise Refusal(*_EXCESS[arrival.excess])
        try:
            self._spool.keep_image(image.key, arrival.path)
        except OSError as error:
            log.error("the spool cannot be written: %s", type(error).__name__)
            raise Refusal(*_EXCESS[Excess.SPOOL]) from error
        try:
            return self._journal.record_received(image)
        except JournalError as error:
            log.error("the journal cannot be written: %s", type(error).__name__)
            raise Refusal(OUT_OF_RESOURCES, "the journal cannot be written") from error

    def _trace(self, event: evt.Event, image: ReceivedImage, arrival: Arrival) -> None:
        began = self._guard.connected_at(event)
        self._tracer.root(image.key, "association", began, {"scanner": image.calling_ae_title})
        self._tracer.span(image.key, "C-STORE", arrival.began, {"bytes": image.size_bytes})

    def _stored(self, image: ReceivedImage, receipt: Receipt) -> None:
        if receipt.duplicate:
            outcome = "duplicate"
        elif image.ignored_reason:
            outcome = "ignored"
        else:
            outcome = "stored"
            self._publisher.submit(image.key)
        self._metrics.received.labels(outcome).inc()
        self._metrics.received_bytes.inc(image.size_bytes)
        if image.calling_ae_title != PROBE_AE_TITLE:
            self._scanners.seen(image.calling_ae_title, image.received_at)
        log.info("%s %s, %d bytes", image.key, outcome, image.size_bytes)

    def _transfer(
        self, event: evt.Event, image: ReceivedImage, refusal: Refusal | None = None
    ) -> Message:
        """The audit message of a C-STORE."""
        return instances_transferred(
            Node(image.calling_ae_title, str(event.assoc.requestor.address)),
            Node(self._settings.ae_title),
            image.study_instance_uid,
            [(image.sop_class_uid, image.sop_instance_uid)],
            Outcome.SUCCESS if refusal is None else Outcome.MINOR_FAILURE,
            "" if refusal is None else str(refusal),
        )

    def _refused(self, event: evt.Event, image: ReceivedImage, refusal: Refusal) -> Dataset:
        self._trail.write(self._transfer(event, image, refusal))
        self._metrics.received.labels("refused").inc()
        log.warning("%s refused with 0x%04X: %s", image.key, refusal.status, refusal)
        return _response(refusal.status, str(refusal))


def _application_entity(settings: IngestSettings) -> AE:
    ae = application_entity(settings.ae_title)
    for sop_class in sorted(ANALYSED | IGNORED):
        ae.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    ae.add_supported_context(Verification)
    # As SCP for the scanner's request; as SCU for a destination that calls to report.
    ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    ae.require_called_aet = settings.require_called_ae_title
    ae.maximum_associations = settings.max_associations
    ae.maximum_pdu_size = settings.max_pdu_bytes
    ae.acse_timeout = settings.acse_timeout
    ae.dimse_timeout = settings.dimse_timeout
    ae.network_timeout = settings.network_timeout
    return ae


def _described(event: evt.Event, arrival: Arrival) -> ReceivedImage:
    """The journal's record of a C-STORE, by its command and the digest of its data set."""
    request = cast(C_STORE, event.request)
    sop_class_uid = str(request.AffectedSOPClassUID)
    sop_instance_uid = str(request.AffectedSOPInstanceUID)
    transfer_syntax_uid = str(event.context.transfer_syntax)
    digest = arrival.digest()
    return ReceivedImage(
        key=image_key(sop_instance_uid, transfer_syntax_uid, digest),
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        digest=digest,
        size_bytes=arrival.size,
        calling_ae_title=event.assoc.requestor.ae_title.strip(),
        received_at=datetime.now(UTC),
        ignored_reason=ignored_reason(sop_class_uid),
        study_instance_uid=study_identity(arrival.head, transfer_syntax_uid),
    )


def _require_same_identity(image: ReceivedImage, head: bytes) -> None:
    """Refuse what its own command belies: nobody could find the result of such an image."""
    try:
        sop_class_uid, sop_instance_uid = sop_identity(head, image.transfer_syntax_uid)
    except UnreadableDataSet as error:
        raise Refusal(CANNOT_UNDERSTAND, "the data set is not readable") from error
    if not sop_class_uid or not sop_instance_uid:
        raise Refusal(CANNOT_UNDERSTAND, "the data set lacks its SOP Class or Instance UID")
    if (sop_class_uid, sop_instance_uid) != (image.sop_class_uid, image.sop_instance_uid):
        raise Refusal(DOES_NOT_MATCH_SOP_CLASS, "data set and command name different objects")


def _remove_left_overs(incoming: Path) -> None:
    """Files of a killed process; not the young ones, which another process may be writing."""
    oldest = time.time() - _LEFT_OVER_SECONDS
    for path in incoming.glob("*.tmp"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _response(status: int, comment: str = "") -> Dataset:
    response = Dataset()
    response.Status = status
    if comment:
        response.ErrorComment = comment
    return response
