"""The soak's verdict finds growth, and takes neither noise, faults nor restarts for it."""

from __future__ import annotations

import random

import pytest

from tests.soak.chart import svg
from tests.soak.report import Soak, is_good
from tests.soak.sampling import ProcessSample, SiteSample
from tests.soak.verdict import judge, slope

HOUR = 3600.0
MEGABYTE = 1 << 20
TIMES = [float(at) for at in range(0, 3600, 10)]


def process(at: float, megabytes: float, files: int = 12, pid: int = 1) -> ProcessSample:
    return ProcessSample(at, "ingest", (pid, 0), round(megabytes * MEGABYTE), files, 4, at / 10)


def site(at: float, lag: float | None = 0.5, disk: float | None = 3e5) -> SiteSample:
    return SiteSample(at, 100, 2, lag, disk)


def growing(processes=(), sites=()) -> set[str]:
    return {each.measure for each in judge(processes, sites, HOUR) if each.grows}


def test_the_slope_is_the_median_of_all_pairs() -> None:
    points = [(float(x), 3.0 * x + 1) for x in range(50)]
    points[10] = (10.0, 9999.0)
    assert slope(points) == pytest.approx(3)
    assert slope([(1.0, 1.0)]) == 0


def test_a_leak_is_found_under_noise() -> None:
    noise = random.Random(7)
    leak = [process(at, 150 + 20 * at / HOUR + noise.gauss(0, 3)) for at in TIMES]
    assert growing(leak) == {"rss"}
    steady = [process(at, 150 + noise.gauss(0, 3)) for at in TIMES]
    assert growing(steady) == set()


def test_descriptors_that_stay_open_are_found() -> None:
    assert growing([process(at, 150, 12 + int(at / 600)) for at in TIMES]) == {"files"}


def test_lag_and_disk_that_grow_are_found() -> None:
    sites = [site(at, 0.5 + 2 * at / HOUR, 3e5 + 5e4 * at / HOUR) for at in TIMES]
    assert growing(sites=sites) == {"lag", "disk"}


def test_a_fault_that_delays_for_a_while_is_no_growth() -> None:
    sites = [site(at, 30.0 if 2000 < at < 2300 else 0.5) for at in TIMES]
    assert growing(sites=sites) == set()


def test_a_restart_is_judged_by_the_longest_life_without_its_first_minutes() -> None:
    def warm(seconds: float) -> float:
        return min(150.0, 80 + seconds)

    lives = [process(at, warm(at), pid=1) for at in TIMES if at < 1500]
    lives += [process(at, warm(at - 1500), pid=2) for at in TIMES if at >= 1500]
    (rss,) = (each for each in judge(lives, (), HOUR) if each.measure == "rss")
    assert rss.growth == pytest.approx(0, abs=1)
    assert rss.seconds == pytest.approx(HOUR - 1500 - 180, abs=30)


def test_what_was_watched_too_shortly_is_not_judged() -> None:
    judged = judge([process(at, 100 + at) for at in TIMES if at < 900], (), 900)
    assert judged
    assert all(each.growth is None and not each.grows for each in judged)


def test_a_soak_without_accounts_is_not_good() -> None:
    assert not is_good(Soak(60, 7, 1, "servers"))


def test_the_chart_shows_every_program_and_fault() -> None:
    drawn = svg([process(at, 100) for at in TIMES], [site(at) for at in TIMES], [(60, "kill x")])
    assert "ingest" in drawn
    assert drawn.count("<title>kill x</title>") == 6
