"""``secondread up``: everything on one machine, restarted when it dies, stopped in order."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from service.child import Child
from service.config import ConfigurationError, Settings
from service.health import is_healthy
from service.journal.journal import Journal
from service.programs import PORT_KEYS, Listener, broker_program, listeners, programs
from service.queue.broker import Broker
from service.silence import Silence

log = logging.getLogger(__name__)

BAD_CONFIGURATION = 2
"""Exit code of a process that cannot run as configured: to start it again would not help."""

_LOOK_SECONDS = 0.1
_PORTS_SECONDS = 3.0
_BROKER_SECONDS = 20.0


class SupervisorError(Exception):
    """The service cannot run here; the text says what the operator should do."""


class Supervisor:
    """The service's processes as children of this one, which they never outlive.

    settings: the effective configuration. A monitoring port 0 is replaced by a free one.
    config_path: the file it came from; the children read it again, and the same environment.
    """

    def __init__(self, settings: Settings, config_path: Path | None) -> None:
        self.settings = _with_monitoring_ports(settings)
        self._config_path = config_path
        self._lock = ExitStack()
        self._broker: Child | None = None
        self._groups: list[list[Child]] = []
        self._thread = threading.Thread(target=self._supervise, name="supervisor")
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._ended = threading.Event()
        self._failure: str | None = None
        self._silence = Silence(
            self.settings.monitoring.silent_seconds, Broker(self.settings.broker_url).answers
        )

    def start(self) -> None:
        """Start everything; it returns before all of it is ready.

        Raises SupervisorError (a port is taken, or another ``up`` has this data folder),
        ConfigurationError (no embedded broker here) or JournalError.
        """
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            undo.enter_context(_alone_with(self.settings.data_dir))
            _wait_for_ports(listeners(self.settings))
            _prepare_journal(self.settings.journal_url)
            environment = self._environment()
            if self.settings.embedded_broker:
                self._broker = Child(broker_program(self.settings), environment)
            self._groups = [
                [Child(program, environment) for program in group]
                for group in programs(self.settings, self._config_path)
            ]
            self._lock = undo.pop_all()
        self._thread.start()

    def wait_ready(self, timeout: float) -> None:
        """Wait until every process says that it works.

        Raises SupervisorError after ``timeout`` seconds, and ConfigurationError as soon as a
        process says that it cannot run as configured. What runs is still to be stopped then.
        """
        deadline = time.monotonic() + timeout
        waiting = [child for group in self._groups for child in group]
        while waiting and not self._stopping.is_set():
            if self._failure:
                raise ConfigurationError(self._failure)
            if time.monotonic() > deadline:
                names = ", ".join(child.program.name for child in waiting)
                raise SupervisorError(f"not ready after {timeout:.0f} s: {names}; see the log")
            for child in [child for child in waiting if is_healthy(child.program.health_url)]:
                self._silence.heard(child)
                waiting.remove(child)
            self._stopping.wait(_LOOK_SECONDS)

    def wait(self) -> None:
        """Wait for ever, in the main thread so that a signal's exception can end it.

        Raises SupervisorError if the supervision itself has broken down.
        """
        self._ended.wait()
        raise SupervisorError("the supervision broke down; see the log, and start it again")

    def stop(self) -> None:
        """Stop everything in order, and return when nothing is left. May be called twice.

        A KeyboardInterrupt meanwhile kills what still runs.
        """
        self._stopping.set()
        try:
            self._wait_until_ended()
        except KeyboardInterrupt:
            self._hurry.set()
            self._wait_until_ended()
        self._lock.close()

    def _wait_until_ended(self) -> None:
        # Not Thread.join(): on Python 3.11 an interrupted join takes the thread for dead.
        if self._thread.ident is not None:
            self._ended.wait()

    def _children(self) -> list[Child]:
        broker = [self._broker] if self._broker else []
        return broker + [child for group in self._groups for child in group]

    def _environment(self) -> dict[str, str]:
        """Ours, and the monitoring ports that were chosen here."""
        ports = {
            f"SECONDREAD_MONITORING__{key.upper()}": str(getattr(self.settings.monitoring, key))
            for key in PORT_KEYS.values()
        }
        return {**os.environ, **ports}

    def _supervise(self) -> None:
        """The thread that owns the children: it starts all of them, and outlives all of them."""
        try:
            self._run_children()
        except Exception:
            log.exception("the supervision broke down, which ends every process")
        finally:
            self._ended.set()

    def _run_children(self) -> None:
        if self._broker:
            self._broker.keep_alive()
            self._wait_for_broker()
        threading.Thread(
            target=self._silence.listen,
            args=(self._children(), self._stopping),
            name="listener",
            daemon=True,
        ).start()
        while not self._stopping.is_set():
            for child in self._children():
                if self._silence.is_too_long(child):
                    child.kill_for("answers nothing any more")
                if child.keep_alive() == BAD_CONFIGURATION:
                    self._failure = f"{child.program.name} cannot run as configured; see the log"
            self._stopping.wait(_LOOK_SECONDS)
        for group in self._groups:
            self._end(group)
        if self._broker:
            self._end([self._broker])

    def _wait_for_broker(self) -> None:
        """The others can start without it, but would begin with a complaint."""
        broker = Broker(self.settings.broker_url)
        deadline = time.monotonic() + _BROKER_SECONDS
        while not broker.answers() and time.monotonic() < deadline:
            if self._stopping.wait(_LOOK_SECONDS):
                break
        broker.close()

    def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            child.ask_to_stop()
        deadline = time.monotonic() + max(child.program.stop_seconds for child in children)
        while time.monotonic() < deadline and not self._hurry.is_set():
            if all(child.has_ended() for child in children):
                break
            self._hurry.wait(_LOOK_SECONDS)
        for child in children:
            if not child.has_ended():
                log.warning("%s did not end in time and is killed", child.program.name)
            child.kill()


def _prepare_journal(url: str) -> None:
    journal = Journal(url)
    try:
        journal.migrate()
    finally:
        journal.close()


@contextmanager
def _alone_with(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it when the process dies."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SupervisorError(
                f"another `secondread up` runs on {data_dir}; stop it, or set another data_dir"
            ) from None
        yield


def _wait_for_ports(needed: Sequence[Listener]) -> None:
    """Wait a moment, for what was killed just before may still hold a port."""
    deadline = time.monotonic() + _PORTS_SECONDS
    while taken := [listener for listener in needed if not _is_free(listener)]:
        if time.monotonic() > deadline:
            raise SupervisorError(
                "\n".join(
                    f"{item.key}: port {item.port} on {item.host} is taken; stop what uses it, "
                    "or choose another"
                    for item in taken
                )
            )
        time.sleep(_LOOK_SECONDS)


def _is_free(listener: Listener) -> bool:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.host, listener.port))
        except OSError:
            return False
        return True


def _with_monitoring_ports(settings: Settings) -> Settings:
    """A free port in place of each 0, so that supervisor and child agree on it.

    None that the configuration names: nobody listens there yet, so it looks free.
    """
    monitoring = settings.monitoring
    named = {listener.port for listener in listeners(settings)}
    with ExitStack() as stack:
        chosen: dict[str, int] = {}
        for key in PORT_KEYS.values():
            while getattr(monitoring, key) == 0 and key not in chosen:
                probe = stack.enter_context(socket.socket())
                probe.bind((monitoring.host, 0))
                port = int(probe.getsockname()[1])
                if port not in named:
                    chosen[key] = port
    return settings.model_copy(update={"monitoring": monitoring.model_copy(update=chosen)})
