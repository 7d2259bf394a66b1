"""Connections to the broker that never wait long."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry


def connect(url: str, seconds: float, *, again: bool = False) -> Redis:
    """Connects when it is first used. seconds: for each answer.

    again: one that an earlier broker has left is made anew once; nothing waits twice.
    """
    return Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), int(again), supported_errors=(RedisConnectionError,)),
    )
