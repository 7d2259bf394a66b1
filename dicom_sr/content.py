"""What the report on one image says."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_sr import codes, identity
from dicom_sr.content_item import CONTAINS, code
from dicom_sr.contour import cam_contour
from dicom_sr.finding import Decision, Finding, ModelIdentity, NotAnalysed
from dicom_sr.source import SourceImage
from dicom_sr.templates import (
    evaluations,
    image_region,
    measurement_group,
    measurement_report,
    percentages,
    score_group,
    sentences,
)

_SUMMARY = {
    Decision.MALIGNANT: codes.SUCCEEDED_WITH_FINDINGS,
    Decision.BENIGN: codes.SUCCEEDED_WITHOUT_FINDINGS,
}


def image_report(
    image: SourceImage, result: Finding | NotAnalysed, model: ModelIdentity, report_uid: str
) -> Dataset:
    """The root of the report's content tree."""
    if isinstance(result, Finding):
        groups, summary = _groups(image, result, model, report_uid), _SUMMARY[result.decision]
    else:
        groups, summary = [], codes.NOT_SUCCEEDED
    return measurement_report([model], [image], groups, evaluations(summary, comment(result)))


def comment(result: Finding | NotAnalysed) -> str:
    """The result in one line that a person can read."""
    if isinstance(result, NotAnalysed):
        reason = f"{result.text.rstrip('.')} (reason: {result.code})"
        return sentences([reason if result.is_withdrawal else f"Not analysed: {reason}"])
    malignant, _, threshold = percentages(result)
    said = [
        f"Probability of malignancy {malignant:g} %, threshold {threshold:g} %: {result.decision}",
        f"Analysed box: {result.region_source}",
    ]
    if result.frames_scored > 1:
        said.append(f"Frame {result.frame} is the most suspicious of {result.frames_scored} scored")
    if result.cam.any():
        said.append(f"The heatmap shows the evidence for {result.decision}")
    else:
        said.append(f"No heatmap, because no area raised the {result.decision} score")
    return sentences([*said, *result.remarks])


def _groups(
    image: SourceImage, finding: Finding, model: ModelIdentity, report_uid: str
) -> list[Dataset]:
    """The score, and where the evidence for the reported decision lies: the CAM at half of its
    maximum."""
    groups = [score_group(image, finding, model, _tracking("Analysed region", report_uid))]
    contour = cam_contour(finding.cam, finding.region)
    if contour is not None:
        identifier = f"Grad-CAM for {finding.decision} at 50 % of its maximum"
        groups.append(
            measurement_group(
                _tracking(identifier, report_uid),
                [
                    code(CONTAINS, codes.FINDING, codes.GRADIENT_WEIGHTED_CLASS_ACTIVATION),
                    image_region(image, finding.frame, contour),
                ],
            )
        )
    return groups


def _tracking(identifier: str, report_uid: str) -> tuple[str, str]:
    return identifier, identity.tracking_uid(report_uid, identifier)
