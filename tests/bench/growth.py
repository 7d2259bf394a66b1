"""What an operation costs after ten images, and after a hundred thousand.

The same operations in turn on journals and spools of each size, so that a noisy machine is noisy to
all of them.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import Overdue, ReceivedImage
from service.keeper import Keeper
from service.monitoring.metrics import Metrics
from service.queue.broker import Broker
from service.queue.publisher import Publisher
from service.sections import KeeperSettings
from service.spool import Spool
from service.sweep import Sweeper
from tests.bench.archive_of_years import fill, key_of, since, study_of
from tests.bench.figure import Figure, Peer

_SIZES = (10, 1_000, 100_000)
_QUICK_SIZES = (10, 1_000)
_GOAL = "≤ 1.1"
_IMAGE_BYTES = 900_000
_SHARDS = 256
_SWEEP = "one shard of the sweep"


class _Quiet(Broker):
    """A broker with empty queues, for what is measured is the journal."""

    def queue_length(self, _stage: object) -> int:
        return 0


class _Nowhere(Publisher):
    def overdue(self, _job: Overdue) -> None:
        return


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """Medians of rounds in which each size takes its turn."""
    sizes, rounds = (_QUICK_SIZES, 30) if quick else (_SIZES, 150)
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        archives = {size: _Archive(scratch / str(size), size, stack) for size in sizes}
        spent = _take_turns(archives, rounds)
    few, many = sizes[0], sizes[-1]
    figures = []
    for name in next(iter(archives.values())).operations:
        if name == _SWEEP:
            continue
        median = {size: statistics.median(spent[size, name]) for size in sizes}
        detail = ", ".join(f"at {size}: {value:.3g}" for size, value in median.items())
        peer = Peer(f"at {few} images", median[few])
        figure = Figure(
            f"{name}, {many} images",
            median[many],
            "ms",
            _GOAL,
            peer,
            load,
            f"{detail}; {rounds} rounds",
        )
        figures.append(figure)
    return [*figures, _share_of_the_sweep(spent, many, load)]


def _share_of_the_sweep(
    spent: dict[tuple[int, str], list[float]], many: int, load: float
) -> Figure:
    """It looks at every file by its nature, so it is not flat; it is spread over an hour."""
    shard = statistics.median(spent[many, _SWEEP])
    every = KeeperSettings().sweep_seconds
    share = 100 * shard / 1000 * _SHARDS / every
    detail = f"{shard:.3g} ms for each of {_SHARDS} shards, all of them in {every:.0f} s"
    return Figure(
        f"share of the keeper's time that looks through a spool of {many} images",
        share,
        "%",
        "≤ 1",
        load=load,
        detail=detail,
    )


def _take_turns(archives: dict[int, _Archive], rounds: int) -> dict[tuple[int, str], list[float]]:
    spent: dict[tuple[int, str], list[float]] = {}
    for round_ in range(rounds + 1):
        for size, archive in archives.items():
            for name, operation in archive.operations.items():
                began = time.perf_counter()
                operation()
                elapsed = 1000 * (time.perf_counter() - began)
                if round_:  # the first one warms up
                    spent.setdefault((size, name), []).append(elapsed)
    return spent


class _Archive:
    """A journal and a spool of so many images, and what is done with them."""

    def __init__(self, folder: Path, size: int, stack: ExitStack) -> None:
        folder.mkdir(parents=True)
        url = f"sqlite:///{folder / 'journal.sqlite3'}"
        self._spool = Spool(folder / "spool")
        fill(url, self._spool, size, since(size))
        self._journal = Journal(url, quiet_seconds=60)
        stack.callback(self._journal.close)
        settings = Settings.model_validate({"data_dir": folder})
        broker, publisher = _Quiet(settings.broker_url), _Nowhere(settings.broker_url)
        stack.callback(broker.close)
        stack.callback(publisher.close)
        self._keeper = Keeper(settings, self._spool, self._journal, broker, publisher, Metrics())
        self._seconds = 0.0
        self._sweeper = Sweeper(
            settings, self._spool, self._journal, Metrics(), clock=lambda: self._seconds
        )
        some = size // 2
        key, study = key_of(some), study_of(some)
        self.operations: dict[str, Callable[[], object]] = {
            _SWEEP: self._sweep,
            "receiving an image: file and row": self._receive,
            "a look of the keeper, its measuring included": self._look,
            "the queries of `secondread status`": self._status,
            "one image": lambda: self._journal.image(key),
            "one study": lambda: self._journal.study_images(study),
            "the page of the ten newest images": lambda: self._journal.images(10),
        }
        self._content = b"\0" * _IMAGE_BYTES

    def _receive(self) -> None:
        key = uuid.uuid4().hex
        temporary = self._spool.incoming / f"{key}.tmp"
        with temporary.open("wb") as stream:
            stream.write(self._content)
            stream.flush()
            os.fsync(stream.fileno())
        self._spool.keep_image(key, temporary)
        number = str(uuid.uuid4().int)
        self._journal.record_received(
            ReceivedImage(
                key=key,
                sop_instance_uid=f"2.25.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest=key,
                size_bytes=_IMAGE_BYTES,
                calling_ae_title="SCANNER",
                received_at=datetime.now(UTC),
                study_instance_uid=f"2.25.{number[:30]}",
            )
        )

    def _sweep(self) -> None:
        """The next shard; its clock is moved on, so that it is due."""
        self._seconds += KeeperSettings().sweep_seconds / _SHARDS
        self._sweeper.sweep()

    def _look(self) -> None:
        self._journal.counts()
        self._keeper.look()

    def _status(self) -> None:
        self._journal.counts()
        self._journal.delivery_errors()
        self._journal.images(20)
