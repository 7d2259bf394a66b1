"""The Structured Report on one image: Comprehensive 3D SR with the content of TID 1500."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset

from dicom_sr import identity
from dicom_sr.content import image_report
from dicom_sr.finding import Finding, ModelIdentity, NotAnalysed
from dicom_sr.reference import InstanceReference, reference_to
from dicom_sr.source import read_source
from dicom_sr.sr_document import sr_document

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

    Raises ReportError if the source lacks a UID that the report must refer to, if its Patient ID
    cannot be one, or if the analysed box leaves it.
    """
    image = read_source(source)
    frame = result.frame if isinstance(result, Finding) else 0
    uid = identity.result_uid(
        image.sop_instance_uid, frame, model.sha256, identity.ResultKind.REPORT, revision, edition
    )
    return sr_document(
        source,
        [model],
        image_report(image, result, model, uid),
        sop_instance_uid=uid,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        evidence=[reference_to(source)],
        predecessor=predecessor,
        started_at=started_at,
    )
