"""Key Object Selection documents (DICOM PS3.3 A.35.4): what a reader should look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_sr import codes, identity
from dicom_sr.content import comment
from dicom_sr.content_item import CONTAINS, composite, container, image, text
from dicom_sr.finding import Finding, ModelIdentity
from dicom_sr.header import result_header, settle_character_set
from dicom_sr.reference import InstanceReference, hierarchical_references, reference_to
from dicom_sr.source import SourceImage, read_source
from dicom_sr.templates import device_observer

SERIES_NUMBER = 9004
SERIES_DESCRIPTION = "AI breast ultrasound key images, unverified"

_IMAGES = (SecondaryCaptureImageStorage, SegmentationStorage)


def build_key_objects(
    source: Dataset,
    finding: Finding,
    model: ModelIdentity,
    objects: Sequence[InstanceReference],
    *,
    revision: int,
    started_at: datetime,
    edition: int = 0,
) -> Dataset:
    """Point to an image and its results, titled "Of Interest".

    source: the image's header; its pixels are not read, and it is not changed.
    objects: results of the image (its overlay, its report), in the order in which to show them.
    revision, started_at, edition: see ``build_report``; those of a study share one series.

    Raises ReportError if the source lacks a UID that the document must refer to.
    """
    shown = read_source(source)
    kind = identity.ResultKind.KEY_OBJECTS
    document = key_object_document(
        source,
        model,
        codes.OF_INTEREST,
        comment(finding),
        [_scored_image(shown, finding.frame), *map(referring_to, objects)],
        evidence=[reference_to(source), *objects],
        sop_instance_uid=identity.result_uid(
            shown.sop_instance_uid, finding.frame, model.sha256, kind, revision, edition
        ),
        series_instance_uid=identity.shared_series_uid(
            shown.study_instance_uid, model.sha256, kind
        ),
        started_at=started_at,
    )
    document.SeriesNumber = SERIES_NUMBER
    document.SeriesDescription = SERIES_DESCRIPTION
    document.InstanceNumber = shown.instance_number
    settle_character_set(document, source)
    return document


def _scored_image(source: SourceImage, frame: int) -> Dataset:
    return image(
        CONTAINS,
        None,
        source.sop_class_uid,
        source.sop_instance_uid,
        source.frame_number(frame),
    )


def key_object_document(
    source: Dataset,
    model: ModelIdentity,
    title: Code,
    description: str,
    items: Iterable[Dataset],
    *,
    evidence: Sequence[InstanceReference],
    sop_instance_uid: str,
    series_instance_uid: str,
    started_at: datetime,
) -> Dataset:
    """A document of TID 2010 (DICOM PS3.16); series number and character set are still open.

    items: content items that refer to the objects; the evidence lists the same objects.
    """
    document = result_header(
        source,
        model,
        sop_class_uid=KeyObjectSelectionDocumentStorage,
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=series_instance_uid,
        started_at=started_at,
    )
    document.Modality = "KO"
    document.InstanceNumber = 1
    document.ReferencedPerformedProcedureStepSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = hierarchical_references(evidence)
    content = [
        *device_observer(model),
        *items,
        text(CONTAINS, codes.KEY_OBJECT_DESCRIPTION, description),
    ]
    document.update(container(None, title, content, template="2010"))
    return document


def referring_to(reference: InstanceReference) -> Dataset:
    """The content item that shows an object: IMAGE if it has pixels, else COMPOSITE.

    It has no concept name, as TID 2010 has none for it.
    """
    if reference.sop_class_uid in _IMAGES:
        return image(CONTAINS, None, reference.sop_class_uid, reference.sop_instance_uid)
    return composite(CONTAINS, None, reference.sop_class_uid, reference.sop_instance_uid)
