"""Does anything grow? Robust slopes over the time after the warm-up, and their limits; pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .sampling import ProcessSample, SiteSample

WARM_UP = 1 / 3
"""The share of a soak that is not judged; only there are the service's processes killed."""
_SETTLING = 180.0
"""Seconds of a process's life that are not judged: caches and pools fill."""
_SHORTEST = 900.0
"""A process is judged by its longest life, if it is watched for so many seconds of it."""
_MEGABYTE = 1 << 20
_MOST_POINTS = 400


@dataclass(frozen=True)
class Limit:
    """Growth an hour that is taken for none: the larger one of an absolute and a relative one."""

    absolute: float
    share: float = 0.0

    def of(self, level: float) -> float:
        return max(self.absolute, self.share * level)


LIMITS = {
    "rss": Limit(12 * _MEGABYTE, 0.08),
    "files": Limit(3),
    "threads": Limit(2),
    "lag": Limit(1.0, 0.2),
    "waiting": Limit(5),
    "disk": Limit(2048, 0.05),
}


@dataclass(frozen=True)
class Judged:
    """One measure of one program.

    level: its median. growth: an hour, None where it was watched too shortly to say.
    seconds: for how long it was watched.
    """

    program: str
    measure: str
    level: float
    growth: float | None
    limit: float
    seconds: float

    @property
    def grows(self) -> bool:
        return self.growth is not None and self.growth > self.limit


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs of points."""
    step = max(1, len(points) // _MOST_POINTS)
    some = points[::step]
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0])
        for number, a in enumerate(some)
        for b in some[number + 1 :]
        if b[0] > a[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def judge(
    processes: Sequence[ProcessSample], site: Sequence[SiteSample], seconds: float
) -> list[Judged]:
    """seconds: that the soak lasted."""
    begin = seconds * WARM_UP
    judged = []
    for program, life in _longest_lives(processes, begin).items():
        for measure in ("rss", "files", "threads"):
            points = [(each.at, float(getattr(each, measure))) for each in life]
            judged.append(_judge(program, measure, points))
    for measure in ("lag", "waiting", "disk"):
        points = [
            (each.at, float(value))
            for each in site
            if each.at >= begin and (value := getattr(each, measure)) is not None
        ]
        if points:
            judged.append(_judge("service", measure, points))
    return judged


def _judge(program: str, measure: str, points: Sequence[tuple[float, float]]) -> Judged:
    level = statistics.median(value for _, value in points)
    watched = points[-1][0] - points[0][0]
    growth = slope(points) * 3600 if watched >= _SHORTEST else None
    return Judged(program, measure, level, growth, LIMITS[measure].of(level), watched)


def _longest_lives(
    processes: Sequence[ProcessSample], begin: float
) -> dict[str, list[ProcessSample]]:
    """By program: the samples of the life that was watched longest after ``begin``."""
    born: dict[tuple[int, int], float] = {}
    lives: dict[str, dict[tuple[int, int], list[ProcessSample]]] = defaultdict(dict)
    for each in processes:
        settled = born.setdefault(each.life, each.at) + _SETTLING
        if each.at >= max(begin, settled):
            lives[each.program].setdefault(each.life, []).append(each)
    return {
        program: max(found.values(), key=lambda life: life[-1].at - life[0].at)
        for program, found in lives.items()
    }
