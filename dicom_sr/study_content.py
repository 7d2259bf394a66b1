"""What the summary of a study says: every image's result, the most suspicious first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_sr import codes, identity
from dicom_sr.content_item import CONTAINS, INFERRED_FROM, composite, image, text
from dicom_sr.finding import Box, Decision, ModelIdentity, NotAnalysed
from dicom_sr.lesion import FusedLesion, Lesion, fused_lesions, lesion_group, lesions_in_words
from dicom_sr.reference import InstanceReference
from dicom_sr.source import SourceImage
from dicom_sr.templates import (
    evaluations,
    measurement_report,
    percentages,
    score_group,
    sentences,
)

_SIDES = {"R": "right", "L": "left", "B": "both sides", None: "side not stated"}


@dataclass(frozen=True)
class Scored:
    """What the summary repeats of the finding of an image; the fields are those of ``Finding``."""

    frame: int
    frames_scored: int
    probability_malignant: float
    threshold: float
    decision: Decision
    region: Box
    unlike_training: bool


@dataclass(frozen=True)
class StudyImage:
    """An image of the study with its result.

    series_number: None if the header has none.
    report: the image's own report, if the summary is to refer to it.
    """

    source: SourceImage
    series_number: int | None
    result: Scored | NotAnalysed
    model: ModelIdentity
    report: InstanceReference | None

    @property
    def place(self) -> str:
        """Where a person finds it."""
        series = "" if self.series_number is None else f" of series {self.series_number}"
        frame = ""
        if isinstance(self.result, Scored) and self.source.multi_frame:
            frame = f", frame {self.result.frame}"
        return f"image {self.source.instance_number}{series}{frame}"


def study_measurement_report(
    images: Sequence[StudyImage],
    models: Sequence[ModelIdentity],
    lesions: Sequence[Lesion] = (),
) -> Dataset:
    """The root of the content tree.

    images: in order of acquisition. lesions: those that two views or more were scored of stand
    before the images; an image that belongs to none stands there as ever.
    """
    scored = _by_suspicion(images)
    in_order = [(each, each.result) for each in images if isinstance(each.result, Scored)]
    fused = fused_lesions(lesions, in_order)
    refused = [(each, each.result) for each in images if isinstance(each.result, NotAnalysed)]
    return measurement_report(
        models,
        {each.source.sop_instance_uid: each.source for each in images}.values(),
        [*map(lesion_group, fused), *(_group(each, score) for each, score in scored)],
        [*evaluations(_summary(scored, refused), comment(images, fused)), *_reasons(refused)],
    )


def comment(images: Sequence[StudyImage], lesions: Sequence[FusedLesion] = ()) -> str:
    """The study in one line that a person can read."""
    scored = _by_suspicion(images)
    said = [f"{_count(len(images))}, {len(scored) or 'none'} analysed"]
    if scored:
        first, score = scored[0]
        malignant, _, threshold = percentages(score)
        said.append(
            f"Most suspicious: {first.place}, probability of malignancy {malignant:g} %, "
            f"threshold {threshold:g} %: {score.decision}"
        )
        sides = [
            f"{name}: {_side_in_words(those)}"
            for side, name in _SIDES.items()
            if (those := [each for each in images if each.source.laterality == side])
        ]
        said.append("; ".join(sides).capitalize())
    said += lesions_in_words(lesions)
    unlike = sum(score.unlike_training for _, score in scored)
    if unlike:
        said.append(
            f"{_count(unlike)} unlike those the model was trained on: such a score means little"
        )
    return sentences(said)


def _side_in_words(images: Sequence[StudyImage]) -> str:
    scored = _by_suspicion(images)
    if not scored:
        return f"{_count(len(images))}, none analysed"
    malignant = sum(score.decision is Decision.MALIGNANT for _, score in scored)
    highest = max(percentages(score)[0] for _, score in scored)
    return f"{malignant} of {len(scored)} called malignant, highest {highest:g} %"


def _count(images: int) -> str:
    return f"{images} image" if images == 1 else f"{images} images"


def _by_suspicion(images: Iterable[StudyImage]) -> list[tuple[StudyImage, Scored]]:
    """What was called malignant first, then by score, then by side and in order of acquisition."""
    scored = [(each, each.result) for each in images if isinstance(each.result, Scored)]
    sides = list(_SIDES)
    return sorted(
        scored,
        key=lambda pair: (
            pair[1].decision is not Decision.MALIGNANT,
            -pair[1].probability_malignant,
            sides.index(pair[0].source.laterality),
            acquisition_order(pair[0]),
        ),
    )


def acquisition_order(each: StudyImage) -> tuple[int, int, str, str]:
    """Key that sorts by series and image, and what is the same there always in the same way."""
    source = each.source
    series = each.series_number or 0
    return series, source.instance_number, source.sop_instance_uid, each.model.sha256


def _summary(scored: Sequence[tuple[StudyImage, Scored]], refused: Sequence[object]) -> Code:
    if not scored:
        return codes.NOT_SUCCEEDED
    if any(score.decision is Decision.MALIGNANT for _, score in scored):
        return codes.PARTLY_SUCCEEDED_WITH_FINDINGS if refused else codes.SUCCEEDED_WITH_FINDINGS
    return codes.PARTLY_SUCCEEDED_WITHOUT_FINDINGS if refused else codes.SUCCEEDED_WITHOUT_FINDINGS


def _group(each: StudyImage, score: Scored) -> Dataset:
    """The Tracking Unique Identifier is the same in the summaries that follow."""
    source = each.source
    region = f"{source.sop_instance_uid}|{score.frame}|{each.model.sha256}"
    tracking = each.place.capitalize(), identity.tracking_uid(source.study_instance_uid, region)
    return score_group(source, score, each.model, tracking, _own_report(CONTAINS, each))


def _reasons(refused: Sequence[tuple[StudyImage, NotAnalysed]]) -> list[Dataset]:
    """For each reason one text, inferred from the images that it holds for."""
    by_reason: dict[NotAnalysed, list[StudyImage]] = {}
    for each, reason in refused:
        by_reason.setdefault(reason, []).append(each)
    return [
        text(
            CONTAINS,
            codes.COMMENT,
            f"{'Withdrawn' if reason.is_withdrawal else 'Not analysed'}: "
            f"{'; '.join(each.place for each in those)}. "
            f"{reason.text.rstrip('.')} (reason: {reason.code}).",
            [item for each in those for item in _inferred_from(each)],
        )
        for reason, those in by_reason.items()
    ]


def _inferred_from(each: StudyImage) -> list[Dataset]:
    source = each.source
    return [
        image(INFERRED_FROM, codes.SOURCE, source.sop_class_uid, source.sop_instance_uid),
        *_own_report(INFERRED_FROM, each),
    ]


def _own_report(relationship: str, each: StudyImage) -> list[Dataset]:
    """The image's own report, where the summary refers to it (IHE AI Results: the root result)."""
    report = each.report
    if report is None:
        return []
    return [
        composite(
            relationship,
            codes.IMAGING_MEASUREMENT_REPORT,
            report.sop_class_uid,
            report.sop_instance_uid,
        )
    ]
