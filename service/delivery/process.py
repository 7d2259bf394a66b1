"""The delivery worker's process: threads that wait for a PACS or a scanner, or summarise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service.commitment.reporter import Reporter
from service.config import Settings
from service.delivery.deliverer import Deliverer
from service.journal.records import Stage
from service.queue.process import Handlers, Tools, run_worker
from service.summary.summariser import Summariser


def run(settings: Settings) -> int:
    """Deliver, summarise and report commitments until SIGTERM; returns the exit code.

    A summary needs no model and takes milliseconds, so it gets no process of its own.
    Raises ConfigurationError for a secret that cannot be read, JournalError if it cannot start.
    """
    return run_worker(
        settings,
        concurrency=settings.delivery.concurrency,
        process=Stage.DELIVERY,
        port=settings.monitoring.delivery_port,
        open_handlers=_handlers,
    )


@contextmanager
def _handlers(tools: Tools) -> Iterator[Handlers]:
    deliverer = Deliverer(
        tools.settings, tools.spool, tools.journal, tools.metrics, tools.trail, tools.tracer
    )
    summariser = Summariser(
        tools.settings, tools.spool, tools.journal, tools.publisher.delivery, tools.metrics
    )
    reporter = Reporter(tools.settings, tools.spool, tools.journal, tools.metrics)
    yield {
        Stage.DELIVERY: deliverer.deliver,
        Stage.SUMMARY: summariser.run,
        Stage.COMMITMENT: reporter.report,
    }
