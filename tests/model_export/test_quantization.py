"""An INT8 variant: how it is made, what its table says, and that there is none without a table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_export.dataset import read_manifest
from model_export.quantization import peak_moves, spread, with_new_limit
from service.analysis.inference import Scorer
from service.analysis.model_package import (
    CARD_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    ModelPackageError,
    load_model_package,
)
from service.sections import REFERENCE_MODEL, AnalysisSettings

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def original(
    make_run: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    secondread_model: Command,
) -> Path:
    """The package of an untrained ResNet50 of 64 px."""
    folder = tmp_path_factory.mktemp("original")
    run = make_run(folder / "run", "resnet50")
    answer = secondread_model("export", run, "--out", folder / "package")
    assert answer.returncode == 0, answer.stderr
    return folder / "package"


def quantize(command: Command, package: Path, data: Path, out: Path, **changes: str) -> str:
    """Run ``quantize`` on the study's images; returns what it says, with what went wrong."""
    options = {"--calibrate-where": "split=validation", "--where": "split=test", **changes}
    flat = [text for pair in options.items() for text in pair]
    answer = command("quantize", package, "--out", out, "--calibrate", data, "--data", data, *flat)
    return answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def variant(
    original: Path,
    study_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    secondread_model: Command,
) -> Path:
    out = tmp_path_factory.mktemp("variant") / "int8"
    said = quantize(secondread_model, original, study_data, out)
    assert "wrote the variant" in said, said
    return out


def test_the_service_scores_with_the_variant_nearly_as_before(
    original: Path, variant: Path
) -> None:
    before, after = (load_model_package(folder) for folder in (original, variant))
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90), dtype=np.uint8)
    scores = [
        Scorer(package, AnalysisSettings(threads=1)).score(pixels).probability_malignant
        for package in (before, after)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.1)
    assert scores[0] != scores[1]
    assert before.manifest.sha256 != after.manifest.sha256
    assert after.manifest.variant is not None
    assert after.manifest.variant.made_from == before.manifest.sha256
    assert "variant=int8" in after.identity.parameters
    assert not any("variant" in text for text in before.identity.parameters)


def test_head_and_last_stage_stay_in_float(variant: Path) -> None:
    graph = onnx.load(variant / MODEL_FILE).graph
    quantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_int8 = [node.input[1] in quantised for node in convolutions]
    assert in_int8 == [False] + [True] * 42 + [False] * 10
    rest = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    assert rest
    assert not any(name in quantised for node in rest for name in node.input)


def test_manifest_and_card_hold_the_table(variant: Path) -> None:
    manifest = load_model_package(variant).manifest
    assert manifest.variant is not None
    found = manifest.variant.validation
    assert (found.images, found.malignant) == (12, 6)
    assert found.data == "study-data (split=test)"
    assert found.probability_most >= found.probability_mean > 0
    assert "evaluations" not in manifest.training
    card = (variant / CARD_FILE).read_text()
    assert "## Variant: int8" in card
    assert f"| {found.flipped} of 12 " in card
    assert f"{found.auc_before:.3f}; {found.auc:.3f}" in card


def test_a_variant_without_a_table_is_refused(variant: Path, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).symlink_to(variant / MODEL_FILE)
    manifest = json.loads((variant / MANIFEST_FILE).read_text())
    del manifest["variant"]["validation"]
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ModelPackageError, match=r"variant\.validation"):
        load_model_package(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"--calibrate-where": "split=test"}, "same images calibrate and judge"),
        ({"--where": "split=train"}, "trained on"),
    ],
)
def test_images_that_would_flatter_it_are_refused(
    changes: dict[str, str],
    reason: str,
    original: Path,
    study_data: Path,
    tmp_path: Path,
    secondread_model: Command,
) -> None:
    said = quantize(secondread_model, original, study_data, tmp_path / "int8", **changes)
    assert reason in said
    assert not (tmp_path / "int8").exists()


def test_a_variant_of_a_variant_is_refused(
    variant: Path, study_data: Path, tmp_path: Path, secondread_model: Command
) -> None:
    said = quantize(secondread_model, variant, study_data, tmp_path / "again")
    assert "variant already" in said


def test_a_peak_moves_by_more_than_one_cell() -> None:
    def at(row: int, column: int) -> np.ndarray:
        grid = np.zeros((4, 5), dtype=np.float32)
        grid[row, column] = 1
        return grid

    assert not peak_moves(at(1, 1), at(2, 2))
    assert peak_moves(at(1, 1), at(1, 3))
    assert peak_moves(at(3, 1), at(1, 1))
    empty = np.zeros((4, 5), dtype=np.float32)
    assert peak_moves(at(1, 1), empty)
    assert not peak_moves(empty, empty)


def test_the_gates_limit_is_fixed_anew(study_data: Path, original: Path) -> None:
    reference = load_model_package(REFERENCE_MODEL)
    images = read_manifest(study_data)[:4]
    renewed = with_new_limit(reference, images).manifest.out_of_distribution
    scorer = Scorer(reference, AnalysisSettings())
    distances = [scorer.score(image.pixels()).distance for image in images]
    assert renewed is not None
    assert sorted(distances)[-2] < renewed.limit <= max(distances)
    assert "4 calibration images" in renewed.rule
    without = load_model_package(original)
    assert with_new_limit(without, images) is without


def test_some_of_many_are_spread_evenly() -> None:
    assert spread(list(range(10)), 3) == [0, 3, 6]
    assert spread(list(range(2)), 5) == [0, 1]
