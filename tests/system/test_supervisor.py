"""``secondread up``: all of it runs, comes back when it is killed, and is gone when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from service.child import restart_wait
from service.config import Settings
from service.programs import PORT_KEYS
from service.supervisor import Supervisor
from tests.system.conftest import PROCESSES

READY_SECONDS = 60
CHILDREN = {*PROCESSES, "valkey-server"}


@pytest.fixture
def service(up, small_model):
    """Configured, not started."""
    return up(small_model)


@pytest.fixture
def running(service, eventually):
    service.start()
    eventually(service.is_ready, READY_SECONDS)
    return service


def test_it_starts_everything_and_says_when_it_is_ready(running) -> None:
    assert set(running.children()) == CHILDREN
    assert all(running.works(name) for name in PROCESSES)
    assert str(running.ports["dicom"]) in running.text()


def test_a_process_that_is_killed_comes_back(running, eventually) -> None:
    before = running.children()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def all_are_back() -> bool:
        now = running.children()
        return set(now) == CHILDREN and not set(now.values()) & set(before.values())

    eventually(all_are_back, READY_SECONDS)
    eventually(lambda: all(running.works(name) for name in CHILDREN - {"valkey-server"}), 30)


def test_sigterm_ends_everything_and_frees_the_ports(running) -> None:
    pids = running.descendants()
    assert len(pids) > len(CHILDREN), "the decoder is one of them"
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    assert not running.alive(pids)
    assert running.taken_ports() == []


def test_nothing_outlives_a_supervisor_that_is_killed(running, eventually) -> None:
    pids = running.descendants()
    running.process.kill()
    running.process.wait(10)
    eventually(lambda: not running.alive(pids), 5)


def test_it_starts_again_at_once_after_it_was_killed(running, eventually) -> None:
    running.process.kill()
    running.process.wait(10)
    running.start()
    eventually(running.is_ready, READY_SECONDS)


def test_a_second_ctrl_c_does_not_wait(running, eventually) -> None:
    os.kill(running.children()["ingest"], signal.SIGSTOP)
    running.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in running.text())
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(2)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(5) == 0
    assert running.taken_ports() == []


def test_a_second_service_on_the_same_data_is_refused(running) -> None:
    command = [*running.command("up"), "--config", str(running.config)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert str(running.data_dir) in second.stderr
    assert "another" in second.stderr
    assert running.process.poll() is None


def test_a_port_that_is_taken_is_named_before_anything_starts(service) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", service.ports["dicom"]))
        other.listen()
        assert service.start().wait(30) == 1
    assert f"ingest.port: port {service.ports['dicom']}" in service.text()
    assert "Traceback" not in service.text()
    assert service.taken_ports() == []


def test_a_model_that_cannot_be_used_ends_it_with_the_reason(up, tmp_path) -> None:
    service = up(tmp_path / "nowhere")
    assert service.start().wait(60) == 2
    assert "nowhere is not a model package" in service.text()
    assert "Traceback" not in service.text()
    assert service.taken_ports() == []


def test_restarts_come_slower_and_slower_up_to_a_limit() -> None:
    waits = [restart_wait(deaths) for deaths in range(1, 12)]
    assert waits[0] < 1
    assert waits == sorted(waits)
    assert waits[-1] == restart_wait(1000) == 30


def test_the_storage_scp_loads_no_onnx_runtime(running) -> None:
    maps = Path(f"/proc/{running.children()['ingest']}/maps").read_text()
    assert "onnxruntime" not in maps
    maps = Path(f"/proc/{running.children()['analysis']}/maps").read_text()
    assert "onnxruntime" in maps


def test_a_free_monitoring_port_is_none_that_the_configuration_names(
    monkeypatch, tmp_path, free_port
) -> None:
    """Nobody listens there yet, so the kernel may well offer it."""
    offered = [free_port() for _ in range(6)]

    class Probe(socket.socket):
        def bind(self, address) -> None:
            super().bind((address[0], offered.pop(0)))

    taken = offered[0]
    monitoring = dict.fromkeys(PORT_KEYS.values(), 0)
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "ingest": {"port": taken}, "monitoring": monitoring}
    )
    monkeypatch.setattr("service.supervisor.socket.socket", Probe)
    chosen = Supervisor(settings, None).settings.monitoring
    ports = {getattr(chosen, name) for name in PORT_KEYS.values()}
    assert taken not in ports
    assert 0 not in ports
