"""A worker process from start to end, for one stage or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from service.audit.messages import application_activity
from service.audit.trail import AuditTrail
from service.config import Settings
from service.journal.journal import Journal
from service.journal.opening import open_journal
from service.journal.records import Stage
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.queue.publisher import Publisher
from service.queue.worker import Worker
from service.spool import Spool
from service.spool_opening import open_spool
from service.tracing import NO_TRACER, Tracer, open_tracer

Handlers = Mapping[Stage, Callable[..., None]]


@dataclass(frozen=True)
class Tools:
    """What the stages' handlers work with.

    checks: a handler that depends on others adds what says what is wrong with them, if anything.
    """

    settings: Settings
    spool: Spool
    journal: Journal
    publisher: Publisher
    metrics: Metrics
    trail: AuditTrail
    tracer: Tracer = NO_TRACER
    checks: list[Callable[[], str | None]] = field(default_factory=list)


def run_worker(
    settings: Settings,
    *,
    concurrency: int,
    process: Stage,
    port: int,
    open_handlers: Callable[[Tools], AbstractContextManager[Handlers]],
) -> int:
    """Consume the queues that have a handler until SIGTERM; returns the exit code.

    process: by which audit messages and traces name it.
    port: for ``/metrics`` and ``/healthz``.
    open_handlers: makes, and warms, what is called for each message, before the first can come.
    Raises JournalError, and what ``open_handlers`` raises.
    """
    with ExitStack() as stack:
        metrics = Metrics()
        spool = open_spool(settings, metrics)
        spool.prepare()
        journal = open_journal(settings)
        stack.callback(journal.close)
        journal.migrate()
        publisher = Publisher(settings.broker_url)
        stack.callback(publisher.close)
        trail = AuditTrail(settings.audit_dir, metrics)
        tracer = open_tracer(settings, process.value)
        stack.callback(tracer.close)
        tools = Tools(settings, spool, journal, publisher, metrics, trail, tracer)
        handlers = stack.enter_context(open_handlers(tools))
        trail.write(application_activity(process.value, started=True))
        stack.callback(lambda: trail.write(application_activity(process.value, started=False)))
        worker = Worker(handlers, settings.broker_url, concurrency=concurrency)

        def what_is_wrong() -> str | None:
            wrong = (check() for check in (worker.what_is_wrong, *tools.checks))
            return next((why for why in wrong if why is not None), None)

        server = serve(metrics, settings.monitoring.host, port, what_is_wrong)
        stack.callback(server.close)
        return worker.run()
