"""The report's content tree: TID 1500, its measurement groups (TID 1410) and its summary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    Measurement,
    NumContentItem,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    ScoordContentItem,
    SourceImageForMeasurement,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from dicom_sr import codes, identity
from dicom_sr.contour import cam_contour
from dicom_sr.finding import Box, Decision, Finding, ModelIdentity, NotAnalysed
from dicom_sr.source import SourceImage

_CONTAINS = RelationshipTypeValues.CONTAINS
_HAS_ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
_HAS_CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD

_ASSESSMENT = {Decision.MALIGNANT: codes.MALIGNANT, Decision.BENIGN: codes.BENIGN}
_SUMMARY = {
    Decision.MALIGNANT: codes.SUCCEEDED_WITH_FINDINGS,
    Decision.BENIGN: codes.SUCCEEDED_WITHOUT_FINDINGS,
}


def measurement_report(
    image: SourceImage, result: Finding | NotAnalysed, model: ModelIdentity, report_uid: str
) -> ContainerContentItem:
    """The root of the tree (TID 1500 Measurement Report)."""
    observer = ObserverContext(
        CodedConcept.from_code(codes.DEVICE),
        DeviceObserverIdentifyingAttributes(
            uid=identity.device_uid(model.sha256),
            name=model.name,
            manufacturer_name=identity.MANUFACTURER,
            model_name=identity.MANUFACTURER_MODEL_NAME,
        ),
    )
    items: list[ContentItem] = [
        *LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.LANGUAGE_EN_US)),
        *observer,
        CodeContentItem(
            codes.PROCEDURE_REPORTED, codes.ULTRASONOGRAPHY_OF_BREAST, _HAS_CONCEPT_MOD
        ),
        _image_library(image),
    ]
    if isinstance(result, Finding):
        groups = _measurement_groups(image, result, model, report_uid)
        items.append(_container(codes.IMAGING_MEASUREMENTS, groups))
    items.append(_qualitative_evaluations(result))
    root = ContainerContentItem(
        codes.IMAGING_MEASUREMENT_REPORT, is_content_continuous=False, template_id="1500"
    )
    root.ContentSequence = ContentSequence(items)
    return root


def percentages(finding: Finding) -> tuple[float, float, float]:
    """Malignant, benign and threshold in %, to two decimals; the first two sum to 100."""
    malignant = round(100 * finding.probability_malignant, 2)
    return malignant, round(100 - malignant, 2), round(100 * finding.threshold, 2)


def comment(result: Finding | NotAnalysed) -> str:
    """The result in one line that a person can read."""
    if isinstance(result, NotAnalysed):
        said = [f"Not analysed: {result.text.rstrip('.')} (reason: {result.code})"]
    else:
        malignant, _, threshold = percentages(result)
        said = [
            f"Probability of malignancy {malignant:g} %, threshold {threshold:g} %: "
            f"{result.decision}",
            f"Analysed box: {result.region_source}",
        ]
        if result.frames_scored > 1:
            said.append(
                f"Frame {result.frame} is the most suspicious of {result.frames_scored} scored"
            )
        if result.cam.any():
            said.append(f"The heatmap shows the evidence for {result.decision}")
        else:
            said.append(f"No heatmap, because no area raised the {result.decision} score")
        said += result.remarks
    said.append("Unverified AI result, for research use only")
    return ". ".join(sentence.rstrip(".") for sentence in said) + "."


def _image_library(image: SourceImage) -> ContainerContentItem:
    """TID 1600; OHIF finds the image through it. Written out because highdicom's template knows
    neither the retired ultrasound classes nor a header without Rows."""
    entry = ImageContentItem(
        codes.SOURCE, image.sop_class_uid, image.sop_instance_uid, relationship_type=_CONTAINS
    )
    descriptors: list[ContentItem] = [
        CodeContentItem(codes.MODALITY, codes.ULTRASOUND, _HAS_ACQ_CONTEXT)
    ]
    for name, count in (
        (codes.PIXEL_DATA_ROWS, image.rows),
        (codes.PIXEL_DATA_COLUMNS, image.columns),
    ):
        if count is not None:
            descriptors.append(
                NumContentItem(name, count, codes.PIXELS, relationship_type=_HAS_ACQ_CONTEXT)
            )
    entry.ContentSequence = ContentSequence(descriptors)
    return _container(codes.IMAGE_LIBRARY, [_container(codes.IMAGE_LIBRARY_GROUP, [entry])])


def _measurement_groups(
    image: SourceImage, finding: Finding, model: ModelIdentity, report_uid: str
) -> list[ContainerContentItem]:
    groups = [_score_group(image, finding, model, report_uid)]
    contour = cam_contour(finding.cam, finding.region)
    if contour is not None:
        groups.append(_activation_group(image, finding, contour, report_uid))
    return groups


def _score_group(
    image: SourceImage, finding: Finding, model: ModelIdentity, report_uid: str
) -> ContainerContentItem:
    """What the network said of the box that it was given."""
    malignant, benign, threshold = percentages(finding)
    source = SourceImageForMeasurement(
        image.sop_class_uid, image.sop_instance_uid, image.frames(finding.frame)
    )
    laterality = codes.LATERALITY[image.laterality] if image.laterality else None
    return _container(
        codes.MEASUREMENT_GROUP,
        [
            *_tracking("Analysed region", report_uid),
            FindingSite(codes.BREAST, laterality),
            *AlgorithmIdentification(
                model.name,
                model.version,
                [
                    f"threshold={finding.threshold:.6g}",
                    f"model_sha256={model.sha256}",
                    *model.parameters,
                ],
            ),
            *Measurement(
                codes.PROBABILITY_OF_CANCER,
                malignant,
                codes.PERCENT,
                method=codes.ARTIFICIAL_INTELLIGENCE,
                referenced_images=[source],
            ),
            *Measurement(codes.PROBABILITY_OF_BENIGN, benign, codes.PERCENT),
            *Measurement(codes.THRESHOLD, threshold, codes.PERCENT),
            *QualitativeEvaluation(codes.ASSESSMENT_CATEGORY, _ASSESSMENT[finding.decision]),
            _image_region(image, finding.frame, _rectangle(finding.region)),
        ],
        template_id="1410",
    )


def _activation_group(
    image: SourceImage, finding: Finding, contour: NDArray[np.float64], report_uid: str
) -> ContainerContentItem:
    """Where the evidence for the reported decision lies: the CAM at half of its maximum."""
    identifier = f"Grad-CAM for {finding.decision} at 50 % of its maximum"
    return _container(
        codes.MEASUREMENT_GROUP,
        [
            *_tracking(identifier, report_uid),
            CodeContentItem(codes.FINDING, codes.GRADIENT_WEIGHTED_CLASS_ACTIVATION, _CONTAINS),
            _image_region(image, finding.frame, contour),
        ],
        template_id="1410",
    )


def _qualitative_evaluations(result: Finding | NotAnalysed) -> ContainerContentItem:
    summary = codes.NOT_SUCCEEDED
    if isinstance(result, Finding):
        summary = _SUMMARY[result.decision]
    return _container(
        codes.QUALITATIVE_EVALUATIONS,
        [
            CodeContentItem(codes.PROCESSING_SUMMARY, summary, _CONTAINS),
            TextContentItem(codes.COMMENT, comment(result), _CONTAINS),
        ],
    )


def _tracking(identifier: str, report_uid: str) -> TrackingIdentifier:
    return TrackingIdentifier(identity.tracking_uid(report_uid, identifier), identifier)


def _rectangle(box: Box) -> NDArray[np.float64]:
    """The box as a closed line through its corners, ``(5, 2)`` columns and rows."""
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    return np.array(
        [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=np.float64
    )


def _image_region(
    image: SourceImage, frame: int, outline: NDArray[np.float64]
) -> ScoordContentItem:
    """A closed POLYLINE on the image or on its frame."""
    region = ScoordContentItem(
        codes.IMAGE_REGION, GraphicTypeValues.POLYLINE, outline, relationship_type=_CONTAINS
    )
    region.ContentSequence = ContentSequence(
        [SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid, image.frames(frame))]
    )
    return region


def _container(
    name: Code, items: Sequence[ContentItem], template_id: str | None = None
) -> ContainerContentItem:
    """SEPARATE: with CONTINUOUS, dsr2html prints the values without their names."""
    container = ContainerContentItem(
        name,
        is_content_continuous=False,
        template_id=template_id,
        relationship_type=_CONTAINS,
    )
    container.ContentSequence = ContentSequence(items)
    return container
