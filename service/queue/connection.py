"""Connections to the broker that never wait long: to one Redis, or to whichever Sentinel names."""

from __future__ import annotations

from typing import Any, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from service.queue.sentinels import sentinels


def connect(url: str, seconds: float, *, again: bool = False) -> Redis:
    """Connects when it is first used. seconds: for each answer.

    again: one that an earlier broker has left is made anew once; nothing waits twice.
    """
    retry = Retry(NoBackoff(), int(again), supported_errors=(RedisConnectionError,))
    watched = sentinels(url)
    if watched is None:
        return Redis.from_url(
            url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=retry
        )
    limits: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    asked: Any = Sentinel(  # type: ignore[no-untyped-call]
        watched.hosts, sentinel_kwargs=limits, **limits
    )
    return cast(
        Redis,
        asked.master_for(
            watched.name, db=watched.database, password=watched.password, retry=retry, **limits
        ),
    )
