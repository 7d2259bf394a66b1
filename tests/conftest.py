"""Real peers for the tests: Redis, Orthanc, dcmtk, the local archive, real ultrasound files.

Every server runs on a free port of loopback in a folder of its own, and ends with its test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from pynetdicom.dsutils import split_dataset

from service.storage_scp import LocalArchive

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parent.parent


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until ``condition()`` is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _binary(name: str) -> str:
    # Debian's first: an activated environment has pynetdicom's tools, which share dcmtk's names.
    path = shutil.which(name, path=f"/usr/bin:/usr/sbin:{os.environ.get('PATH', '')}")
    if path is None:
        pytest.fail(f"{name} is not installed; `make test` installs it")
    return path


class ServerProcess:
    """A server on ``port`` as a child process that a test can kill, freeze and start again."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self.port = port
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until the port answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(lambda: _answers(self.port))

    def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it politely (SIGTERM)."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it hang: its connections stay open and nothing answers (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None


_Server = TypeVar("_Server", bound=ServerProcess)


@contextmanager
def running(server: _Server) -> Iterator[_Server]:
    """Until the block ends, and not longer where its start fails."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Debian's Chromium, with a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=_binary("chromium"), args=["--no-sandbox", *arguments]
        )
        yield started
        started.close()


class RedisServer(ServerProcess):
    """Debian's redis-server; what it was given survives ``kill()`` (append-only file)."""

    def __init__(self, folder: Path) -> None:
        port = _free_port()
        command = [_binary("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--dir", str(folder), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "always"]
        super().__init__(command, port, folder)
        self.url = f"redis://127.0.0.1:{port}/0"


class Orthanc(ServerProcess):
    """Debian's Orthanc as a PACS: C-STORE on ``port``, REST at ``url``, DICOMweb under it."""

    ae_title = "ORTHANC"

    def __init__(self, folder: Path, **configuration: object) -> None:
        port, http_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{http_port}"
        plugins = Path("/usr/share/orthanc/plugins")
        names = ("libOrthancDicomWeb.so", "libOrthancGdcm.so")
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "Name": "tests",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "Plugins": [str(plugins / name) for name in names if (plugins / name).exists()],
                    "DicomAet": self.ae_title,
                    "DicomPort": port,
                    "HttpPort": http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomAlwaysAllowStore": True,
                    "DefaultEncoding": "Utf8",
                    "StableAge": 2,
                    **configuration,
                }
            )
        )
        super().__init__([_binary("Orthanc"), str(folder / "orthanc.json")], port, folder)

    def start(self) -> None:
        super().start()
        wait_until(self._serves)

    def _serves(self) -> bool:
        """Its HTTP port takes connections before it answers on them, and may reset those."""
        try:
            self.get("/system")
        except OSError:
            return False
        return True

    def get(self, path: str) -> Any:
        """JSON of a REST resource, such as ``/instances?expand``."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def content(self, path: str) -> bytes:
        """Bytes of a REST resource, such as ``/instances/ID/file``."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return bytes(response.read())

    def find(self, level: str, **query: str) -> list[Any]:
        """Resources of ``level`` (Study, Series, Instance) by DICOM keyword, expanded."""
        body = json.dumps({"Level": level, "Query": query, "Expand": True}).encode()
        request = urllib.request.Request(self.url + "/tools/find", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            return list(json.load(response))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Call it for the number of a port of loopback that nobody listens on."""
    return _free_port


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """``eventually(condition, seconds=20)``: wait until it holds, or fail."""
    return wait_until


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of test data, ``$SECONDREAD_DATA`` or beside the repository."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("SECONDREAD_DATA", default))
    if not folder.is_dir():
        pytest.skip("the test data are not here: set SECONDREAD_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def us_dicom(data_folder: Path) -> Path:
    """Real ultrasound DICOM files: ``breast/`` and ``other/``."""
    return data_folder / "us-dicom"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with running(RedisServer(folder)) as server:
        yield server


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def shared_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One for all tests of a module, which look at studies of their own."""
    with running_orthanc(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture(scope="module")
def make_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Orthanc]]:
    """``make_orthanc()``: one more, for all tests of a module."""
    with ExitStack() as stack:

        def make() -> Orthanc:
            return stack.enter_context(running_orthanc(tmp_path_factory.mktemp("one-more")))

        yield make


@contextmanager
def running_orthanc(parent: Path) -> Iterator[Orthanc]:
    """One in a folder of its own, until the block ends."""
    folder = parent / "orthanc"
    folder.mkdir(parents=True)
    with running(Orthanc(folder)) as server:
        yield server


@pytest.fixture
def local_archive(tmp_path: Path) -> Iterator[LocalArchive]:
    """Our own small archive, in this process; its files lie in ``local_archive.folder``."""
    archive = LocalArchive(tmp_path / "archive")
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture(scope="session")
def dcmtk() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``dcmtk("storescu", …)`` runs a tool; stdout holds its whole output."""

    def run(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_binary(tool), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def data_set_bytes() -> Callable[[Path], bytes]:
    """The bytes of a Part 10 file behind its file meta information."""

    def read(path: Path) -> bytes:
        _, offset = split_dataset(path)
        return path.read_bytes()[offset:]

    return read
