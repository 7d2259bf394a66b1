"""The ingest process: health, metrics, and a good end on SIGTERM while scanners are sending."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pydicom
import pytest

from service.config import ConfigurationError, Settings
from service.ingest.process import run
from service.journal.journal import Journal
from service.scu import Peer, send_files

RUN = """
import sys
from service.config import ConfigurationError, Settings
from service.ingest.process import run
from service.ingest.process import run
from service.log import set_up_logging
set_up_logging("ingest", "DEBUG")
run(Settings.model_validate_json(sys.argv[1]), publish=lambda key: None)
"""


class Process:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, settings.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.settings.monitoring.ingest_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self, seconds: float) -> int:
        return self.process.wait(seconds)

    def listens(self) -> bool:
        return _answers(self.settings.ingest.port) and _answers(
            self.settings.monitoring.ingest_port
        )


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def start_process(tmp_path, free_port, eventually):
    started = []

    def start(**ingest) -> Process:
        process = Process(
            Settings.model_validate(
                {
                    "data_dir": tmp_path,
                    "ingest": {"port": free_port(), "low_water_bytes": 0, **ingest},
                    "monitoring": {"ingest_port": free_port()},
                }
            )
        )
        started.append(process)
        eventually(process.listens)
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
        process.process.communicate(timeout=10)


def rows(settings: Settings) -> int:
    journal = Journal(settings.journal_url)
    try:
        return len(journal.images())
    finally:
        journal.close()


def test_sigterm_lets_a_scanner_finish(start_process, dcmtk, eventually, us_dicom) -> None:
    process = start_process(drain_seconds=30)
    source = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    port = process.settings.ingest.port
    sent = []
    scanner = threading.Thread(
        target=lambda: sent.append(
            dcmtk("storescu", "--repeat", 25, "+II", "127.0.0.1", port, source)
        )
    )
    scanner.start()
    eventually(lambda: rows(process.settings) >= 2)
    process.terminate()
    before = rows(process.settings)
    scanner.join(60)
    assert before < 25, "the scanner was done before SIGTERM: the test shows nothing"
    assert sent[0].returncode == 0, sent[0].stdout
    assert process.ended(10) == 0
    assert rows(process.settings) == 25


def test_sigterm_takes_no_new_association_and_waits_no_longer_than_told(
    start_process, associate, dcmtk, eventually
) -> None:
    process = start_process(drain_seconds=5)
    idle = associate(process.settings.ingest.port)
    process.terminate()
    started = time.monotonic()
    eventually(lambda: not process.listens(), 4.5)
    assert idle.send_c_echo().Status == 0x0000
    assert dcmtk("echoscu", "127.0.0.1", process.settings.ingest.port).returncode != 0
    assert process.ended(15) == 0
    assert time.monotonic() - started > 4
    eventually(lambda: idle.is_aborted)


def test_peer_that_stops_in_the_middle_of_a_pdu_does_not_hold_the_end_up(start_process) -> None:
    process = start_process(drain_seconds=1)
    with socket.create_connection(("127.0.0.1", process.settings.ingest.port), 5) as stalled:
        stalled.sendall(b"\x01\x00\x00\x00\x01\x00half a request")
        time.sleep(0.5)
        process.terminate()
        assert process.ended(10) == 0


def test_health_and_metrics(start_process, dcmtk, us_dicom) -> None:
    process = start_process()
    source = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    dcmtk("storescu", "127.0.0.1", process.settings.ingest.port, source)
    assert process.get("/healthz") == (200, "ok\n")
    _, metrics = process.get("/metrics")
    assert 'secondread_received_total{outcome="stored"} 1.0' in metrics
    assert "secondread_spool_free_bytes" in metrics
    assert "secondread_associations 0.0" in metrics


def test_log_names_the_image_by_its_key_alone(start_process, us_dicom) -> None:
    process = start_process()
    source = us_dicom / "other" / "dcm4che__YBR_422.dcm"
    header = pydicom.dcmread(source, stop_before_pixels=True)
    assert not header.SOPInstanceUID.is_valid, "pydicom and pynetdicom warn of it, and quote it"
    peer = Peer("127.0.0.1", process.settings.ingest.port, "SECONDREAD")
    (outcome,) = send_files([source], peer, "SCANNER")
    assert outcome.stored
    process.terminate()
    output, _ = process.process.communicate(timeout=20)
    journal = Journal(process.settings.journal_url)
    (row,) = journal.images()
    journal.close()
    assert f"{row.key} stored" in output
    for word in (header.SOPInstanceUID, header.StudyInstanceUID, header.PatientID):
        assert str(word) not in output


def test_full_disk_is_unhealthy(start_process) -> None:
    process = start_process(low_water_bytes=1 << 60)
    assert process.get("/healthz") == (503, "the spool's disk is below its low-water mark\n")


def test_port_in_use_is_a_configuration_error(start_process, tmp_path) -> None:
    first = start_process()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with pytest.raises(ConfigurationError, match=r"ingest\.port"):
            run(first.settings, lambda key: None)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
