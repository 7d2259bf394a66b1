"""What fails, one after the other: each fault is made, lasts a moment, and heals."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.chaos.hospital import EMBEDDED, SERVERS, Hospital
from tests.chaos.scanner import abort_in_mid_object

_STEP_SECONDS = 60

STEPS = tuple(
    f"{when}-{step}"
    for step in (
        *("rename", "commit-received", "publish", "lease", "results", "commit-outcome"),
        *("release", "commit-stored", "commit-delivered", "ack", "overdue"),
    )
    for when in ("before", "after")
)


@dataclass(frozen=True)
class Fault:
    """kind: for the report. make: a context in which the fault is there."""

    kind: str
    make: Callable[[], object]


class NotMade(Exception):
    """The fault cannot be made here; the text says why."""


class Faults:
    """Every fault that can befall a hospital, in an order of chance."""

    def __init__(self, hospital: Hospital, chance: random.Random) -> None:
        self._hospital = hospital
        self._chance = chance

    def plan(self, rounds: int, steps: tuple[str, ...]) -> list[Fault]:
        """Each kind once a round, and each of the named steps."""
        planned = []
        for _ in range(rounds):
            kinds = [*self._kinds(), *(self._step(step) for step in steps)]
            self._chance.shuffle(kinds)
            planned += kinds
        return planned

    def _kinds(self) -> Iterator[Fault]:
        for name in ("ingest", "analysis", "delivery", "keeper"):
            yield Fault(f"kill {name}", lambda name=name: self._killed(name))
            yield Fault(f"freeze {name}", lambda name=name: self._frozen(name))
        yield Fault("freeze analysis for good", lambda: self._frozen_for_good("analysis"))
        yield Fault("freeze ingest in a transaction", self._frozen_in_transaction)
        yield Fault("kill decoder", self._decoder_killed)
        yield Fault("kill everything", self._everything_killed)
        yield Fault("kill broker", lambda: self._broker_killed(wiped=False))
        yield Fault("kill broker, wiped", lambda: self._broker_killed(wiped=True))
        yield Fault("freeze broker", self._broker_frozen)
        yield Fault("kill PACS", self._pacs_killed)
        for mood, name in (
            ("hang", "PACS hangs"),
            ("drop", "PACS drops the connection"),
            (0xA700, "PACS answers A700"),
            (0xC001, "PACS answers C001"),
            (0xA900, "PACS answers A900"),
        ):
            yield Fault(name, lambda mood=mood: self._moody(mood))
        yield Fault("PACS cut off in mid-object", self._cut_off)
        yield Fault("PACS down for a day", self._down_for_a_day)
        yield Fault("clock an hour forward", lambda: self._clock_jumps(3600))
        yield Fault("clock an hour back", lambda: self._clock_jumps(-3600))
        yield Fault("disk full", self._disk_full)
        yield Fault("scanner aborts in mid-object", self._aborted)
        if self._hospital.profile == SERVERS:
            yield Fault("kill database", self._database_killed)
            yield Fault("freeze database", self._database_frozen)

    def _step(self, step: str) -> Fault:
        return Fault(f"kill {step}", lambda: self._killed_at(step))

    def _moment(self, least: float = 0.3, most: float = 1.5) -> None:
        time.sleep(self._chance.uniform(least, most))

    @contextmanager
    def _killed(self, name: str) -> Iterator[None]:
        self._moment()
        if not self._hospital.send_signal(name, signal.SIGKILL):
            raise NotMade(f"{name} was not running")
        yield

    @contextmanager
    def _killed_at(self, step: str) -> Iterator[None]:
        token = self._hospital.tokens / step
        token.touch()
        yield
        deadline = time.monotonic() + _STEP_SECONDS
        while token.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if token.exists():
            token.unlink()
            raise NotMade("nobody came to this step")

    @contextmanager
    def _frozen(self, name: str) -> Iterator[None]:
        self._moment()
        pids = self._hospital.pids(name)
        if not pids:
            raise NotMade(f"{name} was not running")
        self._hospital.send_signal(name, signal.SIGSTOP)
        time.sleep(self._chance.uniform(1, 4))
        yield
        self._hospital.send_signal(name, signal.SIGCONT)

    @contextmanager
    def _frozen_for_good(self, name: str) -> Iterator[None]:
        """Nobody thaws it: its supervisor must see to it, if it has heard of it before."""
        deadline = time.monotonic() + _STEP_SECONDS
        while not self._hospital.works(name) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._moment(3, 4)
        before = self._hospital.pids(name)
        if not before:
            raise NotMade(f"{name} was not running")
        self._hospital.send_signal(name, signal.SIGSTOP)
        yield
        deadline = time.monotonic() + _STEP_SECONDS
        while self._hospital.pids(name)[:1] == before[:1]:
            if time.monotonic() > deadline:
                raise AssertionError(f"a frozen {name} stays for ever")
            time.sleep(0.1)

    @contextmanager
    def _frozen_in_transaction(self) -> Iterator[None]:
        """Nobody thaws it, and on SQLite it holds the turn that all others wait for."""
        before = self._hospital.pids("ingest")
        if not before:
            raise NotMade("ingest was not running")
        token = self._hospital.tokens / "freeze-ingest-transaction"
        token.touch()
        yield
        deadline = time.monotonic() + _STEP_SECONDS
        while self._hospital.pids("ingest")[:1] == before[:1]:
            if time.monotonic() > deadline:
                token.unlink(missing_ok=True)
                raise NotMade("ingest was not frozen, or stays so")
            time.sleep(0.1)

    @contextmanager
    def _cut_off(self) -> Iterator[None]:
        relay = self._hospital.archive.relay
        cuts = relay.cuts
        relay.cut_after = self._chance.randrange(12_000, 40_000)
        yield
        deadline = time.monotonic() + 20
        while relay.cuts == cuts and time.monotonic() < deadline:
            time.sleep(0.05)
        relay.cut_after = None
        if relay.cuts == cuts:
            raise NotMade("nothing was delivered meanwhile")

    @contextmanager
    def _decoder_killed(self) -> Iterator[None]:
        deadline = time.monotonic() + 10
        while len(pids := self._hospital.pids("analysis")) < 2:
            if time.monotonic() > deadline:
                raise NotMade("no decoder was running")
            time.sleep(0.05)
        for pid in pids[1:]:
            self._hospital.kill_one(pid)
        yield

    @contextmanager
    def _everything_killed(self) -> Iterator[None]:
        self._moment()
        hospital = self._hospital
        pids = hospital.descendants()
        hospital.kill()
        deadline = time.monotonic() + 20
        while hospital.alive(pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        hospital.start()
        yield

    @contextmanager
    def _broker_killed(self, *, wiped: bool) -> Iterator[None]:
        self._moment()
        hospital = self._hospital
        if hospital.profile == EMBEDDED:
            if wiped:
                shutil.rmtree(hospital.data_dir / "broker" / "appendonlydir", ignore_errors=True)
            if not hospital.send_signal("valkey-server", signal.SIGKILL):
                raise NotMade("the broker was not running")
            yield
            return
        assert hospital.redis is not None
        hospital.redis.kill()
        if wiped:
            shutil.rmtree(hospital.folder / "redis" / "appendonlydir", ignore_errors=True)
        self._moment()
        yield
        hospital.redis.start()

    @contextmanager
    def _broker_frozen(self) -> Iterator[None]:
        self._moment()
        hospital = self._hospital
        if hospital.profile == EMBEDDED:
            with self._frozen("valkey-server"):
                yield
            return
        assert hospital.redis is not None
        hospital.redis.freeze()
        time.sleep(self._chance.uniform(1, 4))
        yield
        hospital.redis.thaw()

    @contextmanager
    def _pacs_killed(self) -> Iterator[None]:
        self._moment()
        self._hospital.orthanc.kill()
        self._moment(0.5, 3)
        yield
        self._hospital.orthanc.start()

    @contextmanager
    def _moody(self, mood: str | int) -> Iterator[None]:
        archive = self._hospital.archive
        met = archive.met
        archive.mood = mood
        deadline = time.monotonic() + 20
        yield
        while archive.met < met + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        archive.mood = ""
        if archive.met == met:
            raise NotMade("nothing was delivered meanwhile")

    @contextmanager
    def _down_for_a_day(self) -> Iterator[None]:
        hospital = self._hospital
        hospital.orthanc.kill()
        yield
        self._moment(2, 3)
        hospital.set_clock(86400)
        self._moment(2, 3)
        hospital.orthanc.start()
        self._moment(2, 3)
        hospital.set_clock(0)

    @contextmanager
    def _clock_jumps(self, seconds: int) -> Iterator[None]:
        self._hospital.set_clock(seconds)
        yield
        self._moment(1, 3)
        self._hospital.set_clock(0)

    @contextmanager
    def _disk_full(self) -> Iterator[None]:
        disk = self._hospital.disk
        if not disk.is_small:
            raise NotMade("no tmpfs may be mounted here")
        disk.fill()
        yield
        self._moment(1, 3)
        disk.free()

    @contextmanager
    def _aborted(self) -> Iterator[None]:
        for _ in range(5):
            abort_in_mid_object(self._hospital.ports["dicom"], self._chance)
        yield

    @contextmanager
    def _database_killed(self) -> Iterator[None]:
        database = self._hospital.database
        assert database is not None
        self._moment()
        database.kill()
        self._moment()
        yield
        database.start_again()

    @contextmanager
    def _database_frozen(self) -> Iterator[None]:
        database = self._hospital.database
        assert database is not None
        self._moment()
        database.signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(1, 4))
        yield
        database.signal(signal.SIGCONT)
