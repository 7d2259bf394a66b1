"""Two hosts of one hospital, each with processes of its own, the second in its own network.

They share PostgreSQL, Redis, a PACS and the data folder; HAProxy stands before both ingests, and
between the second host and the servers, so that every road of it can be cut alone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ServerProcess, _binary, _free_port, wait_until

PROCESSES = {
    "ingest": ("ingest",),
    "analysis": ("worker", "--queue", "analysis"),
    "delivery": ("worker", "--queue", "delivery"),
    "keeper": ("keeper",),
}


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def can_make_networks() -> bool:
    """Root alone may, and not in every container."""
    name = f"sr-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        run("ip", "netns", "del", name)
    return made.returncode == 0


class Network:
    """A network namespace, joined to ours by one cable that can be pulled."""

    def __init__(self) -> None:
        number = os.getpid() % 200
        self.name = f"sr-{os.getpid()}"
        self._cable = f"sr{os.getpid() % 100000}"
        self.here, self.there = f"10.213.{number}.1", f"10.213.{number}.2"

    def make(self) -> None:
        inside = f"{self._cable}i"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", self.name)
        run("ip", "addr", "add", f"{self.here}/30", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        for command in (
            ("addr", "add", f"{self.there}/30", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
        ):
            run("ip", "-n", self.name, *command)

    def cut(self) -> None:
        run("ip", "link", "set", self._cable, "down")

    def mend(self) -> None:
        run("ip", "link", "set", self._cable, "up")

    def remove(self) -> None:
        for command in (["ip", "link", "del", self._cable], ["ip", "netns", "del", self.name]):
            subprocess.run(command, capture_output=True, check=False)


class Balancer(ServerProcess):
    """HAProxy: each service is a name, the addresses that it listens on, and its servers."""

    def __init__(
        self, folder: Path, services: dict[str, tuple[Sequence[str], Sequence[str]]]
    ) -> None:
        self._control = folder / "control"
        lines = [
            "global",
            f"    stats socket {self._control} level admin",
            "defaults",
            "    mode tcp",
            "    timeout connect 2s",
            "    timeout client 1h",
            "    timeout server 1h",
            "    default-server check inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions",
        ]
        for name, (binds, servers) in services.items():
            lines += [f"listen {name}", "    balance roundrobin"]
            lines += [f"    bind {address}" for address in binds]
            lines += [f"    server s{number} {where}" for number, where in enumerate(servers)]
        configuration = folder / "haproxy.cfg"
        configuration.write_text("\n".join(lines) + "\n")
        port = int(next(iter(services.values()))[0][0].rpartition(":")[2])
        command = [_binary("haproxy"), "-db", "-f", str(configuration)]
        super().__init__(command, port, folder)

    def close(self, service: str) -> None:
        """Nobody gets through any more, and whoever is through is cut."""
        self._say(f"disable server {service}/s0; shutdown sessions server {service}/s0")

    def open(self, service: str) -> None:
        self._say(f"enable server {service}/s0")

    def _say(self, words: str) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self._control))
            control.sendall(f"{words}\n".encode())
            while control.recv(4096):
                pass


class Host:
    """Processes of the service with one configuration; in ``network`` if there is one."""

    def __init__(
        self, name: str, folder: Path, text: str, address: str, network: Network | None
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.address = address
        self.ports = {process: _free_port() for process in PROCESSES}
        self.config = self.folder / "secondread.toml"
        keys = (f"monitoring.{process}_port = {port}\n" for process, port in self.ports.items())
        self.config.write_text('monitoring.host = "0.0.0.0"\n' + "".join(keys) + text)
        self._network = network
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *processes: str) -> None:
        for process in processes or PROCESSES:
            inside = ("ip", "netns", "exec", self._network.name) if self._network else ()
            command = [sys.executable, "-P", "-m", "service.cli", *PROCESSES[process]]
            with (self.folder / f"{process}.log").open("ab") as log:
                self._running[process] = subprocess.Popen(
                    [*inside, *command, "--config", str(self.config)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def works(self, process: str) -> bool:
        try:
            url = f"http://{self.address}:{self.ports[process]}/healthz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def all_work(self) -> bool:
        for process, running in self._running.items():
            assert running.poll() is None, (self.folder / f"{process}.log").read_text()[-2000:]
        return all(map(self.works, self._running))

    def count(self, process: str, sample: str, **labels: str) -> float:
        """One value of a process's metrics, 0 if it is not there."""
        url = f"http://{self.address}:{self.ports[process]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for found in family.samples:
                if found.name == sample and found.labels == labels:
                    return float(found.value)
        return 0.0

    def kill(self, process: str) -> None:
        running = self._running.pop(process)
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)

    def freeze(self, process: str) -> None:
        os.killpg(self._running[process].pid, signal.SIGSTOP)

    def thaw(self, process: str) -> None:
        os.killpg(self._running[process].pid, signal.SIGCONT)

    def stop(self) -> None:
        for process in list(self._running):
            self.kill(process)


