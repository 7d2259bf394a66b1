"""How long a job waits before its next try."""

from __future__ import annotations

import pytest

from service.backoff import wait_seconds
from service.sections import RetrySettings

RETRY = RetrySettings(first_seconds=2, longest_seconds=60)


def test_the_wait_doubles_up_to_the_longest() -> None:
    assert [wait_seconds(attempt, RETRY, 0) for attempt in range(1, 8)] == [
        *(2, 4, 8, 16, 32),
        *(60, 60),
    ]


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("attempt", [1, 2, 5, 100_000])
def test_jitter_keeps_it_between_the_shortest_and_the_longest(attempt: int, jitter: float) -> None:
    assert 2 <= wait_seconds(attempt, RETRY, jitter) <= 60


def test_jitter_spreads_jobs_that_failed_together() -> None:
    assert wait_seconds(5, RETRY, 1.0) == wait_seconds(5, RETRY, 0.0) / 2
