"""Whether a document's content tree is one of its IOD (DICOM PS3.3 A.35, C.17.3, C.18)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
)

from dicom_sr import codes
from dicom_sr.source import header_text, header_value

_Constraints = dict[str, dict[str, frozenset[str]]]


def _constraints(*rows: tuple[str, str, str]) -> _Constraints:
    """Source types, relationship, target types → ``[relationship][source]`` = targets by value."""
    table: _Constraints = {}
    for sources, relationship, targets in rows:
        for source in sources.split():
            table.setdefault(relationship, {})[source] = frozenset(targets.split())
    return table


_VALUES = "TEXT CODE NUM DATETIME DATE TIME UIDREF PNAME"
_OBJECTS = "IMAGE WAVEFORM COMPOSITE"
_COORDINATES = "SCOORD SCOORD3D TCOORD"
_OF_A_NAME = "TEXT CODE DATETIME DATE TIME UIDREF PNAME"


def _comprehensive(coordinates: str) -> _Constraints:
    anything = f"{_VALUES} {_OBJECTS} {coordinates} CONTAINER"
    return _constraints(
        ("CONTAINER", "CONTAINS", anything),
        ("CONTAINER TEXT CODE NUM", "HAS OBS CONTEXT", f"{_VALUES} COMPOSITE"),
        (f"CONTAINER {_OBJECTS} NUM", "HAS ACQ CONTEXT", f"{_VALUES} CONTAINER"),
        (anything, "HAS CONCEPT MOD", "TEXT CODE"),
        ("TEXT CODE NUM", "HAS PROPERTIES", anything),
        ("PNAME", "HAS PROPERTIES", _OF_A_NAME),
        ("TEXT CODE NUM", "INFERRED FROM", anything),
        ("SCOORD", "SELECTED FROM", "IMAGE"),
        ("TCOORD", "SELECTED FROM", f"{coordinates.replace('TCOORD', '')} IMAGE WAVEFORM"),
    )


_WITHOUT_CONTAINER = f"{_VALUES} {_OBJECTS} SCOORD TCOORD"
_CONSTRAINTS = {
    # Table A.35.2-2
    EnhancedSRStorage: _constraints(
        ("CONTAINER", "CONTAINS", f"{_WITHOUT_CONTAINER} CONTAINER"),
        ("CONTAINER", "HAS OBS CONTEXT", f"{_VALUES} COMPOSITE"),
        (f"CONTAINER {_OBJECTS} NUM", "HAS ACQ CONTEXT", _VALUES),
        (f"{_WITHOUT_CONTAINER} CONTAINER", "HAS CONCEPT MOD", "TEXT CODE"),
        ("TEXT CODE NUM", "HAS PROPERTIES", _WITHOUT_CONTAINER),
        ("PNAME", "HAS PROPERTIES", _OF_A_NAME),
        ("TEXT CODE NUM", "INFERRED FROM", _WITHOUT_CONTAINER),
        ("SCOORD", "SELECTED FROM", "IMAGE"),
        ("TCOORD", "SELECTED FROM", "SCOORD IMAGE WAVEFORM"),
    ),
    # Table A.35.3-2
    ComprehensiveSRStorage: _comprehensive("SCOORD TCOORD"),
    # Table A.35.13-2
    Comprehensive3DSRStorage: _comprehensive("SCOORD SCOORD3D TCOORD"),
    # Table A.35.4-2
    KeyObjectSelectionDocumentStorage: _constraints(
        ("CONTAINER", "CONTAINS", f"TEXT {_OBJECTS}"),
        ("CONTAINER", "HAS OBS CONTEXT", "TEXT CODE UIDREF PNAME"),
        ("CONTAINER", "HAS CONCEPT MOD", "CODE"),
    ),
}
DOCUMENT_CLASSES = frozenset(_CONSTRAINTS)
"""The SOP classes whose content tree is checked."""

# The attributes that hold the value (PS3.3 Table C.17.3-2, C.18.1–C.18.10)
_HOLDS = {
    "TEXT": ("TextValue",),
    "CODE": ("ConceptCodeSequence",),
    "NUM": ("MeasuredValueSequence",),
    "DATETIME": ("DateTime",),
    "DATE": ("Date",),
    "TIME": ("Time",),
    "UIDREF": ("UID",),
    "PNAME": ("PersonName",),
    "IMAGE": ("ReferencedSOPSequence",),
    "WAVEFORM": ("ReferencedSOPSequence",),
    "COMPOSITE": ("ReferencedSOPSequence",),
    "SCOORD": ("GraphicType", "GraphicData"),
    "SCOORD3D": ("GraphicType", "GraphicData", "ReferencedFrameOfReferenceUID"),
    "TCOORD": ("TemporalRangeType",),
    "CONTAINER": ("ContinuityOfContent",),
}
_NAMED = frozenset(_VALUES.split())
_REFERENCES = frozenset(_OBJECTS.split())
_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
# Points of a graphic (PS3.3 C.18.6.1.2): fewest and most
_POINTS = {
    "POINT": (1, 1),
    "MULTIPOINT": (1, None),
    "POLYLINE": (2, None),
    "CIRCLE": (2, 2),
    "ELLIPSE": (4, 4),
}
_SUM_TOLERANCE = 0.001


def content_problems(document: Dataset, source: Dataset | None) -> Iterator[str]:
    """What is wrong with the content tree; the lines are as those of ``validity.problems``.

    source: the header of the image that the document is about, if at hand; its size, and the sizes
        that the image library tells, bound the spatial coordinates.
    """
    if header_text(document, "ValueType") != "CONTAINER":
        yield "ValueType: the root is no CONTAINER"
        return
    if not document.get("ConceptNameCodeSequence"):
        yield "ConceptNameCodeSequence: is missing"
    constraints = _CONSTRAINTS[document.SOPClassUID]
    evidence, sizes = _evidence(document), _image_sizes(document, source)
    for path, parent, item in _descendants(document, ""):
        kind = header_text(item, "ValueType")
        targets = constraints.get(header_text(item, "RelationshipType"), {})
        if kind not in targets.get(header_text(parent, "ValueType"), ()):
            yield f"{path}: a value type or relationship that the IOD does not permit here"
            continue
        for keyword in _HOLDS[kind]:
            if keyword not in item:
                yield f"{path}.{keyword}: is missing"
        if kind in _NAMED and not item.get("ConceptNameCodeSequence"):
            yield f"{path}.ConceptNameCodeSequence: is missing"
        if kind in _REFERENCES:
            yield from _reference_problems(path, item, evidence)
        elif kind == "SCOORD":
            yield from _coordinate_problems(path, item, sizes)
        elif kind == "CONTAINER":
            yield from _probability_problems(path, item)
        elif kind == "NUM" and not 0 <= (_percentage(item) or 0) <= 100:
            yield f"{path}: percentage outside 0–100"


def _descendants(parent: Dataset, path: str) -> Iterator[tuple[str, Dataset, Dataset]]:
    """Path, parent and item of every content item below ``parent``."""
    for number, item in enumerate(parent.get("ContentSequence") or (), 1):
        inner = f"{path}ContentSequence[{number}]"
        yield inner, parent, item
        yield from _descendants(item, inner + ".")


def _evidence(document: Dataset) -> dict[str, str]:
    """SOP Instance UID to SOP Class UID of all that the document's references may lead to."""
    return {
        header_text(instance, "ReferencedSOPInstanceUID"): header_text(
            instance, "ReferencedSOPClassUID"
        )
        for keyword in _EVIDENCE
        for study in document.get(keyword) or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for instance in series.get("ReferencedSOPSequence") or ()
    }


