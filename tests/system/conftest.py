"""``secondread up`` as an operator starts it, between a scanner and a PACS."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import generate_uid

from service.analysis.inference import INPUT, OUTPUTS
from service.analysis.model_package import MANIFEST_FILE, MODEL_FILE, Manifest, file_sha256
from service.analysis.preprocessing import Preprocessing
from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState
from service.scu import Peer
from service.sections import REFERENCE_MODEL
from service.spool import Spool

PROCESSES = ("ingest", "analysis", "delivery", "keeper", "web")
FINAL = {ImageState.DELIVERED, ImageState.IGNORED, ImageState.FAILED}


class Up:
    """``secondread up`` on free ports and a folder of its own.

    destinations: servers with ``port`` and ``ae_title``, or lines of TOML; they are named pacs-0,
        pacs-1, …
    quiet_seconds: after which a study is summarised; by default no test waits for it.
    extra: lines of TOML with dotted keys, such as ``keeper.lease = 2``.
    """

    def __init__(
        self,
        folder: Path,
        free_port: Callable[[], int],
        model: Path,
        destinations: Sequence[Any] = (),
        extra: Sequence[str] = (),
        quiet_seconds: float = 3600,
    ) -> None:
        self.ports = {name: free_port() for name in ("dicom", "broker", "page", *PROCESSES)}
        self.output = folder / "output"
        self.data_dir = folder / "data"
        self.spool = Spool(self.data_dir / "spool")
        self.peer = Peer("127.0.0.1", self.ports["dicom"], "SECONDREAD")
        self.config = folder / "secondread.toml"
        lines = [
            f'data_dir = "{self.data_dir}"',
            f"ingest.port = {self.ports['dicom']}",
            "ingest.low_water_bytes = 0",
            f"results.quiet_seconds = {quiet_seconds}",
            f"broker.embedded_port = {self.ports['broker']}",
            f"web.port = {self.ports['page']}",
            f'analysis.model = "{model}"',
            *(f"monitoring.{name}_port = {self.ports[name]}" for name in PROCESSES),
            *extra,
        ]
        for number, server in enumerate(destinations):
            lines += ["[[destinations]]", f'name = "pacs-{number}"']
            if isinstance(server, str):
                lines.append(server)
            else:
                lines += ['host = "127.0.0.1"', f"port = {server.port}"]
                lines.append(f'ae_title = "{server.ae_title}"')
        self.config.write_text("\n".join(lines))
        self.journal = Journal(f"sqlite:///{self.data_dir / 'journal.sqlite3'}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            output.truncate(0)
            self.process = subprocess.Popen(
                [*self.command("up"), "--config", str(self.config)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_without_settings(os.environ),
            )
        return self.process

    @staticmethod
    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "service.cli", name]

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def text(self) -> str:
        """What it has said since it was started last."""
        return self.output.read_text()

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.text()
        return "ready after" in self.text()

    def works(self, name: str) -> bool:
        try:
            url = f"http://127.0.0.1:{self.ports[name]}/healthz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def taken_ports(self) -> list[str]:
        return [name for name, port in self.ports.items() if _is_taken(port)]

    # its processes
    def children(self) -> dict[str, int]:
        """Process ids of the supervisor's children by name."""
        assert self.process is not None
        found = {}
        for pid in _children_of(self.process.pid):
            command = _command(pid)
            for name in (*PROCESSES, "valkey-server"):
                if any(Path(word).name == name for word in command):
                    found[name] = pid
        return found

    def descendants(self, name: str | None = None) -> list[int]:
        """Process ids of all that it has started, or of the child ``name`` with its own."""
        assert self.process is not None
        if name is None:
            return _descendants_of(self.process.pid)
        child = self.children()[name]
        return [child, *_descendants_of(child)]

    @staticmethod
    def alive(pids: Sequence[int]) -> list[int]:
        return [pid for pid in pids if _is_alive(pid)]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child and to all that it has started."""
        for pid in self.descendants(name):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    # what it knows
    def row(self, path: Path) -> ImageRow | None:
        """The journal's row of a file that was sent in the transfer syntax that it has.

        Not by its digest: dcmtk drops group lengths, and writes sequences in its own way.
        """
        meta = read_file_meta_info(path)
        rows = [
            self.journal.image(key)
            for key in self.journal.keys_of(str(meta.MediaStorageSOPInstanceUID))
        ]
        found = [row for row in rows if row and row.transfer_syntax_uid == meta.TransferSyntaxUID]
        assert len(found) <= 1, "one file, one row"
        return found[0] if found else None

    def is_final(self, *paths: Path) -> bool:
        rows = [self.row(path) for path in paths]
        return all(row is not None and row.state in FINAL for row in rows)

    def metrics(self, name: str) -> str:
        """The page of one process."""
        url = f"http://127.0.0.1:{self.ports[name]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    def count(self, name: str, sample: str, **labels: str) -> float:
        """One value of a process's metrics, 0 if it is not there."""
        for family in text_string_to_metric_families(self.metrics(name)):
            for found in family.samples:
                if found.name == sample and found.labels == labels:
                    return float(found.value)
        return 0.0


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if not name.startswith("SECONDREAD_")}


