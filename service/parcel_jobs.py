"""What the makers of parcels share, analysis and summary: how a try fails, and who hears of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.backoff import spread_wait
from service.monitoring.metrics import Metrics
from service.outage import Outage
from service.queue.publisher import BrokerUnavailable
from service.results import InvalidObject
from service.sections import RetrySettings

_OUTAGE_SECONDS = 10.0


@dataclass(frozen=True)
class Failed:
    """What to record of a try that failed.

    retry_in: seconds until the next; None gives up. counts: among the tries of this job.
    """

    words: str
    retry_in: float | None
    counts: bool = True


def after_fault(
    error: Exception, words: str, attempt: int, retry: RetrySettings, metrics: Metrics
) -> Failed:
    """words: for an error that does not speak to the operator itself.

    An invalid object would be so again: it is given up at once, and counted. An outage is waited
    out, however long it is.
    """
    if isinstance(error, InvalidObject):
        metrics.invalid_objects.inc()
        return Failed(str(error), None)
    if isinstance(error, Outage):
        longest = min(_OUTAGE_SECONDS, retry.longest_seconds)
        seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - it spreads retries
        return Failed(str(error), seconds, counts=False)
    if attempt >= retry.analysis_attempts:
        return Failed(words, None)
    return Failed(words, spread_wait(attempt, retry))


def publish(
    publish_delivery: Callable[[str, str], None],
    parcel: str,
    destinations: Iterable[str],
    metrics: Metrics,
) -> None:
    """Ask for a parcel's deliveries; what the broker does not take, the keeper publishes later."""
    for destination in destinations:
        try:
            publish_delivery(parcel, destination)
        except BrokerUnavailable:
            metrics.publish_failures.inc()
