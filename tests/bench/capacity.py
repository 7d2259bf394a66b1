"""``make capacity``: what many hospitals would need, simulated with measured service times.

On paper: nobody has run so many machines. One busy day is simulated (simpy): examinations arrive as
a department works, each sends its images at once, and they queue for ingest, analysis and delivery,
whose service times were measured on one machine (``docs/measured.md``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import simpy
import typer
from rich.progress import track

_DAY = 86400.0
_WORKDAYS = 250
_BUSY = 0.8
HOURS = (0, 0, 0, 0, 0, 0, 1, 4, 9, 12, 12, 10, 6, 8, 11, 11, 9, 4, 2, 1, 0, 0, 0, 0)
"""How a day's examinations are spread over its hours; a guess, with a peak of 12 %."""
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "capacity.md"
_MARKS = ("<!-- capacity -->", "<!-- end -->")


@dataclass(frozen=True)
class Stage:
    """servers: cores, or GPUs. seconds: of one server for one image."""

    name: str
    seconds: float
    servers: int = 1


# Measured on two cores of an AMD EPYC: docs/measured.md has the tables of these commands.
INGEST = Stage("ingest", 0.0122)
"""`make bench ONLY=ingest`: CPU of 2.4 MB uncompressed, 16 associations."""
ANALYSIS = Stage("analysis", 1 / 3.9)
"""`make bench ONLY=workers`: one worker of one thread."""
PREPARING = Stage("analysis but inference", 0.274 - 0.205)
"""`make bench ONLY=inference`: CPU of a saturated worker less that of bare ONNX Runtime, 352 px."""
GPU = Stage("GPU", 1 / 907)
"""docs/measured.md, "A GPU": two processes of eight threads on an H100."""
DELIVERY = Stage("delivery", 2 / 80.4)
"""`make bench ONLY=delivery`: 2000 results on two cores, the archive's own work included."""

ON_CPU = (INGEST, ANALYSIS, DELIVERY)
ON_GPU = (INGEST, PREPARING, GPU, DELIVERY)


@dataclass(frozen=True)
class Load:
    """Of all hospitals. images: in a year. exam: images of an examination, sent at once."""

    scanners: int
    images: int
    exam: int = 10

    @property
    def exams_a_day(self) -> float:
        return self.images / _WORKDAYS / self.exam


@dataclass(frozen=True)
class Day:
    """What became of one day.

    late: seconds from receipt until delivered, of each image, ascending. busy: by stage, the share
        (0–1) of its capacity that was used in its busiest hour.
    """

    late: tuple[float, ...]
    busy: dict[str, float]

    def quantile(self, share: float) -> float:
        return self.late[min(int(share * len(self.late)), len(self.late) - 1)]


def arrivals(load: Load, chance: random.Random) -> Iterator[float]:
    """Seconds of the day at which examinations are sent, ascending: a Poisson process by hours."""
    weight = sum(HOURS)
    for hour, share in enumerate(HOURS):
        rate = load.exams_a_day * share / weight / 3600
        at = hour * 3600.0
        while rate and (at := at + chance.expovariate(rate)) < (hour + 1) * 3600:
            yield at


