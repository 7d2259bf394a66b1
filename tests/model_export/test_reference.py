"""The model in the repository is what its manifest and its card say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.dataset import in_folds, read_manifest
from model_export.evaluation import evaluate
from model_export.package import model_card
from service.analysis.inference import Scorer
from service.analysis.model_package import CARD_FILE, ModelPackage, load_model_package
from service.analysis.preprocessing import preprocess
from service.config import REFERENCE_MODEL, AnalysisSettings

HELD_OUT = "BUS-BRA, held-out fold 5"
EXTERNAL = "BrEaST-Lesions-USG, another hospital"


@pytest.fixture(scope="module")
def reference() -> ModelPackage:
    return load_model_package(REFERENCE_MODEL)


@pytest.fixture(scope="module")
def scorer(reference: ModelPackage) -> Scorer:
    return Scorer(reference, AnalysisSettings(model=REFERENCE_MODEL))


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
    for name in ("sensitivity", "specificity", "pointing_hits"):
        assert getattr(found, name) == pytest.approx(recorded[name], abs=0.02), name


def test_the_figures_on_another_hospital_are_those_recorded(
    reference: ModelPackage, scorer: Scorer, data_folder: Path
) -> None:
    images = read_manifest(data_folder / "breast-lesions-usg")
    found = evaluate(scorer, reference.manifest.threshold, images)
    _assert_as_recorded(reference.manifest.training["evaluations"][EXTERNAL], found)


def test_the_figures_on_the_held_out_fold_are_those_recorded(
    reference: ModelPackage, scorer: Scorer, data_folder: Path
) -> None:
    images = in_folds(read_manifest(data_folder / "bus-bra"), (5,))
    found = evaluate(scorer, reference.manifest.threshold, images)
    _assert_as_recorded(reference.manifest.training["evaluations"][HELD_OUT], found)


def test_the_service_gives_the_network_what_training_gave_it(
    reference: ModelPackage, scorer: Scorer, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: training, evaluation and service call the same function on the same pixels."""
    import model_export.training
    import service.analysis.inference

    pixels = read_manifest(data_folder / "bus-bra")[0].pixels()
    assert model_export.training.preprocess is preprocess
    seen = []

    def spy(image: Any, spec: Any) -> Any:
        seen.append(preprocess(image, spec))
        return seen[-1]

    monkeypatch.setattr(service.analysis.inference, "preprocess", spy)
    scorer.score(np.repeat(pixels[:, :, None], 3, axis=2))
    expected = preprocess(pixels, reference.manifest.preprocessing)
    np.testing.assert_array_equal(seen[0], expected)
