"""How long the command line takes to answer, and a process until it works."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack
from pathlib import Path

from service.config import Settings
from service.health import is_healthy
from service.journal.opening import open_journal
from service.programs import PORT_KEYS, Program, programs
from tests.bench.figure import Figure
from tests.conftest import RedisServer, _free_port, running, wait_until

_TIMES, _QUICK_TIMES = 20, 3
_STARTS, _QUICK_STARTS = 5, 1
_GOALS = {"analysis": "≤ 5", "delivery": "≤ 5"}


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """Medians; every process starts alone, beside a broker that is there."""
    load = os.getloadavg()[0]
    times, starts = (_QUICK_TIMES, _QUICK_STARTS) if quick else (_TIMES, _STARTS)
    python = _seconds([sys.executable, "-c", "pass"], times)
    figures = [
        Figure(
            "`secondread --help`",
            _seconds([sys.executable, "-m", "service.cli", "--help"], times),
            "s",
            "≤ 0.3",
            load=load,
            detail=f"{times} times; Python alone {1000 * python:.0f} ms",
        )
    ]
    with ExitStack() as stack:
        for program in _programs(scratch, stack):
            seconds = statistics.median(_ready(program, scratch) for _ in range(starts))
            figures.append(
                Figure(
                    f"{program.name} is ready",
                    seconds,
                    "s",
                    _GOALS.get(program.name, ""),
                    load=load,
                    detail=f"{starts} starts, until `/healthz` says so",
                )
            )
    return figures


def _seconds(command: list[str], times: int) -> float:
    spent = []
    for _ in range(times + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def _programs(folder: Path, stack: ExitStack) -> list[Program]:
    """Of a service whose broker and journal are there."""
    (folder / "redis").mkdir()
    broker = stack.enter_context(running(RedisServer(folder / "redis")))
    config = folder / "secondread.toml"
    ports = "\n".join(f"{key} = {_free_port()}" for key in PORT_KEYS.values())
    config.write_text(
        f'data_dir = "{folder / "data"}"\n[broker]\nurl = "{broker.url}"\n'
        f"[ingest]\nport = {_free_port()}\n[web]\nport = {_free_port()}\n[monitoring]\n{ports}\n"
    )
    settings = Settings.model_validate(tomllib.loads(config.read_text()))
    settings.data_dir.mkdir()
    journal = open_journal(settings)
    journal.migrate()
    journal.close()
    return [program for group in programs(settings, config) for program in group]


def _ready(program: Program, folder: Path) -> float:
    with (folder / f"{program.name}.log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(program.command, stdout=log, stderr=log)
        try:
            wait_until(lambda: is_healthy(program.health_url), 60)
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()
