"""The ingest process: the storage SCP with its journal, spool and metrics, until SIGTERM."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from service.audit.messages import application_activity
from service.audit.trail import AuditTrail
from service.config import ConfigurationError, Settings
from service.ending import Ending
from service.ingest.commitment import CommitmentScp
from service.ingest.scp import StorageScp
from service.journal.journal import Journal, JournalError
from service.journal.opening import open_journal
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.spool import Spool, StoreError
from service.spool_opening import open_spool
from service.tracing import open_tracer

log = logging.getLogger(__name__)


def run(settings: Settings, publish: Callable[[str], None]) -> None:
    """Receive until SIGTERM or SIGINT, then let open associations finish.

    publish: called with the key of each image to analyse, see StorageScp.
    Call it in the main thread. Raises ConfigurationError if an address or the spool cannot be
    used, JournalError if the journal cannot.
    """
    ending = Ending()
    with ExitStack() as stack:
        journal = open_journal(settings)
        stack.callback(journal.close)
        journal.migrate()
        metrics = Metrics()
        spool = open_spool(settings, metrics)
        metrics.spool_free_bytes.set_function(spool.free_bytes)
        tracer = open_tracer(settings, "ingest")
        stack.callback(tracer.close)
        commitment = CommitmentScp(settings, spool, journal, metrics, tracer)
        trail = AuditTrail(settings.audit_dir, metrics)
        scp = StorageScp(
            settings.ingest, spool, journal, publish, metrics, commitment, trail, tracer
        )
        try:
            scp.start()
            stack.callback(scp.stop, drain=0)
            monitor = serve(
                metrics,
                settings.monitoring.host,
                settings.monitoring.ingest_port,
                lambda: _what_is_wrong(settings, spool, journal),
            )
            stack.callback(monitor.close)
        except OSError as error:
            raise ConfigurationError(
                "data_dir, ingest.host, ingest.port or monitoring.ingest_port cannot be used:"
                f" {error.strerror}"
            ) from error
        trail.write(application_activity("ingest", started=True))
        stack.callback(lambda: trail.write(application_activity("ingest", started=False)))
        log.info("%s receives on port %d", settings.ingest.ae_title, scp.port)
        ending.wait()
        log.info("open associations have %.0f s to finish", settings.ingest.drain_seconds)
        scp.stop(settings.ingest.drain_seconds)


def _what_is_wrong(settings: Settings, spool: Spool, journal: Journal) -> str | None:
    """Why images are refused at this moment; None if they are not."""
    try:
        journal.check()
    except JournalError:
        return "the journal does not answer"
    if spool.free_bytes() < settings.ingest.low_water_bytes:
        return "the spool's disk is below its low-water mark"
    try:
        spool.check()
    except StoreError as error:
        return f"the spool: {error}"
    return None
