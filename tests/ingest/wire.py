"""PDUs as a scanner may put them together, byte by byte."""

from __future__ import annotations

import struct

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
COMMAND, DATA, LAST = 1, 0, 2
"""Bits of the message control header."""


def pdu(*fragments: tuple[bytes, int]) -> bytes:
    """A P-DATA-TF of one PDV for each pair of content and control header, all of context 1."""
    values = b"".join(
        struct.pack(">IBB", len(content) + 2, 1, control) + content
        for content, control in fragments
    )
    return b"\x04\x00" + struct.pack(">I", len(values)) + values


def store_command(sop_instance_uid: str, message_id: int = 1) -> bytes:
    """The command set of a C-STORE-RQ."""
    command = Dataset()
    command.AffectedSOPClassUID = ULTRASOUND
    command.CommandField = 0x0001
    command.MessageID = message_id
    command.Priority = 0
    command.CommandDataSetType = 1
    command.AffectedSOPInstanceUID = sop_instance_uid
    return encode(command, True, True) or b""


def data_set(sop_instance_uid: str, pixels: int = 0) -> bytes:
    """An image in Explicit VR Little Endian, which need not make sense."""
    image = Dataset()
    image.SOPClassUID = ULTRASOUND
    image.SOPInstanceUID = sop_instance_uid
    image.add_new("PixelData", "OB", bytes(range(256)) * (pixels // 256))
    return encode(image, False, True) or b""
