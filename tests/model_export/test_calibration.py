from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from model_export.calibration import apply_temperature, calibrate
from model_export.network import Classifier


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 2, size=4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    logits = np.stack([-margin / 2, margin / 2], axis=1) * 3
    assert calibrate(labels, logits).temperature == pytest.approx(3, rel=0.1)


def test_applied_temperature_divides_the_logits() -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)
        apply_temperature(model, 2.5)
        after = model(image)
    np.testing.assert_allclose(after, before / 2.5, rtol=1e-5)


def test_calibration_does_not_hurt_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    logits = rng.normal(size=(300, 2)) * 4
    temperature = calibrate(labels, logits).temperature
    rows = np.arange(labels.size)
    raw = log_softmax(logits, axis=1)[rows, labels].mean()
    scaled = log_softmax(logits / temperature, axis=1)[rows, labels].mean()
    assert scaled >= raw
