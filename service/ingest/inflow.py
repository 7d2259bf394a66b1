"""What an association may send, how much of it at once, and how slowly."""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from weakref import WeakSet

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from service.ingest.settings import IngestSettings

_ABORT = b"\x07\0\0\0\0\x04\0\0\x02\x06"
"""A-ABORT by the service provider: invalid PDU parameter value (PS3.8 section 9.3.8)."""
_P_DATA = 0x04
_PDU_TYPES = range(0x01, 0x08)
_HEADER_BYTES = 6
_NEGOTIATION_BYTES = 1 << 18
"""128 presentation contexts with all transfer syntaxes of the standard need less."""
_COMMAND_BYTES = 1 << 16
_CHUNK = 1 << 16
_UNANSWERED = 8
"""Requests that may wait: we negotiate one at a time, but not every sender keeps to it."""


class Excess(StrEnum):
    """Why a data set was not kept."""

    OBJECT = "object-size"
    MEMORY = "memory"


class Budget:
    """Bytes of unfinished data sets over all associations. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._inflows: WeakSet[Inflow] = WeakSet()

    def add(self, inflow: Inflow) -> None:
        with self._lock:
            self._inflows.add(inflow)

    def is_spent(self) -> bool:
        with self._lock:
            return sum(each.held for each in self._inflows if each.is_open) > self._limit


@dataclass
class _Message:
    size: int = 0
    command: int = 0
    excess: Excess | None = None
    since: float | None = None


class Inflow:
    """Stands between an accepted association and its socket.

    cut: told why, when it has ended the connection (pdu-length, pdu-time, message-time,
        object-size, message, pipelined, protocol).
    """

    def __init__(
        self,
        association: Association,
        settings: IngestSettings,
        budget: Budget,
        cut: Callable[[str], None],
    ) -> None:
        # Weakly, for the association holds this object by its handlers.
        self._association = weakref.ref(association)
        self._settings = settings
        self._budget = budget
        self._cut = cut
        self._deadline = time.monotonic() + settings.acse_timeout
        self._pdu_type: int | None = None
        self._is_first = True
        self._is_over = False
        self._message = _Message()
        self._complete: dict[int, _Message] = {}
        self._waits = settings.network_timeout
        provider = association.dul.socket
        if provider is not None:
            provider.recv = self._recv  # type: ignore[method-assign, assignment]
        association.dimse.receive_primitive = self._take  # type: ignore[method-assign]
        association.bind(evt.EVT_DIMSE_RECV, self._finished)
        # Association.kill() waits for the DUL's thread, so that one must not call it.
        association.run = self._survived(association.run, then=association.kill)  # type: ignore[method-assign]
        association.dul.run = self._survived(association.dul.run, then=self._wake)  # type: ignore[method-assign]
        budget.add(self)

    @property
    def held(self) -> int:
        """Bytes of data sets that are on their way or not yet answered."""
        unanswered = sum(each.size for each in list(self._complete.values()))
        return (0 if self._message.excess else self._message.size) + unanswered

    @property
    def is_open(self) -> bool:
        association = self._association()
        return association is not None and association.is_alive()

    def excess(self, message_id: int) -> Excess | None:
        """Why a message's data set is not whole; None if it is."""
        message = self._complete.get(message_id)
        return message.excess if message else None

    def answered(self, message_id: int) -> None:
        """The data set of a message is no longer in memory."""
        self._complete.pop(message_id, None)

    def _survived(self, run: Callable[[], None], then: Callable[[], None]) -> Callable[[], None]:
        """What pynetdicom raises for a request or an order of PDUs that it does not know ends the
        association, and is none of the log's business."""

        def call() -> None:
            try:
                run()
            except Exception:  # noqa: BLE001
                self._end("protocol")
                then()

        return call

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
        connection = self._connection
        if connection is None or self._is_over:
            return bytearray()
        is_header = self._pdu_type is None
        now = time.monotonic()
        if is_header and not self._is_first:
            self._deadline = now + self._settings.pdu_timeout
        if not is_header and count > self._longest:
            return self._end("pdu-length")
        if now - (self._message.since or now) > self._settings.message_timeout:
            return self._end("message-time")
        received = bytearray()
        while len(received) < count:
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                return self._end("pdu-time")
            connection.settimeout(remaining)
            try:
                chunk = connection.recv(min(_CHUNK, count - len(received)))
            except TimeoutError:
                return self._end("pdu-time")
            if not chunk:
                break
            received += chunk
        connection.settimeout(self._waits)
        if is_header and len(received) == _HEADER_BYTES and received[0] in _PDU_TYPES:
            self._pdu_type = received[0]
        else:
            self._pdu_type = None
            self._is_first = False
        return received

    @property
    def _connection(self) -> socket.socket | None:
        association = self._association()
        provider = association.dul.socket if association else None
        return provider.socket if provider else None

    @property
    def _longest(self) -> int:
        """Of the rest of the PDU whose header has come."""
        if self._pdu_type == _P_DATA:
            return self._settings.max_pdu_bytes
        return _NEGOTIATION_BYTES

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
        """In place of DIMSEServiceProvider.receive_primitive: no more is kept than may be."""
        message = self._message
        if message.since is None:
            message.since = time.monotonic()
        kept: list[list[int | bytes]] = []
        for context_id, data in primitive.presentation_data_value_list:
            is_command = bool(data) and bool(data[0] & 1)
            if is_command:
                message.command += len(data)
            elif len(data) > 1:
                message.size += len(data) - 1
                if message.excess is None:
                    if message.size > self._settings.max_object_bytes:
                        message.excess = Excess.OBJECT
                    elif self._budget.is_spent():
                        message.excess = Excess.MEMORY
            is_dropped = message.excess is not None and not is_command
            kept.append([context_id, bytes(data[:1] if is_dropped else data)])
        if message.excess:
            primitive.presentation_data_value_list = kept  # type: ignore[assignment]
            self._let_go()
        if message.command > _COMMAND_BYTES or message.size > 2 * self._settings.max_object_bytes:
            self._end("object-size")
            return
        association = self._association()
        if association is None:
            return
        try:
            DIMSEServiceProvider.receive_primitive(association.dimse, primitive)
        except Exception:  # noqa: BLE001 whatever pynetdicom finds in it; its thread must go on
            self._end("message")
        if association.dimse.msg_queue.qsize() > _UNANSWERED:
            self._end("pipelined")

    def _let_go(self) -> None:
        """Of what had come of a data set that will not be kept: it no longer counts as held."""
        association = self._association()
        message = association.dimse.message if association else None
        if message is not None:
            message.data_set = BytesIO()

    def _finished(self, event: evt.Event) -> None:
        """Handler of EVT_DIMSE_RECV."""
        message, self._message = self._message, _Message()
        if not isinstance(event.message, C_STORE_RQ):
            if message.excess:
                self._end(message.excess)
            return
        message_id = int(event.message.command_set.MessageID)
        if message_id in self._complete:
            # One record for two data sets would hide what is held, and whether it is whole.
            self._end("pipelined")
            return
        if message.excess:
            message.size = 0
        self._complete[message_id] = message
