"""A score for each lesion, fused from its views, against a score for each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_sr.fusion import FusionRule, fuse
from model_export.dataset import LabelledImage
from model_export.statistics import Interval, auc, bootstrap_by_patient

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Lesion:
    """views: rows of its images. label: 1 malignant."""

    patient: str
    label: int
    views: tuple[int, ...]


@dataclass(frozen=True)
class Figure:
    """A figure per image, per lesion and their difference, per lesion less per image.

    Each with its 95 % interval from a bootstrap by patient; None where there are too few of them.
    """

    per_image: Interval | None
    per_lesion: Interval | None
    difference: Interval | None


@dataclass(frozen=True)
class PerLesion:
    """What fusing by ``rule`` does to the figures.

    images, lesions: how many, and how many of them are malignant.
    several_views: of how many lesions there are two images or more.
    sensitivity, specificity: 0–1, with the same threshold for images and for lesions.
    """

    rule: FusionRule
    images: int
    malignant_images: int
    lesions: int
    malignant_lesions: int
    several_views: int
    auc: Figure
    sensitivity: Figure
    specificity: Figure


def lesions_of(images: Sequence[LabelledImage], column: str) -> list[Lesion]:
    """The lesions that ``column`` of the manifest tells apart, in the order of their first image.

    Raises ValueError if there is no such column, if an image has nothing in it, or if images of
    one lesion are of several patients or labels: the column then names something else.
    """
    by_name: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        name = image.columns.get(column)
        if name is None:
            known = ", ".join(image.columns)
            raise ValueError(f"the manifest has no column {column!r}; it has {known}")
        if not name.strip():
            raise ValueError(f"row {row + 1} has no {column}: which lesion is it?")
        by_name.setdefault(name, []).append(row)
    lesions = []
    for rows in by_name.values():
        patients = {images[row].patient for row in rows}
        labels = {images[row].label for row in rows}
        if len(patients) > 1 or len(labels) > 1:
            raise ValueError(
                f"{column} names no lesions: images of one are of several patients or labels"
            )
        lesions.append(Lesion(patients.pop(), labels.pop(), tuple(rows)))
    return lesions


def with_several_views(lesions: Sequence[Lesion]) -> list[Lesion]:
    return [lesion for lesion in lesions if len(lesion.views) > 1]


def judge_per_lesion(
    lesions: Sequence[Lesion], scores: NDArray[np.float64], threshold: float, rule: FusionRule
) -> PerLesion:
    """The figures of the lesions and of the same lesions' images.

    scores: ``(N,)`` malignant probabilities of the images. Raises ValueError with one class alone.
    """
    labels = np.array([lesion.label for lesion in lesions], dtype=np.int64)
    fused = np.array([fuse([float(scores[row]) for row in each.views], rule) for each in lesions])
    counts = np.array([len(lesion.views) for lesion in lesions])
    flat = np.array([row for lesion in lesions for row in lesion.views], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    of_image = scores[flat]

    def views_of(chosen: Rows) -> Rows:
        """Positions in ``of_image`` of the views of lesions that may repeat."""
        sizes = counts[chosen]
        starts = np.repeat(first[chosen] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        return np.asarray(starts + np.arange(sizes.sum()), dtype=np.int64)

    image_labels = np.repeat(labels, counts)
    patients = [lesion.patient for lesion in lesions]

    def figure(
        statistic: Callable[[NDArray[np.int64], NDArray[np.float64]], float],
    ) -> Figure:
        def per_lesion(chosen: Rows) -> float:
            return statistic(labels[chosen], fused[chosen])

        def per_image(chosen: Rows) -> float:
            rows = views_of(chosen)
            return statistic(image_labels[rows], of_image[rows])

        return Figure(
            _interval(patients, per_image),
            _interval(patients, per_lesion),
            _interval(patients, lambda chosen: per_lesion(chosen) - per_image(chosen)),
        )

    auc(labels, fused)  # says what is wrong where a class is missing
    return PerLesion(
        rule=rule,
        images=flat.size,
        malignant_images=int(image_labels.sum()),
        lesions=labels.size,
        malignant_lesions=int(labels.sum()),
        several_views=int((counts > 1).sum()),
        auc=figure(auc),
        sensitivity=figure(lambda truth, said: _share(said[truth == 1] >= threshold)),
        specificity=figure(lambda truth, said: _share(said[truth == 0] < threshold)),
    )


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else math.nan


def _interval(patients: Sequence[str], statistic: Callable[[Rows], float]) -> Interval | None:
    try:
        return bootstrap_by_patient(patients, statistic)
    except ValueError:
        return None
