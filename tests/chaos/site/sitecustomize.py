"""Loaded by every Python process of the service under test: it can die at a named step.

A step is the moment before or after a function; where a file of its name lies in
``$CHAOS_TOKENS``, the first process that comes there takes the file away and kills itself.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from pathlib import Path

TOKENS = Path(os.environ.get("CHAOS_TOKENS", "/nonexistent"))

FUNCTIONS = {
    "service.spool": (("Spool", "keep_image", "rename"), ("Spool", "write_results", "results")),
    "service.journal.journal": (
        ("Journal", "record_received", "commit-received"),
        ("Journal", "lease_analysis", "lease"),
        ("Journal", "record_outcome", "commit-outcome"),
        ("Journal", "record_delivered", "commit-delivered"),
        ("Journal", "record_stored", "commit-stored"),
    ),
    "service.queue.publisher": (("Publisher", "_send", "publish"),),
    "kombu.message": (("Message", "ack_log_error", "ack"),),
    "pynetdicom.association": (("Association", "release", "release"),),
}


def die_at(step: str) -> None:
    token = TOKENS / step
    try:
        token.rename(token.with_name(f"{step}.hit"))
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(function, step):
    @functools.wraps(function)
    def call(*arguments, **options):
        die_at(f"before-{step}")
        answer = function(*arguments, **options)
        die_at(f"after-{step}")
        return answer

    return call


class Loader(importlib.abc.Loader):
    def __init__(self, loader) -> None:
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module) -> None:
        self._loader.exec_module(module)
        for owner, name, step in FUNCTIONS[module.__name__]:
            kind = getattr(module, owner)
            setattr(kind, name, mortal(getattr(kind, name), step))


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in FUNCTIONS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


if TOKENS.is_dir():
    sys.meta_path.insert(0, Finder())
