"""The files of a parcel: their names, who gets which, and the check that each passes first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pydicom.dataset import Dataset

from dicom_sr.part10 import part10_bytes
from dicom_sr.source import header_text
from dicom_sr.validity import problems
from service.destination import Destination, ObjectKind
from service.iod_check import IodCheck

FILES = {
    ObjectKind.REPORT: "sr.dcm",
    ObjectKind.OVERLAY: "sc.dcm",
    ObjectKind.SEGMENTATION: "seg.dcm",
    ObjectKind.PRESENTATION_STATE: "pr.dcm",
    ObjectKind.KEY_OBJECTS: "ko.dcm",
}
"""An image's results, in the order of sending: what refers to others comes after them."""

SUMMARY_FILE = "summary.dcm"
"""Of a study; it refers to the reports of its images."""
SUMMARY_ALONE_FILE = "summary-alone.dcm"
"""The same for destinations that do not get these reports."""
REJECTION_FILE = "rejection.dcm"
PICTURE_FILE = "overlay.png"
"""For people, not for a PACS."""

_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


class InvalidObject(Exception):
    """An object of ours breaks the standard and must not leave; the text holds no values."""


class ResultCheck:
    """What every object passes before it may leave. Thread-safe.

    dciodvfy: run dciodvfy too, where it is installed.
    """

    def __init__(self, dciodvfy: bool = True) -> None:
        self._iod_check = IodCheck() if dciodvfy and IodCheck.available() else None

    def part10(
        self,
        name: str,
        data_set: Dataset,
        source: Dataset | None,
        others: Sequence[Dataset] = (),
    ) -> bytes:
        """The object as a file.

        source, others: headers of the images that it is about, see ``dicom_sr.validity.problems``.
        Raises InvalidObject with every problem in one line.
        """
        found = problems(data_set, source, others)
        content = part10_bytes(data_set)
        if not found and self._iod_check is not None:
            images = [image for image in (source, *others) if image is not None]
            quoted = {header_text(image, keyword) for image in images for keyword in _UIDS}
            found = self._iod_check.errors(content, quoted)
        if found:
            raise InvalidObject(f"{name} is not valid: {'; '.join(found)}")
        return content


def parcels_for(
    destinations: Iterable[Destination], files: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """By destination: which of a parcel's files it gets, in the order of sending.

    A destination that gets none is left out.
    """
    parcels = {}
    for destination in destinations:
        chosen = tuple(name for name in _taken_by(destination) if name in files)
        if chosen:
            parcels[destination.name] = chosen
    return parcels


def _taken_by(destination: Destination) -> list[str]:
    names = [REJECTION_FILE]
    names += [name for kind, name in FILES.items() if kind in destination.objects]
    if ObjectKind.SUMMARY in destination.objects:
        with_reports = ObjectKind.REPORT in destination.objects
        names.append(SUMMARY_FILE if with_reports else SUMMARY_ALONE_FILE)
    return names
