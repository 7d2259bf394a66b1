"""What is fixed on validation data: the temperature and the operating point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from model_export.network import MALIGNANT, Classifier
from model_export.statistics import youden_threshold


@dataclass(frozen=True)
class Calibration:
    """temperature: divides the logits (Guo et al., ICML 2017). threshold: malignant from it on."""

    temperature: float
    threshold: float


def calibrate(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> Calibration:
    """Fit the temperature by likelihood, then the operating point by Youden's index.

    labels: ``(N,)`` 1 = malignant. logits: ``(N, 2)``, both of validation images.
    """

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(labels.size), labels].mean())

    fit = minimize_scalar(negative_log_likelihood, bounds=(-3.0, 3.0), method="bounded")
    temperature = float(np.exp(fit.x))
    scores = softmax(logits / temperature, axis=1)[:, MALIGNANT]
    return Calibration(temperature, youden_threshold(labels, scores))


@torch.no_grad()
def apply_temperature(model: Classifier, temperature: float) -> None:
    """Divide the last layer by the temperature; the normalised CAM does not change by it."""
    model.fc2.weight.div_(temperature)
    model.fc2.bias.div_(temperature)
