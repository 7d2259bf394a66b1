"""The process of ``secondread truth listen``."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from service.audit.messages import application_activity
from service.audit.trail import AuditTrail
from service.config import ConfigurationError, Settings
from service.ending import Ending
from service.journal.journal import Journal, JournalError
from service.journal.opening import open_journal
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.truth.listener import Listener

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; call it in the main thread.

    Raises ConfigurationError if address or TLS files cannot be used, JournalError.
    """
    truth = settings.truth
    if not truth.port:
        raise ConfigurationError("truth.port: set it, to listen for results of pathology")
    ending = Ending()
    with ExitStack() as stack:
        journal = open_journal(settings)
        stack.callback(journal.close)
        journal.migrate()
        metrics = Metrics()
        trail = AuditTrail(settings.audit_dir, metrics)
        listener = Listener(truth, journal, trail, metrics)
        stack.callback(listener.stop)
        try:
            listener.start()
            monitoring = settings.monitoring
            monitor = serve(
                metrics,
                monitoring.host,
                monitoring.truth_port,
                lambda: _what_is_wrong(journal, listener),
            )
        except OSError as error:
            raise ConfigurationError(
                f"truth.host, truth.port or monitoring.truth_port cannot be used: {error.strerror}"
            ) from error
        stack.callback(monitor.close)
        trail.write(application_activity("truth", started=True))
        stack.callback(lambda: trail.write(application_activity("truth", started=False)))
        log.info("ready on port %d", truth.port)
        while listener.is_listening and not ending.wait(1.0):
            pass
    log.info("stopped")


def _what_is_wrong(journal: Journal, listener: Listener) -> str | None:
    if not listener.is_listening:
        return "nobody listens for pathology"
    try:
        journal.check()
    except JournalError:
        return "the journal does not answer"
    return None
