"""One worker process: Celery's threads pool around one warm handler, and a watchdog."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from celery import Celery
from celery.worker import WorkController
from celery.worker import state as celery_state

from service.journal.records import Stage
from service.queue.app import make_app
from service.queue.broker import Broker
from service.queue.deafness import Hearing, Sighting
from service.queue.publisher import BrokerUnavailable
from service.queue.tasks import ANALYSE, DELIVER, REPORT_COMMITMENT, SUMMARISE

log = logging.getLogger(__name__)

_TASKS = {
    Stage.ANALYSIS: ANALYSE,
    Stage.DELIVERY: DELIVER,
    Stage.SUMMARY: SUMMARISE,
    Stage.COMMITMENT: REPORT_COMMITMENT,
}

DEAF_EXIT_CODE = 3


class Worker:
    """Consumes queues until SIGTERM, and gives each message to the queue's handler.

    handlers: by queue, what is called with the message's keys (``key``, or ``parcel,
        destination``) in a pool thread. An exception of it is logged and the message is done with:
        the keeper, who reads the journal, brings the job back.
    concurrency: messages at the same time.
    stop_seconds: how long running handlers may go on after SIGTERM.
    deaf_seconds: exit with ``DEAF_EXIT_CODE`` after messages waited so long while nothing ran.
    """

    def __init__(
        self,
        handlers: Mapping[Stage, Callable[..., None]],
        broker_url: str,
        *,
        concurrency: int,
        stop_seconds: float = 30.0,
        deaf_seconds: float = 20.0,
    ) -> None:
        self._stages = tuple(handlers)
        self._concurrency = concurrency
        self._stop_seconds = stop_seconds
        self._deaf_seconds = deaf_seconds
        self._broker = Broker(broker_url)
        self._app = make_app(broker_url)
        for stage, handle in handlers.items():
            self._app.task(self._task(stage, handle), name=_TASKS[stage])
        self._counting = threading.Lock()
        self._started = 0
        self._running = 0
        self._consuming = threading.Event()

    def what_is_wrong(self) -> str | None:
        """None from the moment when the first message may arrive."""
        return None if self._consuming.is_set() else "not connected to the broker yet"

    def run(self) -> int:
        """Consume until SIGTERM or SIGINT; call it in the main thread. Returns the exit code."""
        controller = _controller(self._app, self._stages, self._concurrency, self._ready)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        controller.start()
        log.info("stopped")
        return int(controller.exitcode or 0)

    def _task(self, stage: Stage, handle: Callable[..., None]) -> Callable[..., None]:
        def task(*keys: str) -> None:
            self._run(stage, handle, *keys)

        return task

    def _run(self, stage: Stage, handle: Callable[..., None], *keys: str) -> None:
        with self._counting:
            self._started += 1
            self._running += 1
        try:
            handle(*keys)
        except Exception:
            log.exception("%s of %s broke off; the keeper brings it back", stage, keys[0])
        finally:
            with self._counting:
                self._running -= 1

    def _ready(self, _consumer: object) -> None:
        self._consuming.set()
        log.info("ready")

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        celery_state.should_stop = 0
        timer = threading.Timer(self._stop_seconds, _give_up, [self._stop_seconds])
        timer.daemon = True
        timer.start()

    def _watch(self) -> None:
        hearing = Hearing()
        while True:
            time.sleep(self._deaf_seconds / 10)
            hearing = hearing.after(self._sighting())
            if hearing.deaf_for(time.monotonic()) >= self._deaf_seconds:
                log.error("messages wait and none arrives here: deaf, so it starts anew")
                os._exit(DEAF_EXIT_CODE)

    def _sighting(self) -> Sighting:
        try:
            queued: int | None = sum(self._broker.queue_length(stage) for stage in self._stages)
        except BrokerUnavailable:
            queued = None
        with self._counting:
            return Sighting(time.monotonic(), queued, self._started, self._running)


def _controller(
    app: Celery, stages: Sequence[Stage], concurrency: int, ready: Callable[[Any], None]
) -> WorkController:
    return app.WorkController(
        hostname=f"{stages[0].value}-{os.getpid()}@{socket.gethostname()}",
        queues=[stage.value for stage in stages],
        pool="threads",
        concurrency=concurrency,
        ready_callback=ready,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        loglevel="WARNING",
    )


def _give_up(seconds: float) -> None:
    log.warning("a task did not end within %.0f s; its lease will run out", seconds)
    os._exit(1)
