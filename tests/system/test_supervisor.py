"""``secondread up``: all of it runs, comes back when it is killed, and is gone when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.analysis.inference import INPUT, OUTPUTS
from service.analysis.model_package import MANIFEST_FILE, MODEL_FILE, Manifest, file_sha256
from service.analysis.preprocessing import Preprocessing
from service.child import restart_wait

READY_SECONDS = 60
CHILDREN = {"ingest", "analysis", "delivery", "keeper", "valkey-server"}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model package that loads in no time and finds everything undecided."""
    folder = tmp_path_factory.mktemp("model")
    probabilities, *cams = OUTPUTS
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", [INPUT], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "nothing"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [probabilities], axis=1),
            *(helper.make_node("ReduceMean", [INPUT, "one"], [cam], keepdims=0) for cam in cams),
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


class Up:
    """``secondread up`` as an operator starts it."""

    def __init__(self, folder: Path, model: Path, free_port: Callable[[], int]) -> None:
        names = ("dicom", "broker", "ingest", "analysis", "delivery", "keeper")
        self.ports = {name: free_port() for name in names}
        self.output = folder / "output"
        self.data_dir = folder / "data"
        self.config = folder / "secondread.toml"
        self.config.write_text(
            f'data_dir = "{self.data_dir}"\n'
            f"[ingest]\nport = {self.ports['dicom']}\nlow_water_bytes = 0\n"
            f"[broker]\nembedded_port = {self.ports['broker']}\n"
            f'[analysis]\nmodel = "{model}"\n[monitoring]\n'
            + "".join(f"{name}_port = {self.ports[name]}\n" for name in names[2:])
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", "up", "--config", str(self.config)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self.process

    def text(self) -> str:
        return self.output.read_text()

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.text()
        return "ready after" in self.text()

    def children(self) -> dict[str, int]:
        """Process ids of the supervisor's children by name."""
        assert self.process is not None
        found = {}
        for pid in _children_of(self.process.pid):
            command = _command(pid)
            for name in CHILDREN:
                if any(Path(word).name == name for word in command):
                    found[name] = pid
        return found

    def works(self, name: str) -> bool:
        try:
            url = f"http://127.0.0.1:{self.ports[name]}/healthz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def taken_ports(self) -> list[str]:
        return [name for name, port in self.ports.items() if _is_taken(port)]


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


@pytest.fixture
def service(tmp_path: Path, small_model: Path, free_port: Callable[[], int]) -> Iterator[Up]:
    """Configured, not started."""
    service = Up(tmp_path, small_model, free_port)
    yield service
    if service.process is not None:
        service.process.kill()
        service.process.wait(10)


@pytest.fixture
def running(service: Up, eventually: Callable[..., None]) -> Up:
    service.start()
    eventually(service.is_ready, READY_SECONDS)
    return service


def test_it_starts_everything_and_says_when_it_is_ready(running: Up) -> None:
    assert set(running.children()) == CHILDREN
    assert all(running.works(name) for name in ("ingest", "analysis", "delivery", "keeper"))
    assert str(running.ports["dicom"]) in running.text()


def test_a_process_that_is_killed_comes_back(running: Up, eventually: Callable[..., None]) -> None:
    before = running.children()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def all_are_back() -> bool:
        now = running.children()
        return set(now) == CHILDREN and not set(now.values()) & set(before.values())

    eventually(all_are_back, READY_SECONDS)
    eventually(lambda: all(running.works(name) for name in CHILDREN - {"valkey-server"}), 30)


def test_sigterm_ends_everything_and_frees_the_ports(running: Up) -> None:
    assert running.process is not None
    pids = _descendants_of(running.process.pid)
    assert len(pids) > len(CHILDREN), "the decoder is one of them"
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    assert not [pid for pid in pids if _is_alive(pid)]
    assert running.taken_ports() == []


def test_nothing_outlives_a_supervisor_that_is_killed(
    running: Up, eventually: Callable[..., None]
) -> None:
    assert running.process is not None
    pids = _descendants_of(running.process.pid)
    running.process.kill()
    running.process.wait(10)
    eventually(lambda: not [pid for pid in pids if _is_alive(pid)], 5)


def test_it_starts_again_at_once_after_it_was_killed(
    running: Up, eventually: Callable[..., None]
) -> None:
    assert running.process is not None
    running.process.kill()
    running.process.wait(10)
    running.start()
    eventually(running.is_ready, READY_SECONDS)


def test_a_second_ctrl_c_does_not_wait(running: Up, eventually: Callable[..., None]) -> None:
    assert running.process is not None
    os.kill(running.children()["ingest"], signal.SIGSTOP)
    running.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in running.text())
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(2)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(5) == 0
    assert running.taken_ports() == []


def test_a_second_service_on_the_same_data_is_refused(running: Up) -> None:
    command = [sys.executable, "-m", "service.cli", "up", "--config", str(running.config)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert str(running.data_dir) in second.stderr
    assert "another" in second.stderr
    assert running.process is not None
    assert running.process.poll() is None


def test_a_port_that_is_taken_is_named_before_anything_starts(service: Up) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", service.ports["dicom"]))
        other.listen()
        assert service.start().wait(30) == 1
    assert f"ingest.port: port {service.ports['dicom']}" in service.text()
    assert "Traceback" not in service.text()
    assert service.taken_ports() == []


def test_a_model_that_cannot_be_used_ends_it_with_the_reason(service: Up, tmp_path: Path) -> None:
    config = service.config.read_text()
    service.config.write_text(
        "\n".join(
            f'model = "{tmp_path / "nowhere"}"' if line.startswith("model") else line
            for line in config.splitlines()
        )
    )
    assert service.start().wait(60) == 2
    assert "nowhere is not a model package" in service.text()
    assert "Traceback" not in service.text()
    assert service.taken_ports() == []


def test_restarts_come_slower_and_slower_up_to_a_limit() -> None:
    waits = [restart_wait(deaths) for deaths in range(1, 12)]
    assert waits[0] < 1
    assert waits == sorted(waits)
    assert waits[-1] == restart_wait(1000) == 30


def test_the_storage_scp_loads_no_onnx_runtime(running: Up) -> None:
    maps = Path(f"/proc/{running.children()['ingest']}/maps").read_text()
    assert "onnxruntime" not in maps
    maps = Path(f"/proc/{running.children()['analysis']}/maps").read_text()
    assert "onnxruntime" in maps
