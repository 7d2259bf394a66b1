"""The keeper: reads the journal, and brings back every job that was lost on its way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from service.analysis.model_store import ModelStore
from service.audit.messages import application_activity
from service.audit.syslog import SyslogForwarder
from service.audit.trail import AuditTrail
from service.config import Settings
from service.drift_watch import DriftWatch
from service.ending import Ending
from service.journal.journal import Journal, JournalError
from service.journal.opening import open_journal
from service.journal.records import DeliveryState, ImageState, Stage, StudyState
from service.monitoring.metrics import Metrics
from service.monitoring.server import serve
from service.probe import Probe
from service.queue.broker import Broker
from service.queue.publisher import BrokerUnavailable, Publisher
from service.shadow.watch import ShadowWatch
from service.spool import Spool, StoreError
from service.spool_opening import open_spool
from service.sweep import Sweeper
from service.truth.watch import TruthWatch

log = logging.getLogger(__name__)

_MEASURE_SECONDS = 5.0

_ILL_SECONDS = 60.0

_MESSAGE_SECONDS = 1.0
"""How much longer we wait for a job's message, for each message that stands in the queue.

In a long queue nothing is lost, and to publish all of it every 30 s would make it grow without
end. Jobs whose worker died or whose next try is due are published at once all the same."""


class Condition:
    """Something that works or does not; says so in the log when that changes, not each second."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.good = True

    def is_good(self) -> None:
        if not self.good:
            log.info("the %s works again", self._name)
        self.good = True

    def is_bad(self, error: Exception) -> None:
        if self.good:
            log.error("%s: %s", self._name, error)
        self.good = False


