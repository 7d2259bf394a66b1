"""What the summary of a study says of a lesion of which there are several views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from dicom_sr import codes, identity
from dicom_sr.content_item import CONTAINS, text
from dicom_sr.finding import Box, Decision, ModelIdentity
from dicom_sr.fusion import RULE, fuse
from dicom_sr.templates import percentages, sentences, several_views_group

if TYPE_CHECKING:
    from dicom_sr.study_content import Scored, StudyImage

_SIDES = {"L": "left", "R": "right", None: "side not stated"}


class FoundBy(StrEnum):
    """Who says that the views show one lesion, in words."""

    HEADER = "by the images' headers"
    OPERATOR = "by an operator"


@dataclass(frozen=True)
class Lesion:
    """Images of a study that show one lesion.

    identifier: always the same for this lesion of the study; the tracking UID follows from it.
    name: where it is, in words, without its side.
    side: ``L``, ``R`` or None where it is not known.
    views: SOP Instance UIDs.
    """

    identifier: str
    name: str
    side: str | None
    found_by: FoundBy
    views: tuple[str, ...]


@dataclass(frozen=True)
class FusedScore:
    """A ``Score``, its region that of the most suspicious view."""

    frame: int
    region: Box
    probability_malignant: float
    threshold: float
    decision: Decision


@dataclass(frozen=True)
class FusedLesion:
    """A lesion whose views one model has scored at one threshold.

    views: in order of acquisition, at least two.
    """

    lesion: Lesion
    views: tuple[tuple[StudyImage, Scored], ...]

    @property
    def model(self) -> ModelIdentity:
        return self.views[0][0].model

    @property
    def foremost(self) -> tuple[StudyImage, Scored]:
        """The most suspicious view."""
        return max(self.views, key=lambda pair: pair[1].probability_malignant)

    @property
    def score(self) -> FusedScore:
        """The lesion's, decided at the threshold of its views."""
        view = self.foremost[1]
        probability = fuse([score.probability_malignant for _, score in self.views])
        positive = probability >= view.threshold
        decision = Decision.MALIGNANT if positive else Decision.BENIGN
        return FusedScore(view.frame, view.region, probability, view.threshold, decision)

    @property
    def title(self) -> str:
        return f"Lesion, {_SIDES[self.lesion.side]}, {self.lesion.name}"

    @property
    def rule(self) -> str:
        """How the score was made, in words."""
        return f"fused from {len(self.views)} views: {RULE}"


def fused_lesions(
    lesions: Sequence[Lesion], scored: Sequence[tuple[StudyImage, Scored]]
) -> list[FusedLesion]:
    """Those of which two views or more were scored, the most suspicious first.

    scored: the scored images of the study, in order of acquisition. A lesion whose views were
    scored by several models or at several thresholds is left out: such scores have no mean.
    """
    found = []
    for lesion in lesions:
        views = tuple(pair for pair in scored if pair[0].source.sop_instance_uid in lesion.views)
        ways = {(image.model.sha256, score.threshold) for image, score in views}
        if len(views) > 1 and len(ways) == 1:
            found.append(FusedLesion(lesion, views))
    return sorted(
        found, key=lambda each: (-each.score.probability_malignant, each.lesion.identifier)
    )


def lesion_group(fused: FusedLesion) -> Dataset:
    """The lesion as a measurement group; its Tracking Unique Identifier stays in later summaries.

    The image region is that of the most suspicious view: the template takes one.
    """
    image, _ = fused.foremost
    tracking = (
        fused.title,
        identity.tracking_uid(image.source.study_instance_uid, f"lesion {fused.lesion.identifier}"),
    )
    model = replace(fused.model, parameters=(*fused.model.parameters, f"lesion_fusion={RULE}"))
    return several_views_group(
        image.source,
        fused.score,
        model,
        tracking,
        fused.lesion.side,
        [(each.source, view.frame) for each, view in fused.views],
        [text(CONTAINS, codes.COMMENT, _comment(fused))],
    )


def _comment(fused: FusedLesion) -> str:
    views = "; ".join(f"{image.place}, {percentages(score)[0]:g} %" for image, score in fused.views)
    unlike = sum(score.unlike_training for _, score in fused.views)
    return sentences(
        [
            fused.rule.capitalize(),
            f"Views: {views}",
            f"Said to be one lesion {fused.lesion.found_by}",
            *(
                [f"{unlike} of them unlike those the model was trained on: the score means little"]
                if unlike
                else []
            ),
        ]
    )


def lesions_in_words(fused: Sequence[FusedLesion]) -> list[str]:
    """A sentence for each lesion, none without."""
    return [
        f"{each.title}: probability of malignancy {percentages(each.score)[0]:g} %, "
        f"{each.rule}: {each.score.decision}"
        for each in fused
    ]
