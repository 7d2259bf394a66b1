"""One process under the supervisor: started, restarted when it dies, stopped in time."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_TETHER = Path(__file__).with_name("tether.py")

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 30.0
_LIVED_WELL = 10.0


@dataclass(frozen=True)
class Program:
    """What to run.

    name: for the log and the operator.
    command: arguments, the first one a path.
    stop_seconds: how long it may take to end after SIGTERM.
    health_url: answers 200 once it works; empty if it has none.
    """

    name: str
    command: tuple[str, ...]
    stop_seconds: float
    health_url: str = ""


def restart_wait(deaths: int) -> float:
    """Seconds before the next start, after ``deaths`` short lives in a row (1 after the first)."""
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(deaths - 1, 30))


class Child:
    """One thread starts and ends it: the kernel kills the child when that thread ends."""

    def __init__(self, program: Program, environment: Mapping[str, str]) -> None:
        self.program = program
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    def keep_alive(self) -> int | None:
        """Start it if it does not run and its waiting time is over.

        Returns the exit code if it died since the last call.
        """
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._sweep()
        self._postpone(_how(code))
        return code

    def _start(self) -> None:
        """In a session of its own, so that Ctrl-C reaches the supervisor alone."""
        tether = (sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()))
        self._started_at = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 the command is ours
                tether + self.program.command, start_new_session=True, env=self._environment
            )
        except OSError as error:
            self._postpone(error.strerror or "it cannot be started")

    def _postpone(self, reason: str) -> None:
        now = time.monotonic()
        self._deaths = 1 if now - self._started_at >= _LIVED_WELL else self._deaths + 1
        wait = restart_wait(self._deaths)
        self._start_at = now + wait
        log.error("%s ended (%s), starts again in %.1f s", self.program.name, reason, wait)

    def kill_for(self, reason: str) -> None:
        """End a process that is of no more use; ``keep_alive`` starts it again."""
        if self._process is not None:
            log.error("%s %s, and is killed", self.program.name, reason)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it and whatever it has started, at once, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._sweep()

    def _sweep(self) -> None:
        """Kill what the process left behind in its session's process group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
