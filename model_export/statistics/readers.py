"""Two modalities read by several readers: the analysis of variance of Obuchowski and Rockette.

Commun Stat Simul Comput 1995;24:285–308, with the degrees of freedom of Hillis (Stat Med
2007;26:596–619) and in the notation of Hillis et al. (Stat Med 2005;24:1579–1607). For the AUC
θ_ij of modality i (of t = 2) and reader j (of r), with errors whose covariance is Cov1 for one
reader and two modalities, Cov2 for two readers and one modality, Cov3 for two of both:

    F = MS(T) / E,  E = MS(T·R) + r · max(Cov2 − Cov3, 0)
    ddf = E² / (MS(T·R)² / ((t − 1)(r − 1)))

The covariances are DeLong's, averaged. Readers and cases are random; with the readers fixed

    z² = MS(T) / (Var − Cov1 + (r − 1) · max(Cov2 − Cov3, 0)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from model_export.statistics.delong import AucInterval, delong_covariance

_LEVEL = 0.975


@dataclass(frozen=True)
class ErrorCovariance:
    """Variance of one AUC over cases, and the three covariances of the model."""

    variance: float
    cov1: float
    cov2: float
    cov3: float


@dataclass(frozen=True)
class Contrast:
    """first − second with its 95 % interval, and the two-sided P of no difference.

    degrees: of freedom; inf where the test is normal.
    """

    difference: float
    lower: float
    upper: float
    degrees: float
    p_value: float


@dataclass(frozen=True)
class ReadersTest:
    """Two modalities, each AUC the mean over the readers.

    first, second: their intervals for random readers and cases.
    random_readers: speaks of readers and cases like these. fixed_readers: speaks of these readers
    only; the fallback where they are too few to stand for others (two leave 1 degree of freedom).
    """

    readers: int
    first: AucInterval
    second: AucInterval
    random_readers: Contrast
    fixed_readers: Contrast
    errors: ErrorCovariance


def obuchowski_rockette(
    labels: NDArray[np.int64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> ReadersTest:
    """Compare two modalities that all readers read on all cases.

    labels: ``(n,)``. first, second: ``(r, n)``, reader by case, the same readers in both.
    Raises ValueError with one reader (use ``delong_test``), fewer than two cases of a class, or
    a score that is missing (nan).
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] < 2:
        raise ValueError("Obuchowski–Rockette needs two readers or more, the same in both")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Obuchowski–Rockette needs every reader's score of every case")
    areas, covariance = delong_covariance(labels, np.concatenate([first, second]))
    readers = first.shape[0]
    blocks = covariance.reshape(2, readers, 2, readers)
    return analyse_areas(
        areas.reshape(2, readers), _averaged(blocks), [_cov2(blocks[i, :, i]) for i in (0, 1)]
    )


def analyse_areas(
    areas: NDArray[np.float64], errors: ErrorCovariance, cov2_alone: list[float]
) -> ReadersTest:
    """The analysis from AUCs ``(2, r)`` and covariances.

    cov2_alone: Cov2 of each modality by itself, for its own interval.
    """
    readers = areas.shape[1]
    means = areas.mean(axis=1)
    difference = float(means[0] - means[1])
    residual = areas - means[:, None] - areas.mean(axis=0) + areas.mean()
    interaction = float((residual**2).sum() / (readers - 1))
    between = max(errors.cov2 - errors.cov3, 0.0)
    denominator = interaction + readers * between
    fixed = errors.variance - errors.cov1 + (readers - 1) * between
    first, second = (_alone(row, cov2) for row, cov2 in zip(areas, cov2_alone, strict=True))
    return ReadersTest(
        readers,
        first,
        second,
        _contrast(difference, 2 / readers * denominator, _ddf(denominator, interaction, readers)),
        _contrast(difference, 2 / readers * fixed, math.inf),
        errors,
    )


def _averaged(blocks: NDArray[np.float64]) -> ErrorCovariance:
    """Of ``(2, r, 2, r)``: modality, reader, modality, reader."""
    readers = blocks.shape[1]
    same, other = np.eye(readers, dtype=bool), ~np.eye(readers, dtype=bool)
    return ErrorCovariance(
        variance=float(np.mean([blocks[i, :, i][same] for i in (0, 1)])),
        cov1=float(blocks[0, :, 1][same].mean()),
        cov2=float(np.mean([blocks[i, :, i][other] for i in (0, 1)])),
        cov3=float(blocks[0, :, 1][other].mean()),
    )


def _cov2(block: NDArray[np.float64]) -> float:
    return float(block[~np.eye(len(block), dtype=bool)].mean())


def _alone(areas: NDArray[np.float64], cov2: float) -> AucInterval:
    """One modality's mean AUC, for random readers and cases (Hillis 2007)."""
    readers = areas.size
    between_readers = float(areas.var(ddof=1))
    total = between_readers + readers * max(cov2, 0.0)
    mean = float(areas.mean())
    half = _quantile(_ddf(total, between_readers, readers)) * math.sqrt(total / readers)
    return AucInterval(mean, max(0.0, mean - half), min(1.0, mean + half))


def _ddf(total: float, mean_square: float, readers: int) -> float:
    return total**2 / (mean_square**2 / (readers - 1)) if mean_square > 0 else math.inf


def _quantile(degrees: float) -> float:
    return float(norm.ppf(_LEVEL) if math.isinf(degrees) else t.ppf(_LEVEL, degrees))


def _contrast(difference: float, variance: float, degrees: float) -> Contrast:
    error = math.sqrt(max(variance, 0.0))
    half = _quantile(degrees) * error
    if error > 0:
        ratio = abs(difference) / error
        p_value = 2 * float(norm.sf(ratio) if math.isinf(degrees) else t.sf(ratio, degrees))
    else:
        p_value = 1.0 if difference == 0 else 0.0
    return Contrast(difference, difference - half, difference + half, degrees, p_value)