class Machines:
    """One hospital: hosts ``a`` (where the servers are, too) and ``b``; scanners call ``port``."""

    def __init__(
        self, folder: Path, network: Network, database: str, redis: Any, orthanc: Any, model: Path
    ) -> None:
        self.folder = folder
        self.network = network
        self.port = _free_port()
        roads = {name: _free_port() for name in ("journal", "broker", "pacs")}
        inner = {"a": _free_port(), "b": _free_port()}
        journal_port = int(database.rpartition(":")[2].partition("/")[0])
        broker_port = redis.port
        self.balancer = Balancer(
            _made(folder / "balancer"),
            {
                "scanners": (
                    [f"127.0.0.1:{self.port}"],
                    [f"127.0.0.1:{inner['a']}", f"{network.there}:{inner['b']}"],
                ),
                "journal": ([f"{network.here}:{roads['journal']}"], [f"127.0.0.1:{journal_port}"]),
                "broker": ([f"{network.here}:{roads['broker']}"], [f"127.0.0.1:{broker_port}"]),
                "pacs": ([f"{network.here}:{roads['pacs']}"], [f"127.0.0.1:{orthanc.port}"]),
            },
        )
        data = folder / "data"

        def text(own: str, host: str, journal: str, broker: str, pacs: tuple[str, int]) -> str:
            return (
                f'data_dir = "{data}"\njournal.url_file = "{journal}"\n'
                f'broker.url = "{broker}"\nanalysis.model = "{model}"\n'
                f'ingest.host = "{host}"\ningest.port = {inner[own]}\ningest.low_water_bytes = 0\n'
                'ingest.peers = [{ address = "127.0.0.1" }, { address = "10.213.0.0/16" }]\n'
                "ingest.max_associations_per_second = 1000\n"
                "keeper.interval = 0.5\nkeeper.lease = 2\nkeeper.publish_grace = 3\n"
                "retry.first_seconds = 0.5\nretry.longest_seconds = 2\n"
                "delivery.connect_timeout = 3\ndelivery.dimse_timeout = 10\n"
                '[[destinations]]\nname = "pacs"\nobjects = ["sr", "sc"]\n'
                f'host = "{pacs[0]}"\nport = {pacs[1]}\nae_title = "{orthanc.ae_title}"\n'
            )

        far = database.replace(f"127.0.0.1:{journal_port}", f"{network.here}:{roads['journal']}")
        urls = {"a": database, "b": far}
        files = {name: folder / f"journal-{name}.url" for name in urls}
        for name, url in urls.items():
            files[name].write_text(url)
        self.a = Host(
            "a",
            folder,
            text("a", "127.0.0.1", str(files["a"]), redis.url, ("127.0.0.1", orthanc.port)),
            "127.0.0.1",
            None,
        )
        self.b = Host(
            "b",
            folder,
            text(
                "b",
                "0.0.0.0",
                str(files["b"]),
                f"redis://{network.here}:{roads['broker']}/0",
                (network.here, roads["pacs"]),
            ),
            network.there,
            network,
        )

    def start(self) -> None:
        self.balancer.start()
        for host in (self.a, self.b):
            host.start()
        wait_until(lambda: self.a.all_work() and self.b.all_work(), 90)

    def stop(self) -> None:
        for host in (self.a, self.b):
            host.stop()
        self.balancer.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()
