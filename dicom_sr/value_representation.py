"""Whether a value is one of its Value Representation (DICOM PS3.5 6.2), character set included."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from pydicom.charset import python_encoding
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""The Value Representations whose repertoire Specific Character Set rules."""

_BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_DEFAULT_REPERTOIRE = ("", "ISO_IR 6", "ISO 2022 IR 6")

# PS3.5 6.1.3: ESC switches code elements; the others are for texts of several lines.
_CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_OF_SEVERAL_LINES = frozenset({"LT", "ST", "UT"})


class CharacterSet:
    """What a declared Specific Character Set (DICOM PS3.3 C.12.1.1.2) can hold.

    declared: the values of the attribute; none for the default repertoire.
    undeclared_bytes: the source, which declares the same, has bytes beyond the default repertoire
        in its texts, and gets them back as they came.
    """

    def __init__(self, declared: Sequence[str], *, undeclared_bytes: bool = False) -> None:
        terms = [term.strip() for term in declared] or [""]
        self.is_defined = all(term in python_encoding for term in terms)
        self._encodings = tuple(
            "ascii"
            if term in _DEFAULT_REPERTOIRE and not undeclared_bytes
            else python_encoding.get(term, "ascii")
            for term in terms
        )

    def holds(self, text: str) -> bool:
        """Every character is in one of the code elements that are declared."""
        if text.isascii():
            return True
        if any(encodable(text, encoding) for encoding in self._encodings):
            return True
        return all(
            any(encodable(character, encoding) for encoding in self._encodings)
            for character in set(text)
        )


def fault(tag: int, vr: str, value: Any, characters: CharacterSet) -> str | None:
    """What is wrong with the value of an attribute, in words that do not show it.

    Bulk data are not looked at, nor are the items of a sequence. None if nothing is wrong.
    """
    if vr in _BULK:
        return None if isinstance(value, (bytes, bytearray)) else f"is no {vr}"
    if not isinstance(value, (MultiValue, list, tuple)):
        return _single(vr, value, characters)
    most = _most_values(tag)
    if most is not None and len(value) > most:
        return f"has {len(value)} values"
    for each in value:
        wrong = _single(vr, each, characters)
        if wrong is not None:
            return wrong
    return None


def _single(vr: str, value: Any, characters: CharacterSet) -> str | None:
    if vr in _NUMBERS:
        if not _valid(vr, value):
            return f"is no {vr}"
        return None if vr not in ("FD", "FL") or math.isfinite(value) else "is not finite"
    if vr == "AT":
        return None
    text = str(value)
    if not _valid(vr, text):
        return f"is no {vr}: length or characters"
    if vr == "UI":
        # ISO/IEC 9834-1: there are three roots.
        return None if text[:2] in ("0.", "1.", "2.") else "is no UID"
    if vr == "DA":
        return None if _is_day(text) else "is no date"
    if vr in TEXT:
        control = _CONTROL_IN_LINES if vr in _OF_SEVERAL_LINES else _CONTROL
        if control.search(text):
            return "has control characters"
        if not characters.holds(text):
            return "has characters outside Specific Character Set"
        if vr == "PN" and any(group.count("^") > 4 for group in text.split("=")):
            return "has more than five components"
    return None


def _valid(vr: str, value: Any) -> bool:
    try:
        # The message would show the value.
        validate_value(vr, value, RAISE)
    except ValueError:
        return False
    return True


def _is_day(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a day has no timezone
    except ValueError:
        return False
    return len(text) == 8


@cache
def _most_values(tag: int) -> int | None:
    """The largest Value Multiplicity (DICOM PS3.6); None where any number is permitted."""
    try:
        permitted = dictionary_VM(tag)
    except KeyError:  # a private attribute
        return None
    most = permitted.rpartition("-")[2]
    return int(most) if most.isdigit() else None


def encodable(text: str, encoding: str) -> bool:
    """encoding: a Python codec's name."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
