"""What the makers of parcels share, analysis and summary: how a try fails, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from service.backoff import spread_wait
from service.monitoring.metrics import Metrics
from service.outage import Outage
from service.queue.publisher import BrokerUnavailable
from service.results import InvalidObject
from service.sections import RetrySettings


def after_fault(
    error: Exception, words: str, attempt: int, retry: RetrySettings, metrics: Metrics
) -> tuple[str, float | None]:
    """What to record of a try that failed: in words, and seconds until the next; None gives up.

    words: for an error that does not speak to the operator itself.
    An invalid object would be so again: it is given up at once, and counted. An outage is waited
    out, however long it is.
    """
    if isinstance(error, Outage):
        return str(error), spread_wait(1, retry)
    if isinstance(error, InvalidObject):
        metrics.invalid_objects.inc()
        return str(error), None
    if attempt >= retry.analysis_attempts:
        return words, None
    return words, spread_wait(attempt, retry)


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
