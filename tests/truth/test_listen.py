"""``secondread truth listen``: results of pathology over a real connection."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date

import hl7
import pytest
from hl7.client import MLLPClient

from service.journal.journal import Journal
from service.journal.truth_records import Diagnosis
from tests.truth.test_message import ORU


class Listening:
    """ask: the MSA of the answer to a message. log: all that the process has written."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process

    def ask(self, message: str) -> tuple[str, str, str]:
        with MLLPClient("127.0.0.1", self.port) as client:
            client.socket.settimeout(20)
            ack = hl7.parse(client.send_message(message).strip(b"\x0b\x1c\r") + b"\r")
        msa = [str(field) for field in ack.segment("MSA")] + [""]
        return msa[1], msa[2], msa[3]

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
        port = free_port()
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
                "SECONDREAD_TRUTH__MALIGNANT": '["M"]',
                "SECONDREAD_TRUTH__BENIGN": '["B"]',
                **environment,
            },
        )

        def answers() -> bool:
            assert process.poll() is None, process.communicate()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            eventually(answers, 30)
            yield Listening(port, process)
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


def test_it_is_off_until_it_has_a_port(site) -> None:
    told = site.secondread("truth", "listen")
    assert told.returncode == 2
    assert "truth.port: set it" in told.stderr
