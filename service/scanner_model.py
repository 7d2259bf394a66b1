"""The scanner's model by its header, in a form that may stand in metrics and on pages."""

from __future__ import annotations

import re

from pydicom import Dataset

from dicom_sr.source import header_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/()+-]{0,47}")
_OTHERS = ("PatientName", "PatientID")
_SHORTEST = 3


def scanner_model(header: Dataset) -> str | None:
    """Manufacturer's Model Name (0008,1090); None where it is absent or may be something else.

    A device writes it, not a person: but who writes headers by hand may put anything there, so a
    text that shares a word with the patient's name or identifier is not taken.
    """
    name = " ".join(header_text(header, "ManufacturerModelName").split())
    if not _NAME.fullmatch(name):
        return None
    if _words(name) & {
        word for keyword in _OTHERS for word in _words(header_text(header, keyword))
    }:
        return None
    return name


def _words(text: str) -> set[str]:
    return {word for word in re.split(r"\W+|_", text.lower()) if len(word) >= _SHORTEST}
