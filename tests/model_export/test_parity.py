"""Each exported graph says what pytorch-grad-cam says of the same torch weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from model_export.backbones import BACKBONES, BackboneName
from model_export.export import export_onnx
from model_export.gate import distances, fit_gate, pooled_features
from model_export.network import BENIGN, MALIGNANT, AnalyticCam, Classifier
from service.analysis.onnx_runtime import ort
from service.analysis.preprocessing import Preprocessing, cam_to_image, preprocess

SIZE = {"resnet50": 320}
SMALL = 128
_WEAKEST_PEAK = 0.005


class _Split(nn.Module):
    """The classifier with its last map passing through a layer that pytorch-grad-cam can hook.

    DenseNet's rectified map and the transformer's tokens as a map are no layer's own output.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head(self.last(self.model.stages(x)[1]))


@dataclass(frozen=True)
class Reference:
    """What torch and pytorch-grad-cam say of one input."""

    network_input: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    cams: dict[int, NDArray[np.float32]]


@dataclass(frozen=True)
class Subject:
    """A backbone with a random head, and what it says of six real images."""

    model: Classifier
    size: int
    references: list[Reference]

    @property
    def batch(self) -> NDArray[np.float32]:
        return np.stack([reference.network_input for reference in self.references])


@torch.no_grad()
def _enliven(model: Classifier, batch: Tensor) -> None:
    """Give random weights activations and maps of the size that training leaves.

    As made, GoogLeNet's last map is about 1e-12 and a random head's CAM 1e-5: beside them the 1e-7
    that pytorch-grad-cam adds when it normalises, twice, is no longer nothing.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    model(batch)
    model.eval()
    _, *maps = AnalyticCam(model)(batch)
    peaks = torch.cat([cam.amax(dim=(1, 2)) for cam in maps])
    model.fc2.weight.mul_(_WEAKEST_PEAK / float(peaks[peaks > 0].min()))
    # The CAM does not see the bias; a probability of 0 or 1 would hide every difference.
    model.fc2.bias.sub_(model(batch).mean(dim=0))


def _subject(model: Classifier, size: int, images: Sequence[Path]) -> Subject:
    spec = Preprocessing(size=size)
    inputs = [preprocess(np.asarray(Image.open(path).convert("L")), spec) for path in images]
    if model.name != "resnet50":
        _enliven(model, torch.from_numpy(np.stack(inputs)))
    found = []
    split = _Split(model).eval()
    with GradCAM(model=split, target_layers=[split.last]) as grad_cam:
        for network_input in inputs:
            tensor = torch.from_numpy(network_input)[None]
            with torch.no_grad():
                probabilities = torch.softmax(model(tensor), dim=1)[0].numpy()
            cams = {
                target: grad_cam(input_tensor=tensor, targets=[ClassifierOutputTarget(target)])[0]
                for target in (BENIGN, MALIGNANT)
            }
            found.append(Reference(network_input, probabilities, cams))
    return Subject(model, size, found)


@pytest.fixture(scope="module")
def subject_of(classifier: Classifier, breast_images: Sequence[Path]) -> Callable[..., Subject]:
    """By the backbone's name; ResNet50 has the pruned ImageNet weights, the others random ones."""
    made: dict[str, Subject] = {}

    def make(name: BackboneName) -> Subject:
        if name not in made:
            size = SIZE.get(name, SMALL)
            torch.manual_seed(11)
            model = classifier if name == "resnet50" else Classifier(name, size).eval()
            made[name] = _subject(model, size, breast_images)
        return made[name]

    return make


def _session(subject: Subject, path: Path, **options: Any) -> ort.InferenceSession:
    export_onnx(subject.model, subject.size, path, **options)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Drift:
    """Largest differences between an exported graph and the references, over all images.

    correlation: the smallest, over the maps that are not empty.
    """

    probability: float
    cam: float
    correlation: float


def _drift(session: ort.InferenceSession, subject: Subject) -> Drift:
    spec = Preprocessing(size=subject.size)
    probabilities, cams, correlations = [], [], []
    for reference in subject.references:
        found, malignant, benign = session.run(None, {"image": reference.network_input[None]})
        probabilities.append(np.abs(found[0] - reference.probabilities).max())
        for raw, target in ((malignant[0], MALIGNANT), (benign[0], BENIGN)):
            # The normalised map on the whole network input, through the service's own function.
            ours = cam_to_image(raw, subject.size, subject.size, spec)
            expected = reference.cams[target]
            cams.append(np.abs(ours - expected).max())
            if expected.any():
                correlations.append(np.corrcoef(ours.ravel(), expected.ravel())[0, 1])
    drift = Drift(float(max(probabilities)), float(max(cams)), float(min(correlations)))
    print(subject.model.name, drift)
    return drift


@pytest.mark.parametrize("name", BACKBONES)
def test_float32_export_equals_pytorch_grad_cam(
    name: BackboneName, subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    subject = subject_of(name)
    drift = _drift(_session(subject, tmp_path / "model.onnx", half=False), subject)
    assert drift.probability <= 1e-5
    assert drift.cam <= 1e-4


@pytest.mark.parametrize("name", BACKBONES)
def test_the_parity_test_could_fail(name: BackboneName, subject_of: Callable[..., Subject]) -> None:
    """Its maps are not empty, and its probabilities leave room for a difference."""
    references = subject_of(name).references
    peaks = [cam.max() for reference in references for cam in reference.cams.values()]
    assert sum(peak > 0.9 for peak in peaks) >= len(references)
    assert all(0.01 < reference.probabilities[MALIGNANT] < 0.99 for reference in references)


def test_float16_weights_drift_little(subject_of: Callable[..., Subject], tmp_path: Path) -> None:
    """Of real weights: the maps of random ones hang on differences that float16 does not keep."""
    subject = subject_of("resnet50")
    drift = _drift(_session(subject, tmp_path / "model.onnx", half=True), subject)
    assert drift.probability <= 0.0011
    assert drift.correlation > 0.999


def test_a_batch_gives_what_single_images_give(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    subject = subject_of("resnet50")
    session = _session(subject, tmp_path / "model.onnx", half=False)
    together = session.run(None, {"image": subject.batch})
    for index, reference in enumerate(subject.references):
        alone = session.run(None, {"image": reference.network_input[None]})
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[index], single[0], atol=1e-4)


def test_the_gate_in_the_graph_says_what_numpy_says(
    subject_of: Callable[..., Subject], breast_images: Sequence[Path], tmp_path: Path
) -> None:
    subject = subject_of("alexnet")
    pixels = [np.asarray(Image.open(path).convert("L")) for path in breast_images]
    features = pooled_features(subject.model, pixels, Preprocessing(size=subject.size))
    gate = fit_gate(features[:4], features[4:])
    session = _session(subject, tmp_path / "model.onnx", half=False, gate=gate)
    *_, found = session.run(None, {"image": subject.batch})
    np.testing.assert_allclose(found, distances(gate, features), rtol=1e-3)


def test_float16_halves_the_file_of_resnet50(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    _session(subject_of("resnet50"), tmp_path / "half.onnx", half=True)
    assert (tmp_path / "half.onnx").stat().st_size < 50_000_000
