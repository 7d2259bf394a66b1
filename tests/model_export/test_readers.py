"""Obuchowski–Rockette: by a published example, by definition, by properties."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model_export.statistics import delong_test, obuchowski_rockette
from model_export.statistics.readers import ErrorCovariance, analyse_areas

# Van Dyke et al. (cine against spin-echo MRI of aortic dissection, 5 readers, 114 cases): the
# readers' AUCs as OR-DBM MRMC 2.51 prints them.
_AREAS = np.array(
    [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
)


def test_van_dykes_example_as_or_dbm_mrmc_prints_it() -> None:
    errors = ErrorCovariance(0.00080229, 0.00034661, 0.00034407, 0.00023903)
    result = analyse_areas(_AREAS, errors, [0.00048396, 0.00020419])
    random, fixed = result.random_readers, result.fixed_readers
    assert random.difference == pytest.approx(-0.04380, abs=6e-6)
    assert random.degrees == pytest.approx(15.26, abs=6e-3)
    assert random.p_value == pytest.approx(0.0517, abs=6e-5)
    assert (random.lower, random.upper) == pytest.approx((-0.08796, 0.00036), abs=6e-6)
    assert fixed.p_value == pytest.approx(0.0193, abs=6e-5)
    assert (fixed.lower, fixed.upper) == pytest.approx((-0.08049, -0.00711), abs=1e-5)
    first, second = result.first, result.second
    assert (first.lower, first.upper) == pytest.approx((0.82522360, 0.96885048), abs=1e-6)
    assert (second.lower, second.upper) == pytest.approx((0.89413783, 0.98753689), abs=1e-6)


def test_van_dykes_example_with_delongs_covariances_as_mrmcaov_prints_it() -> None:
    errors = ErrorCovariance(0.0007921325, 0.0003420090, 0.0003395265, 0.0002358497)
    result = analyse_areas(_AREAS, errors, [0.0004775239, 0.0002015292]).random_readers
    assert result.degrees == pytest.approx(15.06611, abs=1e-4)
    assert result.p_value == pytest.approx(0.05123303, abs=1e-6)
    assert (result.lower, result.upper) == pytest.approx((-0.0878671960, 0.0002665519), abs=1e-6)


def _study(
    rng: np.random.Generator, readers: int, cases: int, gain: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels, and grades ``(2, r, n)`` with all the model's random effects."""
    labels = np.repeat([0, 1], cases // 2)
    skill = rng.normal(0, 0.3, (1, readers, 1)) + rng.normal(0, 0.15, (2, readers, 1))
    skill[0] += gain
    case = rng.normal(0, 0.7, cases) + rng.normal(0, 0.4, (2, 1, cases))
    case = case + rng.normal(0, 0.5, (1, readers, cases))
    latent = labels * (1.3 + skill) + case + rng.normal(0, 0.6, (2, readers, cases))
    return labels, np.digitize(latent, [-0.5, 0.3, 1.0, 2.0]).astype(np.float64)


def test_equals_the_definition_on_a_small_study() -> None:
    labels, grades = _study(np.random.default_rng(5), readers=3, cases=24)
    result = obuchowski_rockette(labels, grades[0], grades[1])

    components = []
    for row in grades.reshape(6, 24):
        pairs = row[labels == 1][:, None] - row[labels == 0][None]
        psi = (pairs > 0) + 0.5 * (pairs == 0)
        components.append((psi.mean(), psi.mean(1), psi.mean(0)))

    def covariance(one: tuple[int, int], other: tuple[int, int]) -> float:
        (_, a10, a01), (_, b10, b01) = (components[3 * i + j] for i, j in (one, other))
        return float(np.cov(a10, b10)[0, 1] / 12 + np.cov(a01, b01)[0, 1] / 12)

    cells = [(i, j) for i in range(2) for j in range(3)]
    groups: dict[tuple[bool, bool], list[float]] = {}
    for i, j in cells:
        for k, m in cells:
            groups.setdefault((i == k, j == m), []).append(covariance((i, j), (k, m)))
    mean = {kind: float(np.mean(values)) for kind, values in groups.items()}
    assert result.errors.variance == pytest.approx(mean[True, True])
    assert result.errors.cov1 == pytest.approx(mean[False, True])
    assert result.errors.cov2 == pytest.approx(mean[True, False])
    assert result.errors.cov3 == pytest.approx(mean[False, False])

    areas = np.array([area for area, _, _ in components]).reshape(2, 3)
    gains = areas[0] - areas[1]
    interaction = gains.var(ddof=1) / 2
    error = interaction + 3 * max(mean[True, False] - mean[False, False], 0)
    assert result.random_readers.difference == pytest.approx(gains.mean())
    assert result.random_readers.degrees == pytest.approx(error**2 / (interaction**2 / 2))
    half = (result.random_readers.upper - result.random_readers.lower) / 2
    assert half > 1.96 * np.sqrt(2 / 3 * error)


def test_a_true_null_is_rejected_about_5_times_in_100() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        labels, (first, second) = _study(rng, readers=5, cases=80)
        p_values.append(obuchowski_rockette(labels, first, second).random_readers.p_value)
    assert 0.025 <= np.mean(np.array(p_values) < 0.05) <= 0.08


def test_a_real_gain_is_found() -> None:
    labels, (first, second) = _study(np.random.default_rng(1), readers=5, cases=200, gain=1.0)
    result = obuchowski_rockette(labels, first, second)
    assert result.random_readers.p_value < 0.01
    assert result.random_readers.lower > 0


def test_identical_modalities_have_p_1() -> None:
    labels, (first, _) = _study(np.random.default_rng(2), readers=4, cases=60)
    result = obuchowski_rockette(labels, first, first)
    assert result.random_readers.p_value == result.fixed_readers.p_value == 1.0


def test_turning_the_modalities_turns_the_sign_only() -> None:
    labels, (first, second) = _study(np.random.default_rng(3), readers=4, cases=60)
    one = obuchowski_rockette(labels, first, second).random_readers
    other = obuchowski_rockette(labels, second, first).random_readers
    assert one.difference == pytest.approx(-other.difference)
    assert one.p_value == pytest.approx(other.p_value)


def test_readers_who_all_read_alike_are_one_reader() -> None:
    # With no variance between readers the fixed-reader test has to be DeLong's of one of them.
    labels, (first, second) = _study(np.random.default_rng(4), readers=1, cases=60)
    alike = obuchowski_rockette(labels, np.tile(first, (3, 1)), np.tile(second, (3, 1)))
    alone = delong_test(labels, first[0], second[0])
    assert alike.fixed_readers.p_value == pytest.approx(alone.p_value)
    assert alike.fixed_readers.lower == pytest.approx(alone.lower)


def test_one_reader_or_a_missing_score_is_refused() -> None:
    labels, (first, second) = _study(np.random.default_rng(6), readers=2, cases=20)
    with pytest.raises(ValueError, match="two readers"):
        obuchowski_rockette(labels, first[:1], second[:1])
    first[0, 0] = np.nan
    with pytest.raises(ValueError, match="every reader"):
        obuchowski_rockette(labels, first, second)
