"""The Structured Report: Comprehensive 3D SR with the content of TID 1500."""

from __future__ import annotations

from datetime import datetime

from highdicom.sr import ContainerContentItem
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr import codes, identity
from dicom_sr.content import measurement_report
from dicom_sr.finding import Finding, ModelIdentity, NotAnalysed
from dicom_sr.header import result_header, settle_character_set
from dicom_sr.reference import InstanceReference, hierarchical_references, reference_to
from dicom_sr.source import read_source

SERIES_NUMBER = 9001
SERIES_DESCRIPTION = "AI breast ultrasound report, unverified"


def build_report(
    source: Dataset,
    result: Finding | NotAnalysed,
    model: ModelIdentity,
    *,
    revision: int,
    started_at: datetime,
    edition: int = 0,
    predecessor: InstanceReference | None = None,
) -> Dataset:
    """Report what the model found in ``source``, or why it was not analysed.

    source: the image's header; its pixels are not read, and it is not changed.
    revision: 0 for the first content under the source's SOP Instance UID, 1 for the next, …
    started_at: timezone-aware; when the analysis started. With the same arguments the report is
        the same byte for byte.
    edition: 0 for the first report on that content, 1 for the one that replaces it, …
    predecessor: the report that this one replaces (Predecessor Documents).

    Raises ReportError if the source lacks a UID that the report must refer to.
    """
    image = read_source(source)
    frame = result.frame if isinstance(result, Finding) else 0
    uid = identity.result_uid(
        image.sop_instance_uid, frame, model.sha256, identity.ResultKind.REPORT, revision, edition
    )
    report = result_header(
        source,
        model,
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=uid,
        series_instance_uid=identity.report_series_uid(uid),
        started_at=started_at,
    )
    report.Modality = "SR"
    report.SeriesNumber = SERIES_NUMBER
    report.SeriesDescription = SERIES_DESCRIPTION
    report.SeriesDate = report.ContentDate
    report.SeriesTime = report.ContentTime
    report.ReferencedPerformedProcedureStepSequence = []
    report.InstanceNumber = 1
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.PerformedProcedureCodeSequence = []
    report.CurrentRequestedProcedureEvidenceSequence = hierarchical_references(
        [reference_to(source)]
    )
    if predecessor is not None:
        report.PredecessorDocumentsSequence = hierarchical_references([predecessor])
    report.CodingSchemeIdentificationSequence = [_private_scheme()]
    _put_content(report, measurement_report(image, result, model, uid))
    settle_character_set(report, source)
    return report


def _private_scheme() -> Dataset:
    """Coding Scheme Identification (DICOM PS3.3 C.12.1.1.1) of our own codes."""
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    item.CodingSchemeName = "SecondRead private codes"
    item.CodingSchemeResponsibleOrganization = identity.MANUFACTURER
    return item


def _put_content(report: Dataset, root: ContainerContentItem) -> None:
    for element in root:
        report.add(element)
