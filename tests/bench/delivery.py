"""How fast a backlog drains, beside what the PACS itself takes from dcmtk, and beside a dead PACS.

The real worker, keeper and broker as processes of their own; a real Orthanc. A result is an SR and
an SC of 640×480 (1.1 MB), and goes over an association of its own.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from service.config import Settings
from service.health import is_healthy
from service.journal.journal import Journal
from service.journal.records import DeliveryState
from service.queue.broker import Broker
from service.queue.embedded_broker import embedded_broker_command
from service.spool import Spool
from tests.bench.backlog import ResultFactory, leave, numbered, write_files
from tests.bench.figure import Figure, Peer
from tests.conftest import Orthanc, _free_port, running_orthanc, wait_until

BACKLOG = "SECONDREAD_BENCH_BACKLOG"
_DEFAULT_BACKLOG, _QUICK_BACKLOG = 2000, 100
_SENDERS = (1, 2, 4, 8, 16)
_SILENT_SECONDS, _START_SECONDS = 120.0, 60.0
_PACS, _HANGING = "pacs", "hanging"


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """How many results: ``SECONDREAD_BENCH_BACKLOG``, the goal is of 10000."""
    count = int(os.environ.get(BACKLOG, _DEFAULT_BACKLOG)) if not quick else _QUICK_BACKLOG
    beside = min(count, 500)
    factory = ResultFactory()
    load = os.getloadavg()[0]
    pacs_alone, ours, how = _beside_dcmtk(scratch, factory, count, quick)
    alone, with_hanging = _beside_a_dead_one(scratch, factory, beside)
    size = f"{factory.bytes_each / 1e6:.1f} MB"
    return [
        Figure(
            f"a backlog of {count} results drains",
            ours,
            "results/s",
            "≥ 0.9",
            Peer(how, pacs_alone),
            load,
            f"SR and SC of {size} on an association of their own each, into Orthanc",
        ),
        Figure(
            "the same to the good one of two destinations, the other one hangs",
            with_hanging,
            "results/s",
            "≥ 0.8",
            Peer("both well", alone),
            load,
            f"{beside} results to both; the one that hangs takes connections and never answers",
        ),
    ]


def _beside_dcmtk(
    scratch: Path, factory: ResultFactory, count: int, quick: bool
) -> tuple[float, float, str]:
    """Results a second of storescu and of ours, and how storescu sent."""
    with running_orthanc(scratch / "peer") as orthanc:
        sender = _Storescu(factory, orthanc, scratch / "dcmtk")
        some = 40 if quick else 200
        rates = {parallel: sender.rate(some, parallel) for parallel in _SENDERS}
        best = max(rates, key=lambda parallel: rates[parallel])
        before = sender.rate(2 * some, best)
        with _office(scratch / "ours", {_PACS: (orthanc.port, orthanc.ae_title)}) as office:
            office.fill(factory, count)
            ours = office.drain(_PACS, count)
        after = sender.rate(2 * some, best)
    tried = ", ".join(f"{parallel}: {rate:.0f}" for parallel, rate in rates.items())
    how = f"storescu, {best} associations of many results (tried {tried})"
    return statistics.mean((before, after)), ours, how


def _beside_a_dead_one(scratch: Path, factory: ResultFactory, count: int) -> tuple[float, float]:
    """Results a second into the same PACS while another one is well, and while it hangs."""
    rates = []
    for hangs in (False, True):
        with ExitStack() as stack:
            folder = scratch / f"two-{hangs}"
            orthanc = stack.enter_context(running_orthanc(folder / "pacs"))
            if hangs:
                port = stack.enter_context(_listener_that_hangs())
            else:
                port = stack.enter_context(running_orthanc(folder / "other")).port
            both = {_HANGING: (port, orthanc.ae_title), _PACS: (orthanc.port, orthanc.ae_title)}
            office = stack.enter_context(_office(folder / "ours", both))
            office.fill(factory, count)
            rates.append(office.drain(_PACS, count))
    return rates[0], rates[1]


class _Storescu:
    """dcmtk's sender; each parallel one has a folder of whole results on one association."""

    def __init__(self, factory: ResultFactory, orthanc: Orthanc, folder: Path) -> None:
        self._factory, self._orthanc, self._folder = factory, orthanc, folder
        self._next = 5_000_000

    def rate(self, count: int, parallel: int) -> float:
        """Results a second; they are new to the PACS."""
        share = count // parallel
        run = self._folder / f"{self._next}"
        for number in range(parallel):
            results = numbered(self._factory, self._next, share)
            self._next += share
            for index, files in enumerate(results):
                write_files(run / f"{number}" / f"{index:06d}", files)
        command = ["storescu", "+sd", "+r", "-R", "-aec", self._orthanc.ae_title, "127.0.0.1"]
        command.append(str(self._orthanc.port))
        began = time.monotonic()
        senders = [
            subprocess.Popen([*command, str(run / f"{n}")], env={**os.environ, "TCP_NODELAY": "1"})
            for n in range(parallel)
        ]
        if [code for sender in senders if (code := sender.wait())]:
            raise RuntimeError("storescu failed")
        return share * parallel / (time.monotonic() - began)


