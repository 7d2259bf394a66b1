"""A data set goes to the disk as it comes, however it is cut into fragments and PDUs."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import UID as PydicomUID
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta, encode, encode_file_meta

from dicom_sr.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.ingest.answer import store_response
from service.ingest.arrival import Arrival, Excess
from service.ingest.data_set import HEAD_BYTES, file_header
from service.ingest.inflow import Inflow
from service.spool import image_key
from tests.ingest.wire import (
    COMMAND,
    DATA,
    EXPLICIT_LE,
    LAST,
    ULTRASOUND,
    data_set,
    pdu,
    store_command,
)

UID = "1.2.3.4"
IMAGE = data_set(UID, pixels=300_000)
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"
THE_COMMAND = (store_command(UID), COMMAND | LAST)


def pieces(content: bytes, size: int) -> list[tuple[bytes, int]]:
    """Fragments of a data set, the last one marked as such."""
    cut = [content[place : place + size] for place in range(0, len(content), size)]
    return [(piece, DATA) for piece in cut[:-1]] + [(cut[-1], DATA | LAST)]


def each_its_own(fragments: Sequence[tuple[bytes, int]]) -> bytes:
    return b"".join(pdu(fragment) for fragment in fragments)


def in_groups(fragments: Sequence[tuple[bytes, int]], size: int) -> bytes:
    groups = [fragments[place : place + size] for place in range(0, len(fragments), size)]
    return b"".join(pdu(*group) for group in groups)


WAYS = {
    "a PDU each": pdu(THE_COMMAND) + each_its_own(pieces(IMAGE, 60_000)),
    "of the largest size": pdu(THE_COMMAND) + each_its_own(pieces(IMAGE, 131_066)),
    "with the command": in_groups([THE_COMMAND, *pieces(IMAGE, 30_000)], 3),
    "many to a PDU": pdu(THE_COMMAND) + in_groups(pieces(IMAGE, 999), 100),
    "tiny": pdu(THE_COMMAND) + in_groups(pieces(IMAGE, 13), 5000),
    "empty between": pdu(THE_COMMAND)
    + pdu((b"", DATA))
    + each_its_own([(piece, DATA) for piece, _ in pieces(IMAGE, 90_000)])
    + pdu((b"", DATA | LAST)),
    "the command in halves": pdu((THE_COMMAND[0][:40], COMMAND))
    + pdu((THE_COMMAND[0][40:], COMMAND | LAST))
    + each_its_own(pieces(IMAGE, 70_000)),
}


def key_of(uid: str, content: bytes) -> str:
    return image_key(uid, EXPLICIT_LE, hashlib.sha256(content).hexdigest())


def status_of(connection: socket.socket) -> int:
    """Of the next response."""
    connection.settimeout(20)
    answer = b""
    while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
        received = connection.recv(4096)
        assert received, "the connection was cut"
        answer += received
    assert answer[:1] == b"\x04"
    place = answer.index(b"\0\0\0\x09\x02\0\0\0")  # (0000,0900), two bytes
    return int.from_bytes(answer[place + 8 : place + 10], "little")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_is_kept_as_it_was_sent(ingest, open_connection, way: bytes) -> None:
    connection = open_connection(ingest.port)
    connection.sendall(way)
    assert status_of(connection) == 0
    (row,) = ingest.rows()
    assert row.key == key_of(UID, IMAGE)
    header = file_header(ULTRASOUND, UID, EXPLICIT_LE)
    assert ingest.spool.image_path(row.key).read_bytes() == header + IMAGE
    assert ingest.incoming() == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(0, 40_000), max_size=30),
    together=st.lists(st.integers(1, 6), max_size=30),
    chunk=st.integers(1, 70_000),
    command_at=st.integers(1, len(THE_COMMAND[0]) - 1),
    number=st.integers(10, 10**9),
)
def test_however_it_is_cut(
    ingest, open_connection, sizes, together, chunk, command_at, number
) -> None:
    """Fragments, PDUs of several of them, and pieces that the network delivers."""
    uid = f"1.2.{number}"
    image, command = data_set(uid, pixels=100_000), store_command(uid)
    fragments = [(command[:command_at], COMMAND), (command[command_at:], COMMAND | LAST)]
    place = 0
    for size in sizes:
        fragments.append((image[place : place + size], DATA))
        place += size
    fragments.append((image[place : place + 100_000], DATA))
    fragments.append((image[place + 100_000 :], DATA | LAST))
    stream = b""
    for count in together:
        if fragments[:count] and sum(len(each) + 6 for each, _ in fragments[:count]) <= 131_072:
            stream += pdu(*fragments[:count])
            del fragments[:count]
    stream += each_its_own(fragments)
    connection = open_connection(ingest.port)
    for start in range(0, len(stream), chunk):
        connection.sendall(stream[start : start + chunk])
    assert status_of(connection) == 0
    connection.sendall(RELEASE)
    kept = ingest.spool.image_path(key_of(uid, image)).read_bytes()
    assert kept == file_header(ULTRASOUND, uid, EXPLICIT_LE) + image


def test_the_end_of_one_and_the_beginning_of_the_next_may_share_a_pdu(
    ingest, open_connection, eventually
) -> None:
    connection = open_connection(ingest.port)
    first, second = data_set("1.2.5", 600), data_set("1.2.6", 900)
    connection.sendall(
        pdu((store_command("1.2.5", 1), COMMAND | LAST))
        + pdu((first, DATA | LAST), (store_command("1.2.6", 2), COMMAND | LAST))
        + pdu((second, DATA | LAST))
    )
    keys = {key_of("1.2.5", first), key_of("1.2.6", second)}
    eventually(lambda: {row.key for row in ingest.rows()} == keys)


def test_no_more_than_a_pdu_is_in_memory(ingest, open_connection, eventually) -> None:
    connection = open_connection(ingest.port)
    connection.sendall(pdu(THE_COMMAND))
    for _ in range(100):
        connection.sendall(pdu((b"\0" * 100_000, DATA)))
    (association,) = ingest.scp._acceptor._associations()
    inflow: Inflow = ingest.scp._guard._inflows[association]
    eventually(lambda: inflow._message.arrival and inflow._message.arrival.size == 10_000_000)
    assert association.dimse.message.data_set.getvalue() == b""
    assert len(inflow._buffer) <= 131_072
    (path,) = ingest.incoming()
    assert path.stat().st_size > 10_000_000


def test_what_is_too_large_is_let_go_before_it_ends(
    start_ingest, open_connection, eventually
) -> None:
    ingest = start_ingest(max_object_bytes=1 << 20)
    connection = open_connection(ingest.port)
    connection.sendall(pdu(THE_COMMAND) + pdu((b"\0" * 100_000, DATA)))
    eventually(lambda: len(ingest.incoming()) == 1)
    connection.sendall(pdu((b"\0" * 100_000, DATA)) * 11)
    eventually(lambda: ingest.incoming() == [])
    connection.sendall(pdu((b"", DATA | LAST)))
    assert status_of(connection) == 0xC000


def test_an_association_that_breaks_off_leaves_nothing(ingest, open_connection, eventually) -> None:
    connection = open_connection(ingest.port)
    connection.sendall(pdu(THE_COMMAND) + pdu((IMAGE[:100_000], DATA)))
    eventually(lambda: len(ingest.incoming()) == 1)
    connection.shutdown(socket.SHUT_RDWR)
    eventually(lambda: ingest.incoming() == [])
    assert ingest.rows() == []


def test_a_disk_that_fills_meanwhile(
    start_ingest, open_connection, monkeypatch, eventually
) -> None:
    ingest = start_ingest(low_water_bytes=1 << 20)
    connection = open_connection(ingest.port)
    connection.sendall(pdu(THE_COMMAND) + each_its_own(pieces(IMAGE, 100_000)[:-1]))
    eventually(lambda: len(ingest.incoming()) == 1)
    usage = shutil.disk_usage(ingest.spool.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    connection.sendall(pdu((b"", DATA | LAST)))
    assert status_of(connection) == 0xA700
    assert ingest.incoming() == []
    assert ingest.rows() == []


@pytest.mark.parametrize("uid", ["1.2.3.4", "1.2.3.45"])
def test_the_header_is_as_pydicom_would_write_it(uid: str) -> None:
    meta = create_file_meta(
        sop_class_uid=PydicomUID(ULTRASOUND),
        sop_instance_uid=PydicomUID(uid),
        transfer_syntax=PydicomUID(EXPLICIT_LE),
        implementation_uid=PydicomUID(IMPLEMENTATION_CLASS_UID),
        implementation_version=IMPLEMENTATION_VERSION_NAME,
    )
    theirs = b"\0" * 128 + b"DICM" + encode_file_meta(meta)
    assert file_header(ULTRASOUND, uid, EXPLICIT_LE) == theirs


@pytest.mark.parametrize("comment", [None, "the disk is nearly full", "odd"])
def test_the_answer_is_as_pynetdicom_would_send_it(comment: str | None) -> None:
    answer = C_STORE()
    answer.MessageID = answer.MessageIDBeingRespondedTo = 7
    answer.AffectedSOPClassUID = ULTRASOUND
    answer.AffectedSOPInstanceUID = "1.2.3.45"
    answer.Status = 0xA700
    answer.ErrorComment = comment
    theirs = C_STORE_RSP()
    theirs.primitive_to_message(answer)
    assert store_response(answer) == encode(theirs.command_set, True, True)


def arrival(folder: Path, **limits: int) -> Arrival:
    return Arrival(
        folder,
        b"header",
        limits.get("max_bytes", 1 << 30),
        limits.get("low_water_bytes", 0),
    )


def test_its_head_and_its_digest(tmp_path: Path) -> None:
    content = os.urandom(3 * HEAD_BYTES)
    coming = arrival(tmp_path)
    for piece, _ in pieces(content, 10_000):
        coming.add(memoryview(piece))
    coming.finish()
    assert coming.excess is None
    assert coming.head == content[:HEAD_BYTES]
    assert coming.digest() == hashlib.sha256(content).hexdigest()
    assert coming.path.read_bytes() == b"header" + content
    coming.discard()
    coming.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_space_is_seen_before_the_end(tmp_path: Path, monkeypatch) -> None:
    coming = arrival(tmp_path, low_water_bytes=1)
    coming.add(memoryview(b"head"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    for _ in range(17):
        coming.add(memoryview(bytes(1 << 20)))
    assert coming.excess is Excess.DISK
    assert list(tmp_path.iterdir()) == []
    assert coming.head.startswith(b"head")


def test_an_error_of_the_disk_is_kept_for_the_answer(tmp_path: Path, monkeypatch) -> None:
    coming = arrival(tmp_path)

    def broken(_descriptor: int, _content: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", broken)
    coming.add(memoryview(b"anything"))
    coming.add(memoryview(b"more"))
    assert (coming.excess, coming.error) == (Excess.SPOOL, "OSError")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    coming = arrival(tmp_path / "nowhere")
    coming.add(memoryview(b"anything"))
    coming.finish()
    assert (coming.excess, coming.error) == (Excess.SPOOL, "FileNotFoundError")


@pytest.mark.parametrize("missing", [1, 50_000, 100_000])
def test_a_connection_that_breaks_off_in_its_last_pdu_leaves_nothing(
    ingest, open_connection, eventually, missing: int
) -> None:
    connection = open_connection(ingest.port)
    last = pdu((IMAGE[100_000:200_000], DATA | LAST))
    connection.sendall(pdu(THE_COMMAND) + pdu((IMAGE[:100_000], DATA)) + last[:-missing])
    eventually(lambda: len(ingest.incoming()) == 1)
    connection.shutdown(socket.SHUT_WR)
    (association,) = ingest.scp._acceptor._associations()
    eventually(lambda: not association.is_alive())
    eventually(lambda: ingest.incoming() == [])
    assert ingest.rows() == []
    assert ingest.images() == []


def test_a_fragment_without_its_control_header_is_cut(start_ingest, open_connection) -> None:
    ingest = start_ingest()
    connection = open_connection(ingest.port)
    connection.sendall(b"\x04\x00\x00\x00\x00\x05" + b"\x00\x00\x00\x01\x01")
    connection.settimeout(10)
    assert connection.recv(10)[:1] == b"\x07"
    reason = {"reason": "message"}
    value = ingest.metrics.registry.get_sample_value(
        "secondread_refused_associations_total", reason
    )
    assert value == 1
