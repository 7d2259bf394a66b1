"""An association that one thread drives alone, for C-STORE (PS3.8 section 9, PS3.7 section 9.1.1).

pynetdicom drives each association with two threads that look every millisecond whether anything
has come, and makes objects of each PDU. A backlog of small results spent most of its time there.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import BinaryIO

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)

from dicom_sr.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dimse import COMMAND, LAST, P_DATA_TF, PDV_HEADER, command_set, pdus, short, text

_ACCEPT, _REJECT, _RELEASE_RQ, _RELEASE_RP = 2, 3, 5, 6
_RELEASE_REQUEST = bytes((_RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))
_RELEASE_ANSWER = bytes((_RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))
_ABORT = bytes((7, 0, 0, 0, 0, 4, 0, 0, 0, 0))
_UNBOUNDED_BYTES = 1 << 17
_PDUS_A_WRITE = 8
_ANNOUNCED_BYTES = 16382
"""What a peer may send us in one PDU."""
_MOST_BYTES = 1 << 17
"""Of a PDU that is read all the same, and of an answer."""
_C_STORE_RSP = 0x8001
_MEDIUM_PRIORITY = 0


class Rejected(Exception):
    """The peer rejected the association; the text is its reason."""


class Broken(Exception):
    """The peer aborted, hung up, did not answer in time, or broke the protocol."""


class UpperLayer:
    """An established association. Not thread-safe.

    connection: connected, with TLS or without.
    contexts: pairs of abstract and transfer syntax, each proposed in a context of its own.
    Raises Rejected, Broken.
    """

    def __init__(
        self,
        connection: socket.socket,
        calling_ae_title: str,
        called_ae_title: str,
        contexts: Sequence[tuple[str, str]],
        seconds: float,
    ) -> None:
        self._connection = connection
        self._received = b""
        self._message_id = 0
        self.is_open = True
        deadline = time.monotonic() + seconds
        self._send(_request(calling_ae_title, called_ae_title, tuple(contexts)), seconds)
        kind, content = self._read_pdu(deadline)
        if kind not in (_ACCEPT, _REJECT):
            raise self._broken("no answer to the association request")
        answer = A_ASSOCIATE_AC() if kind == _ACCEPT else A_ASSOCIATE_RJ()
        try:
            answer.decode(content)
        except Exception as error:
            raise self._broken("the answer to the association request is malformed") from error
        if isinstance(answer, A_ASSOCIATE_RJ):
            self._close()
            raise Rejected(answer.reason_str)
        information = answer.user_information
        most = information.maximum_length if information else 0
        self._longest = (most or _UNBOUNDED_BYTES) - PDV_HEADER.size
        taken = {item.context_id for item in answer.presentation_context if item.result == 0}
        self.accepted: Mapping[tuple[str, str], int] = {
            pair: number
            for number, pair in zip(range(1, 256, 2), contexts, strict=False)
            if number in taken
        }

    def store(
        self, context_id: int, sop_class_uid: str, uid: str, data_set: BinaryIO, seconds: float
    ) -> int:
        """C-STORE of what ``data_set`` still holds; the status. Raises Broken, OSError.

        seconds: for one write, and for the answer.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        command = _c_store(self._message_id, sop_class_uid, uid)
        self._send(b"".join(pdus(command, COMMAND, context_id, self._longest)), seconds)
        try:
            content, last = data_set.read(self._longest * _PDUS_A_WRITE), False
            while not last:
                following = data_set.read(self._longest * _PDUS_A_WRITE)
                last = not following
                self._send(
                    b"".join(pdus(content, 0, context_id, self._longest, last=last)), seconds
                )
                content = following
        except OSError:  # of the file: the message cannot be ended any more
            self.abort()
            raise
        answer = _elements(self._read_command(time.monotonic() + seconds))
        if answer.get(0x0100) != _C_STORE_RSP or answer.get(0x0120) != self._message_id:
            raise self._broken("the answer is to another request")
        if 0x0900 not in answer:
            raise self._broken("the answer has no status")
        return answer[0x0900]

    def release(self, seconds: float) -> None:
        """End in good order, or abort if the peer does not answer in time."""
        if not self.is_open:
            return
        try:
            self._send(_RELEASE_REQUEST, seconds)
            deadline = time.monotonic() + seconds
            while (kind := self._read_pdu(deadline)[0]) != _RELEASE_RP:
                if kind == _RELEASE_RQ:  # both at once (PS3.8 9.2.3, AR-8)
                    self._send(_RELEASE_ANSWER, seconds)
                elif kind != P_DATA_TF:
                    break
        except Broken:
            return
        self._close()

    def abort(self) -> None:
        if self.is_open:
            with suppress(OSError):
                self._connection.sendall(_ABORT)
            self._close()

    def _broken(self, words: str) -> Broken:
        self.abort()
        return Broken(words)

    def _close(self) -> None:
        self.is_open = False
        self._connection.close()

    def _send(self, content: bytes, seconds: float) -> None:
        try:
            self._connection.settimeout(seconds)
            self._connection.sendall(content)
        except OSError as error:
            raise self._broken("the peer does not read") from error

    def _read_command(self, deadline: float) -> bytes:
        """The command set of the next message."""
        command = b""
        while True:
            kind, pdu = self._read_pdu(deadline)
            if kind != P_DATA_TF:
                raise self._broken("the peer ended the association")
            place = 6
            while place + PDV_HEADER.size <= len(pdu):
                length, _, control = PDV_HEADER.unpack_from(pdu, place)
                if not control & COMMAND or length < 2:
                    raise self._broken("a C-STORE is answered without a data set")
                command += pdu[place + PDV_HEADER.size : place + 4 + length]
                place += 4 + length
                if control & LAST:
                    return command
                if len(command) > _MOST_BYTES:
                    raise self._broken("the answer is too long")

    def _read_pdu(self, deadline: float) -> tuple[int, bytes]:
        """Type and whole content, header included."""
        header = self._read(6, deadline)
        length = int.from_bytes(header[2:], "big")
        if length > _MOST_BYTES:
            raise self._broken("the answer is too long")
        return header[0], header + self._read(length, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            try:
                self._connection.settimeout(max(0.001, deadline - time.monotonic()))
                content = self._connection.recv(_MOST_BYTES)
                _acknowledge_at_once(self._connection)
            except OSError as error:
                raise self._broken("the peer does not answer") from error
            if not content:
                raise self._broken("the peer hung up")
            self._received += content
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def _acknowledge_at_once(connection: socket.socket) -> None:
    """What was read, not 40 ms later.

    dcmtk, and so Orthanc, writes an answer in two pieces, and by Nagle keeps the second until the
    first is acknowledged. Linux forgets the option soon, so it is set again each time.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


@lru_cache(maxsize=64)
def _request(calling: str, called: str, contexts: tuple[tuple[str, str], ...]) -> bytes:
    """An A-ASSOCIATE-RQ that names our software, as our files do (PS3.7 D.3.3.2)."""
    most = MaximumLengthNotification()
    most.maximum_length_received = _ANNOUNCED_BYTES
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    request.user_information = [most, implementation, version]
    proposed = [build_context(abstract, [transfer]) for abstract, transfer in contexts]
    for number, context in zip(range(1, 256, 2), proposed, strict=False):
        context.context_id = number
    request.presentation_context_definition_list = proposed
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def _c_store(message_id: int, sop_class_uid: str, uid: str) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 Table 9.3-1), in Implicit VR Little Endian."""
    return command_set(
        (
            (0x0002, text(sop_class_uid)),
            (0x0100, short(1)),
            (0x0110, short(message_id)),
            (0x0700, short(_MEDIUM_PRIORITY)),
            (0x0800, short(1)),
            (0x1000, text(uid)),
        )
    )


def _elements(command: bytes) -> dict[int, int]:
    """By element number of group 0000 the values of two bytes (VR US)."""
    found, place = {}, 0
    while place + 8 <= len(command):
        _, tag, length = struct.unpack_from("<HHI", command, place)
        if length == 2:
            (found[tag],) = struct.unpack_from("<H", command.ljust(place + 10, b"\0"), place + 8)
        place += 8 + length
    return found