class _Office:
    """The delivery side of a service on this machine."""

    def __init__(self, folder: Path, destinations: dict[str, tuple[int, str]]) -> None:
        folder.mkdir(parents=True)
        self._config = folder / "secondread.toml"
        ports = {name: _free_port() for name in ("broker", "delivery", "keeper")}
        self._config.write_text(_toml(folder, ports, destinations))
        self._settings = Settings.model_validate(tomllib.loads(self._config.read_text()))
        self._names = tuple(destinations)
        self._stack = ExitStack()
        self._ports = ports
        self.journal = Journal(self._settings.journal_url)
        self.journal.migrate()

    def fill(self, factory: ResultFactory, count: int) -> None:
        spool = Spool(self._settings.spool_dir)
        spool.prepare()
        leave(spool, self.journal, numbered(factory, 0, count), self._names)

    def drain(self, destination: str, count: int) -> float:
        """Results a second from the first to the last that ``destination`` has got."""
        self._start(embedded_broker_command(self._settings.data_dir, self._ports["broker"]))
        with closing(Broker(self._settings.broker_url)) as broker:
            wait_until(broker.answers)
        worker = [sys.executable, "-m", "service.cli", "worker", "--queue", "delivery"]
        self._start([*worker, "--config", str(self._config)])
        health = f"http://127.0.0.1:{self._ports['delivery']}/healthz"
        wait_until(lambda: is_healthy(health), _START_SECONDS)
        self._start([sys.executable, "-m", "service.cli", "keeper", "--config", str(self._config)])
        before, moved = -1, time.monotonic()
        while (done := self._done(destination)) < count:
            if done != before:
                before, moved = done, time.monotonic()
            if time.monotonic() - moved > _SILENT_SECONDS:
                raise RuntimeError(f"only {done} of {count} results arrived")
            time.sleep(0.5)
        ended = sorted(
            delivery.delivered_at
            for row in self.journal.images(count)
            for delivery in row.deliveries
            if delivery.destination == destination and delivery.delivered_at is not None
        )
        return (count - 1) / (ended[-1] - ended[0]).total_seconds()

    def _done(self, destination: str) -> int:
        return self.journal.counts().deliveries[destination, DeliveryState.DELIVERED]

    def _start(self, command: Sequence[str]) -> None:
        process = subprocess.Popen(command)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    def close(self) -> None:
        self._stack.close()
        self.journal.close()


def _toml(folder: Path, ports: dict[str, int], destinations: dict[str, tuple[int, str]]) -> str:
    text = f'data_dir = "{folder / "data"}"\nlog_level = "ERROR"\n'
    text += f"[broker]\nembedded_port = {ports['broker']}\n"
    text += f"[monitoring]\ndelivery_port = {ports['delivery']}\nkeeper_port = {ports['keeper']}\n"
    for name, (port, ae_title) in destinations.items():
        text += f'[[destinations]]\nname = "{name}"\nhost = "127.0.0.1"\n'
        text += f'port = {port}\nae_title = "{ae_title}"\n'
    return text


@contextmanager
def _office(folder: Path, destinations: dict[str, tuple[int, str]]) -> Iterator[_Office]:
    office = _Office(folder, destinations)
    try:
        yield office
    finally:
        office.close()


@contextmanager
def _listener_that_hangs() -> Iterator[int]:
    """A port on which connections are taken and nothing is ever said."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        for connection in taken:
            connection.close()
