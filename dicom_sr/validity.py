"""The check that every object of ours passes before it leaves: its IOD, values and references.

What it knows: the modules' types (DICOM PS3.3, ``dicom_sr/iod.json``), the Value Representations
and the character set (PS3.5), the identity of the object, the length of the pixel data (not the
pixels), and for documents the content tree (``dicom_sr/content_constraints.py``). What it leaves to
dciodvfy and its like: conditions, enumerated values and templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_sr.content_constraints import DOCUMENT_CLASSES, content_problems
from dicom_sr.iod import AttributeTable, attribute_table
from dicom_sr.source import header_text
from dicom_sr.value_representation import CharacterSet, fault

_IMAGES = (SecondaryCaptureImageStorage, SegmentationStorage)
# That the segment is told for each frame is our choice, for there are several segments.
_GROUPS_OF_EACH_FRAME = ("FrameContentSequence", "SegmentIdentificationSequence")
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
# Key objects name what is selected or rejected, which need not be the source.
_NAMES_SOURCE_IN = {
    SecondaryCaptureImageStorage: "SourceImageSequence",
    SegmentationStorage: "ReferencedSeriesSequence",
    GrayscaleSoftcopyPresentationStateStorage: "ReferencedSeriesSequence",
    ColorSoftcopyPresentationStateStorage: "ReferencedSeriesSequence",
    EnhancedSRStorage: _EVIDENCE,
    ComprehensiveSRStorage: _EVIDENCE,
    Comprehensive3DSRStorage: _EVIDENCE,
}
_OWN_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")
_QUOTED_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

_REFERENCED_INSTANCE = Tag("ReferencedSOPInstanceUID")
_CODING_SCHEME = Tag("CodingSchemeDesignator")
_CODE_VALUES = (Tag("CodeValue"), Tag("LongCodeValue"), Tag("URNCodeValue"))
_SCHEMES_IDENTIFIED = "CodingSchemeIdentificationSequence"


def problems(
    data_set: Dataset, source: Dataset | None, others: Sequence[Dataset] = ()
) -> list[str]:
    """What is wrong with an object of ours; nothing if it may leave.

    source: the header of the image that the object is about, None if it is not at hand. It is
        quoted as it is, so that its malformed UIDs, and bytes of a character set that it
        does not declare, are no fault of the object.
    others: the headers of further images that the object is about, quoted in the same way.

    Each problem is one line: the path of an attribute and what is wrong with it, never a value.
    """
    table = attribute_table(header_text(data_set, "SOPClassUID"))
    if table is None:
        return ["SOPClassUID: none of the classes of our objects"]
    images = [image for image in (source, *others) if image is not None]
    quoted = {header_text(image, keyword) for image in images for keyword in _QUOTED_UIDS}
    characters = _character_set(data_set, images)
    walk = _Walk(characters, frozenset(quoted))
    if not characters.is_defined:
        walk.found.append("SpecificCharacterSet: not a defined term")
    walk.through(data_set, table)
    found = walk.found
    found += _identity_problems(data_set, source)
    found += _scheme_problems(walk)
    if source is not None:
        found += _source_problems(data_set, source, walk)
    if data_set.SOPClassUID in _IMAGES:
        found += _pixel_problems(data_set)
    if data_set.SOPClassUID in DOCUMENT_CLASSES:
        found += content_problems(data_set, source)
    return found


def _character_set(data_set: Dataset, images: Iterable[Dataset]) -> CharacterSet:
    declared = header_text(data_set, "SpecificCharacterSet")
    as_it_came = any(header_text(image, "SpecificCharacterSet") == declared for image in images)
    return CharacterSet(declared.split("\\"), undeclared_bytes=as_it_came)


@dataclass
class _Walk:
    """One pass over all attributes, and what it saw.

    references: the instances that are referred to, by the attribute of the first level they are in.
    """

    characters: CharacterSet
    quoted: frozenset[str]
    found: list[str] = field(default_factory=list)
    references: dict[str, set[str]] = field(default_factory=dict)
    schemes_used: set[str] = field(default_factory=set)
    schemes_identified: set[str] = field(default_factory=set)
    _path: list[str] = field(default_factory=list)

    def through(self, level: Dataset, table: AttributeTable | None) -> None:
        if table is not None:
            for tag, keyword in table.required:
                if tag not in level:
                    self._add(keyword, "is missing")
            if table.is_code and not any(tag in level for tag in _CODE_VALUES):
                self._add("CodeValue", "is missing")
        for element in level:
            if element.VR == "SQ":
                self._sequence(element, table)
            else:
                self._element(element, table)

    def _sequence(self, element: DataElement, table: AttributeTable | None) -> None:
        inner = table.sequences.get(element.tag) if table else None
        items = element.value
        keyword = keyword_for_tag(element.tag)
        if not items and table is not None and element.tag in table.not_empty:
            self._add(keyword, "is empty")
        for number, item in enumerate(items, 1):
            self._path.append(f"{keyword}[{number}]")
            self.through(item, inner)
            self._path.pop()

    def _element(self, element: DataElement, table: AttributeTable | None) -> None:
        tag, value = element.tag, element.value
        if element.is_empty:
            if table is not None and tag in table.not_empty:
                self._add(_name(tag), "is empty")
            return
        if tag == _REFERENCED_INSTANCE:
            top = self._path[0].partition("[")[0] if self._path else ""
            self.references.setdefault(top, set()).add(str(value))
        elif tag == _CODING_SCHEME:
            identified = self._path and self._path[0].startswith(_SCHEMES_IDENTIFIED)
            (self.schemes_identified if identified else self.schemes_used).add(str(value))
        if element.VR == "UI" and str(value) in self.quoted:
            return
        wrong = fault(tag, element.VR, value, self.characters)
        if wrong is not None:
            self._add(_name(tag), wrong)

    def _add(self, name: str, wrong: str) -> None:
        self.found.append(f"{'.'.join([*self._path, name])}: {wrong}")


def _name(tag: BaseTag) -> str:
    return keyword_for_tag(tag) or str(tag)


def _identity_problems(data_set: Dataset, source: Dataset | None) -> Iterator[str]:
    """The object is one of its own, in the source's study (missing UIDs are found by the types)."""
    own = [header_text(data_set, keyword) for keyword in _OWN_UIDS]
    if own[0] and own[0] == own[1]:
        yield "SOPInstanceUID: is the series' own"
    if source is None:
        return
    for keyword, uid in zip(_OWN_UIDS, own, strict=True):
        if uid and uid in [header_text(source, each) for each in _QUOTED_UIDS]:
            yield f"{keyword}: is the source's own"
    study = header_text(data_set, "StudyInstanceUID")
    if study and study != header_text(source, "StudyInstanceUID"):
        yield "StudyInstanceUID: is not the source's"


