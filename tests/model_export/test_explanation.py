"""Heatmaps by every method, their pictures, and the command ``explain``."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from pytorch_grad_cam import GradCAM, ScoreCAM
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUModel
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from typer.testing import CliRunner

from dicom_sr.finding import Decision
from model_export.backbones import BackboneName
from model_export.calibration import Calibration, OperatingPoint
from model_export.checkpoint import CHECKPOINT_FILE, Checkpoint, save_checkpoint
from model_export.cli.app import app
from model_export.dataset import read_manifest
from model_export.explanation.choices import Form, Method
from model_export.explanation.forms import draw
from model_export.explanation.methods import (
    _CAMS,
    Explainer,
    class_activation,
    guided_gradients,
)
from model_export.explanation.network import Explained, load_network
from model_export.explanation.pictures import file_names
from model_export.network import MALIGNANT, Classifier
from model_export.prediction import load_predictor
from service.analysis.preprocessing import Preprocessing, cam_to_image, preprocess

SIZE = 64
SPEC = Preprocessing(size=SIZE)


@dataclass(frozen=True)
class Run:
    """A folder with an untrained AlexNet, and one with eight images of five patients."""

    model: Path
    data: Path


def _save(folder: Path, backbone: BackboneName, trained_on: tuple[str, ...]) -> None:
    torch.manual_seed(3)
    points = (OperatingPoint("youden", 0.5, "made up", 0.9, 0.9),)
    folder.mkdir()
    model = Classifier(backbone, SIZE).eval()
    # The head of an untrained network finds nothing that speaks for a class: let all do.
    with torch.no_grad():
        model.fc1.weight.abs_()
        model.fc2.weight[MALIGNANT].abs_()
    save_checkpoint(
        Checkpoint(
            backbone=backbone,
            model=model,
            preprocessing=SPEC,
            calibration=Calibration(1.5, points, 0.1),
            gate={},
            training_digests=trained_on,
            validation_digests=(),
            facts={},
        ),
        folder / CHECKPOINT_FILE,
    )


@pytest.fixture(scope="module")
def run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four real images of three patients, one for training, in a folder of their own."""
    parent = tmp_path_factory.mktemp("explain")
    source = data_folder / "bus-bra"
    images = read_manifest(source)
    chosen = [*images[:3], next(image for image in images if image.label == MALIGNANT)]
    data = parent / "data"
    for image in chosen:
        for path in (image.path, image.mask_path):
            assert path is not None
            link = data / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    splits = ["train", "other-view", "test", "test"]
    with (data / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "patient_id", "split"])
        for image, split in zip(chosen, splits, strict=True):
            label = image.columns["label"]
            writer.writerow([image.file, label, image.patient, split])
    assert chosen[0].patient == chosen[1].patient
    _save(parent / "alexnet", "alexnet", (chosen[0].digest(),))
    return Run(parent / "alexnet", data)


def _pixels(run: Run) -> NDArray[np.uint8]:
    return read_manifest(run.data)[3].pixels()


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("decision", list(Decision))
def test_every_method_gives_a_map_of_the_image(
    run: Run, method: Method, decision: Decision
) -> None:
    pixels = _pixels(run)
    prediction = load_predictor(run.model).predict(pixels)
    found = Explainer(load_network(run.model), SPEC).heatmap(method, pixels, prediction, decision)
    assert found.shape == pixels.shape
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() in (0, pytest.approx(1))


def test_no_map_is_empty_where_all_speaks_for_malignant(run: Run) -> None:
    pixels = _pixels(run)
    prediction = load_predictor(run.model).predict(pixels)
    explainer = Explainer(load_network(run.model), SPEC)
    for method in Method:
        found = explainer.heatmap(method, pixels, prediction, Decision.MALIGNANT)
        assert found.max() == pytest.approx(1), method


