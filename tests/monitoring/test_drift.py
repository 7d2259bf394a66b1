"""Drift: the index, the names of scanner models, and what the keeper tells of a journal."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from service.analysis.model_package import (
    MANIFEST_FILE,
    Manifest,
    ReferenceScores,
    read_manifest,
)
from service.analysis.model_store import Canary, ModelStore, State
from service.analysis.preprocessing import Preprocessing
from service.config import Settings
from service.drift_watch import DriftWatch
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage
from service.monitoring.drift import ScannerModels, binned, population_stability_index
from service.monitoring.metrics import Metrics
from service.scanner_model import scanner_model
from service.sections import REFERENCE_MODEL, AnalysisSettings

EDGES = (0.25, 0.5, 0.75)
counts = st.lists(st.integers(0, 500), min_size=4, max_size=4)


def test_the_index_of_an_example_by_hand() -> None:
    """Two bins, 50 : 50 in the reference and 90 : 10 now, each with half an image more."""
    r, f = (50.5 / 101, 50.5 / 101), (90.5 / 101, 10.5 / 101)
    by_hand = sum((b - a) * math.log(b / a) for a, b in zip(r, f, strict=True))
    assert population_stability_index((50, 50), (90, 10)) == pytest.approx(by_hand)
    assert by_hand > 0.25


@given(counts, counts)
def test_it_is_symmetric_and_never_negative(one: list[int], other: list[int]) -> None:
    there = population_stability_index(one, other)
    assert there >= 0
    assert there == pytest.approx(population_stability_index(other, one))
    assert population_stability_index(one, one) == 0


def test_bins_hold_what_is_below_their_upper_bound() -> None:
    assert binned([0.0, 0.2499, 0.25, 0.5, 0.74, 0.75, 1.0], EDGES) == [2, 1, 2, 2]
    with pytest.raises(ValueError, match="the same"):
        population_stability_index((1, 2), (1, 2, 3))


def test_by_chance_alone_it_stays_small() -> None:
    """Of 200 images and ten bins; the alert begins at 0.25."""
    generator = np.random.default_rng(1)
    found = [
        population_stability_index([37] * 10, generator.multinomial(200, [0.1] * 10).tolist())
        for _ in range(500)
    ]
    assert np.quantile(found, 0.99) < 0.15


def test_there_are_as_many_names_as_a_dashboard_can_show() -> None:
    models = ScannerModels()
    names = [models.label(f"MODEL {number}") for number in range(60)]
    assert len(set(names)) == 51
    assert names[-1] == "others"
    assert models.label("MODEL 3") == "MODEL 3"
    assert models.label(None) == "unnamed"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("LOGIQ E9", "LOGIQ E9"),
        ("ACUSON S2000 (HELX)", "ACUSON S2000 (HELX)"),
        ("", None),
        ("DOE^JANE", None),
        ("Sono Doe", None),
        ("4711-X scanner", None),
        ("x" * 60, None),
        ("名前", None),
    ],
)
def test_what_may_be_something_else_is_no_name(name: str, kept: str | None) -> None:
    header = Dataset()
    header.PatientName, header.PatientID = "Doe^Jane", "4711-x"
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ManufacturerModelName = name
    assert scanner_model(header) == kept


def test_an_image_without_model_name_has_none() -> None:
    assert scanner_model(Dataset()) is None


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    made = Journal(f"sqlite:///{tmp_path / 'journal.sqlite3'}")
    made.migrate()
    yield made
    made.close()


def package(folder: Path, reference: ReferenceScores | None) -> Path:
    manifest = Manifest(
        name="n",
        version="7",
        sha256="a" * 64,
        architecture="none",
        classes=("benign", "malignant"),
        threshold=0.5,
        reference_scores=reference,
        preprocessing=Preprocessing(size=32),
        intended_use="tests",
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return folder


def store_of(folder: Path) -> ModelStore:
    analysis = AnalysisSettings(model=folder)
    return ModelStore(Settings(data_dir=folder / "data", analysis=analysis))


def scored(
    journal: Journal,
    number: int,
    probability: float,
    model: str | None,
    by: Manifest | None = None,
) -> None:
    key = f"{number:032x}"
    image = ReceivedImage(key, f"1.2.{number}", "1.2", "1.2", "d", 1, "ROOM1", datetime.now(UTC))
    journal.record_received(image)
    job = journal.lease_analysis(key, 60)
    assert job is not None
    outcome = AnalysisOutcome(
        state=ImageState.ANALYSED,
        model_sha256=by.sha256 if by else "a" * 64,
        model_name="n",
        model_version=by.version if by else "7",
        probability_malignant=probability,
        probability_benign=1 - probability,
        threshold=0.5,
        decision="benign",
        scanner_model=model,
    )
    assert journal.record_outcome(job, outcome, {})


def test_the_keeper_tells_each_scanner_models_drift(journal: Journal, tmp_path: Path) -> None:
    reference = ReferenceScores(edges=EDGES, counts=(10, 10, 10, 10), data="tests")
    for number in range(40):
        scored(journal, number, (number % 4) / 4 + 0.1, "SAME")
        scored(journal, 100 + number, 0.9, "MOVED")
    scored(journal, 200, 0.9, None)
    metrics = Metrics()
    DriftWatch(store_of(package(tmp_path, reference)), journal, metrics, 300).look()

    def value(name: str, scanner: str) -> float | None:
        labels = {"scanner_model": scanner, "model_version": "7"}
        return metrics.registry.get_sample_value(name, labels)

    assert value("secondread_score_drift_images", "SAME") == 40
    assert value("secondread_score_drift_psi", "SAME") == 0
    moved = value("secondread_score_drift_psi", "MOVED")
    assert moved == pytest.approx(population_stability_index((10,) * 4, (0, 0, 0, 40)))
    assert moved > 1
    assert value("secondread_score_drift_images", "unnamed") == 1


def test_the_canary_is_measured_beside_the_active_model(journal: Journal, tmp_path: Path) -> None:
    reference = ReferenceScores(edges=EDGES, counts=(10, 10, 10, 10), data="tests")
    store = store_of(package(tmp_path, reference))
    canary = store.folder / ("b" * 64)
    canary.mkdir(parents=True)
    manifest = read_manifest(package(canary, reference))
    other = manifest.model_copy(update={"version": "8", "sha256": "b" * 64})
    (canary / MANIFEST_FILE).write_text(other.model_dump_json())
    store.state_file.write_text(
        State(canary=Canary(model=canary.name, share=0.5)).model_dump_json()
    )
    scored(journal, 1, 0.9, "ANY")
    scored(journal, 2, 0.9, "ANY", other)
    metrics = Metrics()
    DriftWatch(store, journal, metrics, 300).look()
    counted = metrics.score_drift_images.collect()[0].samples
    assert {each.labels["model_version"]: each.value for each in counted} == {"7": 1, "8": 1}


def test_without_reference_or_package_it_tells_nothing(journal: Journal, tmp_path: Path) -> None:
    scored(journal, 1, 0.9, "MODEL")
    for folder in (package(tmp_path, None), tmp_path / "nowhere"):
        metrics = Metrics()
        DriftWatch(store_of(folder), journal, metrics, 300).look()
        assert list(metrics.score_drift.collect()[0].samples) == []


@pytest.mark.parametrize(
    "values",
    [
        {"edges": (0.5, 0.25), "counts": (1, 2, 3)},
        {"edges": (0.0, 0.5), "counts": (1, 2, 3)},
        {"edges": (0.5,), "counts": (1, 2, 3)},
        {"edges": (0.5,), "counts": (0, 0)},
        {"edges": (0.5,), "counts": (-1, 2)},
    ],
)
def test_a_reference_that_is_none_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"edges|counts"):
        ReferenceScores(data="tests", **values)


def test_the_shipped_model_has_a_reference() -> None:
    reference = read_manifest(REFERENCE_MODEL).reference_scores
    assert reference is not None
    assert sum(reference.counts) == 365
