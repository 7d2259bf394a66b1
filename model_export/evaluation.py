"""How a package does on labelled images: the same scoring code that the service runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dicom_sr.finding import Box, Decision
from model_export.dataset import LabelledImage
from model_export.statistics import AucInterval, auc_interval
from service.analysis.inference import Scorer


@dataclass(frozen=True)
class Evaluation:
    """Figures on one set of images; shares are 0–1.

    images, patients, malignant: how many.
    sensitivity … f1: at the package's threshold.
    brier: mean squared error of the malignant probability.
    pointing_hits: share of images with a mask whose CAM has its maximum inside the lesion.
    energy_inside: mean share of the CAM's sum that lies inside the lesion.
    lesion_share: mean share of the image that the lesion covers (what chance would hit).
    masked: how many images have a mask.
    """

    images: int
    patients: int
    malignant: int
    auc: AucInterval
    accuracy: float
    sensitivity: float
    specificity: float
    precision: float
    f1: float
    brier: float
    masked: int
    pointing_hits: float
    energy_inside: float
    lesion_share: float


def evaluate(scorer: Scorer, threshold: float, images: Sequence[LabelledImage]) -> Evaluation:
    """Score every image as the service does (no cropping: the data sets are cropped already).

    threshold: the package's operating point; it also says which logit's CAM is judged.

    The AUC's interval is DeLong's over images; where a patient has two images it is a little too
    narrow. Raises ValueError if a class is missing.
    """
    labels = np.array([image.label for image in images])
    scores, hits, energies, shares = [], [], [], []
    console = Console(stderr=True)
    for image in track(images, description="scoring", console=console, transient=True):
        pixels, mask = image.pixels(), image.mask()
        score = scorer.score(pixels)
        scores.append(score.probability_malignant)
        if mask.any():
            positive = score.probability_malignant >= threshold
            decision = Decision.MALIGNANT if positive else Decision.BENIGN
            cam = scorer.heatmap(score, decision, Box(0, 0, mask.shape[1], mask.shape[0]))
            row, column = np.unravel_index(int(cam.argmax()), cam.shape)
            hits.append(bool(mask[row, column]) and cam.max() > 0)
            energies.append(float((cam * mask).sum() / cam.sum()) if cam.max() > 0 else 0.0)
            shares.append(float(mask.mean()))
    return _figures(
        labels,
        np.array(scores),
        threshold,
        patients=len({image.patient for image in images}),
        masked=len(hits),
        pointing_hits=float(np.mean(hits)) if hits else 0.0,
        energy_inside=float(np.mean(energies)) if energies else 0.0,
        lesion_share=float(np.mean(shares)) if shares else 0.0,
    )


def _figures(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    threshold: float,
    *,
    patients: int,
    masked: int,
    pointing_hits: float,
    energy_inside: float,
    lesion_share: float,
) -> Evaluation:
    positive = scores >= threshold
    malignant = labels == 1
    true_positives = int((positive & malignant).sum())
    sensitivity = true_positives / int(malignant.sum())
    precision = true_positives / int(positive.sum()) if positive.any() else 0.0
    total = sensitivity + precision
    return Evaluation(
        images=labels.size,
        patients=patients,
        malignant=int(malignant.sum()),
        auc=auc_interval(labels, scores),
        accuracy=float((positive == malignant).mean()),
        sensitivity=sensitivity,
        specificity=float((~positive & ~malignant).sum() / (~malignant).sum()),
        precision=precision,
        f1=2 * sensitivity * precision / total if total else 0.0,
        brier=float(((scores - labels) ** 2).mean()),
        masked=masked,
        pointing_hits=pointing_hits,
        energy_inside=energy_inside,
        lesion_share=lesion_share,
    )
