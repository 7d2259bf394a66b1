"""What an association may send, how much of it at once, and how slowly; and where it goes."""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from service.dimse import COMMAND, LAST, P_DATA_TF, PDV_HEADER
from service.ingest.answer import answer_directly
from service.ingest.arrival import Arrival
from service.ingest.data_set import file_header
from service.ingest.settings import IngestSettings
from service.reactor import DATA_TRANSFER

_ABORT = b"\x07\0\0\0\0\x04\0\0\x02\x06"
"""A-ABORT by the service provider: invalid PDU parameter value (PS3.8 section 9.3.8)."""
_PDU_TYPES = range(0x01, 0x08)
_HEADER_BYTES = 6
_NEGOTIATION_BYTES = 1 << 18
"""128 presentation contexts with all transfer syntaxes of the standard need less."""
_COMMAND_BYTES = 1 << 16
_DATA_BYTES = 1 << 22
"""Of a data set that stays in memory: a request for storage commitment of 25 000 instances."""
_UNANSWERED = 8
"""Requests that may wait: we negotiate one at a time, but not every sender keeps to it."""


@dataclass
class _Message:
    """arrival: where the data set of a C-STORE goes.
    command, in_memory: bytes of the command set, and of a data set that goes nowhere else.
    """

    command: int = 0
    in_memory: int = 0
    arrival: Arrival | None = None
    since: float | None = None


