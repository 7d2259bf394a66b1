"""The answer to a C-STORE, written by the thread that has stored the image.

pynetdicom makes three objects of it and hands them to its other thread, which takes longer than to
write the file of a small image.
"""

from __future__ import annotations

import ssl
from typing import cast

from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, DimsePrimitiveType

from service.dimse import COMMAND, PDV_HEADER, command_set, pdus, short, text
from service.reactor import DATA_TRANSFER

_C_STORE_RSP = 0x8001
_NO_DATA_SET = 0x0101
_UNBOUNDED_BYTES = 1 << 17
_CONNECTION_CLOSED = "Evt17"


def answer_directly(association: Association) -> None:
    """To be called before its threads start.

    Other messages, and all over TLS, whose connection belongs to one thread, go pynetdicom's way.
    """
    send_by_queue = association.dimse.send_msg

    def send(primitive: DimsePrimitiveType, context_id: int) -> None:
        dul = association.dul
        connection = dul.socket.socket if dul.socket else None
        longest = (association.dimse.maximum_pdu_size or _UNBOUNDED_BYTES) - PDV_HEADER.size
        if (
            not isinstance(primitive, C_STORE)
            or connection is None
            or isinstance(connection, ssl.SSLSocket)
            or dul.state_machine.current_state != DATA_TRANSFER
            or not dul.to_provider_queue.empty()
            or longest < 1
        ):
            send_by_queue(primitive, context_id)
            return
        try:
            connection.sendall(
                b"".join(pdus(store_response(primitive), COMMAND, context_id, longest))
            )
        except OSError:
            dul.event_queue.put(_CONNECTION_CLOSED)

    association.dimse.send_msg = send  # type: ignore[method-assign]


def store_response(answer: C_STORE) -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 Table 9.3-2), in Implicit VR Little Endian."""
    comment = answer.ErrorComment
    return command_set(
        (
            (0x0002, text(str(answer.AffectedSOPClassUID))),
            (0x0100, short(_C_STORE_RSP)),
            (0x0120, short(cast(int, answer.MessageIDBeingRespondedTo))),
            (0x0800, short(_NO_DATA_SET)),
            (0x0900, short(cast(int, answer.Status))),
            *([(0x0902, text(comment, b" "))] if comment else ()),
            (0x1000, text(str(answer.AffectedSOPInstanceUID))),
        )
    )