class Keeper:
    """Looks at journal, broker and disk; a broken one is reported and looked at again later."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        broker: Broker,
        publisher: Publisher,
        metrics: Metrics,
    ) -> None:
        self._settings = settings.keeper
        self._destinations = [destination.name for destination in settings.destinations]
        self._spool = spool
        self._journal = journal
        self._broker = broker
        self._publisher = publisher
        self._metrics = metrics
        self._journal_condition = Condition("journal")
        self._broker_condition = Condition("broker")
        self._disk_condition = Condition("spool")
        self._sweeper = Sweeper(settings, spool, journal, metrics)
        self._measured_at = float("-inf")
        self._store_condition = Condition("spool's store")
        self._store_asked_at = float("-inf")
        store, seconds = ModelStore(settings), settings.keeper.drift_seconds
        point = settings.analysis.operating_point
        self._drift = DriftWatch(store, journal, metrics, seconds)
        self._truth = TruthWatch(store, point, journal, metrics, seconds)
        self._shadow = ShadowWatch(journal, metrics, seconds)
        self._looked_at = float("-inf")

    def what_is_wrong(self) -> str | None:
        """None while it looks; an outage that it sees does not make the keeper itself ill."""
        silent = time.monotonic() - self._looked_at
        if silent > _ILL_SECONDS + self._settings.interval:
            return "the keeper hangs, or has not looked yet"
        return None

    def run(self, ended: Callable[[float], bool]) -> None:
        """Look every ``keeper.interval`` seconds.

        ended: waits so many seconds, and says whether to end.
        """
        while True:
            self.look()
            self._looked_at = time.monotonic()
            if ended(self._settings.interval):
                return

    def look(self) -> None:
        """One look. An outage of journal, broker or disk is logged, not raised."""
        self._measure_disk()
        self._ask_store()
        lengths = self._queue_lengths()
        try:
            self._measure_journal()
            if lengths is not None:
                self._publish_overdue(lengths)
            self._sweep()
        except JournalError as error:
            self._journal_condition.is_bad(error)
        else:
            self._journal_condition.is_good()

    def _measure_disk(self) -> None:
        try:
            self._metrics.spool_free_bytes.set(self._spool.free_bytes())
        except OSError as error:
            self._metrics.spool_free_bytes.set(0)
            self._disk_condition.is_bad(error)
        else:
            self._disk_condition.is_good()

    def _ask_store(self) -> None:
        if time.monotonic() - self._store_asked_at < _MEASURE_SECONDS:
            return
        try:
            self._spool.check()
        except StoreError as error:
            self._metrics.store_up.set(0)
            self._store_condition.is_bad(error)
        else:
            self._metrics.store_up.set(1)
            self._store_condition.is_good()
        self._store_asked_at = time.monotonic()

    def _queue_lengths(self) -> dict[Stage, int] | None:
        """Messages in each queue, or None while the broker is down."""
        try:
            lengths = {stage: self._broker.queue_length(stage) for stage in Stage}
        except BrokerUnavailable as error:
            self._metrics.broker_up.set(0)
            self._broker_condition.is_bad(error)
            return None
        self._metrics.broker_up.set(1)
        self._broker_condition.is_good()
        return lengths

    def _measure_journal(self) -> None:
        """Nobody reads the figures more often than that."""
        if time.monotonic() - self._measured_at < _MEASURE_SECONDS:
            return
        self._journal.gather_counts()
        self._drift.look()
        self._truth.look()
        self._shadow.look()
        counts = self._journal.counts()
        self._measured_at = time.monotonic()
        for state in ImageState:
            self._metrics.images.labels(state).set(counts.images.get(state, 0))
        for study_state in StudyState:
            self._metrics.studies.labels(study_state).set(counts.studies.get(study_state, 0))
        self._metrics.oldest_image_seconds.set(counts.oldest_image_seconds)
        for name in {name for name, _ in counts.deliveries} | set(self._destinations):
            waiting = counts.deliveries.get((name, DeliveryState.PENDING), 0)
            oldest = counts.destination_oldest_seconds.get(name, 0)
            self._metrics.destination_waiting.labels(name).set(waiting)
            self._metrics.destination_oldest_seconds.labels(name).set(oldest)
        for stage in Stage:
            self._metrics.queue_depth.labels(stage).set(counts.waiting.get(stage, 0))
            self._metrics.oldest_waiting_seconds.labels(stage).set(
                counts.oldest_waiting_seconds.get(stage, 0)
            )

    def _sweep(self) -> None:
        if not self._store_condition.good:  # each shard would wait for it in vain
            return
        try:
            self._sweeper.sweep()
        except StoreError as error:
            self._store_condition.is_bad(error)
        except OSError as error:
            self._disk_condition.is_bad(error)

    def _publish_overdue(self, lengths: dict[Stage, int]) -> None:
        """Publish what no worker has, and for which no message can be under way any more."""
        patience = self._settings.publish_grace + max(lengths.values()) * _MESSAGE_SECONDS
        for job in self._journal.overdue(patience):
            try:
                self._publisher.overdue(job)
            except BrokerUnavailable:
                self._metrics.publish_failures.inc()
            else:
                self._metrics.republished.labels(job.stage).inc()


def run(settings: Settings) -> int:
    """Keep until SIGTERM or SIGINT; call it in the main thread. Returns the exit code.

    Raises JournalError if it cannot start.
    """
    ending = Ending()
    with ExitStack() as stack:
        metrics = Metrics()
        spool = open_spool(settings, metrics)
        spool.prepare()
        journal = open_journal(settings)
        stack.callback(journal.close)
        journal.migrate()
        broker = Broker(settings.broker_url)
        stack.callback(broker.close)
        publisher = Publisher(settings.broker_url)
        stack.callback(publisher.close)
        keeper = Keeper(settings, spool, journal, broker, publisher, metrics)
        server = serve(
            metrics, settings.monitoring.host, settings.monitoring.keeper_port, keeper.what_is_wrong
        )
        stack.callback(server.close)
        trail = AuditTrail(settings.audit_dir, metrics)
        if settings.audit.syslog is not None:
            forwarder = SyslogForwarder(settings.audit.syslog, settings.audit_dir, metrics)
            forwarder.start()
            stack.callback(forwarder.stop)
        if settings.probe.seconds:
            probe = Probe(settings, spool, journal, metrics)
            probe.start()
            stack.callback(probe.stop)
        trail.write(application_activity("keeper", started=True))
        stack.callback(lambda: trail.write(application_activity("keeper", started=False)))
        log.info("ready")
        keeper.run(ending.wait)
    log.info("stopped")
    return 0
