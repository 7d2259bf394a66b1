"""How long to wait before the next try, shared by all that is tried again."""

from __future__ import annotations

import random

from service.sections import RetrySettings


def wait_seconds(attempt: int, retry: RetrySettings, jitter: float) -> float:
    """Exponential backoff with jitter.

    attempt: tries so far, 1 after the first failure.
    jitter: a random number 0–1; it takes away up to half, so that jobs which failed together
        (one PACS was down) do not come back together.
    Returns seconds, never less than ``first_seconds`` nor more than ``longest_seconds``.
    """
    doubled = retry.first_seconds * 2.0 ** min(attempt - 1, 30)
    longest = max(retry.first_seconds, retry.longest_seconds)
    return max(retry.first_seconds, min(longest, doubled) * (1 - jitter / 2))


def spread_wait(attempt: int, retry: RetrySettings) -> float:
    """As ``wait_seconds``, with a jitter of chance."""
    return wait_seconds(attempt, retry, random.random())  # noqa: S311 - it protects nothing
