"""Measures now and then how good the scores were, of the cases whose pathology is known."""

from __future__ import annotations

import time

from service.analysis.model_package import ModelPackageError
from service.analysis.model_store import ModelStore
from service.journal.journal import Journal
from service.journal.truth_records import Diagnosis
from service.monitoring.metrics import Metrics
from service.truth.cases import By, grouped, image_cases, study_cases
from service.truth.figures import figures


class TruthWatch:
    """store: whose active model and canary the figures are held against.

    operating_point: which of theirs; empty is their default.
    seconds: between two looks.
    """

    def __init__(
        self,
        store: ModelStore,
        operating_point: str,
        journal: Journal,
        metrics: Metrics,
        seconds: float,
    ) -> None:
        self._store = store
        self._operating_point = operating_point
        self._journal = journal
        self._metrics = metrics
        self._seconds = seconds
        self._looked_at = float("-inf")

    def look(self) -> None:
        """Measure, if it is time again. Raises JournalError."""
        if time.monotonic() - self._looked_at < self._seconds:
            return
        self._looked_at = time.monotonic()
        groups = grouped(self._journal.judged_images(), By.MODEL)
        metrics = self._metrics
        for gauge in (
            *(metrics.truth_cases, metrics.truth_images, metrics.truth_auc),
            *(metrics.truth_sensitivity, metrics.truth_sensitivity_upper),
            *(metrics.truth_validated_sensitivity, metrics.truth_specificity),
            metrics.truth_calibration_error,
        ):
            gauge.clear()
        for (version, _), images in groups.items():
            studies = figures(study_cases(images))
            metrics.truth_cases.labels(version, Diagnosis.BENIGN).set(studies.benign)
            metrics.truth_cases.labels(version, Diagnosis.MALIGNANT).set(studies.malignant)
            metrics.truth_images.labels(version).set(len(images))
            if studies.auc is not None:
                metrics.truth_auc.labels(version).set(studies.auc.value)
            if studies.sensitivity is not None:
                metrics.truth_sensitivity.labels(version).set(studies.sensitivity.value)
                metrics.truth_sensitivity_upper.labels(version).set(studies.sensitivity.upper)
            if studies.specificity is not None:
                metrics.truth_specificity.labels(version).set(studies.specificity.value)
            calibration_error = figures(image_cases(images)).calibration_error
            if calibration_error is not None:
                metrics.truth_calibration_error.labels(version).set(calibration_error)
        self._tell_what_was_promised()

    def _tell_what_was_promised(self) -> None:
        """Nothing where a package cannot be read; the drift watch logs that."""
        try:
            manifests = self._store.in_use()
        except ModelPackageError:
            return
        for manifest in manifests:
            promised = manifest.sensitivity_of(self._operating_point)
            if promised is not None:
                self._metrics.truth_validated_sensitivity.labels(manifest.version).set(promised)
