"""A long queue: what the broker takes and gives, and what a look of the keeper costs beside it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import ReceivedImage, Stage
from service.keeper import Keeper
from service.monitoring.metrics import Metrics
from service.queue.broker import Broker
from service.queue.embedded_broker import embedded_broker_command
from service.queue.publisher import Publisher
from service.spool import Spool
from tests.bench.figure import Figure, Peer
from tests.conftest import _free_port, wait_until

_WORKER = Path(__file__).parent.parent / "queue" / "worker_program.py"
_ROUNDS = 20


def measure(scratch: Path, waiting: int) -> list[Figure]:
    """waiting: messages in the queue, and images in the journal."""
    load = os.getloadavg()[0]
    with (
        _broker(scratch) as url,
        closing(Publisher(url)) as publisher,
        closing(Broker(url)) as asked,
    ):
        look_alone = _look(scratch / "idle", url, 0)
        began = time.monotonic()
        for number in range(waiting):
            publisher.analysis(f"{number:032x}")
        published = waiting / (time.monotonic() - began)
        look = _look(scratch / "busy", url, waiting)
        if asked.queue_length(Stage.ANALYSIS) != waiting:
            raise RuntimeError("the queue is not as long as it should be")
        consumed = _consume(scratch, url, asked, waiting)
    return [
        Figure(f"publishing {waiting} messages", published, "messages/s", load=load),
        Figure(
            f"consuming {waiting} messages by one worker that does nothing",
            consumed,
            "messages/s",
            load=load,
        ),
        Figure(
            f"a look of the keeper while {waiting} images and messages wait",
            look,
            "ms",
            peer=Peer("none wait", look_alone),
            load=load,
            detail=f"{_ROUNDS} looks, median; one a second",
        ),
    ]


def _look(folder: Path, url: str, waiting: int) -> float:
    """Milliseconds; nothing is overdue."""
    folder.mkdir(parents=True)
    settings = Settings.model_validate({"data_dir": folder, "broker": {"url": url}})
    spool = Spool(settings.spool_dir)
    spool.prepare()
    with closing(Journal(settings.journal_url)) as journal, closing(Publisher(url)) as publisher:
        journal.migrate()
        for number in range(waiting):
            journal.record_received(_image(number))
        with closing(Broker(url)) as broker:
            keeper = Keeper(settings, spool, journal, broker, publisher, Metrics())
            spent = []
            for _ in range(_ROUNDS + 1):
                began = time.perf_counter()
                keeper.look()
                spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent[1:])


def _consume(folder: Path, url: str, broker: Broker, count: int) -> float:
    """Messages a second from the tenth part of the queue on, so that no start is counted."""
    worker = subprocess.Popen(
        [sys.executable, str(_WORKER), url, str(folder), "0", "60"], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: broker.queue_length(Stage.ANALYSIS) < 0.9 * count, 60)
        left, began = broker.queue_length(Stage.ANALYSIS), time.monotonic()
        wait_until(lambda: broker.queue_length(Stage.ANALYSIS) == 0, 300)
        return left / (time.monotonic() - began)
    finally:
        worker.kill()
        worker.wait()


@contextmanager
def _broker(folder: Path) -> Iterator[str]:
    port = _free_port()
    process = subprocess.Popen(embedded_broker_command(folder, port))
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with closing(Broker(url)) as broker:
            wait_until(broker.answers)
        yield url
    finally:
        process.kill()
        process.wait()


def _image(number: int) -> ReceivedImage:
    return ReceivedImage(
        key=f"{number:032x}",
        sop_instance_uid=f"1.2.826.0.1.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest="d",
        size_bytes=1,
        calling_ae_title="BENCH",
        received_at=datetime.now(UTC),
    )
