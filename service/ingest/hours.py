"""A scanner's working hours, and how much of a time lies within them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

_HOURS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)")
_LOOKED_BACK = timedelta(days=31)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class WorkingHours:
    """Of each week, in the time zone of this machine.

    ends: before ``begins`` it is on the next day; the same is a whole day.
    days: of ``DAYS``, on which they begin.
    """

    begins: time
    ends: time
    days: frozenset[str]

    def seconds_between(self, start: datetime, end: datetime) -> float:
        """How much of the time from start to end lies in them; of a month at most.

        start, end: timezone-aware.
        """
        start = max(start, end - _LOOKED_BACK)
        day, last = start.astimezone().date() - timedelta(days=1), end.astimezone().date()
        seconds = 0.0
        while day <= last:
            if DAYS[day.weekday()] in self.days:
                over = day if self.ends > self.begins else day + timedelta(days=1)
                # A time of no zone is one of this machine, whatever its clocks are set to that day.
                opens = datetime.combine(day, self.begins).astimezone()
                closes = datetime.combine(over, self.ends).astimezone()
                seconds += max(0.0, (min(end, closes) - max(start, opens)).total_seconds())
            day += timedelta(days=1)
        return seconds


def working_hours(hours: str, days: Iterable[str]) -> WorkingHours:
    """hours: ``07:00-18:00``. Raises ValueError."""
    found = _HOURS.fullmatch(hours)
    if found is None:
        raise ValueError("hours are written as 07:00-18:00")
    begins, ends = (time.fromisoformat(each) for each in found.groups())
    return WorkingHours(begins, ends, frozenset(days))
