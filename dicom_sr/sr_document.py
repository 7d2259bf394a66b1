"""What every report is beside its content: the modules of an SR document (DICOM PS3.3 A.35)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr import codes, identity
from dicom_sr.finding import ModelIdentity
from dicom_sr.header import result_header, settle_character_set
from dicom_sr.reference import InstanceReference, hierarchical_references


def sr_document(
    source: Dataset,
    models: Sequence[ModelIdentity],
    content: Dataset,
    *,
    sop_instance_uid: str,
    series_number: int,
    series_description: str,
    evidence: Iterable[InstanceReference],
    predecessor: InstanceReference | None,
    started_at: datetime,
) -> Dataset:
    """A preliminary, unverified Comprehensive 3D SR in a series of its own.

    source: the header that patient and study are taken from.
    models: the first one is the document's equipment, all are contributing equipment.
    content: the root of the content tree.
    evidence: all that the content refers to.
    predecessor: the document that this one replaces (Predecessor Documents).

    Raises ReportError if the source lacks a UID.
    """
    document = result_header(
        source,
        models[0],
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=identity.report_series_uid(sop_instance_uid),
        started_at=started_at,
        further_models=models[1:],
    )
    document.Modality = "SR"
    document.SeriesNumber = series_number
    document.SeriesDescription = series_description
    document.SeriesDate = document.ContentDate
    document.SeriesTime = document.ContentTime
    document.ReferencedPerformedProcedureStepSequence = []
    document.InstanceNumber = 1
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.PerformedProcedureCodeSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = hierarchical_references(evidence)
    if predecessor is not None:
        document.PredecessorDocumentsSequence = hierarchical_references([predecessor])
    document.CodingSchemeIdentificationSequence = [_private_scheme()]
    document.update(content)
    settle_character_set(document, source)
    return document


def _private_scheme() -> Dataset:
    """Coding Scheme Identification (DICOM PS3.3 C.12.1.1.1) of our own codes."""
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    item.CodingSchemeName = "SecondRead private codes"
    item.CodingSchemeResponsibleOrganization = identity.MANUFACTURER
    return item
