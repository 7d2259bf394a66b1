"""The exported graph says what pytorch-grad-cam says of the same torch weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from model_export.export import export_onnx
from model_export.network import BENIGN, MALIGNANT, Classifier
from service.analysis.onnx_runtime import ort
from service.analysis.preprocessing import Preprocessing, cam_to_image, preprocess

SIZE = 320
SPEC = Preprocessing(size=SIZE)


@dataclass(frozen=True)
class Reference:
    """What torch and pytorch-grad-cam say of one input."""

    network_input: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    cams: dict[int, NDArray[np.float32]]


@pytest.fixture(scope="module")
def references(classifier: Classifier, breast_images: Sequence[Path]) -> list[Reference]:
    found = []
    with GradCAM(model=classifier, target_layers=[classifier.layer4[-1]]) as grad_cam:
        for path in breast_images:
            network_input = preprocess(np.asarray(Image.open(path).convert("L")), SPEC)
            tensor = torch.from_numpy(network_input)[None]
            with torch.no_grad():
                probabilities = torch.softmax(classifier(tensor), dim=1)[0].numpy()
            cams = {
                target: grad_cam(input_tensor=tensor, targets=[ClassifierOutputTarget(target)])[0]
                for target in (BENIGN, MALIGNANT)
            }
            found.append(Reference(network_input, probabilities, cams))
    return found


def _session(classifier: Classifier, path: Path, half: bool) -> ort.InferenceSession:
    export_onnx(classifier, SIZE, path, half=half)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _full_size(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The normalised map on the whole network input, through the service's own function."""
    return cam_to_image(raw, SIZE, SIZE, SPEC)


@dataclass(frozen=True)
class Drift:
    """Largest differences between an exported graph and the references, over all images.

    correlation: the smallest, over the maps that are not empty.
    """

    probability: float
    cam: float
    correlation: float


def _drift(session: ort.InferenceSession, references: list[Reference]) -> Drift:
    probabilities, cams, correlations = [], [], []
    for reference in references:
        found, malignant, benign = session.run(None, {"image": reference.network_input[None]})
        probabilities.append(np.abs(found[0] - reference.probabilities).max())
        for raw, target in ((malignant[0], MALIGNANT), (benign[0], BENIGN)):
            ours, expected = _full_size(raw), reference.cams[target]
            cams.append(np.abs(ours - expected).max())
            if expected.any():
                correlations.append(np.corrcoef(ours.ravel(), expected.ravel())[0, 1])
    drift = Drift(float(max(probabilities)), float(max(cams)), float(min(correlations)))
    print(drift)
    return drift


def test_float32_export_equals_pytorch_grad_cam(
    classifier: Classifier, references: list[Reference], tmp_path: Path
) -> None:
    drift = _drift(_session(classifier, tmp_path / "model.onnx", half=False), references)
    assert drift.probability <= 1e-5
    assert drift.cam <= 1e-4


def test_the_maps_of_the_parity_test_are_not_empty(references: list[Reference]) -> None:
    peaks = [cam.max() for reference in references for cam in reference.cams.values()]
    assert sum(peak > 0.9 for peak in peaks) >= len(references)


def test_float16_weights_drift_little(
    classifier: Classifier, references: list[Reference], tmp_path: Path
) -> None:
    drift = _drift(_session(classifier, tmp_path / "model.onnx", half=True), references)
    assert drift.probability <= 0.0011
    assert drift.correlation > 0.999


def test_a_batch_gives_what_single_images_give(
    classifier: Classifier, references: list[Reference], tmp_path: Path
) -> None:
    session = _session(classifier, tmp_path / "model.onnx", half=False)
    batch = np.stack([reference.network_input for reference in references])
    together = session.run(None, {"image": batch})
    for index, reference in enumerate(references):
        alone = session.run(None, {"image": reference.network_input[None]})
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[index], single[0], atol=1e-4)


def test_float16_halves_the_file(classifier: Classifier, tmp_path: Path) -> None:
    export_onnx(classifier, SIZE, tmp_path / "half.onnx", half=True)
    assert (tmp_path / "half.onnx").stat().st_size < 50_000_000
