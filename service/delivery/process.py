"""The delivery worker's process: threads that wait for the PACS."""

from __future__ import annotations

from collections.abc import Callable

from service.config import Settings
from service.delivery.deliverer import Deliverer
from service.journal.records import Stage
from service.queue.process import Tools, run_worker


def run(settings: Settings) -> int:
    """Deliver until SIGTERM; returns the exit code. Raises JournalError if it cannot start."""
    return run_worker(
        settings,
        Stage.DELIVERY,
        concurrency=settings.delivery.concurrency,
        port=settings.monitoring.delivery_port,
        make_handler=_handler,
    )


def _handler(tools: Tools) -> Callable[..., None]:
    return Deliverer(tools.settings, tools.spool, tools.journal, tools.metrics).deliver
