"""Loaded by every Python process of the service under test: it dies at named steps, and its
time of day is what the harness says.

A step is the moment before or after a function; where a file of its name lies in
``$CHAOS_TOKENS``, the first process that comes there takes the file away and kills itself.
``$CHAOS_CLOCK`` is a file of seconds by which the time of day is wrong. (libfaketime would do it
for all of a process, but with it Python's time.sleep() raises OSError in threads.)
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

TOKENS = Path(os.environ.get("CHAOS_TOKENS", "/nonexistent"))
CLOCK = Path(os.environ.get("CHAOS_CLOCK", "/nonexistent"))

FUNCTIONS = {
    "service.spool": (("Spool", "keep_image", "rename"), ("Spool", "write_results", "results")),
    "service.journal.journal": (
        ("Journal", "record_received", "commit-received"),
        ("Journal", "lease_analysis", "lease"),
        ("Journal", "record_outcome", "commit-outcome"),
        ("Journal", "record_delivered", "commit-delivered"),
        ("Journal", "record_stored", "commit-stored"),
        ("Journal", "overdue", "overdue"),
    ),
    "service.queue.publisher": (("Publisher", "_send", "publish"),),
    "kombu.message": (("Message", "ack_log_error", "ack"),),
    "pynetdicom.association": (("Association", "release", "release"),),
}


class ShiftedDatetime(datetime):
    """The class as our modules see it."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(seconds=shift())


def shift() -> float:
    try:
        return float(CLOCK.read_text())
    except (OSError, ValueError):
        return 0.0


def shifted_time(real=time.time) -> float:
    return real() + shift()


def die_at(step: str, how: signal.Signals = signal.SIGKILL) -> None:
    token = TOKENS / step
    try:
        token.rename(token.with_name(f"{step}.hit"))
    except OSError:
        return
    os.kill(os.getpid(), how)


def mortal(function, step):
    @functools.wraps(function)
    def call(*arguments, **options):
        die_at(f"before-{step}")
        answer = function(*arguments, **options)
        die_at(f"after-{step}")
        return answer

    return call


def freezing(writing):
    """A transaction in whose middle ingest may be stopped for good."""

    @contextlib.contextmanager
    def transaction(self):
        with writing(self) as connection:
            if "ingest" in sys.argv:
                die_at("freeze-ingest-transaction", signal.SIGSTOP)
            yield connection

    return transaction


class Loader(importlib.abc.Loader):
    def __init__(self, loader) -> None:
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module) -> None:
        self._loader.exec_module(module)
        if getattr(module, "datetime", None) is datetime:
            module.datetime = ShiftedDatetime
        for owner, name, step in FUNCTIONS.get(module.__name__, ()):
            kind = getattr(module, owner)
            setattr(kind, name, mortal(getattr(kind, name), step))
        if module.__name__ == "service.journal.database":
            module.Database.writing = freezing(module.Database.writing)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in FUNCTIONS and not name.startswith("service."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


if TOKENS.is_dir():
    time.time = shifted_time
    sys.meta_path.insert(0, Finder())
