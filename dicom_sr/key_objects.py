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
from dicom_sr.finding import Finding, ModelIdentity
from dicom_sr.header import code_item, image_reference, result_header, settle_character_set
from dicom_sr.reference import (
    InstanceReference,
    hierarchical_references,
    reference_to,
    sop_reference,
)
from dicom_sr.source import read_source

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
    image = read_source(source)
    kind = identity.ResultKind.KEY_OBJECTS
    document = key_object_document(
        source,
        model,
        codes.OF_INTEREST,
        comment(finding),
        [_referring("IMAGE", image_reference(source, finding.frame)), *map(referring_to, objects)],
        evidence=[reference_to(source), *objects],
        sop_instance_uid=identity.result_uid(
            image.sop_instance_uid, finding.frame, model.sha256, kind, revision, edition
        ),
        series_instance_uid=identity.shared_series_uid(
            image.study_instance_uid, model.sha256, kind
        ),
        started_at=started_at,
    )
    document.SeriesNumber = SERIES_NUMBER
    document.SeriesDescription = SERIES_DESCRIPTION
    document.InstanceNumber = image.instance_number
    settle_character_set(document, source)
    return document


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
    document.ValueType = "CONTAINER"
    document.ContinuityOfContent = "SEPARATE"
    document.ConceptNameCodeSequence = [code_item(title)]
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2010"
    document.ContentTemplateSequence = [template]
    document.ContentSequence = [
        *_device_observer(model),
        *items,
        _text("CONTAINS", codes.KEY_OBJECT_DESCRIPTION, description),
    ]
    return document


def referring_to(reference: InstanceReference) -> Dataset:
    """The content item that shows an object: IMAGE if it has pixels, else COMPOSITE."""
    value_type = "IMAGE" if reference.sop_class_uid in _IMAGES else "COMPOSITE"
    return _referring(value_type, sop_reference(reference))


def _referring(value_type: str, reference: Dataset) -> Dataset:
    """No concept name: TID 2010 has none for them."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = value_type
    item.ReferencedSOPSequence = [reference]
    return item


def _device_observer(model: ModelIdentity) -> list[Dataset]:
    """Observer Context of a device (TID 1002, TID 1004)."""
    context = "HAS OBS CONTEXT"
    observer_type = _item(context, "CODE", codes.OBSERVER_TYPE)
    observer_type.ConceptCodeSequence = [code_item(codes.DEVICE)]
    device = _item(context, "UIDREF", codes.DEVICE_OBSERVER_UID)
    device.UID = identity.device_uid(model.sha256)
    return [
        observer_type,
        device,
        _text(context, codes.DEVICE_OBSERVER_NAME, model.name),
        _text(context, codes.DEVICE_OBSERVER_MANUFACTURER, identity.MANUFACTURER),
        _text(context, codes.DEVICE_OBSERVER_MODEL_NAME, identity.MANUFACTURER_MODEL_NAME),
    ]


def _text(relationship: str, name: Code, text: str) -> Dataset:
    item = _item(relationship, "TEXT", name)
    item.TextValue = text
    return item


def _item(relationship: str, value_type: str, name: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [code_item(name)]
    return item
