"""The templates that our reports are made of (DICOM PS3.16), under their own names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_sr import codes, identity
from dicom_sr.content_item import (
    CONTAINS,
    HAS_ACQ_CONTEXT,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    INFERRED_FROM,
    SELECTED_FROM,
    code,
    container,
    image,
    number,
    polyline,
    text,
    uid_reference,
)
from dicom_sr.finding import Box, Decision, ModelIdentity
from dicom_sr.geometry import outline, require_inside
from dicom_sr.source import SourceImage

UNVERIFIED = "Unverified AI result, for research use only"

_ASSESSMENT = {Decision.MALIGNANT: codes.MALIGNANT, Decision.BENIGN: codes.BENIGN}


class Score(Protocol):
    """What the network said of a box of an image: the part of a finding that every report tells.

    frame: 1-based. probability_malignant, threshold: 0–1.
    """

    @property
    def frame(self) -> int: ...
    @property
    def region(self) -> Box: ...
    @property
    def probability_malignant(self) -> float: ...
    @property
    def threshold(self) -> float: ...
    @property
    def decision(self) -> Decision: ...


def percentages(score: Score) -> tuple[float, float, float]:
    """Malignant, benign and threshold in %, to two decimals; the first two sum to 100."""
    malignant = round(100 * score.probability_malignant, 2)
    return malignant, round(100 - malignant, 2), round(100 * score.threshold, 2)


def measurement_report(
    models: Sequence[ModelIdentity],
    images: Iterable[SourceImage],
    groups: list[Dataset],
    evaluations: list[Dataset],
) -> Dataset:
    """The root of the content tree (TID 1500 Measurement Report).

    models: at least one; together they are the observer.
    images: all that the report is about.
    groups: measurement groups; without any, the report has no Imaging Measurements.
    evaluations: content of the Qualitative Evaluations.
    """
    items = [
        code(HAS_CONCEPT_MOD, codes.LANGUAGE_OF_CONTENT, codes.LANGUAGE_EN_US),
        *device_observer(*models),
        code(HAS_CONCEPT_MOD, codes.PROCEDURE_REPORTED, codes.ULTRASONOGRAPHY_OF_BREAST),
        _image_library(images),
    ]
    if groups:
        items.append(container(CONTAINS, codes.IMAGING_MEASUREMENTS, groups))
    items.append(container(CONTAINS, codes.QUALITATIVE_EVALUATIONS, evaluations))
    return container(None, codes.IMAGING_MEASUREMENT_REPORT, items, "1500")


def device_observer(*models: ModelIdentity) -> list[Dataset]:
    """Observer Context (TID 1002) of the algorithms as one device (TID 1004)."""
    together = "|".join(model.sha256 for model in models)
    return [
        code(HAS_OBS_CONTEXT, codes.OBSERVER_TYPE, codes.DEVICE),
        uid_reference(HAS_OBS_CONTEXT, codes.DEVICE_OBSERVER_UID, identity.device_uid(together)),
        text(
            HAS_OBS_CONTEXT,
            codes.DEVICE_OBSERVER_NAME,
            ", ".join(model.name for model in models),
        ),
        text(HAS_OBS_CONTEXT, codes.DEVICE_OBSERVER_MANUFACTURER, identity.MANUFACTURER),
        text(HAS_OBS_CONTEXT, codes.DEVICE_OBSERVER_MODEL_NAME, identity.MANUFACTURER_MODEL_NAME),
    ]


def score_group(
    source: SourceImage,
    score: Score,
    model: ModelIdentity,
    tracking: tuple[str, str],
    further: Iterable[Dataset] = (),
) -> Dataset:
    """What the network said of the box that it was given (TID 1410).

    tracking: Tracking Identifier and Tracking Unique Identifier.
    further: content of the group beside that of the template.

    Raises ReportError if the box leaves the image.
    """
    views = [(source, score.frame)]
    return several_views_group(source, score, model, tracking, source.laterality, views, further)


def several_views_group(
    source: SourceImage,
    score: Score,
    model: ModelIdentity,
    tracking: tuple[str, str],
    side: str | None,
    views: Iterable[tuple[SourceImage, int]],
    further: Iterable[Dataset] = (),
) -> Dataset:
    """As ``score_group``, of a score that was inferred from several images.

    source: the image of the score's region, of which the template takes one.
    side: of the finding site, see ``SourceImage.laterality``. views: images and their frames.
    """
    require_inside(source, score.region)
    malignant, benign, threshold = percentages(score)
    measured_on = [
        image(
            INFERRED_FROM,
            codes.SOURCE_OF_MEASUREMENT,
            view.sop_class_uid,
            view.sop_instance_uid,
            view.frame_number(frame),
        )
        for view, frame in views
    ]
    method = code(HAS_CONCEPT_MOD, codes.MEASUREMENT_METHOD, codes.ARTIFICIAL_INTELLIGENCE)
    return measurement_group(
        tracking,
        [
            _finding_site(side),
            *_algorithm_identification(score, model),
            number(
                CONTAINS,
                codes.PROBABILITY_OF_CANCER,
                malignant,
                codes.PERCENT,
                [method, *measured_on],
            ),
            number(CONTAINS, codes.PROBABILITY_OF_BENIGN, benign, codes.PERCENT),
            number(CONTAINS, codes.THRESHOLD, threshold, codes.PERCENT),
            code(CONTAINS, codes.ASSESSMENT_CATEGORY, _ASSESSMENT[score.decision]),
            image_region(source, score.frame, outline(score.region)),
            *further,
        ],
    )


def measurement_group(tracking: tuple[str, str], items: Iterable[Dataset]) -> Dataset:
    """A group about one region (TID 1410); OHIF shows a blank viewport for one about a whole image.

    tracking: Tracking Identifier and Tracking Unique Identifier (TID 4108).
    """
    identifier, unique_identifier = tracking
    return container(
        CONTAINS,
        codes.MEASUREMENT_GROUP,
        [
            text(HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, identifier),
            uid_reference(HAS_OBS_CONTEXT, codes.TRACKING_UNIQUE_IDENTIFIER, unique_identifier),
            *items,
        ],
        "1410",
    )


def image_region(source: SourceImage, frame: int, outline: NDArray[np.float64]) -> Dataset:
    """A closed POLYLINE on the image or on its frame.

    outline: ``(n, 2)`` columns and rows in pixels of the full frame.
    """
    selected_from = image(
        SELECTED_FROM,
        codes.SOURCE,
        source.sop_class_uid,
        source.sop_instance_uid,
        source.frame_number(frame),
    )
    return polyline(CONTAINS, codes.IMAGE_REGION, outline, [selected_from])


def evaluations(summary: Code, comment: str) -> list[Dataset]:
    """The whole in one code and in one line that a person can read."""
    return [
        code(CONTAINS, codes.PROCESSING_SUMMARY, summary),
        text(CONTAINS, codes.COMMENT, comment),
    ]


def sentences(parts: Iterable[str]) -> str:
    """One line of sentences, each with one full stop; it ends with what the whole must say."""
    return ". ".join(part.rstrip(".") for part in (*parts, UNVERIFIED)) + "."


def _image_library(images: Iterable[SourceImage]) -> Dataset:
    """TID 1600; OHIF finds the images through it."""
    entries = [_library_entry(each) for each in images]
    group = container(CONTAINS, codes.IMAGE_LIBRARY_GROUP, entries)
    return container(CONTAINS, codes.IMAGE_LIBRARY, [group])


def _library_entry(source: SourceImage) -> Dataset:
    """TID 1601, with those of its descriptors that the header has."""
    sizes = (
        (codes.PIXEL_DATA_ROWS, source.rows),
        (codes.PIXEL_DATA_COLUMNS, source.columns),
    )
    descriptors = [
        code(HAS_ACQ_CONTEXT, codes.MODALITY, codes.ULTRASOUND),
        *(
            number(HAS_ACQ_CONTEXT, name, count, codes.PIXELS)
            for name, count in sizes
            if count is not None
        ),
    ]
    return image(
        CONTAINS,
        codes.SOURCE,
        source.sop_class_uid,
        source.sop_instance_uid,
        items=descriptors,
    )


def _finding_site(side: str | None) -> Dataset:
    laterality = []
    if side is not None:
        laterality = [code(HAS_CONCEPT_MOD, codes.LATERALITY_OF_SITE, codes.LATERALITY[side])]
    return code(HAS_CONCEPT_MOD, codes.FINDING_SITE, codes.BREAST, laterality)


def _algorithm_identification(score: Score, model: ModelIdentity) -> list[Dataset]:
    """TID 4019."""
    parameters = (
        f"threshold={score.threshold:.6g}",
        f"model_sha256={model.sha256}",
        *model.parameters,
    )
    return [
        text(HAS_CONCEPT_MOD, codes.ALGORITHM_NAME, model.name),
        text(HAS_CONCEPT_MOD, codes.ALGORITHM_VERSION, model.version),
        *(text(HAS_CONCEPT_MOD, codes.ALGORITHM_PARAMETERS, each) for each in parameters),
    ]
