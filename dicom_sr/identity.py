"""Who we are and what our objects are called: constants and deterministic UIDs.

Every UID is ``2.25.`` and a version-5 UUID (DICOM PS3.5 B.2; RFC 9562 5.5), so the same inputs
always give the same UID, and a retry writes the same object.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from importlib.metadata import version
from uuid import UUID, uuid5

MANUFACTURER = "SecondRead"
MANUFACTURER_MODEL_NAME = "SecondRead breast ultrasound"
SOFTWARE_VERSION = version("secondread")

_NAMESPACE = UUID("5f2a7c1e-8d43-5b0e-9c36-2e1fd7a4b680")


class ResultKind(StrEnum):
    """The objects that an image can get, and the report of its study."""

    REPORT = "sr"
    OVERLAY = "sc"
    SEGMENTATION = "seg"
    KEY_OBJECTS = "ko"
    PRESENTATION_STATE = "pr"
    REJECTION_NOTE = "rejection"
    STUDY_REPORT = "summary"


def _uid(*ingredients: str) -> str:
    return f"2.25.{uuid5(_NAMESPACE, '|'.join(ingredients)).int}"


IMPLEMENTATION_CLASS_UID = _uid("implementation")
IMPLEMENTATION_VERSION_NAME = f"SECONDREAD_{SOFTWARE_VERSION}"[:16]


def result_uid(
    source_sop_instance_uid: str,
    frame: int,
    model_sha256: str,
    kind: ResultKind,
    revision: int,
    edition: int = 0,
) -> str:
    """SOP Instance UID of a result.

    frame: 1-based frame that was scored; 0 if none was.
    revision: 0 for the first content under the source's UID, 1 for the next, …
    edition: 0 for the first result of that content, 1 for what replaced it, …
    """
    ingredients = [source_sop_instance_uid, str(frame), model_sha256, kind, str(revision)]
    return _uid(*ingredients, *([f"edition {edition}"] if edition else []))


def study_report_uid(
    study_instance_uid: str, model_sha256s: Iterable[str], with_reports: bool, number: int
) -> str:
    """SOP Instance UID of a study's summary.

    model_sha256s: of all results in it, in any order.
    with_reports: it refers to the images' own reports.
    number: 0 for the first one, 1 for the one that late images made necessary, …
    """
    models = sorted(set(model_sha256s))
    reports = "with reports" if with_reports else "alone"
    return _uid(study_instance_uid, *models, ResultKind.STUDY_REPORT, reports, str(number))


def report_series_uid(report_sop_instance_uid: str) -> str:
    """Series of one report: OHIF shows only the newest report of a series."""
    return own_series_uid(report_sop_instance_uid)


def own_series_uid(sop_instance_uid: str) -> str:
    """Series of an object that has one to itself."""
    return _uid(sop_instance_uid, "series")


def overlay_series_uid(study_instance_uid: str, model_sha256: str) -> str:
    """Series of all overlays that one model made for a study, to be scrolled through."""
    return shared_series_uid(study_instance_uid, model_sha256, ResultKind.OVERLAY)


def shared_series_uid(
    study_instance_uid: str, model_sha256: str, kind: ResultKind, side: str | None = None
) -> str:
    """Series of all objects of one kind that one model made for a study.

    side: where Laterality is the series' own, for it holds for all of a series.
    """
    return _uid(study_instance_uid, model_sha256, kind, "series", *([side] if side else []))


def rejection_note_uid(note_uid: str, title: str, text: str, rejected: Iterable[str]) -> str:
    """SOP Instance UID of a rejection note: another reason or another content is another note.

    note_uid: the ``result_uid`` of the kind REJECTION_NOTE.
    title: Code Value of its title.
    rejected: SOP Instance UIDs, in the note's order.
    """
    return _uid(note_uid, title, *rejected, text)


def frame_of_reference_uid(source_sop_instance_uid: str) -> str:
    """A coordinate system of one image alone, for what is laid over its pixels."""
    return _uid(source_sop_instance_uid, "frame of reference")


def dimension_organization_uid(sop_instance_uid: str) -> str:
    """How the frames of one multi-frame object of ours are ordered."""
    return _uid(sop_instance_uid, "dimension organization")


def variant_uid(uid: str, variant: str) -> str:
    """What the object or the series ``uid`` is called in the form that ``variant`` spells out."""
    return _uid(uid, "variant", variant)


def device_uid(model_sha256: str) -> str:
    """The algorithm as a device: it changes with each retraining."""
    return _uid(model_sha256, "device")


def tracking_uid(report_sop_instance_uid: str, identifier: str) -> str:
    """Tracking Unique Identifier of one measurement group of a report."""
    return _uid(report_sop_instance_uid, "tracking", identifier)
