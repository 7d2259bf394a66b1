"""Who gets in, how often, how much at once and how slowly; and what the refused leave behind."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from service.audit.messages import Node
from service.audit.trail import AuditTrail
from service.ingest.access import Access, Rate
from service.ingest.guard import Guard
from service.ingest.settings import IngestSettings, PeerRule
from service.journal.journal import Journal
from service.monitoring.metrics import Metrics
from service.scu import echo, send_files
from tests.ingest.wire import data_set, pdu, store_command


def refusals(ingest, reason: str) -> float:
    value = ingest.metrics.registry.get_sample_value(
        "secondread_refused_associations_total", {"reason": reason}
    )
    return value or 0.0


def rules(*pairs: tuple[str, str]) -> Access:
    peers = tuple(PeerRule(ae_title=title, address=address) for title, address in pairs)
    return Access(IngestSettings(peers=peers))


# Who


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_without_rules_this_machine_alone_is_known(address: str) -> None:
    assert rules().knows(address)


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7", "0.0.0.0"])
def test_and_no_other(address: str) -> None:
    access = rules()
    assert not access.knows(address)
    assert access.rule_for("SCANNER", address) is None


def test_title_and_address_belong_together() -> None:
    access = rules(("US1", "192.0.2.7"), ("US2", "192.0.2.0/24"), ("*", "2001:db8::/64"))
    assert access.rule_for("US1", "192.0.2.7")
    assert access.rule_for("US2", "192.0.2.8")
    assert access.rule_for("ANY", "2001:db8::5")
    assert access.rule_for("US2", "::ffff:192.0.2.8")
    assert access.rule_for("US1", "192.0.2.8") is None
    assert access.rule_for("us1", "192.0.2.7") is None
    assert access.rule_for("US2", "192.0.3.8") is None


def test_a_link_local_address_may_name_its_interface() -> None:
    assert rules(("*", "fe80::/10")).knows("fe80::1%eth0")


def test_an_unknown_address_is_closed_without_a_word(start_ingest) -> None:
    ingest = start_ingest(peers=[{"address": "192.0.2.0/24"}])
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=5) as connection:
        assert connection.recv(1) == b""
    assert refusals(ingest, "address") == 1


def turned_away(folder: Path) -> list[tuple[str, str]]:
    """Title and address of those of whom the audit trail says so."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            message = json.loads(line)
            if message["EventIdentification"]["EventID"]["csd-code"] == "110113":
                peer = message["ActiveParticipant"][1]
                found.append((peer["UserID"], peer["NetworkAccessPointID"]))
    return found


def test_the_audit_trail_says_who_was_turned_away(
    start_ingest, dcmtk, eventually, tmp_path: Path
) -> None:
    ingest = start_ingest(peers=[{"ae_title": "US1", "address": "127.0.0.1"}])
    dcmtk("echoscu", "-aet", "STRANGER", "127.0.0.1", ingest.port)
    assert turned_away(tmp_path / "audit") == [("STRANGER", "127.0.0.1")]
    with socket.create_connection(("127.0.0.1", ingest.port), source_address=("127.0.0.2", 0)):
        eventually(lambda: ("127.0.0.2", "127.0.0.2") in turned_away(tmp_path / "audit"))


def test_a_flood_from_everywhere_does_not_fill_the_trail(tmp_path: Path) -> None:
    metrics = Metrics()
    guard = Guard(IngestSettings(), tmp_path, metrics, AuditTrail(tmp_path, metrics))
    for number in range(400):
        guard.refused("address", Node("", f"192.0.{number // 200}.{number % 200}"))
    assert 100 <= len(turned_away(tmp_path)) <= 102
    name, labels = "secondread_refused_associations_total", {"reason": "address"}
    assert metrics.registry.get_sample_value(name, labels) == 400


