from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.journal.records import Stage
from service.queue.broker import Broker
from service.queue.embedded_broker import embedded_broker_command
from service.queue.publisher import BrokerUnavailable, Publisher

_PROGRAM = Path(__file__).with_name("worker_program.py")


class WorkerProcess:
    """``worker_program.py`` as a child process."""

    def __init__(self, url: str, folder: Path, seconds: float, deaf_seconds: float) -> None:
        self.folder = folder
        self.log = folder / "log"
        command = [sys.executable, str(_PROGRAM), url, str(folder), str(seconds), str(deaf_seconds)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def keys(self, name: str) -> list[str]:
        """What was ``started`` or ``done``, in order."""
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def is_ready(self) -> bool:
        return "ready" in self.log.read_text()


@pytest.fixture
def start_worker(
    tmp_path: Path, eventually: Callable[..., None]
) -> Iterator[Callable[..., WorkerProcess]]:
    """``start_worker(url, folder=…, seconds=0, deaf_seconds=60)``, ready when it returns."""
    workers: list[WorkerProcess] = []

    def start(
        url: str, folder: Path = tmp_path, seconds: float = 0, deaf_seconds: float = 60
    ) -> WorkerProcess:
        (folder / "log").unlink(missing_ok=True)
        worker = WorkerProcess(url, folder, seconds, deaf_seconds)
        workers.append(worker)
        eventually(worker.is_ready, 30)
        return worker

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait(10)


class EmbeddedBroker:
    """The Valkey of the wheel, started as the supervisor starts it."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = embedded_broker_command(data_dir, port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        broker = Broker(self.url)
        deadline = time.monotonic() + 10
        while not broker.answers():
            assert time.monotonic() < deadline, "the embedded broker does not answer"
            time.sleep(0.02)
        broker.close()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def embedded_broker(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[EmbeddedBroker]:
    server = EmbeddedBroker(tmp_path, free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def queue_length() -> Callable[[str], int]:
    """``queue_length(url)``: messages that wait for an analysis worker."""

    def length(url: str) -> int:
        broker = Broker(url)
        try:
            return broker.queue_length(Stage.ANALYSIS)
        finally:
            broker.close()

    return length


@pytest.fixture
def publish() -> Callable[[str, str], None]:
    """``publish(url, key)``: ask for an analysis, as soon as the broker takes it."""

    def insist(url: str, key: str) -> None:
        publisher = Publisher(url)
        deadline = time.monotonic() + 10
        while True:
            try:
                publisher.analysis(key)
            except BrokerUnavailable:
                assert time.monotonic() < deadline, "the broker takes no message"
                time.sleep(0.2)
            else:
                publisher.close()
                return

    return insist
