"""How a model does on labelled images, at an operating point that was fixed before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.calibration import OperatingPoint
from model_export.dataset import LabelledImage
from model_export.pointing import energy_inside, pointing_hit
from model_export.prediction import Predictor, predict_all
from model_export.statistics import (
    AucInterval,
    Confusion,
    Interval,
    auc,
    auc_interval,
    bootstrap_by_patient,
    brier,
    expected_calibration_error,
)


@dataclass(frozen=True)
class Evaluation:
    """Figures on one set of images, as the model card keeps them; shares are 0–1.

    images, patients, malignant: how many.
    auc: with DeLong's interval over images. auc_by_patient: with one from a bootstrap by patient;
        None where each patient has one image, or where there are too few.
    operating_point, threshold: of the four shares and f1. Their intervals are Wilson's; precision
        is None where nothing was called malignant.
    brier, calibration_error: of the malignant probability (10 bins).
    masked: how many images have a lesion mask; the next three are None if none has.
    pointing_hits: share of them whose CAM (of the logit decided for) has its maximum inside it.
    energy_inside: mean share of the CAM's sum that lies inside the lesion.
    lesion_share: mean share of the image that the lesion covers (what chance would hit).
    """

    images: int
    patients: int
    malignant: int
    auc: AucInterval
    auc_by_patient: AucInterval | None
    operating_point: str
    threshold: float
    accuracy: Interval
    sensitivity: Interval
    specificity: Interval
    precision: Interval | None
    f1: float
    brier: float
    calibration_error: float
    masked: int
    pointing_hits: float | None
    energy_inside: float | None
    lesion_share: float | None


@dataclass(frozen=True)
class Scored:
    """Images with what a model said of them, ``(N,)`` each.

    labels: 1 malignant. scores: malignant probability, 0–1. hits, energy, lesion_share: see
    Evaluation; nan where an image has no mask.
    """

    images: tuple[LabelledImage, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    hits: NDArray[np.float64]
    energy: NDArray[np.float64]
    lesion_share: NDArray[np.float64]

    @property
    def patients(self) -> list[str]:
        return [image.patient for image in self.images]

    @property
    def several_views(self) -> bool:
        """Whether a patient has several images, which are not independent."""
        return len(set(self.patients)) < len(self.images)

    def part(self, rows: NDArray[np.int64]) -> Scored:
        """Those of the row indices."""
        return Scored(
            tuple(self.images[row] for row in rows),
            self.labels[rows],
            self.scores[rows],
            self.hits[rows],
            self.energy[rows],
            self.lesion_share[rows],
        )


def score_images(
    predictor: Predictor, point: OperatingPoint, images: Sequence[LabelledImage]
) -> Scored:
    """Score every image as it is (data sets are cropped already).

    point: says which logit's CAM is judged against the lesion mask.
    Raises InferenceError if the network's answer cannot be used.
    """
    scores, hits, energy, shares = [], [], [], []
    for image, prediction in predict_all(predictor, images):
        scores.append(prediction.probability_malignant)
        mask = image.mask()
        known = bool(mask.any())
        cam = prediction.heatmap(prediction.decision(point.threshold))
        hits.append(float(pointing_hit(cam, mask)) if known else math.nan)
        energy.append(energy_inside(cam, mask) if known else math.nan)
        shares.append(float(mask.mean()) if known else math.nan)
    return Scored(
        tuple(images),
        np.array([image.label for image in images], dtype=np.int64),
        np.array(scores),
        np.array(hits),
        np.array(energy),
        np.array(shares),
    )


def evaluate(
    predictor: Predictor, point: OperatingPoint, images: Sequence[LabelledImage]
) -> Evaluation:
    """Score and judge. Raises ValueError with fewer than two images of a class."""
    return judge(score_images(predictor, point, images), point)


def judge(scored: Scored, point: OperatingPoint) -> Evaluation:
    """The figures of scored images. Raises ValueError with fewer than two images of a class."""
    labels, scores = scored.labels, scored.scores
    confusion = Confusion.at(labels, scores, point.threshold)
    masked = np.flatnonzero(~np.isnan(scored.lesion_share))
    return Evaluation(
        images=labels.size,
        patients=len(set(scored.patients)),
        malignant=int(labels.sum()),
        auc=auc_interval(labels, scores),
        auc_by_patient=_auc_by_patient(scored),
        operating_point=point.name,
        threshold=point.threshold,
        accuracy=confusion.accuracy.interval,
        sensitivity=confusion.sensitivity.interval,
        specificity=confusion.specificity.interval,
        precision=confusion.precision.interval if confusion.precision.total else None,
        f1=confusion.f1,
        brier=brier(labels, scores),
        calibration_error=expected_calibration_error(labels, scores),
        masked=masked.size,
        pointing_hits=_mean(scored.hits[masked]),
        energy_inside=_mean(scored.energy[masked]),
        lesion_share=_mean(scored.lesion_share[masked]),
    )


@dataclass(frozen=True)
class ByPatient:
    """Intervals from a bootstrap by patient, beside ``Evaluation.auc_by_patient``; None where there
    are too few patients for one."""

    sensitivity: Interval | None
    specificity: Interval | None


def judge_by_patient(scored: Scored, threshold: float) -> ByPatient | None:
    """None where each patient has one image: the plain intervals are right then."""
    if not scored.several_views:
        return None
    called = scored.scores >= threshold

    def share_of(right: NDArray[np.bool_], label: int) -> Interval | None:
        def statistic(rows: NDArray[np.int64]) -> float:
            of_class = right[rows][scored.labels[rows] == label]
            return float(of_class.mean()) if of_class.size else math.nan

        try:
            return bootstrap_by_patient(scored.patients, statistic)
        except ValueError:
            return None

    return ByPatient(share_of(called, 1), share_of(~called, 0))


def _auc_by_patient(scored: Scored) -> AucInterval | None:
    if not scored.several_views:
        return None

    def area(rows: NDArray[np.int64]) -> float:
        return auc(scored.labels[rows], scored.scores[rows])

    try:
        found = bootstrap_by_patient(scored.patients, area)
    except ValueError:
        return None
    return AucInterval(found.value, found.lower, found.upper)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
