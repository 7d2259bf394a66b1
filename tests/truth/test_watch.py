"""What the keeper tells of the cases whose pathology is known."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from service.analysis.model_package import read_manifest
from service.analysis.model_store import ModelStore
from service.config import Settings
from service.journal.truth_records import Diagnosis, Source, Subject, Truth
from service.monitoring.metrics import Metrics
from service.sections import REFERENCE_MODEL, AnalysisSettings
from service.truth.figures import share
from service.truth.watch import TruthWatch

PROMISED = read_manifest(REFERENCE_MODEL)


@pytest.fixture
def known(site):
    """Three malignant studies, one of them missed, and two benign ones."""
    for study, probability in enumerate((0.9, 0.8, 0.3, 0.2, 0.6), start=1):
        site.analysed(study, probability, model_version=PROMISED.version)
        found = Diagnosis.MALIGNANT if study <= 3 else Diagnosis.BENIGN
        uid = f"1.2.900.{study}"
        told = Truth(Subject.STUDY, uid, found, date(2026, 3, 9), Source.SURGERY, "me")
        site.journal.record_truth(told)
    site.analysed(6, 0.9, model_version=PROMISED.version)
    return site


def store_of(model: Path) -> ModelStore:
    return ModelStore(Settings(data_dir=Path("nowhere"), analysis=AnalysisSettings(model=model)))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    labels["model_version"] = PROMISED.version
    return metrics.registry.get_sample_value(f"secondread_truth_{name}", labels)


def test_the_keeper_tells_the_live_figures(known) -> None:
    metrics = Metrics()
    TruthWatch(store_of(REFERENCE_MODEL), "", known.journal, metrics, 300).look()
    assert value(metrics, "cases", diagnosis="malignant") == 3
    assert value(metrics, "cases", diagnosis="benign") == 2
    assert value(metrics, "images") == 5
    assert value(metrics, "auc") == pytest.approx(5 / 6)
    assert value(metrics, "sensitivity") == pytest.approx(2 / 3)
    assert value(metrics, "sensitivity_upper") == pytest.approx(share(2, 3).upper)
    assert value(metrics, "specificity") == pytest.approx(1 / 2)
    by_hand = (abs(1 - 0.9) + abs(1 - 0.8) + abs(1 - 0.3) + 0.2 + 0.6) / 5
    assert value(metrics, "calibration_error") == pytest.approx(by_hand)
    assert value(metrics, "validated_sensitivity") == PROMISED.operating_points[0].sensitivity


def test_what_was_promised_is_that_of_the_chosen_operating_point(known, tmp_path: Path) -> None:
    metrics = Metrics()
    TruthWatch(store_of(REFERENCE_MODEL), "youden", known.journal, metrics, 300).look()
    youden = next(point for point in PROMISED.operating_points if point.name == "youden")
    assert value(metrics, "validated_sensitivity") == youden.sensitivity

    elsewhere = Metrics()
    TruthWatch(store_of(tmp_path), "", known.journal, elsewhere, 300).look()
    assert value(elsewhere, "validated_sensitivity") is None
    assert value(elsewhere, "sensitivity") is not None


def test_it_looks_every_so_many_seconds_and_forgets_what_is_no_more(known) -> None:
    metrics = Metrics()
    watch = TruthWatch(store_of(REFERENCE_MODEL), "", known.journal, metrics, 300)
    watch.look()
    fourth = Truth(
        Subject.STUDY, "1.2.900.6", Diagnosis.MALIGNANT, date(2026, 3, 9), Source.SURGERY, "me"
    )
    known.journal.record_truth(fourth)
    watch.look()
    assert value(metrics, "cases", diagnosis="malignant") == 3
    TruthWatch(store_of(REFERENCE_MODEL), "", known.journal, metrics, 300).look()
    assert value(metrics, "cases", diagnosis="malignant") == 4
