"""One image's way through the house, with the time that each step took. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from service.journal.records import ImageRow


@dataclass(frozen=True)
class Step:
    """One thing that happened, or is to happen.

    what: a key of the page's texts. at: None if it has not happened yet.
    seconds: since the step before. detail: a name or a figure. inner: whether it is part of the
        step before it.
    """

    what: str
    at: datetime | None
    seconds: float | None
    detail: str = ""
    inner: bool = False


def steps_of(row: ImageRow) -> list[Step]:
    return list(_steps(row))


def _steps(row: ImageRow) -> Iterator[Step]:
    yield Step("received", row.received_at, None, row.calling_ae_title)
    if row.ignored_reason:
        return
    started, analysed = row.analysis_started_at, row.analysed_at
    yield Step("analysis began", started, _between(row.received_at, started))
    if row.outcome is not None and analysed is not None:
        for stage, seconds in row.outcome.stage_seconds.items():
            yield Step(stage, None, seconds, inner=True)
    yield Step("result kept", analysed, _between(started, analysed))
    for delivery in row.deliveries:
        at = delivery.delivered_at
        detail = f"{delivery.destination}: {', '.join(delivery.objects)}"
        yield Step(str(delivery.state), at, _between(delivery.created_at, at), detail)


def _between(earlier: datetime | None, later: datetime | None) -> float | None:
    if earlier is None or later is None:
        return None
    return max(0.0, (later - earlier).total_seconds())
