"""A destination's own form of our objects: report class, character set, series."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, fields
from enum import StrEnum

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_sr import (
    identity,
    key_objects,
    presentation_state,
    rejection_note,
    report,
    secondary_capture,
    segmentation,
    study_report,
)
from dicom_sr.header import has_undeclared_text, long_string, settle_character_set
from dicom_sr.identity import ResultKind

REPORT_CLASSES = (
    str(Comprehensive3DSRStorage),
    str(ComprehensiveSRStorage),
    str(EnhancedSRStorage),
)
"""The classes that can hold the tree of our reports, the preferred one first."""

_OUR_CLASSES = (
    *REPORT_CLASSES,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    KeyObjectSelectionDocumentStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    ColorSoftcopyPresentationStateStorage,
)
_KINDS = {
    report.SERIES_NUMBER: ResultKind.REPORT,
    secondary_capture.SERIES_NUMBER: ResultKind.OVERLAY,
    segmentation.SERIES_NUMBER: ResultKind.SEGMENTATION,
    key_objects.SERIES_NUMBER: ResultKind.KEY_OBJECTS,
    presentation_state.SERIES_NUMBER: ResultKind.PRESENTATION_STATE,
    rejection_note.SERIES_NUMBER: ResultKind.REJECTION_NOTE,
    study_report.SERIES_NUMBER: ResultKind.STUDY_REPORT,
}


class CharacterSetPolicy(StrEnum):
    """In which character set a destination wants its texts."""

    SOURCE = "source"
    UTF_8 = "utf-8"
    GB18030 = "gb18030"


_CHARACTER_SETS = {
    CharacterSetPolicy.UTF_8: "ISO_IR 192",
    CharacterSetPolicy.GB18030: "GB18030",
}


@dataclass(frozen=True)
class Variant:
    """What a destination wants otherwise than we make it; as it stands: nothing.

    report_class: SOP Class UID of reports, one of ``REPORT_CLASSES``.
    character_set: of all texts; the source's own, or one that holds all of Unicode.
    series_numbers, series_descriptions: for the kinds that get another one.
    overlay_modality: Modality of overlays, ``OT`` or ``US``.

    Raises ValueError if no report of ours can be of ``report_class``, or for another modality.
    """

    report_class: str = REPORT_CLASSES[0]
    character_set: CharacterSetPolicy = CharacterSetPolicy.SOURCE
    series_numbers: tuple[tuple[ResultKind, int], ...] = ()
    series_descriptions: tuple[tuple[ResultKind, str], ...] = ()
    overlay_modality: str = "OT"

    def __post_init__(self) -> None:
        if self.overlay_modality not in ("OT", "US"):
            raise ValueError(f"an overlay is not of the modality {self.overlay_modality}")
        if self.report_class not in REPORT_CLASSES:
            raise ValueError(f"our reports cannot be of the class {self.report_class}")

    def canonical(self) -> str:
        """The same text for variants that ask for the same, also when a field is added one day."""
        asked = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                asked[each.name] = sorted(value) if isinstance(value, tuple) else value
        return json.dumps(asked, sort_keys=True)


def as_variant(data_set: Dataset, variant: Variant) -> Dataset:
    """The object as a destination wants it; the data set itself where that is as it is.

    The form has UIDs of its own, made from the old ones and the variant, for the object and for
    its series, and so have all objects of ours that it refers to: the same UID means the same
    bytes at every destination. A source image keeps its UIDs; it is told apart by its class, which
    is one of ultrasound.

    Texts whose character set the source did not declare stay the bytes that they were, because to
    encode them anew would need a guess; then a series description beyond ASCII is not taken over.

    data_set: an object of ours as it was built, or read from its file. It is not changed.

    Raises ValueError if it is no object of ours in its first form.
    """
    if variant == Variant():
        return data_set
    kind = _kind(data_set)
    spelled = variant.canonical()
    form = _mapped(data_set, variant, spelled)
    if form.SOPClassUID in REPORT_CLASSES:
        form.SOPClassUID = variant.report_class
    form.SOPInstanceUID = identity.variant_uid(data_set.SOPInstanceUID, spelled)
    form.SeriesInstanceUID = identity.variant_uid(data_set.SeriesInstanceUID, spelled)
    if kind in dict(variant.series_numbers):
        form.SeriesNumber = dict(variant.series_numbers)[kind]
    if kind is ResultKind.OVERLAY:
        form.Modality = variant.overlay_modality
    undeclared = has_undeclared_text(data_set)
    description = dict(variant.series_descriptions).get(kind)
    if description is not None and (description.isascii() or not undeclared):
        form.SeriesDescription = long_string(description)
    if variant.character_set is CharacterSetPolicy.SOURCE:
        settle_character_set(form, data_set)
    elif not undeclared:
        form.SpecificCharacterSet = _CHARACTER_SETS[variant.character_set]
    return form


def _kind(data_set: Dataset) -> ResultKind:
    kind = _KINDS.get(data_set.get("SeriesNumber"))
    if kind is None or data_set.get("SOPClassUID") not in _OUR_CLASSES:
        raise ValueError("not an object of ours in its first form")
    return kind


def _mapped(data_set: Dataset, variant: Variant, spelled: str) -> Dataset:
    """A copy in which every reference to an object of ours leads to its form, at any depth."""
    result = Dataset()
    for element in data_set:
        if element.VR == "SQ":
            items = [_mapped_item(item, variant, spelled) for item in element.value]
            result.add(DataElement(element.tag, "SQ", items))
        elif element.VR == "PN":
            # pydicom keeps the bytes of a name that was read or written once.
            name = str(element.value or "")
            result.add(DataElement(element.tag, "PN", name, validation_mode=IGNORE))
        else:
            result.add(copy(element))
    return result


def _mapped_item(item: Dataset, variant: Variant, spelled: str) -> Dataset:
    result = _mapped(item, variant, spelled)
    if _is_ours(item):
        result.ReferencedSOPInstanceUID = identity.variant_uid(
            item.ReferencedSOPInstanceUID, spelled
        )
        if item.ReferencedSOPClassUID in REPORT_CLASSES:
            result.ReferencedSOPClassUID = variant.report_class
    if "SeriesInstanceUID" in item and _leads_to_ours(item):
        result.SeriesInstanceUID = identity.variant_uid(item.SeriesInstanceUID, spelled)
    return result


def _is_ours(item: Dataset) -> bool:
    return item.get("ReferencedSOPClassUID") in _OUR_CLASSES


def _leads_to_ours(series: Dataset) -> bool:
    """A series holds either our objects or somebody else's."""
    return any(_is_ours(item) for element in series if element.VR == "SQ" for item in element.value)
