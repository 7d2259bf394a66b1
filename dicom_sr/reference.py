"""How one object refers to another: its place in study and series (DICOM PS3.3 10.3, 10.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_sr.source import SourceImage, read_source


@dataclass(frozen=True)
class InstanceReference:
    """A composite object, by the four UIDs that lead to it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def reference_to(data_set: Dataset) -> InstanceReference:
    """Raises ReportError if the data set lacks one of the four UIDs."""
    return reference_to_image(read_source(data_set))


def reference_to_image(image: SourceImage) -> InstanceReference:
    return InstanceReference(
        image.study_instance_uid,
        image.series_instance_uid,
        image.sop_class_uid,
        image.sop_instance_uid,
    )


def sop_reference(reference: InstanceReference) -> Dataset:
    """SOP Instance Reference Macro (DICOM PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def hierarchical_references(references: Iterable[InstanceReference]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference Macro (DICOM PS3.3 Table 10-3): items of a sequence.

    One item a study, in it one a series, each object once, in the order of their first mention.
    """
    studies: dict[str, dict[str, dict[str, InstanceReference]]] = {}
    for reference in references:
        series = studies.setdefault(reference.study_instance_uid, {})
        objects = series.setdefault(reference.series_instance_uid, {})
        objects.setdefault(reference.sop_instance_uid, reference)
    items = []
    for study_instance_uid, series in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study_instance_uid
        item.ReferencedSeriesSequence = []
        for series_instance_uid, objects in series.items():
            inner = Dataset()
            inner.SeriesInstanceUID = series_instance_uid
            inner.ReferencedSOPSequence = [sop_reference(each) for each in objects.values()]
            item.ReferencedSeriesSequence.append(inner)
        items.append(item)
    return items
