"""A header that the worker may parse: few elements, short values, shallow sequences.

pydicom parses a value when it is asked for, so that reading a file says nothing about what its
header costs later. Runs in the decoding child process (``decode_child``).
"""

from __future__ import annotations

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from service.analysis.decode_error import DecodeError

MOST_ELEMENTS = 50_000
"""Of a header with all its sequences, items counted too; scanners write some hundreds."""
MOST_VALUE_BYTES = 1 << 20
"""Of a value that becomes a Python object for each of its parts."""
MOST_DEPTH = 64
"""Of sequences within sequences."""

_KEPT_WHOLE = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "UT", "LT", "ST", "UR"})


def require_moderate_header(header: Dataset) -> None:
    """Parse each sequence of a header, and measure it. Raises DecodeError: too-large.

    A sequence that cannot be parsed is passed over: the worker's parser stops at it, too.
    """
    elements = 0
    waiting = [(header, 0)]
    while waiting:
        data_set, depth = waiting.pop()
        tags = list(data_set.keys())
        elements += 1 + len(tags)
        items: list[Dataset] = []
        for tag in tags:
            items.extend(_items(data_set, tag))
            if elements + len(items) > MOST_ELEMENTS or (items and depth >= MOST_DEPTH):
                raise DecodeError("too-large", "The header has more elements than any real one.")
        waiting.extend((item, depth + 1) for item in items)


def _items(data_set: Dataset, tag: BaseTag) -> list[Dataset]:
    """Of a sequence; nothing of another element. Raises DecodeError: too-large."""
    element = data_set.get_item(tag, keep_deferred=True)
    vr = _value_representation(element)
    if vr not in ("SQ", "UN"):
        value = element.value
        is_long = isinstance(value, bytes | str) and len(value) > MOST_VALUE_BYTES
        if is_long and vr not in _KEPT_WHOLE:
            raise DecodeError("too-large", "A value of the header is longer than any real one.")
        return []
    try:
        parsed = data_set[tag]
        return list(parsed.value or ()) if parsed.VR == "SQ" else []
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 the parser raises what it likes
        return []


def _value_representation(element: RawDataElement | DataElement) -> str:
    """As it is written, or as the dictionary has it where it is not said."""
    if element.VR is not None and element.VR != "UN":
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"
