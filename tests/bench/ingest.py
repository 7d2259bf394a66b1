"""How fast images are taken, beside other archives, with what CPU time, and in how much memory.

The senders are dcmtk's, one process an association. Each peer gets the same files in the same turn.
Ours and Orthanc answer Success once an image is on the disk; storescp and pynetdicom's do not wait.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid
from rich.progress import track

from service.demo import packaged_ultrasound
from tests.bench.figure import Figure, Peer
from tests.conftest import Orthanc, RedisServer, ServerProcess, _binary, _free_port, running

_IMAGES = {1: 40, 4: 80, 16: 160}
"""By the number of associations: sent in a turn, by all together."""
_GOALS = {
    ("Orthanc", 1): "≥ 4",
    ("Orthanc", 4): "≥ 1.4",
    ("Orthanc", 16): "≥ 1",
    ("storescp --fork", 1): "≥ 3.5",
    ("storescp --fork", 4): "≥ 1",
    ("storescp --fork", 16): "≥ 0.6",
}
_CPU_GOAL = "≤ 6"
_CINE_BYTES = 500_000_000
_CINE_GOAL = "≤ 16"
_OURS = "ours"
_TICK = os.sysconf("SC_CLK_TCK")
_SAVE_AS = Path(__file__).parent / "save_as_scp.py"


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """Medians of turns in which every peer gets the same files."""
    turns = 1 if quick else 5
    parts = 4 if quick else 1
    figures = []
    for kind, label in (("raw", "2.4 MB uncompressed"), ("jpeg", "0.2 MB JPEG")):
        load = os.getloadavg()[0]
        sender = _Sender(scratch / kind, _template(kind))
        with _peers(scratch / kind) as peers:
            taken = {}
            for number in track(range(turns + 1), description=f"ingest {kind}"):
                for parallel, images in _IMAGES.items():
                    files = sender.files(images // parts, parallel)
                    for peer in peers:
                        took = sender.send(peer, files)
                        if number:  # the first turn warms all of them up
                            taken.setdefault((peer.name, parallel), []).append(took)
                    sender.forget()
        figures += _compared(label, taken, load)
    return [*figures, _cine(scratch, quick)]


@dataclass(frozen=True)
class _Took:
    rate: float
    cpu_ms: float


def _compared(label: str, taken: dict[tuple[str, int], list[_Took]], load: float) -> list[Figure]:
    rates = {who: statistics.median(each.rate for each in all_) for who, all_ in taken.items()}
    cpu = {who: statistics.median(each.cpu_ms for each in all_) for who, all_ in taken.items()}
    names = list(dict.fromkeys(name for name, _ in taken))
    figures = []
    for parallel in _IMAGES:
        name = f"{label}, {parallel} association{'s' if parallel > 1 else ''}"
        costs = ", ".join(f"{peer} {cpu[peer, parallel]:.1f}" for peer in names)
        for peer in names:
            if peer == _OURS:
                continue
            figures.append(
                Figure(
                    name,
                    rates[_OURS, parallel],
                    "images/s",
                    _GOALS.get((peer, parallel), ""),
                    Peer(peer, rates[peer, parallel]),
                    load,
                    f"CPU ms an image: {costs}" if (peer, parallel) in _GOALS else "",
                )
            )
    worst = max(cpu[_OURS, parallel] for parallel in _IMAGES)
    detail = ", ".join(f"{parallel}: {cpu[_OURS, parallel]:.1f}" for parallel in _IMAGES)
    figures.append(
        Figure(
            f"{label}, CPU of ingest, the worst of 1, 4, 16 associations",
            worst,
            "ms an image",
            _CPU_GOAL,
            load=load,
            detail=detail,
        )
    )
    return figures


def _cine(scratch: Path, quick: bool) -> Figure:
    """What one long cine adds to the memory of ingest."""
    load = os.getloadavg()[0]
    size = _CINE_BYTES // (10 if quick else 1)
    folder = scratch / "cine"
    path = folder / "cine.dcm"
    folder.mkdir()
    data_set = pydicom.dcmread(_packaged("examples_rgb_color.dcm"))
    frame = data_set.PixelData
    data_set.NumberOfFrames = size // len(frame)
    data_set.PixelData = frame * data_set.NumberOfFrames
    data_set.save_as(path)
    with ExitStack() as stack:
        ours = stack.enter_context(_ours(folder))
        sender = _Sender(folder, _template("raw"))
        sender.send(ours, sender.files(4, 1))
        before = ours.peak_bytes(anew=True)
        sender.send(ours, [[path]])
        grown = ours.peak_bytes() - before
    return Figure(
        f"memory that a cine of {size / 1e6:.0f} MB adds to ingest",
        max(0.0, grown / 1e6),
        "MB",
        _CINE_GOAL,
        load=load,
        detail=f"peak resident size; {before / 1e6:.0f} MB before",
    )


@dataclass(frozen=True)
class _Peer:
    """An archive that listens. name: as it stands in the table."""

    name: str
    server: ServerProcess
    ae_title: str = "ANY"

    def cpu_seconds(self) -> float:
        """Since it was started, its ended children's included."""
        stat = Path(f"/proc/{self.server.pid}/stat").read_text()
        return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / _TICK

    def peak_bytes(self, *, anew: bool = False) -> int:
        """anew: the next peak is counted from now."""
        if anew:
            Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


