"""What a shadow costs the images: each is sent while it is in the middle of the one before."""

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

_ROUNDS, _QUICK_ROUNDS = 6, 1
_IMAGES = 10
"""Of a round with the shadow, and as many of the round without it that comes before."""
_INTO_IT = 0.05


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """The reference model, and beside it the same with another digest."""
    load = os.getloadavg()[0]
    alone: list[float] = []
    followed: list[float] = []
    with ExitStack() as stack:
        site = _Site(scratch, stack)
        for _ in range(_QUICK_ROUNDS if quick else _ROUNDS):
            site.store.set_shadow(None)
            alone += site.seconds(shadow=False)
            site.store.set_shadow(site.candidate)
            followed += site.seconds(shadow=True)
    return [
        Figure(
            f"an image while a shadow scores, {name}",
            value(followed),
            "s",
            goal="≤ 1.1" if name == "median" else "",
            peer=Peer("without", value(alone)),
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

    def seconds(self, *, shadow: bool) -> list[float]:
        """Of each image but the first, which the shadow is loaded for."""
        spent = []
        for _ in range(_IMAGES + 1):
            (key,) = receive(self._settings, self._journal, self._folder, 1)
            began = time.monotonic()
            self._publisher.analysis(key)
            while not self._is_analysed(key):
                time.sleep(0.005)
            spent.append(time.monotonic() - began)
            if shadow:
                wait_until(lambda: self._shadow_is_at(key), 120)  # noqa: B023
                time.sleep(_INTO_IT)
        return spent[1:]

    def _is_analysed(self, key: str) -> bool:
        row = self._journal.image(key)
        return row is not None and row.state is ImageState.ANALYSED

    def _shadow_is_at(self, key: str) -> bool:
        """Raises RuntimeError if it has gone already: then nothing is measured."""
        states = [pair.shadow.state for pair in self._journal.shadow_pairs() if pair.key == key]
        if states and states[0] is not ShadowState.BEGUN:
            raise RuntimeError("the shadow was faster than the next image")
        return bool(states)


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
