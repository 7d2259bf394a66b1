"""C-STORE requests of files, written to the connection as they are."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from service.association import connection_of

_COMMAND, _LAST = 1, 2
"""Bits of the message control header (PS3.8 Annex E.2)."""
_P_DATA_TF = 4
_OVERHEAD_BYTES = 6
"""Of a PDV in the length of its PDU: item length, context ID, control header."""
_UNBOUNDED_BYTES = 1 << 17
_AT_ONCE = 8
"""PDUs a write."""


class DirectMessages(DIMSEServiceProvider):
    """In place of an association's own: the PDUs of a file are not handed over one by one.

    pynetdicom makes objects of each PDU, 70 times for a megabyte at the 16 KiB that Orthanc takes,
    and hands them to the thread that also reads. What is read still goes that way, and so does
    all that is no file. Not for TLS: two threads must not use one TLS connection.
    """

    @staticmethod
    def fit(association: Association) -> bool:
        """Whether another thread than the one that reads may write its connection."""
        connection = connection_of(association)
        return connection is not None and not isinstance(connection, ssl.SSLSocket)

    def send_msg(self, primitive: object, context_id: int) -> None:
        place = primitive._dataset_path if isinstance(primitive, C_STORE) else None
        connection = connection_of(self.assoc)
        if not isinstance(place, tuple) or connection is None:
            super().send_msg(primitive, context_id)  # type: ignore[arg-type]
            return
        message = C_STORE_RQ()
        message.primitive_to_message(primitive)
        command = encode(message.command_set, True, True) or b""
        longest = (self.maximum_pdu_size or _UNBOUNDED_BYTES) - _OVERHEAD_BYTES
        try:
            connection.sendall(b"".join(_pdus(command, _COMMAND, context_id, longest)))
            for pdus in _file_pdus(*place, context_id, longest):
                connection.sendall(pdus)
        except OSError:
            # As pynetdicom's own thread says it: the transport connection is closed (PS3.8 9.2.2).
            self.dul.event_queue.put("Evt17")


def _file_pdus(path: Path, offset: int, context_id: int, longest: int) -> Iterator[bytes]:
    """P-DATA-TF PDUs of a data set, several at a time."""
    size = path.stat().st_size - offset
    with path.open("rb") as stream:
        stream.seek(offset)
        while size > 0:
            content = stream.read(min(size, longest * _AT_ONCE))
            if not content:
                raise OSError("the file has become shorter")
            size -= len(content)
            yield b"".join(_pdus(content, 0, context_id, longest, last=size == 0))


def _pdus(
    content: bytes, kind: int, context_id: int, longest: int, *, last: bool = True
) -> Iterator[bytes]:
    """P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5). last: whether ``content`` ends the message."""
    for start in range(0, len(content), longest):
        fragment = content[start : start + longest]
        ends = last and start + longest >= len(content)
        length = len(fragment) + 2
        yield struct.pack(
            ">BxIIBB", _P_DATA_TF, length + 4, length, context_id, kind | (_LAST if ends else 0)
        )
        yield fragment