class _Sender:
    """dcmtk's storescu, and images for it to send."""

    def __init__(self, folder: Path, template: _Template) -> None:
        self._folder = folder / "files"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._template = template

    def files(self, count: int, parallel: int) -> list[list[Path]]:
        """New images, shared out to the associations."""
        paths = [self._folder / f"{number}.dcm" for number in range(count)]
        for path in paths:
            path.write_bytes(self._template.anew())
        os.sync()
        return [paths[number::parallel] for number in range(parallel)]

    def forget(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()

    def send(self, peer: _Peer, files: Sequence[Sequence[Path]]) -> _Took:
        count = sum(map(len, files))
        spent = peer.cpu_seconds()
        command = [
            _binary("storescu"),
            "-R",
            "-aec",
            peer.ae_title,
            "127.0.0.1",
            str(peer.server.port),
        ]
        if self._template.is_jpeg:
            command.insert(1, "-xy")
        began = time.monotonic()
        senders = [subprocess.Popen([*command, *map(str, some)]) for some in files]
        if any(sender.wait() for sender in senders):
            raise RuntimeError(f"{peer.name} did not take every image")
        elapsed = time.monotonic() - began
        time.sleep(0.2)  # until forked children have been reaped
        os.sync()
        return _Took(count / elapsed, 1000 * (peer.cpu_seconds() - spent) / count)


class _Template:
    """An image whose SOP Instance UID is replaced, byte for byte."""

    def __init__(self, content: bytes, uid: str, *, is_jpeg: bool) -> None:
        self.is_jpeg = is_jpeg
        self._content, self._uid = content, uid.encode()
        self._next = 0

    def anew(self) -> bytes:
        self._next += 1
        tail = f"1{self._next:08d}".encode()
        return self._content.replace(self._uid, self._uid[:-9] + tail)


def _template(kind: str) -> _Template:
    is_jpeg = kind == "jpeg"
    name = "examples_ybr_color.dcm" if is_jpeg else "examples_rgb_color.dcm"
    data_set = pydicom.dcmread(_packaged(name))
    uid = generate_uid()[:50].rstrip(".") + ".100000000"
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = uid
    if not is_jpeg:
        picture = np.frombuffer(data_set.PixelData, np.uint8).reshape(240, 320, 3)
        picture = np.kron(picture, np.ones((4, 4, 1), np.uint8))[:768, :1024]
        data_set.Rows, data_set.Columns = picture.shape[:2]
        data_set.PixelData = picture.tobytes()
    stream = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(stream, data_set)
    return _Template(stream.getvalue(), uid, is_jpeg=is_jpeg)


def _packaged(name: str) -> Path:
    return next(path for path in packaged_ultrasound() if path.name == name)


@contextmanager
def _peers(scratch: Path) -> Iterator[list[_Peer]]:
    """All at once: those that wait for their turn cost nothing."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(_ours(scratch / "ours")),
            stack.enter_context(_orthanc(scratch / "orthanc")),
            stack.enter_context(_storescp(scratch / "storescp")),
            stack.enter_context(_save_as(scratch / "save_as")),
        ]


@contextmanager
def _orthanc(folder: Path) -> Iterator[_Peer]:
    """Durable as it comes (``SyncStorageArea``), with threads for all senders."""
    folder.mkdir(parents=True)
    with running(Orthanc(folder, SyncStorageArea=True, DicomThreadsCount=16)) as server:
        yield _Peer("Orthanc", server, server.ae_title)


@contextmanager
def _storescp(folder: Path) -> Iterator[_Peer]:
    folder.mkdir(parents=True)
    port = _free_port()
    command = [_binary("storescp"), "--fork", "-pdu", "131072", "+xa", "-od", str(folder)]
    with running(ServerProcess([*command, str(port)], port, folder)) as server:
        yield _Peer("storescp --fork", server)


@contextmanager
def _save_as(folder: Path) -> Iterator[_Peer]:
    folder.mkdir(parents=True)
    port = _free_port()
    command = [sys.executable, str(_SAVE_AS), str(port), str(folder)]
    with running(ServerProcess(command, port, folder)) as server:
        yield _Peer("pynetdicom, save_as", server)


@contextmanager
def _ours(folder: Path, more: str = "") -> Iterator[_Peer]:
    """The ingest process as it is deployed, with a broker whose messages nobody takes.

    more: of its configuration.
    """
    (folder / "redis").mkdir(parents=True)
    port, monitoring = _free_port(), _free_port()
    config = folder / "secondread.toml"
    command = [sys.executable, "-m", "service.cli", "ingest", "--config", str(config)]
    with running(RedisServer(folder / "redis")) as broker:
        config.write_text(
            f'data_dir = "{folder / "data"}"\nbroker.url = "{broker.url}"\n'
            f"ingest.port = {port}\nmonitoring.ingest_port = {monitoring}\n{more}"
        )
        with running(ServerProcess(command, port, folder)) as server:
            yield _Peer(_OURS, server)
