"""What we ask the broker itself, beside Celery: does it answer, and how long are its queues?"""

from __future__ import annotations

from redis.exceptions import RedisError, ResponseError

from service.journal.records import Stage
from service.queue.connection import connect
from service.queue.publisher import BrokerUnavailable

_SOCKET_SECONDS = 2.0


class Broker:
    """One Redis or Valkey, asked with short time limits. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, _SOCKET_SECONDS)

    def queue_length(self, stage: Stage) -> int:
        """Messages that wait for a worker (those being worked on do not count).

        Raises BrokerUnavailable.
        """
        try:
            return int(self._redis.llen(stage.value))
        except RedisError as error:
            raise BrokerUnavailable(
                f"the broker does not answer ({type(error).__name__})"
            ) from error

    def answers(self) -> bool:
        """Whether it works, or says that it does not (its disk is full)."""
        try:
            return bool(self._redis.ping())
        except ResponseError:
            return True
        except RedisError:
            return False

    def clock(self) -> float:
        """Its time in seconds since 1970. Raises BrokerUnavailable."""
        try:
            seconds, microseconds = self._redis.time()
        except RedisError as error:
            raise BrokerUnavailable(
                f"the broker does not answer ({type(error).__name__})"
            ) from error
        return seconds + microseconds / 1e6

    def close(self) -> None:
        self._redis.close()
