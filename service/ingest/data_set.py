"""A data set that is kept encoded: what stands before it in a file, and what its head says."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from dicom_sr.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_STUDY_INSTANCE_UID = 0x0020000D
HEAD_BYTES = 1 << 16
"""In which the elements must stand that are looked at here."""
_LONGEST_UID = 64


class UnreadableDataSet(Exception):
    """The bytes do not begin with elements of the negotiated transfer syntax."""


def file_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 section 7.1).

    By hand: it is made for each image, and a fifth of a millisecond by pydicom.
    """
    body = struct.pack("<HH2sxxI", 0x0002, 0x0001, b"OB", 2) + b"\0\1"
    for element, uid in (
        (0x0002, sop_class_uid),
        (0x0003, sop_instance_uid),
        (0x0010, transfer_syntax_uid),
        (0x0012, IMPLEMENTATION_CLASS_UID),
    ):
        body += _short(element, b"UI", uid, b"\0")
    body += _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" ")
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(body))
    return b"\0" * 128 + b"DICM" + length + body


def _short(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def sop_identity(data_set: bytes, transfer_syntax_uid: str) -> tuple[str, str]:
    """SOP Class UID and SOP Instance UID of an encoded data set, "" where one is missing.

    Nothing after (0008,0018) is looked at, so a data set that is cut off later passes.
    Raises UnreadableDataSet.
    """
    try:
        elements = _head(data_set, transfer_syntax_uid, _SOP_INSTANCE_UID)
        return _text(elements.get_item(_SOP_CLASS_UID)), _text(elements.get_item(_SOP_INSTANCE_UID))
    except Exception as error:
        raise UnreadableDataSet(type(error).__name__) from error


def study_identity(data_set: bytes, transfer_syntax_uid: str) -> str | None:
    """Study Instance UID, None where the head of the data set does not tell one."""
    try:
        elements = _head(data_set, transfer_syntax_uid, _STUDY_INSTANCE_UID)
        uid = _text(elements.get_item(_STUDY_INSTANCE_UID))
        return uid if 0 < len(uid) <= _LONGEST_UID else None
    except Exception:  # noqa: BLE001 the analysis will say what is wrong with it
        return None


def _head(data_set: bytes, transfer_syntax_uid: str, last: int) -> Dataset:
    """The elements up to the tag ``last``, as far as the first 64 KiB hold them."""
    syntax = UID(transfer_syntax_uid)
    head = data_set[:HEAD_BYTES]
    if syntax.is_deflated:
        head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEAD_BYTES)

    def is_behind(tag: BaseTag, vr: str | None, length: int) -> bool:
        return int(tag) > last

    return read_dataset(
        BytesIO(head), syntax.is_implicit_VR, syntax.is_little_endian, stop_when=is_behind
    )


def _text(element: object) -> str:
    # The raw bytes: converting them would warn, quoting the UID, where it is not conformant.
    value = getattr(element, "value", None) or b""
    return bytes(value).decode("ascii").strip("\0 ")
