"""From judged images to cases: by image or by study, and by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

from service.journal.truth_records import Diagnosis, JudgedImage, JudgedScore
from service.truth.figures import Judged

UNNAMED = "unnamed"


class By(StrEnum):
    """What a report's rows are apart from the model version."""

    MODEL = "model"
    SCANNER = "scanner"
    MONTH = "month"


def grouped(images: Iterable[JudgedImage], by: By) -> dict[tuple[str, str], list[JudgedImage]]:
    """By model version and group, sorted; the group is empty where rows are by model alone.

    The month is that of reception, in UTC. A study whose images came from two scanners is a case
    of both.
    """
    groups: dict[tuple[str, str], list[JudgedImage]] = defaultdict(list)
    for image in images:
        groups[image.model_version, _group(image, by)].append(image)
    return dict(sorted(groups.items()))


def _group(image: JudgedImage, by: By) -> str:
    match by:
        case By.MODEL:
            return ""
        case By.SCANNER:
            return image.scanner_model or UNNAMED
        case By.MONTH:
            return f"{image.received_at:%Y-%m}"


def image_cases(images: Sequence[JudgedScore]) -> list[Judged]:
    """Each image is a case. One of a malignant study without a diagnosis of its own counts as
    malignant, whatever it shows."""
    return [
        Judged(image.probability_malignant, image.malignant, _is_malignant(image.diagnosis))
        for image in images
    ]


def study_cases(images: Sequence[JudgedScore]) -> list[Judged]:
    """Each study is a case with its highest score; it is called malignant if any image is.

    Its truth is its own diagnosis; without one it is malignant if any of its images is. An image
    whose study is not known is a case of its own.
    """
    studies: dict[str, list[JudgedScore]] = defaultdict(list)
    for image in images:
        studies[image.study_instance_uid or image.key].append(image)
    return [
        Judged(
            max(image.probability_malignant for image in of_study),
            any(image.malignant for image in of_study),
            any(_is_malignant(image.of_study or image.diagnosis) for image in of_study),
        )
        for of_study in studies.values()
    ]


def _is_malignant(diagnosis: Diagnosis) -> bool:
    return diagnosis is Diagnosis.MALIGNANT