@pytest.mark.parametrize("backbone", ["alexnet", "resnet50", "densenet121", "googlenet"])
def test_our_analytic_map_is_pytorch_grad_cams(
    run: Run, tmp_path: Path, backbone: BackboneName
) -> None:
    _save(tmp_path / backbone, backbone, ())
    pixels = _pixels(run)
    prediction = load_predictor(tmp_path / backbone).predict(pixels)
    network = load_network(tmp_path / backbone)
    network_input = torch.from_numpy(_input(pixels))[None]
    for target, decision in enumerate((Decision.BENIGN, Decision.MALIGNANT)):
        raw = class_activation(network, GradCAM, network_input, target)
        theirs = cam_to_image(raw, *pixels.shape, SPEC)
        if not theirs.any():
            assert decision is Decision.BENIGN
            assert not prediction.heatmap(decision).any()
            continue
        theirs = theirs / theirs.max()
        np.testing.assert_allclose(prediction.heatmap(decision), theirs, atol=2e-3)


def _input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return preprocess(pixels, SPEC)


def test_score_cam_in_batches_is_pytorch_grad_cams(run: Run) -> None:
    network = load_network(run.model)
    network_input = torch.from_numpy(_input(_pixels(run)))[None]
    ours = class_activation(network, _CAMS[Method.SCORECAM], network_input, MALIGNANT)
    with ScoreCAM(model=network, target_layers=[network.last]) as cam:
        theirs = cam(input_tensor=network_input, targets=[ClassifierOutputTarget(MALIGNANT)])[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


class _ReluModules(torch.nn.Module):
    """AlexNet's features and our head with its ReLU as a module, which the library replaces."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.features = model.backbone.net["features"][:12]
        self.fc1, self.relu, self.fc2 = model.fc1, torch.nn.ReLU(), model.fc2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.features(x).mean(dim=(2, 3))
        logits: torch.Tensor = self.fc2(self.relu(self.fc1(pooled)))
        return logits


def test_guided_gradients_are_those_of_pytorch_grad_cams_guided_modules(run: Run) -> None:
    network = load_network(run.model)
    network_input = torch.from_numpy(_input(_pixels(run)))[None]
    ours = guided_gradients(network, network_input, MALIGNANT)
    theirs = GuidedBackpropReLUModel(_ReluModules(network.model))(network_input.clone(), MALIGNANT)
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), theirs, rtol=1e-4, atol=1e-9)


def test_guided_backpropagation_refuses_a_network_without_relu(run: Run) -> None:
    pixels = _pixels(run)
    prediction = load_predictor(run.model).predict(pixels)
    network = Explained(Classifier("vit_b_16", SIZE))
    with pytest.raises(ValueError, match="GELU"):
        Explainer(network, SPEC).heatmap(Method.GUIDED, pixels, prediction, Decision.BENIGN)


def test_a_package_of_another_architecture_is_refused_for_other_methods(tmp_path: Path) -> None:
    reference = Path(__file__).parents[2] / "model_export" / "reference"
    manifest = json.loads((reference / "manifest.json").read_text())
    manifest["architecture"] = "ConvNeXt"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "model.onnx").symlink_to(reference / "model.onnx")
    with pytest.raises(ValueError, match="gradcam alone"):
        load_network(tmp_path)


def test_weights_read_back_from_a_package_score_as_the_package(run: Run) -> None:
    reference = Path(__file__).parents[2] / "model_export" / "reference"
    predictor = load_predictor(reference)
    pixels = _pixels(run)
    network_input = torch.from_numpy(preprocess(pixels, predictor.preprocessing))[None]
    with torch.inference_mode():
        logits = load_network(reference)(network_input)
    score = float(torch.softmax(logits, dim=1)[0, MALIGNANT])
    assert score == pytest.approx(predictor.predict(pixels).probability_malignant, abs=0.002)


def test_probabilities_of_a_batch_are_those_of_single_images(run: Run) -> None:
    predictor = load_predictor(run.model)
    images = [image.pixels() for image in read_manifest(run.data)]
    single = [predictor.predict(pixels).probability_malignant for pixels in images]
    np.testing.assert_allclose(predictor.probabilities(images), single, atol=1e-6)


@pytest.mark.parametrize("form", list(Form))
def test_forms_leave_tissue_without_activation_as_it_is(form: Form) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60)).astype(np.uint8)
    heatmap = np.zeros((40, 60), dtype=np.float32)
    heatmap[10:20, 10:20] = 1
    picture = draw(form, pixels, heatmap)
    assert picture.shape == (40, 120 if form is Form.SIDE_BY_SIDE else 60, 3)
    shown = picture[:, -60:]
    changed = (shown != pixels[..., None]).any(axis=2)
    assert changed[8:22, 8:22].any()
    changed[8:22, 8:22] = False
    assert not changed.any()


def test_the_commands_choices_are_the_librarys_and_its_help_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from model_export.cli import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "explain", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    for choices in (Method, Form):
        assert "|".join(choice.value for choice in choices) in answer.stdout


def test_images_with_the_same_stem_get_files_of_their_own(run: Run) -> None:
    image = read_manifest(run.data)[0]
    others = [replace(image, file=file) for file in ("a/x.png", "b/x.png", "b/y.png")]
    assert file_names(others) == ["a-x", "b-x", "y"]


def _explain(run: Run, out: Path, *options: str) -> Result:
    command = ["explain", str(run.model), "--data", str(run.data), "--out", str(out), *options]
    return CliRunner().invoke(app, command)


@pytest.mark.parametrize("split", ["train", "other-view"])
def test_training_images_and_their_patients_other_views_are_refused(
    run: Run, tmp_path: Path, split: str
) -> None:
    result = _explain(run, tmp_path / "out", "--where", f"split={split}")
    assert isinstance(result.exception, ValueError)
    assert "was trained on 1 of these 1 images" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_training_images_are_marked_when_they_are_asked_for(run: Run, tmp_path: Path) -> None:
    result = _explain(run, tmp_path / "out", "--where", "split=train", "--training-set")
    assert result.exit_code == 0, result.output
    assert "TRAINING IMAGES" in (tmp_path / "out" / "index.md").read_text()
    assert "TRAINING IMAGES" in (tmp_path / "out" / "index.csv").read_text()


def test_single_pictures_need_no_data_folder(run: Run, tmp_path: Path) -> None:
    """Their truth is not known, and a training image among them is refused too."""
    trained, _, new, other = (str(image.path) for image in read_manifest(run.data))
    out = tmp_path / "out"

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["explain", str(run.model), "--out", str(out), *arguments])

    assert "trained on 1 of these 2 images" in str(call(new, trained).exception)
    assert "`secondread-model prepare`" in str(call(str(run.data / "manifest.csv")).exception)
    assert "single files, or a folder" in str(call().exception)
    assert not out.exists()
    result = call(new, other)
    assert result.exit_code == 0, result.output
    with (out / "index.csv").open() as stream:
        assert [row["truth"] for row in csv.DictReader(stream)] == ["not known"] * 2
    assert (out / f"{Path(new).stem}_gradcam_overlay.png").is_file()


def test_pictures_of_each_method_and_form_and_the_faithfulness_report(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--where", "split=test", "--faithfulness", "--steps", "3", "--decision", "malignant"]
    for method in ("gradcam", "layercam"):
        options += ["--method", method]
    for form in Form:
        options += ["--form", form]
    result = _explain(run, out, *options)
    assert result.exit_code == 0, result.output
    chosen = read_manifest(run.data)[2:]
    for image in chosen:
        stem = image.path.stem
        assert Image.open(out / f"{stem}_sheet.png").size[0] > 500
        for method in ("gradcam", "layercam"):
            for form in Form:
                width = Image.open(out / f"{stem}_{method}_{form}.png").size[0]
                assert width == image.pixels().shape[1] * (1 + (form is Form.SIDE_BY_SIDE))
    report = json.loads((out / "faithfulness.json").read_text())
    assert (report["count"], report["masked"], report["steps"]) == (2, 2, 3)
    assert [one["method"] for one in report["methods"]] == [
        "gradcam", "layercam", "centre", "random",
    ]  # fmt: skip
    with (out / "faithfulness_images.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["method"] == "gradcam"]
    for name in ("pointing game", "energy inside", "deletion", "insertion"):
        mean = np.mean([float(row[name]) for row in rows])
        assert report["methods"][0]["figures"][name]["value"] == pytest.approx(mean, abs=1e-4)
    scores = load_predictor(run.model).probabilities([image.pixels() for image in chosen])
    assert report["methods"][0]["deletion_curve"][0] == pytest.approx(scores.mean(), abs=1e-5)
    assert report["methods"][0]["insertion_curve"][-1] == pytest.approx(scores.mean(), abs=1e-5)
    for name in ("faithfulness.md", "faithfulness.csv", "faithfulness_curves.svg", "index.md"):
        text = (out / name).read_text()
        assert not any(image.patient in text.replace(image.path.stem, "") for image in chosen)
