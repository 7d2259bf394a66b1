"""What is measured while it runs: processes from /proc, the journal, the disk."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select, text

from service.journal.journal import JournalError
from service.journal.schema import image
from tests.chaos.accounts import folder_bytes
from tests.chaos.hospital import Hospital
from tests.system.conftest import PROCESSES

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_DISK_EVERY = 6
"""The disk is measured at each so many samples."""


@dataclass(frozen=True)
class ProcessSample:
    """One process at one moment.

    at: seconds since the soak began. life: names one life of the process; a restart has another.
    rss: bytes. cpu: seconds that it has used so far.
    """

    at: float
    program: str
    life: tuple[int, int]
    rss: int
    files: int
    threads: int
    cpu: float


@dataclass(frozen=True)
class SiteSample:
    """The service at one moment.

    lag: median seconds from reception to delivery everywhere, of what was delivered since the last
        sample; None if nothing was.
    waiting: images without a final state. disk: bytes of spool and journal for each image.
    """

    at: float
    images: int
    waiting: int
    lag: float | None
    disk: float | None


@dataclass
class Sampler:
    """A thread that looks every ``every`` seconds; ``stop()`` ends it."""

    hospital: Hospital
    every: float
    processes: list[ProcessSample] = field(default_factory=list)
    site: list[SiteSample] = field(default_factory=list)
    missed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _delivered_until: datetime | None = None

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def cpu_cores(self) -> float:
        """Cores that the service has used on average, as far as its lives were sampled."""
        last = {each.life: each.cpu for each in self.processes}
        return sum(last.values()) / max(1.0, self.seconds())

    def _run(self) -> None:
        number = 0
        while not self._over.wait(max(0.0, number * self.every - self.seconds())):
            at = self.seconds()
            self.processes += processes(self.hospital, at)
            try:
                self.site.append(self._look(at, with_disk=number % _DISK_EVERY == 0))
            except JournalError:
                self.missed += 1
            number = int(self.seconds() / self.every) + 1

    def _look(self, at: float, *, with_disk: bool) -> SiteSample:
        hospital = self.hospital
        with hospital.journal._database.reading() as connection:
            images = connection.execute(select(func.count()).select_from(image)).scalar_one()
            waiting = connection.execute(
                select(func.count()).where(image.c.state.not_in(("delivered", "failed")))
            ).scalar_one()
            query = select(image.c.received_at, image.c.delivered_at).where(
                image.c.delivered_at.is_not(None)
            )
            if self._delivered_until is not None:
                query = query.where(image.c.delivered_at > self._delivered_until)
            rows = connection.execute(query).all()
            size = (
                connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
                if with_disk and hospital.database
                else 0
            )
        if rows:
            self._delivered_until = max(row.delivered_at for row in rows)
        lags = [(row.delivered_at - row.received_at).total_seconds() for row in rows]
        disk = None
        if with_disk and images:
            for path in hospital.data_dir.glob("journal.sqlite3*"):
                size += path.stat().st_size
            with suppress(FileNotFoundError):  # a temporary file that has just got its name
                disk = (folder_bytes(hospital.spool.root) + size) / images
        return SiteSample(at, images, waiting, statistics.median(lags) if lags else None, disk)


def processes(hospital: Hospital, at: float) -> Iterator[ProcessSample]:
    """Every process of ``secondread up``."""
    assert hospital.process is not None
    named = {"supervisor": [hospital.process.pid]}
    children = hospital.children()
    for name, pid in children.items():
        named[name] = [pid]
    if "analysis" in children:
        named["decoder"] = hospital.pids("analysis")[1:]
    for program, pids in named.items():
        for pid in pids:
            with suppress(OSError, IndexError, ValueError):
                yield _process(program, pid, at)


def _process(program: str, pid: int, at: float) -> ProcessSample:
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return ProcessSample(
        at=at,
        program=program,
        life=(pid, int(fields[19])),
        rss=int(fields[21]) * _PAGE,
        files=len(list((folder / "fd").iterdir())),
        threads=int(fields[17]),
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
    )


PROGRAMS = ("supervisor", *PROCESSES, "decoder", "valkey-server")
