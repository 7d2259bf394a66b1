"""A worker process from start to end, for either stage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import Stage
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.queue.publisher import Publisher
from service.queue.worker import Worker
from service.spool import Spool


@dataclass(frozen=True)
class Tools:
    """What a stage's handler works with."""

    settings: Settings
    spool: Spool
    journal: Journal
    publisher: Publisher
    metrics: Metrics


def run_worker(
    settings: Settings,
    stage: Stage,
    *,
    concurrency: int,
    port: int,
    open_handler: Callable[[Tools], AbstractContextManager[Callable[..., None]]],
) -> int:
    """Consume ``stage``'s queue until SIGTERM; returns the exit code.

    port: for ``/metrics`` and ``/healthz``.
    open_handler: makes, and warms, what is called for each message, before the first one can come.
    Raises JournalError, and what ``open_handler`` raises.
    """
    with ExitStack() as stack:
        spool = Spool(settings.spool_dir)
        spool.prepare()
        journal = Journal(settings.journal_url)
        stack.callback(journal.close)
        journal.migrate()
        publisher = Publisher(settings.broker_url)
        stack.callback(publisher.close)
        metrics = Metrics()
        handler = stack.enter_context(
            open_handler(Tools(settings, spool, journal, publisher, metrics))
        )
        worker = Worker(stage, handler, settings.broker_url, concurrency=concurrency)
        server = serve(metrics, settings.monitoring.host, port, worker.what_is_wrong)
        stack.callback(server.close)
        return worker.run()
