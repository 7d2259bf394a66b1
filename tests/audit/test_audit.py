"""Who received what and when: messages as PS3.15 A.5 has them, a trail that keeps them, TLS."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from service.audit.messages import (
    Message,
    Node,
    Outcome,
    application_activity,
    instances_transferred,
    instances_updated,
    pseudonym,
    security_alert,
    software_configured,
    to_xml,
)
from service.audit.syslog import SyslogForwarder, syslog_message
from service.audit.trail import AuditTrail
from service.destination import ClientTls
from service.monitoring.metrics import Metrics
from service.sections import SyslogSettings
from tests.authority import Authority

from .schema import faults

US, SR = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.88.34"
STUDY, INSTANCE = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


def transfer(**different: object) -> Message:
    values = {
        "source": Node("SCANNER", "192.0.2.7"),
        "destination": Node("SECONDREAD"),
        "study_instance_uid": STUDY,
        "references": [(US, INSTANCE), (US, "1.2.3"), (SR, "1.2.4")],
        **different,
    }
    return instances_transferred(**values)


MESSAGES = {
    "transfer": transfer(),
    "refused": transfer(outcome=Outcome.MINOR_FAILURE, description="the disk is nearly full"),
    "by URL": transfer(destination=Node("archive", "https://archive.example.org/dicom-web")),
    "by name": transfer(destination=Node("pacs", "pacs.example.org")),
    "by IPv6": transfer(source=Node("SCANNER", "fe80::1%eth0")),
    "of an unknown study": transfer(study_instance_uid=None),
    "start": application_activity("ingest", started=True),
    "stop": application_activity("ingest", started=False),
    "alert": security_alert("ingest", "refused or cut: address (3 since it was last said)"),
    "alert of an address": security_alert("ingest", "address", Node("", "192.0.2.9")),
    "alert of a title": security_alert("ingest", "ae-title", Node("SCAN\x01\x1bNER", "192.0.2.9")),
    "another model": software_configured("operator", "activated 2"),
    "order": instances_updated("operator", STUDY, [(US, INSTANCE)], "withdraw"),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=list(MESSAGES))
def test_every_message_is_as_the_schema_has_it(message: Message) -> None:
    assert faults(ElementTree.fromstring(to_xml(message))) == []


def test_the_check_finds_what_is_wrong() -> None:
    broken = ElementTree.fromstring(to_xml(transfer()))
    del broken[0].attrib["EventOutcomeIndicator"]
    broken[1].set("Patient", "DOE^JANE")
    broken.append(broken[0])
    assert len(faults(broken)) >= 3


def test_a_transfer_says_who_gave_what_to_whom_and_when() -> None:
    xml = ElementTree.fromstring(to_xml(transfer()))
    event = xml.find("EventIdentification")
    assert event is not None
    assert event.find("EventID").get("csd-code") == "110104"  # type: ignore[union-attr]
    assert event.get("EventDateTime", "").endswith("+00:00")
    source, destination = xml.findall("ActiveParticipant")
    assert (source.get("UserID"), source.get("NetworkAccessPointID")) == ("SCANNER", "192.0.2.7")
    assert [each.find("RoleIDCode").get("csd-code") for each in (source, destination)] == [  # type: ignore[union-attr]
        "110153",
        "110152",
    ]
    classes = xml.findall(".//SOPClass")
    assert [(each.get("UID"), each.get("NumberOfInstances")) for each in classes] == [
        (US, "2"),
        (SR, "1"),
    ]


def test_uids_are_pseudonyms_that_who_knows_the_uid_can_find() -> None:
    text = to_xml(transfer())
    assert STUDY not in text
    assert INSTANCE not in text
    assert pseudonym(STUDY) in text
    assert pseudonym(INSTANCE) in text
    assert pseudonym("1.2.3") == "2.25.261189956532771003411213951354307305753"
    assert len(pseudonym(STUDY)) <= 64


@pytest.mark.parametrize(
    ("outcome", "value"), [(Outcome.SUCCESS, "0"), (Outcome.MINOR_FAILURE, "4")]
)
def test_what_failed_is_told_as_such(outcome: Outcome, value: str) -> None:
    message = transfer(outcome=outcome)
    assert message["EventIdentification"]["EventOutcomeIndicator"] == value


def test_an_alert_names_who_was_turned_away() -> None:
    xml = ElementTree.fromstring(to_xml(MESSAGES["alert of an address"]))
    _, peer = xml.findall("ActiveParticipant")
    assert (peer.get("UserID"), peer.get("NetworkAccessPointID")) == ("192.0.2.9", "192.0.2.9")


def test_what_xml_cannot_hold_is_replaced() -> None:
    xml = ElementTree.fromstring(to_xml(MESSAGES["alert of a title"]))
    assert xml.findall("ActiveParticipant")[1].get("UserID") == "SCAN\ufffd\ufffdNER"


# The trail


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def count(metrics: Metrics, outcome: str) -> float:
    name, labels = "secondread_audit_messages_total", {"outcome": outcome}
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_each_event_is_one_line_of_json(tmp_path: Path, metrics: Metrics) -> None:
    trail = AuditTrail(tmp_path / "audit", metrics)
    trail.write(transfer(source=Node("SCAN\nNER", "192.0.2.7")))
    trail.write(security_alert("ingest", "x"))
    (file,) = (tmp_path / "audit").iterdir()
    assert file.stat().st_mode & 0o007 == 0, "not for everybody"
    lines = file.read_text().splitlines()
    assert [json.loads(line)["EventIdentification"]["EventID"]["csd-code"] for line in lines] == [
        "110104",
        "110113",
    ]
    assert count(metrics, "written") == 2


def test_lines_of_many_threads_do_not_mix(tmp_path: Path, metrics: Metrics) -> None:
    trail = AuditTrail(tmp_path, metrics)
    threads = [
        threading.Thread(target=lambda: [trail.write(transfer()) for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert len([json.loads(line) for line in lines if line]) == 400


def test_a_trail_that_cannot_be_written_stops_nothing_and_is_counted(
    tmp_path: Path, metrics: Metrics, caplog
) -> None:
    (tmp_path / "audit").write_text("a file where the folder should be")
    AuditTrail(tmp_path / "audit", metrics).write(transfer())
    assert count(metrics, "failed") == 1
    assert "is not written" in caplog.text


def test_half_a_line_that_a_full_disk_left_spoils_no_other(
    tmp_path: Path, metrics: Metrics
) -> None:
    trail = AuditTrail(tmp_path, metrics)
    trail.write(security_alert("ingest", "first"))
    (file,) = tmp_path.iterdir()
    with file.open("a") as stream:
        stream.write('{"EventIdentification":{"Eve')
    trail.write(security_alert("ingest", "second"))
    first, torn, second = file.read_text().splitlines()
    assert "first" in json.dumps(json.loads(first))
    assert "second" in json.dumps(json.loads(second))
    assert torn == '{"EventIdentification":{"Eve'


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given away by root alone")
def test_a_file_that_a_command_of_root_begins_is_the_services(
    tmp_path: Path, metrics: Metrics
) -> None:
    os.chown(tmp_path, 12345, 12345)
    AuditTrail(tmp_path / "audit", metrics).write(transfer())
    for path in (tmp_path / "audit", *(tmp_path / "audit").iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)


# Syslog over TLS


class Collector:
    """RFC 5425: a TLS server that wants a certificate, and counts octets."""

    def __init__(self, authority: Authority, port: int = 0) -> None:
        self.messages: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            authority.folder / "collector.pem", authority.folder / "collector.key"
        )
        context.load_verify_locations(authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._listener = context.wrap_socket(
            socket.create_server(("127.0.0.1", port)), server_side=True
        )
        self.port = self._listener.getsockname()[1]
        self._open: list[ssl.SSLSocket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: ssl.SSLSocket) -> None:
        stream = connection.makefile("rb")
        while length := b"".join(iter(lambda: stream.read(1).strip(), b"")):
            self.messages.append(stream.read(int(length)).decode())

    def stop(self) -> None:
        # Or the kernel would go on listening for the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls") / "ca")
    authority.sign("collector")
    authority.sign("secondread")
    return authority


@pytest.fixture
def start(
    authority: Authority, tmp_path: Path, metrics: Metrics
) -> Iterator[Callable[[int], SyslogForwarder]]:
    running: list[SyslogForwarder] = []

    def start(port: int) -> SyslogForwarder:
        folder = authority.folder
        tls = ClientTls(
            ca_file=authority.ca,
            certificate=folder / "secondread.pem",
            key=folder / "secondread.key",
        )
        settings = SyslogSettings(host="127.0.0.1", port=port, tls=tls)
        running.append(SyslogForwarder(settings, tmp_path / "audit", metrics))
        running[-1].start()
        return running[-1]

    yield start
    for forwarder in running:
        forwarder.stop()


def test_the_trail_is_forwarded_over_tls(
    authority: Authority, start, tmp_path: Path, metrics: Metrics, eventually
) -> None:
    collector = Collector(authority)
    trail = AuditTrail(tmp_path / "audit", metrics)
    trail.write(transfer())
    start(collector.port)
    eventually(lambda: len(collector.messages) == 1)
    trail.write(security_alert("ingest", "x"))
    eventually(lambda: len(collector.messages) == 2)
    head, _, xml = collector.messages[0].partition("\ufeff")
    assert head.startswith("<85>1 2")
    assert head.split()[3] == "secondread"
    assert head.split()[5:] == ["DICOM+RFC3881", "-"]
    assert faults(ElementTree.fromstring(xml)) == []
    collector.stop()


def test_what_came_while_the_collector_was_down_is_not_lost_and_not_sent_twice(
    authority: Authority, start, tmp_path: Path, metrics: Metrics, eventually
) -> None:
    collector = Collector(authority)
    trail = AuditTrail(tmp_path / "audit", metrics)
    first = start(collector.port)
    trail.write(security_alert("ingest", "first"))
    eventually(lambda: len(collector.messages) == 1)
    first.stop()
    collector.stop()
    trail.write(security_alert("ingest", "second"))
    start(collector.port)
    eventually(lambda: count(metrics, "waiting") > 0)
    again = Collector(authority, collector.port)
    eventually(lambda: len(again.messages) == 1, 30)
    assert "second" in again.messages[0]
    again.stop()


def test_a_collector_of_another_authority_gets_nothing(
    start, tmp_path: Path, metrics: Metrics, eventually
) -> None:
    stranger = Authority(tmp_path / "stranger")
    stranger.sign("collector")
    collector = Collector(stranger)
    AuditTrail(tmp_path / "audit", metrics).write(transfer())
    start(collector.port)
    eventually(lambda: count(metrics, "waiting") > 0)
    assert collector.messages == []
    collector.stop()


def test_older_days_are_forwarded_before_newer_ones(
    authority: Authority, start, tmp_path: Path, metrics: Metrics, eventually
) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    for day in ("2026-01-02", "2026-01-01", "2026-01-03"):
        line = json.dumps(security_alert("ingest", day))
        (folder / f"{day}.jsonl").write_text(f"{line}\n")
    (folder / "2026-01-03.jsonl").open("a").write('{"half a line')
    collector = Collector(authority)
    start(collector.port)
    eventually(lambda: len(collector.messages) == 3)
    days = [text[text.index("2026-01") :][:10] for text in collector.messages]
    assert days == ["2026-01-01", "2026-01-02", "2026-01-03"]
    collector.stop()


def test_what_is_no_message_is_passed_over_and_counted(
    authority: Authority, start, tmp_path: Path, metrics: Metrics, eventually
) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    lines = ['{"Event', "17", "", json.dumps(security_alert("ingest", "good"))]
    (folder / "2026-01-01.jsonl").write_text("".join(f"{line}\n" for line in lines))
    collector = Collector(authority)
    start(collector.port)
    eventually(lambda: len(collector.messages) == 1)
    assert "good" in collector.messages[0]
    assert count(metrics, "unreadable") == 2
    collector.stop()


def test_what_is_written_under_an_older_date_is_forwarded_too(
    authority: Authority, start, tmp_path: Path, metrics: Metrics, eventually
) -> None:
    """As when the clock is set back, or midnight passes between a line's date and its write."""
    folder = tmp_path / "audit"
    folder.mkdir()
    line = f"{json.dumps(security_alert('ingest', 'x'))}\n"
    (folder / "2026-01-02.jsonl").write_text(line)
    collector = Collector(authority)
    start(collector.port)
    eventually(lambda: len(collector.messages) == 1)
    (folder / "2026-01-01.jsonl").write_text(line)
    eventually(lambda: len(collector.messages) == 2)
    assert count(metrics, "forwarded") == 2
    collector.stop()


def test_a_syslog_message_names_its_severity_and_sender() -> None:
    assert "<85>1 " in syslog_message(transfer())
