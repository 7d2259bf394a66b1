"""``secondread truth listen``: results of pathology over a real connection."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hl7
import pytest
from hl7.client import MLLPClient, MLLPException
from prometheus_client.parser import text_string_to_metric_families

from service.audit.messages import pseudonym, to_xml
from service.journal.journal import Journal
from service.journal.truth_records import Diagnosis
from tests.audit.schema import faults
from tests.authority import Authority
from tests.truth.test_message import ORU


class Listening:
    """ask: the MSA of the answer to a message; with ``tls``, over it. end: what it has written."""

    def __init__(self, port: int, monitoring: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process
        self._monitoring = f"http://127.0.0.1:{monitoring}"

    def ask(self, message: str, tls: ssl.SSLContext | None = None) -> tuple[str, str, str]:
        with MLLPClient("127.0.0.1", self.port) as client:
            client.socket.settimeout(20)
            if tls is not None:
                client.socket = tls.wrap_socket(client.socket, server_hostname="127.0.0.1")
            ack = hl7.parse(client.send_message(message).strip(b"\x0b\x1c\r") + b"\r")
        msa = [str(field) for field in ack.segment("MSA")] + [""]
        return msa[1], msa[2], msa[3]

    def health(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self._monitoring}/healthz", timeout=20) as told:
                return told.status, told.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()

    def metric(self, name: str, **labels: str) -> float | None:
        with urllib.request.urlopen(f"{self._monitoring}/metrics", timeout=20) as told:
            text = told.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return float(sample.value)
        return None

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        told, _ = self.process.communicate(timeout=20)
        return told


@pytest.fixture
def listening(
    site, free_port: Callable[[], int], eventually: Callable[..., None]
) -> Iterator[Callable[..., object]]:
    """``with listening(SECONDREAD_TRUTH__ADDRESSES="[]") as there``."""

    @contextmanager
    def start(**environment: str) -> Iterator[Listening]:
        port, monitoring = free_port(), free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "truth", "listen"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=site.folder,
            env={
                **os.environ,
                "SECONDREAD_DATA_DIR": str(site.settings.data_dir),
                "SECONDREAD_TRUTH__PORT": str(port),
                "SECONDREAD_MONITORING__TRUTH_PORT": str(monitoring),
                "SECONDREAD_TRUTH__MALIGNANT": '["M"]',
                "SECONDREAD_TRUTH__BENIGN": '["B"]',
                **environment,
            },
        )

        def answers() -> bool:
            assert process.poll() is None, process.communicate()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", monitoring)) == 0

        try:
            eventually(answers, 30)
            yield Listening(port, monitoring, process)
        finally:
            process.kill()
            process.communicate()

    return start


def test_accepted_means_that_it_is_in_the_journal(site, listening) -> None:
    site.analysed(1, 0.9)
    with listening() as there:
        assert there.ask(ORU) == ("AA", "4711", "")
        there.process.kill()
    with_own_eyes = Journal(site.settings.journal_url)
    [row] = with_own_eyes.truth_history("1.2.900.1")
    with_own_eyes.close()
    assert (row.diagnosis, row.dated) == (Diagnosis.MALIGNANT, date(2026, 3, 9))
    assert row.teller == "hl7 127.0.0.1"


def test_a_correction_and_a_repetition_are_accepted_too(site, listening) -> None:
    site.analysed(1, 0.9)
    with listening() as there:
        for text in (ORU, ORU, ORU.replace("M^Malignant", "B").replace("|F|", "|C|")):
            assert there.ask(text)[0] == "AA"
    found = [row.diagnosis for row in site.journal.truth_history("1.2.900.1")]
    assert found == [Diagnosis.MALIGNANT, Diagnosis.BENIGN]


def test_what_is_not_taken_is_said_and_the_next_one_is_heard(site, listening) -> None:
    site.analysed(1, 0.9)
    with listening() as there:
        unknown = ORU.replace("1.2.900.1", "1.2.900.77")
        assert there.ask(unknown) == ("AE", "4711", "no such study was received")
        assert there.ask(ORU.replace("ORU^R01", "ADT^A01"))[0] == "AR"
        assert there.ask("DOE^JANE")[0] == "AR"
        with socket.create_connection(("127.0.0.1", there.port), 20) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: DOE\x1c\r")
            assert b"MSA|AR|" in raw.recv(1000)
            assert raw.recv(1000) == b""
        with socket.create_connection(("127.0.0.1", there.port), 20) as cut:
            cut.sendall(b"\x0b" + ORU.encode()[:50])
        assert there.ask(ORU)[0] == "AA"
        log = there.end()
        assert there.process.returncode == 0
    assert "no such study was received" in log
    for secret in ("DOE", "JANE", "12345", "1.2.900", "4711", "Traceback"):
        assert secret not in log


def test_a_message_without_end_is_cut_off_and_others_are_heard(site, listening) -> None:
    site.analysed(1, 0.9)
    with listening() as there:
        with socket.create_connection(("127.0.0.1", there.port), 20) as raw:
            sent = 0
            with suppress(ConnectionError):
                raw.sendall(b"\x0b")
                while sent < 1 << 30:
                    sent += raw.send(b"x" * (1 << 16))
            assert sent < 1 << 26
        assert there.ask(ORU)[0] == "AA"


def test_a_journal_that_is_gone_is_no_acceptance(site, listening) -> None:
    site.analysed(1, 0.9)
    with listening() as there:
        file = site.settings.data_dir / "journal.sqlite3"
        with site.journal._database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE truth RENAME TO elsewhere")
        code, _, why = there.ask(ORU)
        assert (code, why) == ("AE", "the journal does not answer: send it again")
        with site.journal._database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO truth")
        assert file.exists()
        assert there.ask(ORU)[0] == "AA"


def test_only_those_who_are_named_may_connect(site, listening) -> None:
    with (
        listening(SECONDREAD_TRUTH__ADDRESSES='["192.0.2.0/24"]') as there,
        socket.create_connection(("127.0.0.1", there.port), 20) as raw,
    ):
        try:
            raw.sendall(b"\x0b" + ORU.encode() + b"\x1c\r")
            told = raw.recv(1000)
        except ConnectionError:
            told = b""
        assert told == b""


def audited(site) -> list[dict[str, Any]]:
    """The messages of the audit trail, in their order."""
    lines = [
        line
        for file in sorted(site.settings.audit_dir.glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def test_what_is_taken_is_in_the_audit_trail_and_what_changes_nothing_is_not(
    site, listening
) -> None:
    site.analysed(1, 0.9)
    site.analysed(1, 0.8, number=2)
    with listening() as there:
        for text in (ORU, ORU, ORU.replace("1.2.900.1", "1.2.900.77"), "DOE^JANE"):
            there.ask(text)
        there.end()
    started, taken, ended = audited(site)
    for message, kind in ((started, "Application Start"), (ended, "Application Stop")):
        assert message["EventIdentification"]["EventTypeCode"]["originalText"] == kind
    assert taken["EventIdentification"]["EventActionCode"] == "U"
    assert taken["EventIdentification"]["EventOutcomeDescription"]["text"] == "pathology: taken"
    assert [each["UserID"] for each in taken["ActiveParticipant"]] == ["hl7 127.0.0.1"]
    (study,) = taken["ParticipantObjectIdentification"]
    assert study["ParticipantObjectID"] == pseudonym("1.2.900.1")
    (images,) = study["ParticipantObjectDescription"]["SOPClass"]
    assert {each["UID"] for each in images["Instance"]} == {
        pseudonym("1.2.1.1"),
        pseudonym("1.2.1.2"),
    }
    assert faults(ElementTree.fromstring(to_xml(taken))) == []
    text = json.dumps(taken)
    for secret in ("DOE", "12345", "1.2.900.1", "malignant"):
        assert secret not in text


def test_a_stranger_is_counted_and_audited_once_a_minute(site, listening) -> None:
    with listening(SECONDREAD_TRUTH__ADDRESSES='["192.0.2.0/24"]') as there:
        for _ in range(3):
            with (
                suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", there.port), 20) as raw,
            ):
                raw.recv(1000)
        refused = there.metric("secondread_refused_associations_total", reason="address")
        assert refused == 3
        there.end()
    _, alert, _ = audited(site)
    assert alert["EventIdentification"]["EventID"]["originalText"] == "Security Alert"
    assert alert["ActiveParticipant"][1]["NetworkAccessPointID"] == "127.0.0.1"


def test_messages_are_counted_by_outcome(site, listening) -> None:
    site.analysed(1, 0.9)
    began = time.time()
    with listening() as there:
        assert there.health() == (200, "ok")
        assert there.metric("secondread_truth_messages_total", outcome="bad") == 0
        last = "secondread_truth_last_message_timestamp_seconds"
        assert there.metric(last, outcome="taken") is None
        for text in (ORU, ORU, "DOE^JANE"):
            there.ask(text)
        counts = {
            outcome: there.metric("secondread_truth_messages_total", outcome=outcome)
            for outcome in ("taken", "unchanged", "unknown", "bad", "fault")
        }
        assert counts == {"taken": 1, "unchanged": 1, "unknown": 0, "bad": 1, "fault": 0}
        assert began <= (there.metric(last, outcome="taken") or 0) <= time.time()
        (site.settings.data_dir / "journal.sqlite3").unlink()
        assert there.health() == (503, "the journal does not answer")


def test_tls_with_client_certificates_that_are_renewed_without_a_restart(
    site, listening, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    site.analysed(1, 0.9)
    ours, next_one = Authority(tmp_path / "ours"), Authority(tmp_path / "next")
    files = {name: tmp_path / f"own-{name}.pem" for name in ("ca_file", "certificate", "key")}

    def install(authority: Authority) -> None:
        certificate, key = authority.sign("reader")
        for name, path in (("key", key), ("certificate", certificate), ("ca_file", authority.ca)):
            shutil.copy(path, files[name])

    def pathology(authority: Authority, *, known: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=authority.ca)
        if known:
            context.load_cert_chain(*authority.sign("pathology"))
        return context

    def is_heard(tls: ssl.SSLContext | None) -> bool:
        try:
            return there.ask(ORU, tls)[0] == "AA"
        except (OSError, MLLPException, hl7.HL7Exception, AttributeError, IndexError):
            return False

    install(ours)
    variables = {f"SECONDREAD_TRUTH__TLS__{key.upper()}": str(path) for key, path in files.items()}
    with listening(**variables) as there:
        assert is_heard(pathology(ours))
        assert not is_heard(pathology(ours, known=False))
        assert not is_heard(None)
        install(next_one)
        eventually(lambda: is_heard(pathology(next_one)))
        assert not is_heard(pathology(ours))


def test_tls_files_that_cannot_be_used_are_named(site, free_port: Callable[[], int]) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "service.cli", "truth", "listen"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=site.folder,
        env={
            **os.environ,
            "SECONDREAD_DATA_DIR": str(site.settings.data_dir),
            "SECONDREAD_TRUTH__PORT": str(free_port()),
            "SECONDREAD_TRUTH__TLS__CERTIFICATE": "nowhere.pem",
            "SECONDREAD_TRUTH__TLS__KEY": "nowhere.key",
            "SECONDREAD_TRUTH__TLS__REQUIRE_CLIENT_CERTIFICATE": "false",
        },
    )
    assert told.returncode == 2
    assert "nowhere.pem" in told.stderr
    assert "Traceback" not in told.stderr


def test_it_is_off_until_it_has_a_port(site) -> None:
    told = site.secondread("truth", "listen")
    assert told.returncode == 2
    assert "truth.port: set it" in told.stderr
