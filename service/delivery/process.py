"""The delivery worker's process: threads that wait for the PACS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        open_handler=_handler,
    )


@contextmanager
def _handler(tools: Tools) -> Iterator[Callable[..., None]]:
    yield Deliverer(tools.settings, tools.spool, tools.journal, tools.metrics).deliver
