"""Items of an SR content tree (DICOM PS3.3 C.17.3, C.18), one function for each value type.

They are plain data sets. Their values are not checked one by one as they are set, which is slow
and would warn with what the patient's header says: ``dicom_sr/validity.py`` checks the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag, Tag

CONTAINS = "CONTAINS"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
INFERRED_FROM = "INFERRED FROM"
SELECTED_FROM = "SELECTED FROM"


def container(
    relationship: str | None,
    name: Code,
    items: Iterable[Dataset],
    template: str | None = None,
) -> Dataset:
    """A CONTAINER of separate items: as continuous text, dsr2html would print values without names.

    relationship: None for the root.
    template: identifier of the template (TID) in the DICOM Content Mapping Resource.
    """
    attributes: dict[str, object] = {"ContinuityOfContent": "SEPARATE"}
    if template is not None:
        attributes["ContentTemplateSequence"] = [
            data_set(MappingResource="DCMR", TemplateIdentifier=template)
        ]
    return _item(relationship, "CONTAINER", name, items, **attributes)


def code(relationship: str, name: Code, value: Code, items: Iterable[Dataset] = ()) -> Dataset:
    return _item(relationship, "CODE", name, items, ConceptCodeSequence=[_coded(value)])


def text(relationship: str, name: Code, value: str, items: Iterable[Dataset] = ()) -> Dataset:
    return _item(relationship, "TEXT", name, items, TextValue=value)


def uid_reference(relationship: str, name: Code, value: str) -> Dataset:
    return _item(relationship, "UIDREF", name, UID=value)


def number(
    relationship: str, name: Code, value: float, unit: Code, items: Iterable[Dataset] = ()
) -> Dataset:
    """A NUM. A value that is no integer stands in binary beside its decimal text, which is short
    enough for the VR DS if the value has few decimals.

    unit: of the scheme UCUM.
    """
    measured = data_set(NumericValue=str(float(value)), MeasurementUnitsCodeSequence=[_coded(unit)])
    if isinstance(value, float):
        measured.add(_element("FloatingPointValue", value))
    return _item(relationship, "NUM", name, items, MeasuredValueSequence=[measured])


def image(
    relationship: str,
    name: Code | None,
    sop_class_uid: str,
    sop_instance_uid: str,
    frame: int | None = None,
    items: Iterable[Dataset] = (),
) -> Dataset:
    """frame: 1-based; None for the whole image, or if it has one frame."""
    reference = _reference(sop_class_uid, sop_instance_uid)
    if frame is not None:
        reference.add(_element("ReferencedFrameNumber", frame))
    return _item(relationship, "IMAGE", name, items, ReferencedSOPSequence=[reference])


def composite(
    relationship: str, name: Code | None, sop_class_uid: str, sop_instance_uid: str
) -> Dataset:
    """A reference to an object that is no image, as a report."""
    reference = _reference(sop_class_uid, sop_instance_uid)
    return _item(relationship, "COMPOSITE", name, ReferencedSOPSequence=[reference])


def polyline(
    relationship: str, name: Code, points: NDArray[np.float64], items: Iterable[Dataset]
) -> Dataset:
    """A SCOORD. points: ``(n, 2)`` columns and rows in pixels, 0\\0 the image's top left corner."""
    return _item(
        relationship,
        "SCOORD",
        name,
        items,
        GraphicType="POLYLINE",
        GraphicData=points.ravel().tolist(),
    )


def data_set(**attributes: object) -> Dataset:
    """A data set of the attributes that are named by their keywords; the values are not checked."""
    elements = (_element(keyword, value) for keyword, value in attributes.items())
    return Dataset({element.tag: element for element in elements})


def _item(
    relationship: str | None,
    value_type: str,
    name: Code | None,
    items: Iterable[Dataset] = (),
    **attributes: object,
) -> Dataset:
    attributes["ValueType"] = value_type
    if name is not None:
        attributes["ConceptNameCodeSequence"] = [_coded(name)]
    if relationship is not None:
        attributes["RelationshipType"] = relationship
    inner = list(items)
    if inner:
        attributes["ContentSequence"] = inner
    return data_set(**attributes)


def _coded(value: Code) -> Dataset:
    return data_set(
        CodeValue=value.value,
        CodingSchemeDesignator=value.scheme_designator,
        CodeMeaning=value.meaning,
    )


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    return data_set(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_instance_uid)


def _element(keyword: str, value: object) -> DataElement:
    tag, vr = _dictionary(keyword)
    return DataElement(tag, vr, value, validation_mode=IGNORE)


@cache
def _dictionary(keyword: str) -> tuple[BaseTag, str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return Tag(tag), dictionary_VR(tag)
