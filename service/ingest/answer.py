"""The answer to a C-STORE, written by the thread that has stored the image.

pynetdicom makes three objects of it and hands them to its other thread, which takes longer than to
write the file of a small image.
"""

from __future__ import annotations

import ssl
import struct

from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, DimsePrimitiveType

_DATA_TRANSFER = "Sta6"
_C_STORE_RSP = 0x8001
_NO_DATA_SET = 0x0101
_COMMAND_AND_LAST = 3
_CONNECTION_CLOSED = "Evt17"


def answer_directly(association: Association) -> None:
    """To be called before its threads start.

    Other messages, and all over TLS, whose connection belongs to one thread, go pynetdicom's way.
    """
    send_by_queue = association.dimse.send_msg

    def send(primitive: DimsePrimitiveType, context_id: int) -> None:
        dul = association.dul
        connection = dul.socket.socket if dul.socket else None
        if (
            not isinstance(primitive, C_STORE)
            or connection is None
            or isinstance(connection, ssl.SSLSocket)
            or dul.state_machine.current_state != _DATA_TRANSFER
            or not dul.to_provider_queue.empty()
        ):
            send_by_queue(primitive, context_id)
            return
        command = store_response(primitive)
        length = len(command) + 2
        if 0 < association.dimse.maximum_pdu_size < length + 4:
            send_by_queue(primitive, context_id)
            return
        head = struct.pack(">BxIIBB", 4, length + 4, length, context_id, _COMMAND_AND_LAST)
        try:
            connection.sendall(head + command)
        except OSError:
            dul.event_queue.put(_CONNECTION_CLOSED)

    association.dimse.send_msg = send  # type: ignore[method-assign]


def store_response(answer: C_STORE) -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 Table 9.3-2), in Implicit VR Little Endian."""
    elements = [
        (0x0002, _text(answer.AffectedSOPClassUID, "\0")),
        (0x0100, struct.pack("<H", _C_STORE_RSP)),
        (0x0120, struct.pack("<H", answer.MessageIDBeingRespondedTo)),
        (0x0800, struct.pack("<H", _NO_DATA_SET)),
        (0x0900, struct.pack("<H", answer.Status)),
    ]
    if answer.ErrorComment:
        elements.append((0x0902, _text(answer.ErrorComment, " ")))
    elements.append((0x1000, _text(answer.AffectedSOPInstanceUID, "\0")))
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _text(value: str | None, padding: str) -> bytes:
    encoded = (value or "").encode("ascii", "replace")
    return encoded + padding.encode() * (len(encoded) % 2)