def test_a_known_address_with_another_title_is_told_so(start_ingest, dcmtk) -> None:
    ingest = start_ingest(peers=[{"ae_title": "US1", "address": "127.0.0.1"}])
    assert dcmtk("echoscu", "-aet", "US1", "127.0.0.1", ingest.port).returncode == 0
    stranger = dcmtk("echoscu", "-aet", "US2", "127.0.0.1", ingest.port)
    assert "Calling AE Title Not Recognized" in stranger.stdout
    assert refusals(ingest, "ae-title") == 1


# How often


def test_one_peer_does_not_take_all_associations(start_ingest, associate, dcmtk, eventually):
    ingest = start_ingest(max_associations_per_address=2)
    open_ones = [associate(ingest.port) for _ in range(2)]
    assert all(each.is_established for each in open_ones)
    third = dcmtk("echoscu", "127.0.0.1", ingest.port)
    assert "Local Limit Exceeded" in third.stdout
    assert refusals(ingest, "associations") == 1
    open_ones[0].release()
    eventually(lambda: dcmtk("echoscu", "127.0.0.1", ingest.port).returncode == 0)


def test_connections_that_ask_for_nothing_are_bounded_too(start_ingest, eventually) -> None:
    ingest = start_ingest(max_associations_per_address=2, acse_timeout=60)
    address = ("127.0.0.1", ingest.port)
    silent = [socket.create_connection(address, timeout=5) for _ in range(6)]
    eventually(lambda: len(ingest.scp._acceptor._associations()) == 6)
    with socket.create_connection(address, timeout=5) as seventh:
        assert seventh.recv(1) == b""
    assert refusals(ingest, "connections") == 1
    for each in silent:
        each.close()


def test_a_rate_has_a_burst_and_comes_back() -> None:
    now = [0.0]
    rate = Rate(10, clock=lambda: now[0])
    assert [rate.allows("a") for _ in range(41)] == [True] * 40 + [False]
    assert rate.allows("b"), "each address has its own"
    now[0] = 0.1
    assert [rate.allows("a") for _ in range(2)] == [True, False]


def test_too_many_associations_a_second_are_rejected_for_now(start_ingest, dcmtk) -> None:
    ingest = start_ingest(max_associations_per_second=0.01)
    assert dcmtk("echoscu", "127.0.0.1", ingest.port).returncode == 0
    second = dcmtk("echoscu", "127.0.0.1", ingest.port)
    assert "Temporary Congestion" in second.stdout
    assert refusals(ingest, "rate") == 1


# How slowly


def seconds_until_closed(connection: socket.socket) -> float:
    started = time.monotonic()
    connection.settimeout(20)
    while True:
        try:
            if not connection.recv(4096):
                break
        except ConnectionResetError:
            break
    return time.monotonic() - started


def drip(connection: socket.socket, content: bytes) -> None:
    """One byte each tenth of a second, for as long as it is taken."""

    def run() -> None:
        try:
            for byte in content:
                connection.send(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            return

    threading.Thread(target=run, daemon=True).start()


def test_a_request_that_drips_in_is_cut(start_ingest) -> None:
    ingest = start_ingest(acse_timeout=1)
    with socket.create_connection(("127.0.0.1", ingest.port)) as connection:
        drip(connection, b"\x01\x00" + struct.pack(">I", 5000) + b"\0" * 5000)
        assert seconds_until_closed(connection) < 10
    assert refusals(ingest, "pdu-time") == 1


def test_a_connection_that_asks_for_nothing_is_closed(start_ingest) -> None:
    ingest = start_ingest(acse_timeout=1)
    with socket.create_connection(("127.0.0.1", ingest.port)) as connection:
        assert seconds_until_closed(connection) < 10


def test_a_pdu_that_drips_in_is_cut(start_ingest, open_connection) -> None:
    ingest = start_ingest(pdu_timeout=1)
    connection = open_connection(ingest.port)
    drip(connection, b"\x04\x00" + struct.pack(">I", 5000) + b"\0" * 5000)
    assert seconds_until_closed(connection) < 10
    assert refusals(ingest, "pdu-time") == 1


def test_a_message_of_many_small_pdus_is_cut(start_ingest, open_connection) -> None:
    ingest = start_ingest(message_timeout=1)
    connection = open_connection(ingest.port)

    def run() -> None:
        try:
            for _ in range(200):
                connection.send(pdu((b"\0\0", 0)))
                time.sleep(0.1)
        except OSError:
            return

    threading.Thread(target=run, daemon=True).start()
    assert seconds_until_closed(connection) < 10
    assert refusals(ingest, "message-time") == 1


# How much


@pytest.mark.parametrize("length", [0xFFFFFFFF, 131073])
def test_a_pdu_longer_than_offered_is_refused_by_its_header(
    start_ingest, open_connection, length: int
) -> None:
    ingest = start_ingest()
    connection = open_connection(ingest.port)
    connection.send(b"\x04\x00" + struct.pack(">I", length))
    connection.settimeout(10)
    assert connection.recv(10)[:1] == b"\x07", "A-ABORT"
    assert refusals(ingest, "pdu-length") == 1


def test_a_request_of_any_length_is_not(start_ingest) -> None:
    ingest = start_ingest()
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=10) as connection:
        connection.send(b"\x01\x00" + struct.pack(">I", 0x7FFFFFFF))
        assert connection.recv(10)[:1] == b"\x07"
    assert refusals(ingest, "pdu-length") == 1


