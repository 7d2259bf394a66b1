"""What is fixed on validation data: temperature, bias and operating points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from model_export.network import BENIGN, MALIGNANT, Classifier
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
    """temperature: divides the logits. bias: is then added to the malignant one.

    operating_points: the first one is what the package uses unless the site chooses another.
    calibration_error: expected calibration error (0–1) on the validation images, after it.
    """

    temperature: float
    operating_points: tuple[OperatingPoint, ...]
    calibration_error: float
    bias: float = 0.0


def calibrate(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> Calibration:
    """Fit temperature and bias by likelihood, then fix the operating points by their rules.

    labels: ``(N,)`` 1 = malignant. logits: ``(N, 2)``, both of validation images.

    Platt scaling of the logits' difference (Platt 1999): the temperature alone (Guo et al., ICML
    2017) cannot mend a network that calls malignant too often on the whole.
    """
    margin = logits[:, MALIGNANT] - logits[:, BENIGN]

    def negative_log_likelihood(parameters: NDArray[np.float64]) -> float:
        z = margin / np.exp(parameters[0]) + parameters[1]
        return float((np.logaddexp(0, z) - labels * z).mean())

    fit = minimize(
        negative_log_likelihood, np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-10, 10)]
    )
    temperature, bias = float(np.exp(fit.x[0])), float(fit.x[1])
    scores = np.asarray(expit(margin / temperature + bias), dtype=np.float64)

    def point(name: str, threshold: float, rule: str) -> OperatingPoint:
        # Rounded down: rounding up could lose the case that the sensitivity hangs on.
        threshold = math.floor(threshold * 10_000) / 10_000
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
        bias,
    )


@torch.no_grad()
def apply_calibration(model: Classifier, calibration: Calibration) -> None:
    """Put temperature and bias into the last layer; the normalised CAM does not change by it."""
    model.fc2.weight.div_(calibration.temperature)
    model.fc2.bias.div_(calibration.temperature)
    model.fc2.bias[MALIGNANT] += calibration.bias
