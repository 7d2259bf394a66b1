"""The simulation is held against what queueing theory says, and its plans against their promise."""

from __future__ import annotations

import pytest

from tests.bench import capacity
from tests.bench.capacity import ON_CPU, ON_GPU, Load, Stage, simulate, smallest


def test_one_server_waits_as_pollaczek_and_khinchine_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """M/D/1: with a load of ρ the mean wait is ρ s / (2 (1 - ρ))."""
    monkeypatch.setattr(capacity, "HOURS", (1,) * 24)
    seconds, share = 1.0, 0.7
    load = Load(1, int(share * 86400 * 250), exam=1)
    late = [
        each - seconds
        for seed in range(4)
        for each in simulate(load, [Stage("only", seconds)], seed).late
    ]
    assert sum(late) / len(late) == pytest.approx(share * seconds / (2 * (1 - share)), rel=0.05)


def test_a_days_images_all_come_through() -> None:
    load = Load(100, 1_000_000)
    day = simulate(load, ON_CPU)
    assert len(day.late) == pytest.approx(load.exams_a_day * load.exam, rel=0.1)
    assert day.late[0] >= sum(stage.seconds for stage in ON_CPU) - 1e-9


@pytest.mark.parametrize("stages", [ON_CPU, ON_GPU])
def test_a_plan_keeps_what_it_promises_and_one_server_less_does_not(stages: object) -> None:
    load = Load(10_000, 40_000_000)
    plan, day = smallest(load, stages, seconds=10)
    assert day.quantile(0.95) <= 10
    assert max(day.busy.values()) < 0.8
    for number, stage in enumerate(plan):
        if stage.servers > 1:
            less = list(plan)
            less[number] = Stage(stage.name, stage.seconds, stage.servers - 1)
            worse = simulate(load, less)
            assert worse.quantile(0.95) > 10 or max(worse.busy.values()) >= 0.8
