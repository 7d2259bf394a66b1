"""``make soak``: steady load with faults for as long as is asked, and its report."""

from __future__ import annotations

import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tests.chaos import storm
from tests.chaos.accounts import settle
from tests.chaos.faults import Fault, Faults, NotMade
from tests.chaos.hospital import PROFILES, SERVERS, Hospital
from tests.chaos.scanner import Scanner, Sent, make_image
from tests.system.conftest import make_small_model

from .report import Soak, is_good, markdown, write
from .sampling import Sampler
from .verdict import WARM_UP, judge

_READY_SECONDS = 90.0
_RESTARTS = ("kill ingest", "kill analysis", "kill delivery", "kill keeper", "kill everything")
"""A process is judged by one long life, so these happen in the warm-up alone."""
_NOT_HERE = ("freeze analysis for good", "disk full", "PACS down for a day", "clock an hour")
"""They are the harness's of ``make chaos``; here time and disk are left alone."""


class Faultmaker:
    """A thread that lets something fail every ``every`` seconds, until ``stop()``."""

    def __init__(self, hospital: Hospital, soak: Soak, every: float, chance: random.Random) -> None:
        self._faults = Faults(hospital, chance)
        self._soak = soak
        self._every = every
        self._chance = chance
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(120)

    def _run(self) -> None:
        waiting: list[Fault] = []
        while not self._over.wait(self._every):
            seconds = time.monotonic() - self._began
            restarts = seconds < WARM_UP * self._soak.minutes * 60
            if not any(restarts or not _restarts(fault) for fault in waiting):
                waiting = _shuffled(self._faults, self._chance)
            chosen = next(each for each in waiting if restarts or not _restarts(each))
            waiting.remove(chosen)
            self._make(chosen, seconds)

    def _make(self, fault: Fault, seconds: float) -> None:
        try:
            with fault.make():  # type: ignore[attr-defined]
                self._over.wait(1)
        except NotMade as reason:
            self._soak.not_made.append(f"{fault.kind}: {reason}")
        except Exception as error:  # noqa: BLE001 whatever it is, the report says so
            self._soak.problems.append(f"{fault.kind} broke off: {type(error).__name__} {error}")
        else:
            self._soak.faults.append((seconds, fault.kind))


def _shuffled(faults: Faults, chance: random.Random) -> list[Fault]:
    kinds = [each for each in faults.plan(1, ()) if not each.kind.startswith(_NOT_HERE)]
    chance.shuffle(kinds)
    return kinds


def _restarts(fault: Fault) -> bool:
    return fault.kind in _RESTARTS


def run(
    soak: Soak, profile: str, every: float, sample: float, progress: Callable[[float], None]
) -> None:
    """From the first image to the accounts; what comes of it is in ``soak``."""
    chance = random.Random(soak.seed)
    with tempfile.TemporaryDirectory(prefix="secondread-soak-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)  # PostgreSQL runs as a user of its own
        for name in ("model", "hospital", "scanner"):
            (folder / name).mkdir()
        expected = round(soak.minutes * 60 * soak.rate)
        model = make_small_model(folder / "model")
        hospital = Hospital(folder / "hospital", profile, model, 4 * expected)
        try:
            hospital.start()
            storm.wait_for(hospital.is_ready, _READY_SECONDS, "the service does not start")
            scanner = Scanner(hospital.ports["dicom"])
            scanner.start()
            sampler = Sampler(hospital, sample)
            soak.processes, soak.site = sampler.processes, sampler.site
            sampler.start()
            faultmaker = Faultmaker(hospital, soak, every, chance)
            faultmaker.start()
            sent = _load(scanner, folder / "scanner", soak, progress)
            faultmaker.stop()
            sampler.stop()
            soak.cores, soak.missed_samples = sampler.cpu_cores(), sampler.missed
            soak.judged = judge(sampler.processes, sampler.site, soak.minutes * 60)
            outcome = storm.Outcome()
            storm.heal(hospital, scanner, outcome, sent, lambda what: None)
            soak.problems += outcome.problems
            soak.replayed = outcome.replayed
            soak.accounts = settle(
                hospital, [each for each in sent if each.path in scanner.acknowledged]
            )
        finally:
            hospital.close()


def _load(
    scanner: Scanner, folder: Path, soak: Soak, progress: Callable[[float], None]
) -> list[Sent]:
    """One image every 1 / rate seconds; what is not acknowledged is sent again by the scanner."""
    sent: list[Sent] = []
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < soak.minutes * 60:
        if seconds * soak.rate >= len(sent):
            sent.append(make_image(folder, len(sent)))
            scanner.send(sent[-1])
        else:
            time.sleep(min(0.5, len(sent) / soak.rate - seconds))
        progress(seconds)
    return sent


def main(
    minutes: float = typer.Option(60, min=1, help="How long images come in."),
    seed: int = typer.Option(7, help="Of the faults' order."),
    rate: float = typer.Option(1.0, min=0.05, help="Images a second."),
    profile: str = typer.Option(SERVERS, help="embedded or servers (PostgreSQL, Redis)."),
    fault_every: float = typer.Option(120, min=10, help="Seconds between two faults."),
    sample_every: float = typer.Option(10, min=1, help="Seconds between two samples."),
    folder: str = typer.Option("build/soak", help="Where the report goes."),
) -> None:
    """Steady load with faults: memory, descriptors, threads, lag and disk must not grow."""
    if profile not in PROFILES:
        raise typer.BadParameter(f"one of {', '.join(PROFILES)}", param_hint="--profile")
    show = Console()
    # Told to end, it leaves nothing running, and writes what it has measured.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soak = Soak(minutes=minutes, seed=seed, rate=rate, profile=profile)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=show) as bar:
        task = bar.add_task("soak", total=minutes * 60)
        try:
            run(
                soak,
                profile,
                fault_every,
                sample_every,
                lambda seconds: bar.update(task, completed=seconds),
            )
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 what was measured is told
            soak.problems.append(f"the soak broke off: {type(error).__name__} {error}")
    write(soak, Path(folder))
    show.print(markdown(soak))
    if not is_good(soak):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
