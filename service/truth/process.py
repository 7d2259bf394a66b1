"""The process of ``secondread truth listen``."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from service.config import ConfigurationError, Settings
from service.ending import Ending
from service.journal.opening import open_journal
from service.truth.listener import Listener

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; call it in the main thread.

    Raises ConfigurationError if the address cannot be used, JournalError.
    """
    truth = settings.truth
    if not truth.port:
        raise ConfigurationError("truth.port: set it, to listen for results of pathology")
    ending = Ending()
    with ExitStack() as stack:
        journal = open_journal(settings)
        stack.callback(journal.close)
        journal.migrate()
        listener = Listener(truth, journal)
        stack.callback(listener.stop)
        try:
            listener.start()
        except OSError as error:
            raise ConfigurationError(
                f"truth.host or truth.port cannot be used: {error.strerror}"
            ) from error
        log.info("ready on port %d", truth.port)
        while listener.is_listening and not ending.wait(1.0):
            pass
    log.info("stopped")
