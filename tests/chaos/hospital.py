"""A hospital in which everything can fail: the service with its servers, a PACS and an archive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from service.journal.journal import Journal, JournalError
from service.journal.records import ImageState
from tests.chaos.archive import MoodyArchive
from tests.conftest import Orthanc, RedisServer, _free_port, wait_until
from tests.journal.conftest import PostgreSQL
from tests.system.conftest import PROCESSES, Up, _descendants_of

SITE = Path(__file__).with_name("site")
EMBEDDED, SERVERS = "embedded", "servers"
PROFILES = (EMBEDDED, SERVERS)

_IMPATIENT = (
    "keeper.interval = 0.5",
    "keeper.lease = 3",
    "keeper.publish_grace = 3",
    "keeper.sweep_seconds = 4",
    "keeper.sweep_age = 8",
    "retry.first_seconds = 0.5",
    "retry.longest_seconds = 3",
    "retry.refusals = 50",
    "monitoring.silent_seconds = 6",
    "ingest.network_timeout = 20",
    "delivery.connect_timeout = 3",
    "delivery.dimse_timeout = 6",
    "analysis.threads = 1",
    "results.dciodvfy = false",
    'log_level = "INFO"',
)
"""What takes an hour in a hospital takes seconds here."""


class Database(PostgreSQL):
    """One that can be killed, frozen and started again."""

    def start_again(self) -> None:
        data = self._folder / "data"
        binary = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1]
        command = [binary, "-D", data, "-p", str(self.port), "-k", self._folder, "-h", "127.0.0.1"]
        deadline = time.monotonic() + 30
        while True:
            with (self._folder / "server.log").open("ab") as log:
                self._server = subprocess.Popen(command, stderr=log, **self._user)
            while self._server.poll() is None and time.monotonic() < deadline:
                if self.answers():
                    return
                time.sleep(0.1)
            assert time.monotonic() < deadline, "PostgreSQL does not start again"

    def kill(self) -> None:
        """The server and all of its sessions (SIGKILL)."""
        assert self._server is not None
        pids = _descendants_of(self._server.pid)
        self._server.kill()
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        self._server.wait(10)

    def signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        for pid in [self._server.pid, *_descendants_of(self._server.pid)]:
            _signal(pid, number)


class Hospital(Up):
    """``secondread up`` in one of the profiles, with clocks and steps that the harness commands."""

    def __init__(self, folder: Path, profile: str, model: Path, images: int) -> None:
        self.folder = folder
        self.profile = profile
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.database: Database | None = None
        self.redis: RedisServer | None = None
        (folder / "orthanc").mkdir()
        self.orthanc = Orthanc(folder / "orthanc", DicomModalitiesInDatabase=True)
        self.orthanc.start()
        self.archive = MoodyArchive(folder / "archive")
        self.archive.start()
        extra = list(_IMPATIENT)
        journal = None
        if profile == SERVERS:
            (folder / "redis").mkdir()
            self.redis = RedisServer(folder / "redis")
            self.redis.start()
            extra.append(f'broker.url = "{self.redis.url}"')
            (folder / "postgresql").mkdir()
            self.database = Database(folder / "postgresql", _free_port())
            self.database.start()
            wait_until(self.database.answers, 30)
            journal = self.database.make_database()
            (folder / "journal.url").write_text(journal)
            extra.append(f'journal.url_file = "{folder / "journal.url"}"')
        # Without summaries: where clocks jump, a study is quiet at any time.
        where = 'host = "127.0.0.1"\nport = {}\nae_title = "{}"\nobjects = ["sr", "sc"]\n'
        pacs = where.format(self.orthanc.port, self.orthanc.ae_title)
        pacs += "storage_commitment = true\ncommitment_timeout = 8"
        archive = where.format(self.archive.port, self.archive.ae_title)
        super().__init__(folder, _free_port, model, [pacs, archive], extra)
        if journal:
            self.journal = Journal(journal)
        self.introduce_to_orthanc()
        self.disk = Disk(folder / "data", megabytes=200 + images // 2)

    def introduce_to_orthanc(self) -> None:
        modality = {"AET": "SECONDREAD", "Host": "127.0.0.1", "Port": self.ports["dicom"]}
        request = urllib.request.Request(
            f"{self.orthanc.url}/modalities/secondread",
            data=json.dumps(modality).encode(),
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=10).close()

    def start(self) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECONDREAD_")}
        environment |= {
            "PYTHONPATH": f"{SITE}{os.pathsep}{Path(__file__).resolve().parents[2]}",
            "CHAOS_TOKENS": str(self.tokens),
            "CHAOS_CLOCK": str(self.clock),
            "OMP_NUM_THREADS": "1",
        }
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.command("up"), "--config", str(self.config)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.folder,
            )
        return self.process

    def set_clock(self, seconds: int) -> None:
        """Shift what the service takes for the time of day, all processes at once."""
        new = self.clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clock)

    def pids(self, name: str) -> list[int]:
        """Of a child and all that it has started; none while it is being started again."""
        try:
            return self.descendants(name)
        except KeyError:
            return []

    def send_signal(self, name: str, number: signal.Signals) -> int:
        pids = self.pids(name)
        for pid in pids:
            _signal(pid, number)
        return len(pids)

    def all_work(self) -> bool:
        return all(self.works(name) for name in PROCESSES)

    def finished_or_none(self) -> int | None:
        """Images whose results are everywhere; None while the database does not answer."""
        try:
            return self.journal.counts().images[ImageState.DELIVERED]
        except JournalError:
            return None

    @staticmethod
    def kill_one(pid: int) -> None:
        _signal(pid, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.archive.stop()
        self.orthanc.kill()
        if self.redis:
            self.redis.kill()
        self.journal.close()
        if self.database:
            self.database.stop()
        self.disk.unmount()

    def replay(self) -> None:
        """What the operator does once he is told that something failed."""
        subprocess.run(
            [*self.command("replay"), "--failed", "--config", str(self.config)],
            capture_output=True,
            timeout=60,
            check=False,
        )


class Disk:
    """The service's disk: a small tmpfs that can be filled, where we may mount one."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir()
        self._folder = folder
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        self.is_small = done.returncode == 0
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave nothing."""
        with self._filler.open("wb", buffering=0) as stream:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while stream.write(b"\0" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.is_small:
            subprocess.run(["umount", "-l", str(self._folder)], check=False)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
