"""``python -m tests.fuzz files | sessions | replay``."""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydicom.uid import generate_uid
from rich.console import Console
from rich.progress import Progress

from dicom_sr.part10 import part10_bytes
from service.analysis.analyser import Analyser
from service.scu import AssociationFailed, echo, send_files
from service.sections import AnalysisSettings
from service.still_image import wrap_pixels
from tests.conftest import _free_port
from tests.fuzz.files import hostile_file
from tests.fuzz.sessions import hostile_session, play
from tests.system.conftest import Up, make_small_model

DECODE_SECONDS = 10
_SLACK_SECONDS = 10
_WARM_UP = 0.2
_GROWTH_KIB = 40 * 1024
"""Resident memory after the warm-up: more than this is growth."""
_CHECK_EVERY = 250
_AT_ONCE = 4

app = typer.Typer(
    add_completion=False, help="Hostile files and network sessions; exit 1 if any bites."
)


class Findings:
    """What was done, what became of it, and what must not have been."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.bad: list[str] = []
        self.worst: tuple[float, str] = (0.0, "")
        self.resident: list[int] = []

    def note(self, kind: str, outcome: str, seconds: float, name: str) -> None:
        with self._lock:
            self.outcomes[kind][outcome] += 1
            self.worst = max(self.worst, (round(seconds, 2), name))

    def wrong(self, text: str, name: str = "", content: bytes = b"") -> None:
        with self._lock:
            self.bad.append(text)
            if content:
                failures = self._folder / "failures"
                failures.mkdir(parents=True, exist_ok=True)
                (failures / name).write_bytes(content)

    def memory_growth(self) -> int:
        """KiB between the median after the warm-up and that of the end."""
        judged = self.resident[int(len(self.resident) * _WARM_UP) :]
        if len(judged) < 10:
            return 0
        fifth = len(judged) // 5
        return sorted(judged[-fifth:])[fifth // 2] - sorted(judged[:fifth])[fifth // 2]

    def write(self, what: str, count: int, seed: int, seconds: float) -> dict[str, Any]:
        growth = self.memory_growth()
        if growth > _GROWTH_KIB:
            self.bad.append(f"memory grew by {growth} KiB")
        told = {
            "what": what,
            "count": count,
            "seed": seed,
            "seconds": round(seconds),
            "worst_seconds": self.worst[0],
            "worst": self.worst[1],
            "resident_mib": [
                value // 1024 for value in (self.resident or [0])[:: max(1, len(self.resident) - 1)]
            ],
            "memory_growth_kib": growth,
            "outcomes": {
                kind: dict(sorted(each.items())) for kind, each in sorted(self.outcomes.items())
            },
            "bad": self.bad[:100],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{what}.json").write_text(json.dumps(told, indent=2) + "\n")
        lines = [f"# Fuzz: {count} {what}, seed {seed}", ""]
        lines += [
            f"{len(self.bad)} findings in {seconds:.0f} s;"
            f" the longest took {self.worst[0]} s ({self.worst[1]})"
        ]
        lines += ["", "| kind | outcomes |", "|---|---|"]
        lines += [
            f"| {kind} | {', '.join(f'{name} {number}' for name, number in sorted(each.items()))} |"
            for kind, each in sorted(self.outcomes.items())
        ]
        lines += ["", *(f"- {text}" for text in self.bad[:50])]
        (self._folder / f"{what}.md").write_text("\n".join(lines) + "\n")
        return told


def fuzz_files(count: int, seed: int, folder: Path, tick: Callable[[], None]) -> Findings:
    """Each file through the worker's own analysis; the pixels are decoded in the child."""
    findings = Findings(folder)
    with tempfile.TemporaryDirectory(prefix="secondread-fuzz-") as scratch:
        model = Path(scratch) / "model"
        model.mkdir()
        settings = AnalysisSettings(
            model=make_small_model(model), threads=1, decode_seconds=DECODE_SECONDS
        )
        analyser = Analyser(settings)
        path = Path(scratch) / "hostile.dcm"
        for number in range(seed * 1_000_000, seed * 1_000_000 + count):
            kind, content = hostile_file(number)
            path.write_bytes(content)
            _analyse(analyser, path, findings, kind, f"{number}-{kind}.dcm")
            findings.resident.append(_resident_kib("self"))
            tick()
        analyser.close()
    return findings


