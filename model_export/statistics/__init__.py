"""The study's statistics, by kept libraries where they exist; ``labels`` 1 = malignant.

Intervals are at 95 %, P values two-sided.
"""

from model_export.statistics.bootstrap import Interval, bootstrap_by_patient
from model_export.statistics.calibration import (
    ReliabilityCurve,
    brier,
    expected_calibration_error,
    reliability_curve,
)
from model_export.statistics.delong import (
    AucInterval,
    DeLongTest,
    auc_interval,
    delong_covariance,
    delong_test,
)
from model_export.statistics.groups import MeansTest, SharesTest, compare_means, compare_shares
from model_export.statistics.paired import McNemarTest, mcnemar
from model_export.statistics.proportions import Confusion, Proportion
from model_export.statistics.readers import Contrast, ReadersTest, obuchowski_rockette
from model_export.statistics.roc import auc, threshold_for_sensitivity, youden_threshold

__all__ = [
    "AucInterval",
    "Confusion",
    "Contrast",
    "DeLongTest",
    "Interval",
    "McNemarTest",
    "MeansTest",
    "Proportion",
    "ReadersTest",
    "ReliabilityCurve",
    "SharesTest",
    "auc",
    "auc_interval",
    "bootstrap_by_patient",
    "brier",
    "compare_means",
    "compare_shares",
    "delong_covariance",
    "delong_test",
    "expected_calibration_error",
    "mcnemar",
    "obuchowski_rockette",
    "reliability_curve",
    "threshold_for_sensitivity",
    "youden_threshold",
]
