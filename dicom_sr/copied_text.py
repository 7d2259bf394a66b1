"""Texts of a source's header as our objects may hold them, where the header breaks the rules.

What identifies is copied as it is or not at all, because a part of an identifier may be another
one's. What describes is cut to fit. Value Representations: DICOM PS3.5 6.2.
"""

from __future__ import annotations

import re

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from dicom_sr.value_representation import CharacterSet, fault

_IDENTIFIERS = frozenset(
    {"PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "DeviceSerialNumber"}
)
_LENGTHS = {"LO": 64, "SH": 16, "PN": 64}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_WHERE_DECLARED = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNICODE = CharacterSet(["ISO_IR 192"])
# What pydicom puts in place of bytes that are none of the character set.
_UNDECODED = "\ufffd"


def copied_text(keyword: str, text: str, *, declared: bool) -> str:
    """The text as a valid value of the attribute; empty if it cannot be one.

    text: values with backslashes between them. A text that is valid comes back as it is.
    declared: the source names its character set. Else characters from U+0080 on are undeclared
        bytes, as of Chinese.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    control = _CONTROL_WHERE_DECLARED if declared else _CONTROL
    vr, is_single = dictionary_VR(tag), dictionary_VM(tag) == "1"

    def is_valid(value: str) -> bool:
        return fault(tag, vr, value, _UNICODE) is None and not control.search(value)

    values = [text] if is_single else text.split("\\")
    if keyword in _IDENTIFIERS:
        return text if is_valid(text) and _UNDECODED not in text and "\\" not in text else ""
    if vr in _LENGTHS:
        values = [
            value if is_valid(value) and "\\" not in value else _cut(value, vr, control)
            for value in values
        ]
    return "\\".join(values) if any(values) and all(map(is_valid, values)) else ""


def _cut(text: str, vr: str, control: re.Pattern[str]) -> str:
    """Without control characters and backslashes, as long as the VR permits."""
    text = control.sub(" ", text.replace("\\", "/")).strip(" ")
    if vr == "PN":
        return "=".join(_cut_group(group) for group in text.split("=")[:3]).rstrip("=")
    return text[: _LENGTHS[vr]].strip(" ")


def _cut_group(group: str) -> str:
    """A component group of a name: five components, together at most 64 characters."""
    components = group.split("^")
    if len(components) > 5:
        components = [*components[:4], " ".join(filter(None, components[4:]))]
    return "^".join(components)[: _LENGTHS["PN"]].rstrip("^ ")
