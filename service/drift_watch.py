"""Measures now and then how far the scores have moved."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from service.analysis.model_package import ModelPackageError, read_manifest
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
    """model: folder of the configured model package; without reference scores it says nothing.

    seconds: between two looks.
    """

    def __init__(self, model: Path, journal: Journal, metrics: Metrics, seconds: float) -> None:
        self._model = model
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
            manifest = read_manifest(self._model)
        except ModelPackageError:
            log.warning("the model package cannot be read here: no drift is measured")
            return
        reference = manifest.reference_scores
        if reference is None:
            return
        scores = defaultdict(list)
        for row in self._journal.scores(manifest.sha256, _WITHIN, _MOST):
            scores[self._scanners.label(row.scanner_model)].append(row.probability_malignant)
        self._metrics.score_drift.clear()
        self._metrics.score_drift_images.clear()
        for scanner, values in scores.items():
            index = population_stability_index(reference.counts, binned(values, reference.edges))
            self._metrics.score_drift.labels(scanner, manifest.version).set(index)
            self._metrics.score_drift_images.labels(scanner, manifest.version).set(len(values))