def test_an_object_that_is_too_large_is_refused_and_the_next_is_stored(
    start_ingest, small_image
) -> None:
    ingest = start_ingest(max_object_bytes=1 << 20)
    large = small_image(PixelData=b"\0" * ((1 << 20) + 2))
    good = small_image()
    assert [each.status for each in send_files([large, good], ingest.peer, "S")] == [0xC000, 0]
    assert len(ingest.rows()) == 1
    assert len(ingest.images()) == 1


def test_one_without_end_is_cut(start_ingest, small_image) -> None:
    ingest = start_ingest(max_object_bytes=1 << 20)
    endless = small_image(PixelData=b"\0" * (3 << 20))
    (outcome,) = send_files([endless], ingest.peer, "S")
    assert outcome.status is None
    assert refusals(ingest, "object-size") == 1
    assert ingest.rows() == []


def test_a_command_set_without_end_is_cut(start_ingest, open_connection) -> None:
    ingest = start_ingest()
    connection = open_connection(ingest.port)
    connection.settimeout(10)
    connection.sendall(pdu((b"\0" * 60000, 1)) * 2)
    assert connection.recv(10)[:1] == b"\x07"
    assert refusals(ingest, "object-size") == 1
    assert echo(ingest.peer, "SCANNER") == 0


def whole_store(message_id: int) -> bytes:
    return pdu((store_command("1.2.3", message_id), 3)) + pdu((data_set("1.2.3"), 2))


class JournalThatTakesItsTime(Journal):
    go_on = threading.Event()

    def record_received(self, image):
        self.go_on.wait(30)
        return super().record_received(image)


@pytest.mark.parametrize("message_ids", [[7, 7], range(1, 20)], ids=["the same", "many"])
def test_requests_that_do_not_wait_for_their_answers_are_cut(
    start_ingest, open_connection, tmp_path, eventually, message_ids
) -> None:
    journal = JournalThatTakesItsTime(f"sqlite:///{tmp_path / 'journal.sqlite3'}")
    journal.go_on.clear()
    ingest = start_ingest(journal=journal)
    connection = open_connection(ingest.port)
    try:
        connection.sendall(b"".join(map(whole_store, message_ids)))
        eventually(lambda: refusals(ingest, "pipelined") == 1)
    finally:
        journal.go_on.set()
    assert echo(ingest.peer, "SCANNER") == 0
    journal.close()


@pytest.mark.parametrize(("host", "is_said"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_listening_to_all_without_rules_is_said(start_ingest, caplog, host, is_said) -> None:
    start_ingest(host=host)
    assert ("ingest.peers is empty" in caplog.text) is is_said