def simulate(load: Load, stages: Sequence[Stage], seed: int = 1) -> Day:
    """One busy day. Service times are fixed, as measured ones nearly are; arrivals are random."""
    chance, environment = random.Random(seed), simpy.Environment()
    queues = [simpy.Resource(environment, stage.servers) for stage in stages]
    late: list[float] = []
    worked = {stage.name: [0.0] * 25 for stage in stages}

    def image() -> Iterator[Any]:
        came = environment.now
        for stage, queue in zip(stages, queues, strict=True):
            with queue.request() as turn:
                yield turn
                worked[stage.name][min(int(environment.now // 3600), 24)] += stage.seconds
                yield environment.timeout(stage.seconds)
        late.append(environment.now - came)

    def scanners() -> Iterator[Any]:
        for at in arrivals(load, chance):
            yield environment.timeout(at - environment.now)
            for _ in range(load.exam):
                environment.process(image())

    environment.process(scanners())
    environment.run()
    busy = {stage.name: max(worked[stage.name]) / 3600 / stage.servers for stage in stages}
    return Day(tuple(sorted(late)), busy)


def smallest(load: Load, stages: Sequence[Stage], seconds: float) -> tuple[list[Stage], Day]:
    """The fewest servers with which 95 of 100 images are delivered within so many seconds, and no
    stage is busier than 80 % in its busiest hour."""
    peak = load.exams_a_day * load.exam * max(HOURS) / sum(HOURS) / 3600
    plan = [
        replace(stage, servers=max(1, math.ceil(peak * stage.seconds / _BUSY))) for stage in stages
    ]
    while True:
        day = simulate(load, plan)
        if day.quantile(0.95) <= seconds and max(day.busy.values()) < _BUSY:
            return plan, day
        busiest = max(plan, key=lambda stage: day.busy[stage.name])
        plan = [replace(stage, servers=stage.servers + (stage is busiest)) for stage in plan]


def terabytes(images: int, image_megabytes: float, results_megabytes: float) -> float:
    return images * (image_megabytes + results_megabytes) / 1e6


def _words(stage: Stage) -> str:
    if stage.name == GPU.name:
        return f"{stage.servers} H100"
    return f"{stage.servers} core{'s' if stage.servers > 1 else ''} for {stage.name}"


def report(scanners: int, images: int, seconds: float) -> str:
    """Markdown."""
    lines = [
        f"`make capacity`: {scanners} scanners, {images / 1e6:g} million images a year on"
        f" {_WORKDAYS} working days, examinations of 10 images; 95 of 100 images delivered within"
        f" {seconds:g} s, no stage busier than {_BUSY:.0%} in its busiest hour.",
        "",
        "| load | what is needed | seconds until delivered: median, p95, longest | busiest |",
        "|---|---|---|---|",
    ]
    cases = [(factor, stages) for factor in (1, 3, 10) for stages in (ON_CPU, ON_GPU)]
    for factor, stages in track(cases, "simulating"):
        load = Load(scanners * factor, images * factor)
        plan, day = smallest(load, stages, seconds)
        needed = ", ".join(_words(stage) for stage in plan)
        busiest = max(day.busy, key=lambda name: day.busy[name])
        late = ", ".join(f"{each:.1f}" for each in (*map(day.quantile, (0.5, 0.95)), day.late[-1]))
        lines.append(f"| × {factor} | {needed} | {late} | {busiest}, {day.busy[busiest]:.0%} |")
    raw, jpeg = terabytes(images, 2.4, 2.4), terabytes(images, 0.2, 2.4)
    lines += [
        "",
        f"Disk in a year at × 1, nothing removed: **{raw:.0f} TB** with images of 2.4 MB (1024×768,"
        f" uncompressed RGB) and an overlay of the same size; {jpeg:.0f} TB with images of 0.2 MB"
        " (JPEG), most of it overlays.",
    ]
    return "\n".join(lines)


def main(
    scanners: Annotated[int, typer.Option(help="All hospitals together.")] = 1000,
    images: Annotated[int, typer.Option(help="In a year.")] = 10_000_000,
    seconds: Annotated[float, typer.Option(help="Within which 95 of 100 are delivered.")] = 30,
    write: Annotated[bool, typer.Option("--write", help="Into docs/capacity.md.")] = False,
) -> None:
    """How many machines would many hospitals need? On paper, from measured times."""
    text = report(scanners, images, seconds)
    typer.echo(text)
    if write:
        before, _, rest = _PAGE.read_text().partition(_MARKS[0])
        after = rest.partition(_MARKS[1])[2]
        _PAGE.write_text(f"{before}{_MARKS[0]}\n{text}\n{_MARKS[1]}{after}")


if __name__ == "__main__":
    typer.run(main)