def _reference_problems(path: str, item: Dataset, evidence: dict[str, str]) -> Iterator[str]:
    references = item.get("ReferencedSOPSequence") or ()
    if len(references) != 1:
        yield f"{path}.ReferencedSOPSequence: not one item"
    for reference in references:
        uid = header_text(reference, "ReferencedSOPInstanceUID")
        if uid not in evidence:
            yield f"{path}.ReferencedSOPSequence: is not listed in the evidence"
        elif evidence[uid] != header_text(reference, "ReferencedSOPClassUID"):
            yield f"{path}.ReferencedSOPSequence: is listed in the evidence with another class"


def _image_sizes(document: Dataset, source: Dataset | None) -> dict[str, tuple[float, float]]:
    """Columns and rows by SOP Instance UID, as the image library or the source tells them."""
    sizes = {}
    for _, _, item in _descendants(document, ""):
        if header_text(item, "ValueType") == "IMAGE" and "ContentSequence" in item:
            numbers = {_concept(inner): _number(inner) for inner in item.ContentSequence}
            columns, rows = (
                numbers.get(code.value)
                for code in (codes.PIXEL_DATA_COLUMNS, codes.PIXEL_DATA_ROWS)
            )
            if columns and rows:
                sizes[_referenced_instance(item)] = columns, rows
    if source is not None:
        columns, rows = header_value(source, "Columns"), header_value(source, "Rows")
        if isinstance(columns, int) and isinstance(rows, int):
            sizes[header_text(source, "SOPInstanceUID")] = columns, rows
    return sizes


