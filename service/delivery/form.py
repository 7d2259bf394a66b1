"""The form in which a destination wants our objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from dicom_sr.identity import ResultKind
from dicom_sr.variant import CharacterSetPolicy, Variant, as_variant
from service.destination import Destination, ObjectKind, ReportClass
from service.results import ResultCheck
from service.spool import Spool

_Value = TypeVar("_Value", int, str)

REPORT_CLASS_UIDS = {
    ReportClass.COMPREHENSIVE_3D: str(Comprehensive3DSRStorage),
    ReportClass.COMPREHENSIVE: str(ComprehensiveSRStorage),
    ReportClass.ENHANCED: str(EnhancedSRStorage),
}


def variant_for(destination: Destination, report_class: ReportClass) -> Variant:
    """report_class: the one that the destination takes."""
    return Variant(
        report_class=REPORT_CLASS_UIDS[report_class],
        character_set=CharacterSetPolicy(destination.character_set.value),
        series_numbers=_by_kind(destination.series_numbers),
        series_descriptions=_by_kind(destination.series_descriptions),
        overlay_modality=destination.overlay_modality,
    )


def files_for(
    destination: str,
    ours: Sequence[Path],
    parcel: str,
    variant: Variant,
    spool: Spool,
    check: ResultCheck,
) -> list[Path]:
    """The files of a parcel in a destination's form: as they are, or rewritten beside them.

    ours: where they can be read as they were made.
    The same parcel and variant give the same bytes, so a retry sends what was sent before.
    Raises InvalidObject, or what pydicom raises for a file that was damaged.
    """
    if variant == Variant():
        return list(ours)
    rewritten = []
    for path in ours:
        made = dcmread(path)
        content = check.part10(path.name, as_variant(made, variant), None, _quoted(made))
        rewritten.append((f"{destination}.{path.name}", content))
    folder = spool.write_results(parcel, rewritten)
    return [folder / name for name, _ in rewritten]


def _by_kind(values: Mapping[ObjectKind, _Value]) -> tuple[tuple[ResultKind, _Value], ...]:
    return tuple(sorted((ResultKind(kind.value), value) for kind, value in values.items()))


def _quoted(checked: Dataset) -> list[Dataset]:
    """Headers with the UIDs of an object that has passed the check against its images.

    A malformed one among them is the images' own.
    """
    headers = []
    for element in checked.iterall():
        if element.VR == "UI" and isinstance(element.value, str):
            header = Dataset()
            header.SOPInstanceUID = element.value
            headers.append(header)
    return headers
