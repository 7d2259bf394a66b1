"""The model in the repository is what its manifest and its card say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.card import model_card
from model_export.dataset import read_manifest, select
from model_export.evaluation import evaluate
from model_export.prediction import PackagePredictor
from model_export.training.data import ValidationSet
from service.analysis.inference import Scorer
from service.analysis.model_package import CARD_FILE, ModelPackage, load_model_package
from service.analysis.preprocessing import preprocess
from service.sections import REFERENCE_MODEL, AnalysisSettings

HELD_OUT = "BUS-BRA, held-out fold 5"
EXTERNAL = "BrEaST-Lesions-USG, another hospital"


@pytest.fixture(scope="module")
def reference() -> ModelPackage:
    return load_model_package(REFERENCE_MODEL)


@pytest.fixture(scope="module")
def predictor() -> PackagePredictor:
    return PackagePredictor(REFERENCE_MODEL)


def test_it_fits_into_the_repository() -> None:
    size = sum(path.stat().st_size for path in REFERENCE_MODEL.iterdir())
    assert size <= 50 * 1024 * 1024


def test_its_card_is_made_from_its_manifest_and_says_research_use(reference: ModelPackage) -> None:
    card = (REFERENCE_MODEL / CARD_FILE).read_text(encoding="utf-8")
    assert card == model_card(reference.manifest)
    assert "Research use only" in card
    assert "BUS-BRA" in card
    assert HELD_OUT in card
    assert EXTERNAL in card


def _assert_as_recorded(recorded: dict[str, Any], found: Any) -> None:
    assert found.images == recorded["images"]
    assert found.auc.auc == pytest.approx(recorded["auc"]["auc"], abs=0.003)
    assert found.auc.lower == pytest.approx(recorded["auc"]["lower"], abs=0.003)
    assert found.threshold == recorded["threshold"]
    for name in ("sensitivity", "specificity"):
        assert getattr(found, name).value == pytest.approx(recorded[name]["value"], abs=0.02), name
    assert found.pointing_hits == pytest.approx(recorded["pointing_hits"], abs=0.02)
    assert found.calibration_error == pytest.approx(recorded["calibration_error"], abs=0.02)


def test_the_figures_on_another_hospital_are_those_recorded(
    reference: ModelPackage, predictor: PackagePredictor, data_folder: Path
) -> None:
    images = read_manifest(data_folder / "breast-lesions-usg")
    found = evaluate(predictor, predictor.operating_point(None), images)
    _assert_as_recorded(reference.manifest.training["evaluations"][EXTERNAL], found)


def test_the_figures_on_the_held_out_fold_are_those_recorded(
    reference: ModelPackage, predictor: PackagePredictor, data_folder: Path
) -> None:
    images = select(read_manifest(data_folder / "bus-bra"), "fold5=5")
    found = evaluate(predictor, predictor.operating_point(None), images)
    _assert_as_recorded(reference.manifest.training["evaluations"][HELD_OUT], found)


def test_its_lists_name_the_folds_that_it_has_seen_and_no_other(
    reference: ModelPackage, data_folder: Path
) -> None:
    images = read_manifest(data_folder / "bus-bra")
    for listed, where in (
        (reference.manifest.training_images, "fold5=1,2,3"),
        (reference.manifest.validation_images, "fold5=4"),
    ):
        assert set(listed) == {image.digest() for image in select(images, where)}


def test_it_is_calibrated_and_its_operating_points_follow_their_rules(
    reference: ModelPackage, predictor: PackagePredictor, data_folder: Path
) -> None:
    """On the validation fold, where the issue's bounds are stated."""
    images = select(read_manifest(data_folder / "bus-bra"), "fold5=4")
    points = {point.name: point for point in reference.manifest.operating_points}
    found = evaluate(predictor, predictor.operating_point("sensitive"), images)
    assert found.calibration_error <= 0.05
    assert found.sensitivity.value >= 0.95
    assert found.sensitivity.value == pytest.approx(points["sensitive"].sensitivity, abs=0.01)
    assert found.specificity.value == pytest.approx(points["sensitive"].specificity, abs=0.02)


def test_the_service_gives_the_network_what_validation_gave_it(
    reference: ModelPackage, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: training, evaluation and service call the same function on the same pixels."""
    import service.analysis.inference

    spec = reference.manifest.preprocessing
    image = read_manifest(data_folder / "bus-bra")[0]
    seen = []

    def spy(pixels: Any, spec: Any) -> Any:
        seen.append(preprocess(pixels, spec))
        return seen[-1]

    scorer = Scorer(reference, AnalysisSettings(model=REFERENCE_MODEL))
    monkeypatch.setattr(service.analysis.inference, "preprocess", spy)
    scorer.score(np.repeat(image.pixels()[:, :, None], 3, axis=2))
    expected, _ = ValidationSet([image], spec)[0]
    np.testing.assert_array_equal(seen[0], expected.numpy())