def _stat(pid: int) -> list[str]:
    """State and parent of a process; nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _children_of(parent: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if _stat(pid)[1:] == [str(parent)]]


def _descendants_of(parent: int) -> list[int]:
    children = _children_of(parent)
    return children + [pid for child in children for pid in _descendants_of(child)]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ").split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _configured(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def configure(model: Path, **options: Any) -> Up:
        made.append(Up(tmp_path_factory.mktemp("up"), free_port, model, **options))
        return made[-1]

    yield configure
    for service in made:
        service.kill()
        service.journal.close()


@pytest.fixture
def up(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Callable[..., Up]]:
    """``up(model, destinations=…, extra=…)``: configured, not started; killed after the test."""
    yield from _configured(tmp_path_factory, free_port)


@pytest.fixture(scope="module")
def shared_up(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Callable[..., Up]]:
    """``up`` for all tests of a module."""
    yield from _configured(tmp_path_factory, free_port)


@pytest.fixture(scope="session")
def reference_model() -> Path:
    """The trained model that the service uses by default."""
    return REFERENCE_MODEL


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model package that loads in no time and finds everything undecided."""
    return make_small_model(tmp_path_factory.mktemp("model"))


def make_small_model(folder: Path) -> Path:
    """The model package of ``small_model``, in an empty folder."""
    probabilities, *cams = OUTPUTS
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", [INPUT], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "nothing"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [probabilities], axis=1),
            helper.make_node("Relu", [INPUT], ["light"]),
            *(helper.make_node("ReduceMean", ["light", "one"], [cam], keepdims=0) for cam in cams),
        ],
        "undecided",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, 32, 32])],
        [
            helper.make_tensor_value_info(probabilities, TensorProto.FLOAT, ["N", 2]),
            *(helper.make_tensor_value_info(cam, TensorProto.FLOAT, ["N", 32, 32]) for cam in cams),
        ],
        [
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
            numpy_helper.from_array(np.zeros((3, 2), dtype=np.float32), "nothing"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / MODEL_FILE)
    manifest = Manifest(
        name="undecided",
        version="1",
        sha256=file_sha256(folder / MODEL_FILE),
        architecture="none",
        classes=("benign", "malignant"),
        threshold=0.5,
        preprocessing=Preprocessing(size=32),
        intended_use="tests",
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``copy_of(path, **elements)``: a real image once more, as the only one of a new study."""

    def copy(path: Path, **elements: object) -> Path:
        data_set = dcmread(path)
        data_set.StudyInstanceUID = generate_uid()
        data_set.SeriesInstanceUID = generate_uid()
        data_set.SOPInstanceUID = generate_uid()
        data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
        for keyword, value in elements.items():
            setattr(data_set, keyword, value)
        target = tmp_path_factory.mktemp("scanner") / path.name
        data_set.save_as(target)
        return target

    return copy


@pytest.fixture(scope="session")
def results_of() -> Callable[..., list[Dataset]]:
    """``results_of(orthanc, path)``: the results in the image's study, first SC, then SR."""

    def results(orthanc: Any, path: Path) -> list[Dataset]:
        study = dcmread(path, stop_before_pixels=True).StudyInstanceUID
        return [
            dcmread(BytesIO(orthanc.content(f"/instances/{instance}/file")))
            for modality in ("OT", "SR")
            for series in orthanc.find("Series", StudyInstanceUID=study, Modality=modality)
            for instance in series["Instances"]
        ]

    return results
