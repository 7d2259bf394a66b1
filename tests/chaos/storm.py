"""A stream of images and a sequence of faults through one hospital, and the reckoning."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tests.chaos.accounts import Accounts, settle, unfinished
from tests.chaos.faults import Fault, Faults, NotMade
from tests.chaos.hospital import Hospital
from tests.chaos.scanner import Scanner, Sent, make_image

_RECOVERY_SECONDS = 180
_HEALING_SECONDS = 420
_SWEEPING_SECONDS = 60
_DUPLICATE, _CHANGED = "scanner sends again", "scanner sends changed content"


@dataclass
class Outcome:
    """made, skipped: by kind. recovery: seconds from the fault's end until all processes work and
    another image has its results everywhere."""

    made: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    recovery: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accounts: Accounts = field(default_factory=Accounts)
    replayed: int = 0
    attempts: int = 0
    healing_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def run(
    folder: Path,
    profile: str,
    model: Path,
    *,
    images: int,
    chance: random.Random,
    rounds: int,
    steps: Sequence[str],
    progress: Callable[[str], None],
) -> Outcome:
    """One profile from the first image to the accounts."""
    outcome = Outcome()
    hospital = Hospital(folder, profile, model, images)
    try:
        hospital.start()
        wait_for(hospital.is_ready, 90, "the service does not start")
        scanner = Scanner(hospital.ports["dicom"])
        scanner.start()
        sent = _stream(hospital, scanner, outcome, images, chance, rounds, steps, progress)
        heal(hospital, scanner, outcome, sent, progress)
        acknowledged = [each for each in sent if each.path in scanner.acknowledged]
        outcome.attempts = scanner.attempts
        outcome.accounts = settle(hospital, acknowledged)
        outcome.problems += _wrong_words(hospital)
    finally:
        hospital.close()
    return outcome


def _stream(
    hospital: Hospital,
    scanner: Scanner,
    outcome: Outcome,
    images: int,
    chance: random.Random,
    rounds: int,
    steps: Sequence[str],
    progress: Callable[[str], None],
) -> list[Sent]:
    """Each fault gets its share of the images, which are on their way while it lasts."""
    faults = Faults(hospital, chance).plan(rounds, tuple(steps))
    folder = hospital.folder / "scanner"
    folder.mkdir()
    sent: list[Sent] = []
    made = 0
    for number, fault in enumerate(faults, 1):
        share = round(images * number / len(faults)) - made
        batch = [make_image(folder, made + each) for each in range(share)]
        made += share
        if batch and chance.random() < 0.3 and sent:
            outcome.made[_DUPLICATE] += 1
            scanner.send(chance.choice(sent))
        if batch and chance.random() < 0.2 and sent:
            outcome.made[_CHANGED] += 1
            original = chance.choice(sent)
            batch.append(make_image(folder, 50_000 + made, original.uid))
        sent += batch
        progress(fault.kind)
        _strike(hospital, scanner, outcome, fault, batch)
    return sent


def _strike(
    hospital: Hospital, scanner: Scanner, outcome: Outcome, fault: Fault, batch: list[Sent]
) -> None:
    half = (len(batch) + 1) // 2
    try:
        with cast("Any", fault.make()):
            scanner.send(*batch[:half])
        outcome.made[fault.kind] += 1
    except NotMade as reason:
        outcome.skipped[fault.kind] = str(reason)
    finished, ended = hospital.finished_or_none(), time.monotonic()
    scanner.send(*batch[half:])
    while time.monotonic() - ended < _RECOVERY_SECONDS:
        now = hospital.finished_or_none()
        if finished is None:
            finished = now
        if hospital.all_work() and now is not None and finished is not None and now > finished:
            outcome.recovery[fault.kind].append(time.monotonic() - ended)
            return
        if not batch and hospital.all_work():
            return
        time.sleep(0.1)
    outcome.problems.append(f"no recovery within {_RECOVERY_SECONDS} s: {fault.kind}")


def heal(
    hospital: Hospital,
    scanner: Scanner,
    outcome: Outcome,
    sent: list[Sent],
    progress: Callable[[str], None],
) -> None:
    """Wait until nothing is under way any more, as an operator who replays what failed."""
    progress("healing")
    started = time.monotonic()
    scanner.finish(_HEALING_SECONDS)
    acknowledged = [each for each in sent if each.path in scanner.acknowledged]
    if len(acknowledged) < len(sent):
        outcome.problems.append(f"{len(sent) - len(acknowledged)} images were never acknowledged")
    deadline = time.monotonic() + _HEALING_SECONDS
    while unfinished(hospital, acknowledged) and time.monotonic() < deadline:
        time.sleep(0.5)
    failed = hospital.journal.counts().images
    outcome.replayed = failed["failed"]  # type: ignore[index]
    if outcome.replayed:
        hospital.replay()
        time.sleep(1)
        while unfinished(hospital, acknowledged) and time.monotonic() < deadline:
            time.sleep(0.5)
    outcome.healing_seconds = time.monotonic() - started
    progress("sweeping")
    deadline = time.monotonic() + _SWEEPING_SECONDS
    while settle(hospital, acknowledged).orphans and time.monotonic() < deadline:
        time.sleep(2)


def _wrong_words(hospital: Hospital) -> list[str]:
    """What no log may hold."""
    text = hospital.text()
    return [f"the log holds {word!r}" for word in ("Traceback",) if word in text]


def wait_for(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(0.1)
