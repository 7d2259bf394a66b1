"""From a run to a package that the service loads: export, verify, card; the gate's report."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_export.card import model_card
from model_export.checkpoint import load_checkpoint, save_checkpoint
from model_export.dataset import read_manifest, select
from model_export.gate import Gate, distances, fit_gate, pooled_features
from model_export.package import write_package
from model_export.prediction import PackagePredictor
from service.analysis.inference import Scorer
from service.analysis.model_package import CARD_FILE, load_model_package
from service.sections import AnalysisSettings

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_folder(
    make_run: Callable[..., Path], study_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An untrained AlexNet with a gate that was fitted on the study's images."""
    folder = make_run(tmp_path_factory.mktemp("gated") / "run")
    checkpoint = load_checkpoint(folder)
    images = read_manifest(study_data)
    features = {
        where: pooled_features(
            checkpoint.model, select(images, f"split={where}"), checkpoint.preprocessing
        )
        for where in ("train", "validation")
    }
    gate = fit_gate(features["train"], features["validation"])
    save_checkpoint(replace(checkpoint, gate=gate.tensors()), folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def package_folder(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory, secondread_model: Command
) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "package"
    answer = secondread_model(
        "export", run_folder, "--out", folder, "--version", "3.1", "--note", "a test"
    )
    assert answer.returncode == 0, answer.stderr
    return folder


def test_the_manifest_holds_what_the_run_knew(
    package_folder: Path, run_folder: Path, study_data: Path
) -> None:
    manifest = load_model_package(package_folder).manifest
    checkpoint = load_checkpoint(run_folder)
    assert (manifest.name, manifest.version) == ("SecondRead AlexNet", "3.1")
    assert manifest.architecture.startswith("AlexNet")
    assert [point.name for point in manifest.operating_points] == ["sensitive", "youden"]
    assert manifest.threshold == 0.5
    assert manifest.training_images == checkpoint.training_digests
    assert manifest.validation_images == checkpoint.validation_digests
    assert manifest.training["note"] == "a test"
    assert manifest.out_of_distribution is not None
    assert manifest.out_of_distribution.limit == pytest.approx(float(checkpoint.gate["limit"]))


def test_the_service_scores_with_it_and_gets_the_gates_distance(
    package_folder: Path, run_folder: Path, study_data: Path
) -> None:
    package = load_model_package(package_folder)
    scorer = Scorer(package, AnalysisSettings(model=package_folder))
    image = select(read_manifest(study_data), "split=test")[0]
    checkpoint = load_checkpoint(run_folder)
    features = pooled_features(checkpoint.model, [image], checkpoint.preprocessing)
    expected = distances(Gate.from_tensors(checkpoint.gate), features)[0]
    assert scorer.score(image.pixels()).distance == pytest.approx(expected, rel=0.01)


def test_verify_compares_with_torch_and_reports_the_gate(
    package_folder: Path,
    run_folder: Path,
    study_data: Path,
    us_dicom: Path,
    tmp_path: Path,
    secondread_model: Command,
) -> None:
    answer = secondread_model(
        *("verify", package_folder, "--run", run_folder, "--inliers", study_data),
        *("--where", "split=test", "--outliers", us_dicom / "other", "--out", tmp_path / "gate"),
    )
    assert answer.returncode == 0, answer.stderr
    assert "against torch on 8 images" in answer.stdout
    assert "1 files could not be decoded" in answer.stdout, "the JPEG XL file"
    report = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert report["inliers"] == len(select(read_manifest(study_data), "split=test"))
    assert report["outliers"] == len(list((us_dicom / "other").glob("*.dcm"))) - 1
    assert (tmp_path / "gate" / "gate.png").stat().st_size > 10_000


def test_verify_fails_where_the_graph_was_changed(
    package_folder: Path, tmp_path: Path, secondread_model: Command
) -> None:
    for file in package_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    answer = secondread_model("verify", tmp_path)
    assert answer.returncode == 1
    assert "is not the file that the manifest describes" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_evaluate_records_its_figures_in_manifest_and_card(
    package_folder: Path, study_data: Path, secondread_model: Command
) -> None:
    answer = secondread_model(
        *("evaluate", package_folder, "--data", study_data, "--where", "split=test"),
        *("--record", "a few views"),
    )
    assert answer.returncode == 0, answer.stderr
    manifest = load_model_package(package_folder).manifest
    recorded = manifest.training["evaluations"]["a few views"]
    assert recorded["operating_point"] == "sensitive"
    card = (package_folder / CARD_FILE).read_text(encoding="utf-8")
    assert card == model_card(manifest)
    assert f"{recorded['auc']['auc']:.3f}" in card
    assert "Research use only" in card
    assert "Operating point `youden`" in card


def test_card_renews_the_page(package_folder: Path, secondread_model: Command) -> None:
    (package_folder / CARD_FILE).write_text("stale")
    assert secondread_model("card", package_folder).returncode == 0
    manifest = load_model_package(package_folder).manifest
    assert (package_folder / CARD_FILE).read_text(encoding="utf-8") == model_card(manifest)
    printed = secondread_model("card", package_folder, "--print").stdout
    assert printed.strip() == model_card(manifest).strip()


def test_the_same_run_gives_the_same_bytes(run_folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run_folder)
    packages = [
        write_package(checkpoint, tmp_path / name, name="x", version="1") for name in ("a", "b")
    ]
    assert packages[0].manifest == packages[1].manifest


def test_another_input_size_is_exported_and_said(run_folder: Path, tmp_path: Path) -> None:
    package = write_package(
        load_checkpoint(run_folder), tmp_path / "p", name="x", version="1", size=96
    )
    assert package.manifest.preprocessing.size == 96
    assert "trained at 64 px" in model_card(package.manifest)
    pixels = np.zeros((80, 90), dtype=np.uint8)
    assert 0 <= PackagePredictor(tmp_path / "p").predict(pixels).probability_malignant <= 1


def test_the_vision_transformer_keeps_its_size(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "vit", "vit_b_16")
    with pytest.raises(ValueError, match="64 pixels alone, not 96"):
        write_package(load_checkpoint(run), tmp_path / "p", name="x", version="1", size=96)
