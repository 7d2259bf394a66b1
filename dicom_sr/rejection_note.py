"""Rejection notes: results that must not be used any more.

In the manner of IHE Imaging Object Change Management (transaction RAD-66).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset

from dicom_sr import codes, identity
from dicom_sr.finding import ModelIdentity
from dicom_sr.header import settle_character_set
from dicom_sr.key_objects import key_object_document, referring_to
from dicom_sr.reference import InstanceReference
from dicom_sr.source import read_source

SERIES_NUMBER = 9009
SERIES_DESCRIPTION = "AI breast ultrasound result withdrawn"


class RejectionReason(StrEnum):
    """Why results are withdrawn; it rules what an archive does (IHE RAD-66)."""

    QUALITY = "quality"
    PATIENT_SAFETY = "patient-safety"


_TITLES = {
    RejectionReason.QUALITY: codes.REJECTED_FOR_QUALITY,
    RejectionReason.PATIENT_SAFETY: codes.REJECTED_FOR_PATIENT_SAFETY,
}


def build_rejection_note(
    source: Dataset,
    rejected: Sequence[InstanceReference],
    model: ModelIdentity,
    reason: RejectionReason,
    text: str,
    *,
    revision: int,
    started_at: datetime,
    edition: int = 0,
) -> Dataset:
    """Say that results of ``source`` are withdrawn, and why.

    The note refers to nothing but what is rejected: an archive hides all that it names.

    source: the image's header; its pixels are not read, and it is not changed.
    rejected: the results, at least one, all of the source's study.
    text: the reason in words.
    revision, edition: those of the rejected results.
    started_at: timezone-aware; when they were withdrawn.

    Raises ReportError if the source lacks a UID, ValueError if nothing is rejected or if it
    belongs to another study.
    """
    image = read_source(source)
    if not rejected:
        raise ValueError("a rejection note must name what is rejected")
    if any(each.study_instance_uid != image.study_instance_uid for each in rejected):
        raise ValueError("a rejection note names results of its own study only")
    kind = identity.ResultKind.REJECTION_NOTE
    title = _TITLES[reason]
    note = key_object_document(
        source,
        model,
        title,
        text,
        map(referring_to, rejected),
        evidence=rejected,
        sop_instance_uid=identity.rejection_note_uid(
            identity.result_uid(image.sop_instance_uid, 0, model.sha256, kind, revision, edition),
            title.value,
            text,
            [each.sop_instance_uid for each in rejected],
        ),
        series_instance_uid=identity.shared_series_uid(
            image.study_instance_uid, model.sha256, kind
        ),
        started_at=started_at,
    )
    note.SeriesNumber = SERIES_NUMBER
    note.SeriesDescription = SERIES_DESCRIPTION
    settle_character_set(note, source)
    return note