def _analyse(analyser: Analyser, path: Path, findings: Findings, kind: str, name: str) -> None:
    started = time.monotonic()
    try:
        outcome = analyser.analyse(path, revision=0, started_at=datetime.now(UTC)).outcome
    except Exception as error:  # noqa: BLE001 that is what it looks for
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{name}: {type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
        findings.wrong(text, name, path.read_bytes())
        findings.note(kind, "raised", time.monotonic() - started, name)
        return
    seconds = time.monotonic() - started
    findings.note(kind, outcome.reason or outcome.state.value, seconds, name)
    if seconds > 2 * DECODE_SECONDS + _SLACK_SECONDS:
        findings.wrong(f"{name}: took {seconds:.0f} s", name, path.read_bytes())
    if outcome.reason_text and "DOE" in outcome.reason_text:
        findings.wrong(f"{name}: its reason quotes the patient", name, path.read_bytes())


def fuzz_sessions(count: int, seed: int, folder: Path, tick: Callable[[], None]) -> Findings:
    """Each session against the ingest of a running service, which must go on as if nothing was."""
    findings = Findings(folder)
    with tempfile.TemporaryDirectory(prefix="secondread-fuzz-") as scratch, ExitStack() as stack:
        model = Path(scratch) / "model"
        model.mkdir()
        service = Up(
            Path(scratch),
            _free_port,
            make_small_model(model),
            extra=[
                "ingest.max_associations = 64",
                "ingest.max_associations_per_address = 64",
                "ingest.max_associations_per_second = 100000",
                "ingest.acse_timeout = 5",
                "ingest.pdu_timeout = 5",
                "ingest.network_timeout = 8",
            ],
        )
        service.start()
        stack.callback(service.journal.close)
        stack.callback(service.kill)
        deadline = time.monotonic() + 60
        while not service.is_ready() and time.monotonic() < deadline:
            time.sleep(0.1)
        ingest = service.children()["ingest"]
        before = _handles(ingest)
        numbers = iter(range(seed * 1_000_000, seed * 1_000_000 + count))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                _play(service, findings, number)
                if number % _CHECK_EVERY == 0:
                    _still_works(service, findings, Path(scratch), f"session {number}")
                findings.resident.append(_resident_kib(ingest))
                tick()

        workers = [threading.Thread(target=work) for _ in range(_AT_ONCE)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        _still_works(service, findings, Path(scratch), "the end")
        if service.children().get("ingest") != ingest:
            findings.wrong("ingest died")
        else:
            _lets_go(ingest, before, findings)
        log = service.text()
        for line in log.splitlines():
            if "broke off" in line or "Traceback" in line or "DOE" in line:
                findings.wrong(f"the log says: {line[:200]}")
    return findings


def _play(service: Up, findings: Findings, number: int) -> None:
    kind, pieces = hostile_session(number)
    name = f"{number}-{kind}.bin"
    started = time.monotonic()
    try:
        play(service.ports["dicom"], pieces, random.Random(number))
        outcome = "let go"
    except TimeoutError:
        outcome = "hung"
        findings.wrong(f"{name}: the connection stayed open", name, b"".join(pieces))
    except OSError as error:
        outcome = type(error).__name__
        findings.wrong(f"{name}: {outcome}", name, b"".join(pieces))
    findings.note(kind, outcome, time.monotonic() - started, name)


def _still_works(service: Up, findings: Findings, folder: Path, when: str) -> None:
    import numpy as np

    data_set = wrap_pixels(np.full((80, 80, 3), 99, np.uint8), generate_uid())
    path = folder / f"{threading.get_native_id()}.dcm"
    path.write_bytes(part10_bytes(data_set))
    try:
        if echo(service.peer, "FUZZER") != 0:
            findings.wrong(f"{when}: C-ECHO is not answered")
        (outcome,) = send_files([path], service.peer, "FUZZER")
        if not outcome.stored:
            findings.wrong(f"{when}: a good image is {outcome.text}")
    except AssociationFailed as error:
        findings.wrong(f"{when}: {error}")


def _handles(pid: int) -> tuple[int, int]:
    """Open files and threads of a process."""
    return (
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        len(list(Path(f"/proc/{pid}/task").iterdir())),
    )


def _lets_go(pid: int, before: tuple[int, int], findings: Findings) -> None:
    """Once all is over, no connection and no thread is left of it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = _handles(pid)
        if now[0] <= before[0] + 8 and now[1] <= before[1] + 4:
            return
        time.sleep(0.5)
    findings.wrong(f"files and threads: {before} before, {now} after")


def _resident_kib(pid: int | str) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4


def _run(
    what: str,
    fuzz: Callable[[int, int, Path, Callable[[], None]], Findings],
    count: int,
    seed: int,
    folder: str,
) -> None:
    console = Console()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=count)
        findings = fuzz(count, seed, Path(folder), lambda: bar.advance(task))
    told = findings.write(what, count, seed, time.monotonic() - started)
    console.print((Path(folder) / f"{what}.md").read_text())
    console.print(f"memory: {told['memory_growth_kib']} KiB after the warm-up")
    if told["bad"]:
        raise typer.Exit(1)


Count = Annotated[int, typer.Option(min=1, help="How many.")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same ones.")]
Folder = Annotated[str, typer.Option(help="Where report and failures go.")]


@app.command()
def files(count: Count = 2000, seed: Seed = 1, folder: Folder = "build/fuzz") -> None:
    """Hostile DICOM files through the analysis."""
    _run("files", fuzz_files, count, seed, folder)


@app.command()
def sessions(count: Count = 2000, seed: Seed = 1, folder: Folder = "build/fuzz") -> None:
    """Hostile network sessions against a running ingest."""
    _run("sessions", fuzz_sessions, count, seed, folder)


@app.command()
def replay(path: Path) -> None:
    """One file of ``failures/`` through the analysis again, with all that it raises."""
    with tempfile.TemporaryDirectory() as scratch:
        analyser = Analyser(AnalysisSettings(model=make_small_model(Path(scratch)), threads=1))
        try:
            outcome = analyser.analyse(path, revision=0, started_at=datetime.now(UTC)).outcome
            typer.echo(f"{outcome.state} {outcome.reason or ''}")
        finally:
            analyser.close()


if __name__ == "__main__":
    app()
