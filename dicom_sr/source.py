"""What a result needs to know of its source image, read from headers that break the rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import (
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

# What pydicom raises for bytes that are no value of their VR.
_UNREADABLE = (
    BytesLengthException,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
)
_ISO_2022_ESCAPE = re.compile(r"\x1b[\x20-\x2f]+[\x30-\x7e]")
_RETIRED_ULTRASOUND_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3"
_UID = re.compile(r"[!-\[\]-~]{1,64}")
_SOP_CLASS_UID = re.compile(r"(?=.{1,64}$)[12](\.(0|[1-9][0-9]*))+")
_LARGEST = 2**31 - 1  # of the VR IS
_LONGEST_SIDE = 2**16 - 1  # of the VR US
_RETIRED_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6"
_SINGLE_FRAME = (UltrasoundImageStorage, _RETIRED_ULTRASOUND, SecondaryCaptureImageStorage)
_MULTI_FRAME = (UltrasoundMultiFrameImageStorage, _RETIRED_ULTRASOUND_MULTI_FRAME)


class ReportError(Exception):
    """No result can be made for this source; the text says what it lacks, without its data."""


def header_value(source: Dataset, keyword: str) -> Any:
    """The value of an attribute, or None if it is absent, empty or cannot be read as its VR."""
    try:
        value = source.get(keyword)
    except _UNREADABLE:
        return None
    return None if value == "" else value


def header_items(source: Dataset, keyword: str) -> Sequence:
    """The items of a sequence, none if it is absent or no sequence."""
    value = header_value(source, keyword)
    return value if isinstance(value, Sequence) else Sequence()


def header_text(source: Dataset, keyword: str) -> str:
    """An attribute as Unicode text, empty if absent.

    pydicom leaves the escape sequences of some ISO 2022 character sets (IR 58, the Chinese one)
    in what it decodes; they are taken out.
    """
    value = header_value(source, keyword)
    if value is None or isinstance(value, (bytes, Sequence)):
        return ""
    if isinstance(value, MultiValue):
        value = "\\".join(str(part) for part in value)
    return _ISO_2022_ESCAPE.sub("", str(value)).strip(" \0")


@dataclass(frozen=True)
class SourceImage:
    """The identity and the geometry of the image that a result is about.

    instance_number: 1 if the header has none that can be used.
    rows, columns: None if the header has none that can be used.
    laterality: ``L``, ``R`` or ``B`` (both), only where the header says it.
    multi_frame: a reference to one frame must name it.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    instance_number: int
    rows: int | None
    columns: int | None
    laterality: str | None
    multi_frame: bool

    def frame_number(self, frame: int) -> int | None:
        """Referenced Frame Number for ``frame`` (1-based); a single-frame image takes none."""
        return frame if self.multi_frame else None


def read_source(source: Dataset) -> SourceImage:
    """Raises ReportError if the header lacks a UID without which nothing can refer to it.

    A UID with a leading zero, with letters or of an unknown root is taken as it is: real files
    have them, and archives know the image by it. One that is no single value of 64 characters of
    ASCII can stand nowhere, nor can a SOP Class UID that is none.
    """
    return SourceImage(
        sop_class_uid=_uid(source, "SOPClassUID", _SOP_CLASS_UID),
        sop_instance_uid=_uid(source, "SOPInstanceUID"),
        series_instance_uid=_uid(source, "SeriesInstanceUID"),
        study_instance_uid=_uid(source, "StudyInstanceUID"),
        instance_number=_whole_number(source, "InstanceNumber") or 1,
        rows=_size(source, "Rows"),
        columns=_size(source, "Columns"),
        laterality=_laterality(source),
        multi_frame=_is_multi_frame(source),
    )


def _is_multi_frame(source: Dataset) -> bool:
    """By its class, as dciodvfy has it, whatever Number of Frames says; by that for other ones."""
    sop_class = header_text(source, "SOPClassUID")
    if sop_class in _MULTI_FRAME or sop_class in _SINGLE_FRAME:
        return sop_class in _MULTI_FRAME
    return (_whole_number(source, "NumberOfFrames") or 1) > 1


def _uid(source: Dataset, keyword: str, form: re.Pattern[str] = _UID) -> str:
    uid = header_text(source, keyword)
    if not uid:
        raise ReportError(f"the source image has no {keyword}")
    if not form.fullmatch(uid):
        raise ReportError(f"the source image's {keyword} is no UID")
    return uid


def _whole_number(source: Dataset, keyword: str) -> int | None:
    return as_count(header_value(source, keyword))


def _size(source: Dataset, keyword: str) -> int | None:
    size = _whole_number(source, keyword)
    return size if size is not None and size <= _LONGEST_SIDE else None


def as_count(value: object) -> int | None:
    """A positive integer that an IS can hold, None if the value is none."""
    return int(value) if isinstance(value, int) and 0 < value <= _LARGEST else None


def _laterality(source: Dataset) -> str | None:
    for keyword in ("ImageLaterality", "Laterality"):
        value = header_text(source, keyword)
        if value in ("L", "R", "B"):
            return value
    return None
