"""An sRGB profile of a few hundred bytes, which a colour presentation state must carry.

ICC.1:2022 (profile version 4); the colours are those of IEC 61966-2-1, adapted to D50. Written
here because the libraries' profiles hold the time of their making, or 60 kB.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_D50 = (0.9642, 1.0, 0.8249)
_PRIMARIES = {
    "r": (0.43607, 0.22249, 0.01392),
    "g": (0.38515, 0.71687, 0.09708),
    "b": (0.14307, 0.06061, 0.71410),
}
_FROM_D65 = (1.04788, 0.02292, -0.05020, 0.02959, 0.99048, -0.01706, -0.00923, 0.01508, 0.75168)
# Y = (a X + b)^g from X = d on, Y = c X below.
_GAMMA_A_B_C_D = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_PARAMETRIC_CURVE_OF_FIVE = 3
_HEADER_BYTES = 128


def srgb_profile() -> bytes:
    """The profile of an input device (``scnr``), as DICOM PS3.3 C.11.15 asks."""
    curve = struct.pack(">4s4xHxx", b"para", _PARAMETRIC_CURVE_OF_FIVE) + _fixed(_GAMMA_A_B_C_D)
    tags = {
        b"desc": _text("sRGB"),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": struct.pack(">4s4x", b"XYZ ") + _fixed(_D50),
        b"chad": struct.pack(">4s4x", b"sf32") + _fixed(_FROM_D65),
    }
    for channel, primary in _PRIMARIES.items():
        tags[f"{channel}XYZ".encode()] = struct.pack(">4s4x", b"XYZ ") + _fixed(primary)
        tags[f"{channel}TRC".encode()] = curve
    table = struct.pack(">I", len(tags))
    values = b""
    values_begin = _HEADER_BYTES + 4 + 12 * len(tags)
    for signature, value in tags.items():
        table += struct.pack(">4sII", signature, values_begin + len(values), len(value))
        values += value + b"\0" * (-len(value) % 4)
    return _header(values_begin + len(values)) + table + values


def _header(size: int) -> bytes:
    """Profile header (ICC.1:2022 7.2) of a profile of ``size`` bytes."""
    begin = struct.pack(">I4xI4s4s4s", size, 0x04200000, b"scnr", b"RGB ", b"XYZ ")
    made = struct.pack(">6H", 2025, 1, 1, 0, 0, 0)
    begin += made + b"acsp" + bytes(28) + _fixed(_D50)
    return begin.ljust(_HEADER_BYTES, b"\0")


def _fixed(values: Sequence[float]) -> bytes:
    """s15Fixed16Number each."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(text: str) -> bytes:
    """multiLocalizedUnicodeType with one English text."""
    encoded = text.encode("utf-16-be")
    return struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(encoded), 28) + encoded
