"""The bytes of DIMSE messages: command sets (PS3.7), and the PDUs that carry them (PS3.8)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

P_DATA_TF = 4
"""Type of PDU (PS3.8 section 9.3.1)."""
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 Annex E.2)."""
PDV_HEADER = struct.Struct(">IBB")
"""Item length, context ID, message control header (PS3.8 Table 9-23)."""


def command_set(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """In Implicit VR Little Endian, with its group length (PS3.7 section 6.3.1).

    elements: pairs of the element number in group 0000, ascending, and the value.
    """
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def short(value: int) -> bytes:
    """A value of VR US."""
    return struct.pack("<H", value)


def text(value: str, padding: bytes = b"\0") -> bytes:
    """A value of VR UI, or with a space for padding of another text VR."""
    encoded = value.encode("ascii")
    return encoded + padding * (len(encoded) % 2)


def pdus(
    content: bytes, kind: int, context_id: int, longest: int, *, last: bool = True
) -> Iterator[bytes]:
    """P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5), each as its header and its data.

    kind: COMMAND, or 0 for a data set. longest: bytes of a fragment.
    last: whether ``content`` ends the message's command or data set.
    """
    for start in range(0, max(len(content), 1), longest):
        fragment = content[start : start + longest]
        control = kind | (LAST if last and start + longest >= len(content) else 0)
        length = len(fragment) + 2
        yield struct.pack(">BxI", P_DATA_TF, length + 4) + PDV_HEADER.pack(
            length, context_id, control
        )
        yield fragment