class Inflow:
    """Stands between an accepted association and its socket.

    The data set of a C-STORE goes into a file of ``incoming`` as it comes, and pynetdicom is given
    none of it: what is in memory is one PDU, however large the object is.

    incoming: folder of the files; what is left when the association has ended is removed.
    cut: told why, when it has ended the connection (pdu-length, pdu-time, message-time,
        object-size, message, pipelined, protocol).
    """

    def __init__(
        self,
        association: Association,
        settings: IngestSettings,
        incoming: Path,
        cut: Callable[[str], None],
    ) -> None:
        # Weakly, for the association holds this object by its handlers.
        self._association = weakref.ref(association)
        self._settings = settings
        self._incoming = incoming
        self._cut = cut
        self.began = time.time()
        self._deadline = time.monotonic() + settings.acse_timeout
        self._pdu_type: int | None = None
        self._buffer = bytearray()
        self._unread: bytearray | None = None
        self._is_first = True
        self._is_over = False
        self._message = _Message()
        self._complete: dict[int, _Message] = {}
        self._waits = settings.network_timeout
        self._lock = threading.Lock()
        self._running = 2
        provider = association.dul.socket
        if provider is not None:
            provider.recv = self._recv  # type: ignore[method-assign, assignment]
        association.dimse.receive_primitive = self._take  # type: ignore[method-assign]
        association.bind(evt.EVT_DIMSE_RECV, self._finished)
        answer_directly(association)
        # Association.kill() waits for the DUL's thread, so that one must not call it.
        association.run = self._survived(association.run, then=association.kill)  # type: ignore[method-assign]
        association.dul.run = self._survived(association.dul.run, then=self._wake)  # type: ignore[method-assign]

    def arrival(self, message_id: int) -> Arrival | None:
        """Of a C-STORE that has come whole; None if it brought no data set."""
        message = self._complete.get(message_id)
        return message.arrival if message else None

    def answered(self, message_id: int) -> None:
        """What has come with a message is kept elsewhere, or not at all."""
        message = self._complete.pop(message_id, None)
        if message and message.arrival:
            message.arrival.discard()

    def _survived(self, run: Callable[[], None], then: Callable[[], None]) -> Callable[[], None]:
        """What pynetdicom raises for a request or an order of PDUs that it does not know ends the
        association, and is none of the log's business."""

        def call() -> None:
            try:
                run()
            except Exception:  # noqa: BLE001
                self._end("protocol")
                then()
            finally:
                self._one_has_ended()

        return call

    def _one_has_ended(self) -> None:
        """Of the two threads of an association; the second one clears up."""
        with self._lock:
            self._running -= 1
            if self._running:
                return
        for message in (self._message, *self._complete.values()):
            if message.arrival:
                message.arrival.discard()

    def _wake(self) -> None:
        """Let the association see that its DUL has ended, also while it waits for a request."""
        association = self._association()
        if association is not None:
            association.dul.to_user_queue.put(None)

    def _recv(self, count: int) -> bytearray:
        """In place of AssociationSocket.recv: the header of a PDU, then the rest of it.

        What is too long or too slow ends the connection; what has come by then is returned, and
        pynetdicom finds that it is not a whole PDU.
        """
        if self._unread is not None:
            unread, self._unread = self._unread, None
            return unread
        connection = self._connection
        if connection is None or self._is_over:
            return bytearray()
        try:
            if self._pdu_type is None:
                return self._next_pdu(connection)
            if count > self._longest(self._pdu_type):
                return self._end("pdu-length")
            self._pdu_type, self._is_first = None, False
            return self._read(connection, count)
        finally:
            if not self._is_over:
                connection.settimeout(self._waits)

    def _next_pdu(self, connection: socket.socket) -> bytearray:
        """The header of the next PDU that is for pynetdicom."""
        while True:
            now = time.monotonic()
            if not self._is_first:
                self._deadline = now + self._settings.pdu_timeout
            if now - (self._message.since or now) > self._settings.message_timeout:
                return self._end("message-time")
            header = self._read(connection, _HEADER_BYTES)
            if len(header) < _HEADER_BYTES or header[0] not in _PDU_TYPES:
                return header
            if header[0] != P_DATA_TF or not self._is_data_due():
                self._pdu_type = header[0]
                return header
            length = int.from_bytes(header[2:], "big")
            if length > self._longest(P_DATA_TF):
                return self._end("pdu-length")
            if len(self._buffer) < length:
                self._buffer = bytearray(length)
            content = memoryview(self._buffer)[:length]
            received = self._read_into(connection, content)
            if received < length:
                self._unread = bytearray(content[:received])
                return header
            rest = self._without_data(content)
            if rest is not None:
                self._unread = bytearray(rest)
                return header[:2] + len(rest).to_bytes(4, "big")

    def _is_data_due(self) -> bool:
        """Whether nothing but the data set of a C-STORE is expected, and nothing is to be sent."""
        association = self._association()
        return (
            self._message.arrival is not None
            and association is not None
            and association.dul.state_machine.current_state == DATA_TRANSFER
            and association.dul.to_provider_queue.empty()
        )

    def _without_data(self, content: memoryview) -> memoryview | bytes | None:
        """What pynetdicom is to see of a PDU's content whose data are ours; None if nothing."""
        fragments = _fragments(content)
        controls = [control for _, control, _ in fragments]
        if (
            not fragments
            or any(control & COMMAND for control in controls)
            or any(control & LAST for control in controls[:-1])
        ):
            return content
        for _, _, data in fragments:
            self._receive(data)
        association = self._association()
        if association is not None:
            association.dul._idle_timer.restart()
        context_id, control, _ = fragments[-1]
        if control & LAST or self._is_over:
            return PDV_HEADER.pack(2, context_id, control)
        return None

    def _read(self, connection: socket.socket, count: int) -> bytearray:
        received = bytearray(count)
        del received[self._read_into(connection, memoryview(received)) :]
        return received

    def _read_into(self, connection: socket.socket, content: memoryview) -> int:
        """Bytes that came in time."""
        place = 0
        while place < len(content):
            remaining = self._deadline - time.monotonic()
            try:
                if remaining <= 0:
                    raise TimeoutError
                connection.settimeout(remaining)
                received = connection.recv_into(content[place:])
            except TimeoutError:
                self._end("pdu-time")
                return 0
            if not received:
                break
            place += received
        return place

    @property
    def _connection(self) -> socket.socket | None:
        association = self._association()
        provider = association.dul.socket if association else None
        return provider.socket if provider else None

    def _longest(self, pdu_type: int) -> int:
        """Of the rest of a PDU behind its header."""
        return self._settings.max_pdu_bytes if pdu_type == P_DATA_TF else _NEGOTIATION_BYTES

    def _end(self, reason: str) -> bytearray:
        """Once: what the peer had sent by then is not looked at."""
        if self._is_over:
            return bytearray()
        self._is_over = True
        self._cut(reason)
        connection = self._connection
        if connection is not None:
            try:
                connection.settimeout(1)
                connection.sendall(_ABORT)
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        return bytearray()

    def _take(self, primitive: P_DATA) -> None:
        """In place of DIMSEServiceProvider.receive_primitive.

        One fragment at a time: what it is shows when those before it have been understood.
        """
        association = self._association()
        if association is None:
            return
        for context_id, data in primitive.presentation_data_value_list:
            message = self._message
            if message.since is None:
                message.since = time.monotonic()
            # One without its control header is for pynetdicom to refuse.
            if data[:1] and data[0] & COMMAND:
                message.command += len(data)
            elif message.arrival is None:
                message.in_memory += len(data)
            else:
                self._receive(memoryview(data)[1:])
                data = data[:1]
            if message.command > _COMMAND_BYTES or message.in_memory > _DATA_BYTES:
                self._end("object-size")
            if self._is_over:
                return
            fragment = P_DATA()
            fragment.presentation_data_value_list = [[context_id, data]]  # type: ignore[list-item]
            try:
                DIMSEServiceProvider.receive_primitive(association.dimse, fragment)
                if isinstance(association.dimse.message, C_STORE_RQ):
                    self._expect_data(association.dimse.message, association)
            except Exception:  # noqa: BLE001 whatever pynetdicom finds in it; its thread must go on
                self._end("message")
        if association.dimse.msg_queue.qsize() > _UNANSWERED:
            self._end("pipelined")

    def _expect_data(self, request: C_STORE_RQ, association: Association) -> None:
        """Open the file of a C-STORE whose command has come. Raises what a faulty one leads to."""
        if self._message.arrival is None:
            (context,) = (
                each
                for each in association.accepted_contexts
                if each.context_id == request.context_id
            )
            command = request.command_set
            self._message.arrival = Arrival(
                self._incoming,
                file_header(
                    command.AffectedSOPClassUID,
                    command.AffectedSOPInstanceUID,
                    context.transfer_syntax[0],
                ),
                self._settings.max_object_bytes,
                self._settings.low_water_bytes,
            )

    def _receive(self, data: memoryview) -> None:
        arrival = self._message.arrival
        if arrival is not None:
            arrival.add(data)
            if arrival.size > 2 * self._settings.max_object_bytes:
                self._end("object-size")

    def _finished(self, event: evt.Event) -> None:
        """Handler of EVT_DIMSE_RECV."""
        message, self._message = self._message, _Message()
        if not isinstance(event.message, C_STORE_RQ):
            return
        message_id = int(event.message.command_set.MessageID)
        if message_id in self._complete:
            # One record for two data sets would hide whether the first one is whole.
            if message.arrival:
                message.arrival.discard()
            self._end("pipelined")
            return
        self._complete[message_id] = message


def _fragments(content: memoryview) -> list[tuple[int, int, memoryview]]:
    """Context ID, control header and data of each PDV; nothing if they do not fill the content."""
    found, place = [], 0
    while place + PDV_HEADER.size <= len(content):
        length, context_id, control = PDV_HEADER.unpack_from(content, place)
        end = place + 4 + length
        if length < 2 or end > len(content):
            break
        found.append((context_id, control, content[place + PDV_HEADER.size : end]))
        place = end
    return found if place == len(content) else []
