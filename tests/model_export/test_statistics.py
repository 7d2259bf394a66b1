from __future__ import annotations

import numpy as np
import pytest

from model_export.statistics import auc, auc_interval, youden_threshold


def _cohort(seed: int, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(np.int64)
    return labels, np.round(rng.normal(labels * 1.2, 1.0), 1)


def test_auc_counts_pairs_and_halves_ties() -> None:
    labels, scores = _cohort(1)
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    assert auc(labels, scores) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_delong_variance_equals_its_definition() -> None:
    labels, scores = _cohort(2)
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    psi = (pairs > 0) + 0.5 * (pairs == 0)
    variance = psi.mean(1).var(ddof=1) / psi.shape[0] + psi.mean(0).var(ddof=1) / psi.shape[1]
    interval = auc_interval(labels, scores)
    assert interval.auc == pytest.approx(psi.mean())
    assert (interval.upper - interval.lower) / 2 == pytest.approx(1.959964 * np.sqrt(variance))


def test_delong_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    truth = 0.8021  # Φ(1.2 / √2)
    inside = 0
    for _ in range(400):
        labels = np.repeat([1, 0], [60, 90])
        interval = auc_interval(labels, rng.normal(labels * 1.2, 1.0))
        inside += interval.lower <= truth <= interval.upper
    assert 0.92 <= inside / 400 <= 0.98


def test_one_class_alone_has_no_auc() -> None:
    with pytest.raises(ValueError, match="malignant and benign"):
        auc(np.ones(4, dtype=np.int64), np.arange(4.0))


def test_youden_threshold_lies_between_separable_classes() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.9])
    assert youden_threshold(labels, scores) == pytest.approx(0.5)
