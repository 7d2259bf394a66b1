"""Whether enough time lay between a reader's two readings of a case to forget the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_export.reader_study.readings import Reading

LEAST_DAYS = 14
"""Two weeks, as in the paper."""


@dataclass(frozen=True)
class Washout:
    """least: days that must lie between. kept: readings with as many or more.

    shortest: days, None without any dates. breaches: readings with fewer. unknown: readings
    without both dates, of which nothing can be said.
    """

    least: int
    kept: int
    shortest: int | None
    breaches: tuple[Reading, ...]
    unknown: int

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        total = self.kept + len(self.breaches) + self.unknown
        if self.unknown == total:
            return f"Washout of {self.least} days: not checked, the file has no pairs of dates."
        said = f"Washout of {self.least} days: kept in {self.kept} of {total} readings"
        said += f", BROKEN in {len(self.breaches)}" if self.breaches else ""
        said += f", unknown in {self.unknown}" if self.unknown else ""
        return f"{said}; the shortest was {self.shortest} days."


def check_washout(readings: Sequence[Reading], least: int) -> Washout:
    """least: days."""
    days = [reading.days for reading in readings]
    known = [number for number in days if number is not None]
    return Washout(
        least=least,
        kept=sum(number >= least for number in known),
        shortest=min(known, default=None),
        breaches=tuple(
            reading
            for reading, number in zip(readings, days, strict=True)
            if number is not None and number < least
        ),
        unknown=len(days) - len(known),
    )
