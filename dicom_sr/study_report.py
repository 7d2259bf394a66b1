"""The summary of a study: one report that leads to all results (the root of IHE AI Results)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr import identity
from dicom_sr.finding import ModelIdentity, NotAnalysed
from dicom_sr.lesion import Lesion
from dicom_sr.reference import InstanceReference, reference_to_image
from dicom_sr.source import header_value, read_source
from dicom_sr.sr_document import sr_document
from dicom_sr.study_content import (
    Scored,
    StudyImage,
    acquisition_order,
    study_measurement_report,
)

__all__ = ["ImageResult", "Scored", "build_study_report"]

SERIES_NUMBER = 9006
SERIES_DESCRIPTION = "AI breast ultrasound study summary, unverified"


@dataclass(frozen=True)
class ImageResult:
    """An image of the study and what was said of it.

    image: its header; the pixels are not read, and it is not changed.
    report: the image's own report, None if it has none.
    """

    image: Dataset
    result: Scored | NotAnalysed
    model: ModelIdentity
    report: InstanceReference | None


def build_study_report(
    results: Sequence[ImageResult],
    *,
    number: int,
    with_reports: bool,
    started_at: datetime,
    predecessor: InstanceReference | None = None,
    lesions: Sequence[Lesion] = (),
) -> Dataset:
    """Summarise the results of one study.

    results: at least one; of any series and models. Patient and study are told as in the header of
        the first one.
    number: 0 for the study's first summary, 1 for the one that late images made necessary, …
    with_reports: refer to each image's own report; else the summary stands alone.
    started_at: timezone-aware. With the same arguments the summary is the same byte for byte.
    predecessor: the summary that this one replaces. If it is not given, a summary with
        a ``number`` replaces the one before it, taken to be of the same models.
    lesions: which images show one lesion; without any, the summary is the same as ever.

    Raises ReportError if a header lacks a UID, if its Patient ID cannot be one or if a box leaves
    its image, ValueError if there is no result or if they are of
    several studies.
    """
    images = sorted((_study_image(each, with_reports) for each in results), key=acquisition_order)
    studies = {each.source.study_instance_uid for each in images}
    if len(studies) != 1:
        raise ValueError(f"the summary of one study got results of {len(studies)}")
    (study_instance_uid,) = studies
    by_sha256 = {each.model.sha256: each.model for each in images}
    models = [by_sha256[sha256] for sha256 in sorted(by_sha256)]

    def uid(of_number: int) -> str:
        return identity.study_report_uid(study_instance_uid, by_sha256, with_reports, of_number)

    if predecessor is None and number > 0:
        before = uid(number - 1)
        predecessor = InstanceReference(
            study_instance_uid,
            identity.report_series_uid(before),
            Comprehensive3DSRStorage,
            before,
        )
    return sr_document(
        results[0].image,
        models,
        study_measurement_report(images, models, lesions),
        sop_instance_uid=uid(number),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        evidence=[
            *(reference_to_image(each.source) for each in images),
            *(each.report for each in images if each.report is not None),
        ],
        predecessor=predecessor,
        started_at=started_at,
    )


def _study_image(each: ImageResult, with_reports: bool) -> StudyImage:
    number = header_value(each.image, "SeriesNumber")
    return StudyImage(
        read_source(each.image),
        int(number) if isinstance(number, int) else None,
        each.result,
        each.model,
        each.report if with_reports else None,
    )
