"""What a result needs to know of its source image, read from headers that break the rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UltrasoundMultiFrameImageStorage

_ISO_2022_ESCAPE = re.compile(r"\x1b[\x20-\x2f]+[\x30-\x7e]")
_RETIRED_ULTRASOUND_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3"
_MULTI_FRAME = (UltrasoundMultiFrameImageStorage, _RETIRED_ULTRASOUND_MULTI_FRAME)


class ReportError(Exception):
    """No result can be made for this source; the text says what it lacks, without its data."""


def header_value(source: Dataset, keyword: str) -> Any:
    """The value of an attribute, or None if it is absent, empty or cannot be read as its VR."""
    try:
        value = source.get(keyword)
    except (ValueError, TypeError, OverflowError, NotImplementedError):
        return None
    return None if value == "" else value


def header_text(source: Dataset, keyword: str) -> str:
    """An attribute as Unicode text, empty if absent.

    pydicom leaves the escape sequences of some ISO 2022 character sets (IR 58, the Chinese one)
    in what it decodes; they are taken out.
    """
    value = header_value(source, keyword)
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        value = "\\".join(str(part) for part in value)
    return _ISO_2022_ESCAPE.sub("", str(value)).strip(" \0")


@dataclass(frozen=True)
class SourceImage:
    """The identity and the geometry of the image that a result is about.

    instance_number: 1 if the header has none that can be used.
    rows, columns: None if the header lacks them.
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
    """Raises ReportError if the header lacks a UID without which nothing can refer to it."""
    return SourceImage(
        sop_class_uid=_uid(source, "SOPClassUID"),
        sop_instance_uid=_uid(source, "SOPInstanceUID"),
        series_instance_uid=_uid(source, "SeriesInstanceUID"),
        study_instance_uid=_uid(source, "StudyInstanceUID"),
        instance_number=_whole_number(source, "InstanceNumber") or 1,
        rows=_whole_number(source, "Rows"),
        columns=_whole_number(source, "Columns"),
        laterality=_laterality(source),
        multi_frame=(_whole_number(source, "NumberOfFrames") or 1) > 1
        or header_text(source, "SOPClassUID") in _MULTI_FRAME,
    )


def _uid(source: Dataset, keyword: str) -> str:
    uid = header_text(source, keyword)
    if not uid:
        raise ReportError(f"the source image has no {keyword}")
    return uid


def _whole_number(source: Dataset, keyword: str) -> int | None:
    value = header_value(source, keyword)
    return int(value) if isinstance(value, int) and value > 0 else None


def _laterality(source: Dataset) -> str | None:
    for keyword in ("ImageLaterality", "Laterality"):
        value = header_text(source, keyword)
        if value in ("L", "R", "B"):
            return value
    return None
