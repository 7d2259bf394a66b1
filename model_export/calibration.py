"""What is fixed on validation data: the temperature and the operating points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from model_export.network import MALIGNANT, Classifier
from model_export.statistics import (
    expected_calibration_error,
    threshold_for_sensitivity,
    youden_threshold,
)

LEAST_SENSITIVITY = 0.95


@dataclass(frozen=True)
class OperatingPoint:
    """name: what a site chooses it by. threshold: malignant from it on. rule: how it was found.

    sensitivity, specificity: at the threshold, on the validation images that fixed it.
    """

    name: str
    threshold: float
    rule: str
    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class Calibration:
    """temperature: divides the logits (Guo et al., ICML 2017).

    operating_points: the first one is what the package uses unless the site chooses another.
    calibration_error: expected calibration error (0–1) on the validation images, after it.
    """

    temperature: float
    operating_points: tuple[OperatingPoint, ...]
    calibration_error: float


def calibrate(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> Calibration:
    """Fit the temperature by likelihood, then fix the operating points by their rules.

    labels: ``(N,)`` 1 = malignant. logits: ``(N, 2)``, both of validation images.
    """

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(labels.size), labels].mean())

    fit = minimize_scalar(negative_log_likelihood, bounds=(-3.0, 3.0), method="bounded")
    temperature = float(np.exp(fit.x))
    scores = softmax(logits / temperature, axis=1)[:, MALIGNANT]

    def point(name: str, threshold: float, rule: str) -> OperatingPoint:
        threshold = round(threshold, 4)
        positive = scores >= threshold
        return OperatingPoint(
            name,
            threshold,
            rule,
            sensitivity=float(positive[labels == 1].mean()),
            specificity=float((~positive[labels == 0]).mean()),
        )

    sensitive = threshold_for_sensitivity(labels, scores, LEAST_SENSITIVITY)
    return Calibration(
        temperature,
        (
            point(
                "sensitive",
                sensitive,
                f"the highest threshold with a sensitivity ≥ {LEAST_SENSITIVITY:.2f} on validation",
            ),
            point("youden", youden_threshold(labels, scores), "Youden's index on validation"),
        ),
        expected_calibration_error(labels, scores),
    )


@torch.no_grad()
def apply_temperature(model: Classifier, temperature: float) -> None:
    """Divide the last layer by the temperature; the normalised CAM does not change by it."""
    model.fc2.weight.div_(temperature)
    model.fc2.bias.div_(temperature)
