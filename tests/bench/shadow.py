"""What a shadow costs an image that comes while it is in the middle of the one before."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack, closing
from pathlib import Path

import onnx

from service.analysis.model_package import (
    MANIFEST_FILE,
    MODEL_FILE,
    file_sha256,
    load_model_package,
)
from service.analysis.model_store import ModelStore
from service.config import Settings
from service.health import is_healthy
from service.journal.journal import Journal
from service.journal.records import ImageState
from service.journal.shadow_records import ShadowState
from service.queue.publisher import Publisher
from service.sections import REFERENCE_MODEL
from tests.bench.figure import Figure, Peer
from tests.bench.workers import receive
from tests.conftest import RedisServer, _free_port, running, wait_until

_PAIRS, _QUICK_PAIRS = 60, 5
_INTO_IT = 0.05


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """The reference model, and beside it the same with another digest. In turn an image comes
    when the shadow has nothing to do, and while it has: other load of the machine is on both."""
    load = os.getloadavg()[0]
    idle: list[float] = []
    followed: list[float] = []
    with ExitStack() as stack:
        site = _Site(scratch, stack)
        site.store.set_shadow(site.candidate)
        site.wait_for_shadow(site.send()[0], ShadowState.SCORED)
        for _ in range(_QUICK_PAIRS if quick else _PAIRS):
            key, seconds = site.send()
            idle.append(seconds)
            site.wait_for_shadow(key, ShadowState.BEGUN)
            time.sleep(_INTO_IT)
            key, seconds = site.send()
            followed.append(seconds)
            site.wait_for_shadow(key, ShadowState.SCORED)
    return [
        Figure(
            f"an image while a shadow scores, {name}",
            value(followed),
            "s",
            goal="≤ 1.1" if name == "median" else "",
            peer=Peer("while it does not", value(idle)),
            load=load,
            detail=f"{len(followed)} images each, from publishing to the recorded result",
        )
        for name, value in (("median", statistics.median), ("95th percentile", _late))
    ]


def _late(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


class _Site:
    """A worker on its own broker, and a shadow that is installed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "redis").mkdir()
        broker = stack.enter_context(running(RedisServer(folder / "redis")))
        config = folder / "secondread.toml"
        config.write_text(
            f'data_dir = "{folder / "data"}"\nlog_level = "ERROR"\n[broker]\nurl = "{broker.url}"\n'
        )
        self._folder = folder
        self._settings = Settings.model_validate(tomllib.loads(config.read_text()))
        self._settings.data_dir.mkdir()
        self._journal = stack.enter_context(closing(Journal(self._settings.journal_url)))
        self._journal.migrate()
        self._publisher = stack.enter_context(closing(Publisher(broker.url)))
        self.store = ModelStore(self._settings)
        self.candidate = self.store.install(_candidate(folder / "candidate"), lambda _: None).sha256
        port = _free_port()
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "service.cli", "worker", "--queue", "analysis"),
                *("--config", str(config)),
            ],
            env={**os.environ, "SECONDREAD_MONITORING__ANALYSIS_PORT": str(port)},
        )
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        health = f"http://127.0.0.1:{port}/healthz"
        wait_until(lambda: is_healthy(health), 60)

    def send(self) -> tuple[str, float]:
        """An image's key, and the seconds until it has its result."""
        (key,) = receive(self._settings, self._journal, self._folder, 1)
        began = time.monotonic()
        self._publisher.analysis(key)
        while not self._is_analysed(key):
            time.sleep(0.005)
        return key, time.monotonic() - began

    def wait_for_shadow(self, key: str, state: ShadowState) -> None:
        """Raises RuntimeError if it has gone further already: then nothing is measured."""
        wait_until(lambda: self._shadow_of(key) is not None, 120)
        if state is ShadowState.SCORED:
            wait_until(lambda: self._shadow_of(key) is state, 120)
        elif self._shadow_of(key) is not state:
            raise RuntimeError("the shadow was faster than the next image")

    def _is_analysed(self, key: str) -> bool:
        row = self._journal.image(key)
        return row is not None and row.state is ImageState.ANALYSED

    def _shadow_of(self, key: str) -> ShadowState | None:
        states = [pair.shadow.state for pair in self._journal.shadow_pairs() if pair.key == key]
        return states[0] if states else None


def _candidate(folder: Path) -> Path:
    """The reference model with another digest."""
    shutil.copytree(REFERENCE_MODEL, folder)
    model = onnx.load(folder / MODEL_FILE)
    model.doc_string = "candidate"
    onnx.save(model, folder / MODEL_FILE)
    manifest = load_model_package(REFERENCE_MODEL).manifest.model_copy(
        update={"version": "candidate", "sha256": file_sha256(folder / MODEL_FILE)}
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return folder