def _scheme_problems(walk: _Walk) -> Iterator[str]:
    """Private coding schemes are identified (DICOM PS3.3 C.12.1.1.1)."""
    if any(scheme.startswith("99") for scheme in walk.schemes_used - walk.schemes_identified):
        yield f"{_SCHEMES_IDENTIFIED}: a private coding scheme is not identified"


def _source_problems(data_set: Dataset, source: Dataset, walk: _Walk) -> Iterator[str]:
    keyword = _NAMES_SOURCE_IN.get(data_set.SOPClassUID)
    named = walk.references.get(keyword or "", set())
    if keyword is not None and header_text(source, "SOPInstanceUID") not in named:
        yield f"{keyword}: does not name the source image"


def _pixel_problems(data_set: Dataset) -> Iterator[str]:
    """Length of uncompressed pixel data (DICOM PS3.5 8.1.1, 8.2); the bytes are not looked at."""
    if "PixelData" not in data_set:
        yield "PixelData: is missing"
        return
    try:
        bits = (
            int(data_set.Rows)
            * int(data_set.Columns)
            * int(data_set.SamplesPerPixel)
            * int(data_set.get("NumberOfFrames") or 1)
            * int(data_set.BitsAllocated)
        )
    except (AttributeError, TypeError, ValueError):
        return  # found by the types
    expected = (bits + 7) // 8
    if len(data_set.PixelData) != expected + expected % 2:
        yield "PixelData: its length is not that of the image"
    if data_set.SOPClassUID == SegmentationStorage:
        yield from _frame_problems(data_set)


def _frame_problems(data_set: Dataset) -> Iterator[str]:
    """Functional groups of a segmentation (DICOM PS3.3 C.7.6.16, A.51.5)."""
    frames = data_set.get("PerFrameFunctionalGroupsSequence") or ()
    if len(frames) != data_set.get("NumberOfFrames"):
        yield "PerFrameFunctionalGroupsSequence: not one item for each frame"
    for keyword in _GROUPS_OF_EACH_FRAME:
        if not all(keyword in frame for frame in frames):
            yield f"PerFrameFunctionalGroupsSequence: a frame without {keyword}"
