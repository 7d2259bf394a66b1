"""Calibration: it undoes what is wrong, and its operating points keep their rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from model_export.calibration import Calibration, apply_calibration, calibrate
from model_export.network import Classifier
from model_export.statistics import expected_calibration_error


def _cohort(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known margins: ``(n,)`` each."""
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 2, size=n)
    return (rng.random(n) < expit(margin)).astype(np.int64), margin


def test_overconfidence_and_a_shift_are_undone() -> None:
    labels, margin = _cohort()
    logits = np.stack([-margin / 2, margin / 2], axis=1) * 3 + [0.0, 1.5]
    found = calibrate(labels, logits)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.bias == pytest.approx(-0.5, abs=0.15)
    assert found.calibration_error < 0.03
    raw = expit(logits[:, 1] - logits[:, 0])
    assert expected_calibration_error(labels, raw) > 0.08


def test_applied_calibration_divides_the_logits_and_adds_the_bias() -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)
        apply_calibration(model, Calibration(2.5, (), 0.0, bias=0.75))
        after = model(image)
    np.testing.assert_allclose(after, before / 2.5 + torch.tensor([0, 0.75]), rtol=1e-5)


def test_calibration_does_not_hurt_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    logits = rng.normal(size=(300, 2)) * 4
    found = calibrate(labels, logits)
    rows = np.arange(labels.size)
    raw = log_softmax(logits, axis=1)[rows, labels].mean()
    scaled = log_softmax(logits / found.temperature + [0, found.bias], axis=1)
    assert scaled[rows, labels].mean() >= raw


@pytest.mark.parametrize("seed", range(20))
def test_the_sensitive_point_keeps_its_promise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(365) < 0.33).astype(np.int64)
    logits = np.stack([np.zeros(365), rng.normal(labels * 2, 1.5)], axis=1)
    sensitive, youden = calibrate(labels, logits).operating_points
    assert (sensitive.name, youden.name) == ("sensitive", "youden")
    assert sensitive.sensitivity >= 0.95
    total = sensitive.sensitivity + sensitive.specificity
    assert youden.sensitivity + youden.specificity >= total - 0.01


def test_separable_classes_do_not_run_away() -> None:
    labels = np.repeat([0, 1], 20)
    logits = np.stack([np.zeros(40), np.where(labels == 1, 5.0, -5.0)], axis=1)
    found = calibrate(labels, logits)
    assert np.isfinite([found.temperature, found.bias]).all()
    assert found.operating_points[0].sensitivity == 1.0
