"""Publishing a job: quick, or an exception that the caller may ignore."""

from __future__ import annotations

import threading
import time

from redis.exceptions import RedisError

from service.journal.records import Overdue, Stage
from service.queue.connection import connect
from service.queue.message import job_message
from service.queue.tasks import ANALYSE, DELIVER, REPORT_COMMITMENT, SUMMARISE

_SOCKET_SECONDS = 1.0
_PAUSE_SECONDS = 1.0


class BrokerUnavailable(Exception):
    """The broker took no message; the job waits in the journal and the keeper publishes it."""


class Publisher:
    """Sends keys to the workers. Thread-safe.

    A broker that does not answer costs one caller about a second; for the next second all others
    are told at once, so that an outage does not slow a storage SCP down.
    """

    def __init__(self, broker_url: str) -> None:
        self._redis = connect(broker_url, _SOCKET_SECONDS, again=True)
        self._lock = threading.Lock()
        self._paused_until = 0.0

    def analysis(self, key: str) -> None:
        """Ask for the analysis of an image. Raises BrokerUnavailable."""
        self._send(ANALYSE, Stage.ANALYSIS, key)

    def delivery(self, parcel: str, destination: str) -> None:
        """Ask for the delivery of a parcel. Raises BrokerUnavailable."""
        self._send(DELIVER, Stage.DELIVERY, parcel, destination)

    def summary(self, key: str) -> None:
        """Ask for the summary of a study. Raises BrokerUnavailable."""
        self._send(SUMMARISE, Stage.SUMMARY, key)

    def commitment(self, key: str) -> None:
        """Ask for the report of a commitment. Raises BrokerUnavailable."""
        self._send(REPORT_COMMITMENT, Stage.COMMITMENT, key)

    def overdue(self, job: Overdue) -> None:
        """Ask again for a job that nobody took. Raises BrokerUnavailable."""
        if job.destination is not None:
            self.delivery(job.key, job.destination)
        elif job.stage is Stage.SUMMARY:
            self.summary(job.key)
        elif job.stage is Stage.COMMITMENT:
            self.commitment(job.key)
        else:
            self.analysis(job.key)

    def close(self) -> None:
        self._redis.close()

    def _send(self, task: str, stage: Stage, *arguments: str) -> None:
        with self._lock:
            if time.monotonic() < self._paused_until:
                raise BrokerUnavailable("the broker does not answer")
        try:
            self._redis.lpush(stage.value, job_message(task, stage.value, arguments))
        except RedisError as error:
            with self._lock:
                self._paused_until = time.monotonic() + _PAUSE_SECONDS
            raise BrokerUnavailable(
                f"the broker does not answer ({type(error).__name__})"
            ) from error
