"""The association that one thread drives, against pynetdicom as the peer, and against bad ones."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from pynetdicom import AE, evt

from service.upper_layer import Broken, Rejected, UpperLayer

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = [(CAPTURE, EXPLICIT), ("1.2.840.10008.5.1.4.1.1.88.34", EXPLICIT)]
RELEASE_REQUEST, RELEASE_ANSWER = b"\5\0\0\0\0\4\0\0\0\0", b"\6\0\0\0\0\4\0\0\0\0"
UID = "1.2.3"


@contextmanager
def _scp(store: Callable[[evt.Event], int], **limits: int) -> Iterator[tuple[int, list[str]]]:
    """Port, and what happened to its associations."""
    ae = AE("ARCHIVE")
    ae.add_supported_context(CAPTURE, EXPLICIT)
    for name, value in limits.items():
        setattr(ae, name, value)
    happened: list[str] = []
    handlers = [
        (evt.EVT_C_STORE, store),
        (evt.EVT_RELEASED, lambda _: happened.append("released")),
        (evt.EVT_ABORTED, lambda _: happened.append("aborted")),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1], happened
    finally:
        server.shutdown()


def _associate(port: int, seconds: float = 5) -> UpperLayer:
    connection = socket.create_connection(("127.0.0.1", port), 5)
    return UpperLayer(connection, "US", "ARCHIVE", CONTEXTS, seconds)


@pytest.mark.parametrize("longest", [0, 4096, 16382])
@pytest.mark.parametrize("size", [0, 4090, 8 * 4090, 300_001])
def test_a_data_set_arrives_byte_for_byte_whatever_a_pdu_may_hold(
    longest: int, size: int, eventually: Callable[..., None]
) -> None:
    kept: list[tuple[bytes, str, str]] = []

    def store(event: evt.Event) -> int:
        request = event.request
        kept.append(
            (
                event.encoded_dataset(include_meta=False),
                request.AffectedSOPClassUID,
                request.AffectedSOPInstanceUID,
            )
        )
        return 0xB000

    element = struct.pack("<HH2sxxI", 0x7FE0, 0x10, b"OB", size) + bytes(size)
    with _scp(store, maximum_pdu_size=longest) as (port, happened):
        association = _associate(port)
        assert set(association.accepted) == {(CAPTURE, EXPLICIT)}
        context = association.accepted[CAPTURE, EXPLICIT]
        for _ in range(2):
            status = association.store(context, CAPTURE, UID, BytesIO(element), 5)
            assert status == 0xB000
        association.release(5)
        eventually(lambda: happened == ["released"])
    assert kept == [(element, CAPTURE, UID)] * 2


def test_a_rejection_says_why() -> None:
    with (
        _scp(lambda _: 0, require_called_aet=True) as (port, _),
        socket.create_connection(("127.0.0.1", port), 5) as connection,
        pytest.raises(Rejected, match=r"(?i)called ae title not recognised"),
    ):
        UpperLayer(connection, "US", "NOBODY", CONTEXTS, 5)


def test_a_peer_that_thinks_too_long_is_aborted(eventually: Callable[..., None]) -> None:
    gone_on = threading.Event()
    with _scp(lambda _: 0 if gone_on.wait(10) else 1) as (port, happened):
        association = _associate(port)
        began = time.monotonic()
        with pytest.raises(Broken):
            association.store(1, CAPTURE, UID, BytesIO(b""), 0.3)
        assert time.monotonic() - began < 2
        assert not association.is_open
        association.release(1)  # does nothing more
        gone_on.set()
        eventually(lambda: happened == ["aborted"])


def _accept_of(port: int) -> bytes:
    """The A-ASSOCIATE-AC that a real peer sends."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        received: list[bytes] = []

        class Recorded(socket.socket):
            def recv(self, size: int, flags: int = 0) -> bytes:
                received.append(super().recv(size, flags))
                return received[-1]

        wrapped = Recorded(fileno=connection.detach())
        UpperLayer(wrapped, "US", "ARCHIVE", CONTEXTS, 5).abort()
    return b"".join(received)


@contextmanager
def _says(*answers: bytes, pause: float = 0.0) -> Iterator[int]:
    """A peer that accepts the association, and answers each thing that it then reads with these."""
    with _scp(lambda _: 0) as (port, _):
        accept = _accept_of(port)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(accept)
                for answer in answers:
                    connection.recv(65536)
                    for piece in (answer[:12], answer[12:]):
                        connection.sendall(piece)
                        time.sleep(pause)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def _answer(field: int, message_id: int, status: int) -> bytes:
    command = b"".join(
        struct.pack("<HHIH", 0, tag, 2, value)
        for tag, value in ((0x100, field), (0x120, message_id), (0x800, 0x101), (0x900, status))
    )
    return struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, 1, 3) + command


def test_an_answer_may_come_in_pieces() -> None:
    with _says(_answer(0x8001, 1, 0xA700), pause=0.05) as port:
        assert _associate(port).store(1, CAPTURE, UID, BytesIO(b""), 5) == 0xA700


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_answer(0x8001, 2, 0), id="to another message"),
        pytest.param(_answer(0x8030, 1, 0), id="to another command"),
        pytest.param(b"\4\0\xff\xff\xff\xff" + bytes(20), id="endless"),
        pytest.param(b"\7\0\0\0\0\4\0\0\0\0", id="an abort"),
        pytest.param(struct.pack(">BxIIBB", 4, 6, 2, 1, 3), id="empty"),
        pytest.param(struct.pack(">BxIIBB", 4, 6, 2, 1, 2), id="a data set"),
        pytest.param(b"", id="nothing, and it hangs up"),
    ],
)
def test_what_is_no_answer_stores_nothing_and_ends_the_association(answer: bytes) -> None:
    with _says(answer) as port:
        association = _associate(port)
        with pytest.raises(Broken):
            association.store(1, CAPTURE, UID, BytesIO(b""), 2)
        assert not association.is_open


def test_an_acceptance_that_cannot_be_read_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(struct.pack(">BxI", 2, 80) + bytes(68) + b"\x21\0\xff\xff" * 3)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        with pytest.raises(Broken):
            _associate(listener.getsockname()[1], 2)
        thread.join(5)


class _Damaged(BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError
        return super().read(size)


def test_a_file_that_breaks_off_is_not_ended_as_if_it_were_whole(
    eventually: Callable[..., None],
) -> None:
    stored: list[object] = []
    with _scp(lambda event: stored.append(event) or 0) as (port, happened):
        association = _associate(port)
        with pytest.raises(OSError):  # noqa: PT011 the file's own
            association.store(1, CAPTURE, UID, _Damaged(bytes(1 << 20)), 2)
        association.release(2)
        eventually(lambda: happened == ["aborted"])
    assert stored == []


def test_both_sides_may_ask_for_the_release_at_once() -> None:
    with _says(RELEASE_REQUEST, RELEASE_ANSWER) as port:
        association = _associate(port)
        association.release(2)
        assert not association.is_open
