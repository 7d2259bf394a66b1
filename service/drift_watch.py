"""Measures now and then how far the scores have moved."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from datetime import timedelta

from service.analysis.model_package import Manifest, ModelPackageError, ReferenceScores
from service.analysis.model_store import ModelStore
from service.journal.journal import Journal
from service.monitoring.drift import (
    ScannerModels,
    binned,
    population_stability_index,
)
from service.monitoring.metrics import Metrics

log = logging.getLogger(__name__)

_WITHIN = timedelta(days=14)
_MOST = 10_000
"""Scores that are read: the newest."""


class DriftWatch:
    """Of the active model and of the canary; without reference scores it says nothing of them.

    seconds: between two looks.
    """

    def __init__(
        self, store: ModelStore, journal: Journal, metrics: Metrics, seconds: float
    ) -> None:
        self._store = store
        self._journal = journal
        self._metrics = metrics
        self._seconds = seconds
        self._scanners = ScannerModels()
        self._looked_at = float("-inf")

    def look(self) -> None:
        """Measure, if it is time again. Raises JournalError."""
        if time.monotonic() - self._looked_at < self._seconds:
            return
        self._looked_at = time.monotonic()
        try:
            manifests = self._store.in_use()
        except ModelPackageError:
            log.warning("a model package cannot be read here: no drift is measured")
            return
        self._metrics.score_drift.clear()
        self._metrics.score_drift_images.clear()
        for manifest in manifests:
            if manifest.reference_scores is not None:
                self._measure(manifest, manifest.reference_scores)

    def _measure(self, manifest: Manifest, reference: ReferenceScores) -> None:
        scores = defaultdict(list)
        for row in self._journal.scores(manifest.sha256, _WITHIN, _MOST):
            scores[self._scanners.label(row.scanner_model)].append(row.probability_malignant)
        for scanner, values in scores.items():
            index = population_stability_index(reference.counts, binned(values, reference.edges))
            self._metrics.score_drift.labels(scanner, manifest.version).set(index)
            self._metrics.score_drift_images.labels(scanner, manifest.version).set(len(values))