def _coordinate_problems(
    path: str, item: Dataset, sizes: dict[str, tuple[float, float]]
) -> Iterator[str]:
    """Spatial Coordinates Macro (DICOM PS3.3 C.18.6)."""
    values = [float(value) for value in header_value(item, "GraphicData") or ()]
    fewest, most = _POINTS.get(header_text(item, "GraphicType"), (1, None))
    points = len(values) // 2
    if len(values) % 2 or points < fewest or (most is not None and points > most):
        yield f"{path}.GraphicData: not as many points as the graphic has"
    if not all(math.isfinite(value) for value in values):
        return  # found by the Value Representation
    images = [
        inner
        for inner in item.get("ContentSequence") or ()
        if header_text(inner, "RelationshipType") == "SELECTED FROM"
    ]
    if not images:
        yield f"{path}: not selected from an image"
    for image in images:
        size = sizes.get(_referenced_instance(image))
        if size is None:
            continue
        x, y = values[::2], values[1::2]
        if min(values, default=0) < 0 or max(x, default=0) > size[0] or max(y, default=0) > size[1]:
            yield f"{path}.GraphicData: leaves the image"


def _probability_problems(path: str, container: Dataset) -> Iterator[str]:
    """The probabilities of cancer and of benign in one measurement group are one distribution."""
    percentages = {
        _concept(item): _percentage(item)
        for item in container.get("ContentSequence") or ()
        if header_text(item, "ValueType") == "NUM"
    }
    both = [
        percentages.get(code.value)
        for code in (codes.PROBABILITY_OF_CANCER, codes.PROBABILITY_OF_BENIGN)
    ]
    if None not in both and abs(sum(filter(None, both)) - 100) > _SUM_TOLERANCE:
        yield f"{path}: the probabilities do not sum to 100 %"


def _percentage(item: Dataset) -> float | None:
    """The value of a NUM in %, None if it has another unit or no value."""
    for measured in item.get("MeasuredValueSequence") or ():
        for unit in measured.get("MeasurementUnitsCodeSequence") or ():
            if header_text(unit, "CodeValue") == codes.PERCENT.value:
                return _number(item)
    return None


def _number(item: Dataset) -> float | None:
    for measured in item.get("MeasuredValueSequence") or ():
        value = header_value(measured, "NumericValue")
        return float(value) if isinstance(value, (float, Decimal)) else None
    return None


def _concept(item: Dataset) -> str:
    """Code Value of the concept name, empty if there is none."""
    for name in item.get("ConceptNameCodeSequence") or ():
        return header_text(name, "CodeValue")
    return ""


def _referenced_instance(item: Dataset) -> str:
    for reference in item.get("ReferencedSOPSequence") or ():
        return header_text(reference, "ReferencedSOPInstanceUID")
    return ""
