"""Pixels to the network's input and back, and the one session that everybody shares."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_sr.finding import Box, Decision
from service.analysis.inference import OUTPUTS, InferenceError, Scorer
from service.analysis.model_package import ModelPackage
from service.analysis.onnx_runtime import ort
from service.analysis.preprocessing import (
    Placement,
    Preprocessing,
    cam_to_image,
    placement,
    preprocess,
)
from service.sections import AnalysisSettings


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "fit", "expected"),
    [
        (100, 100, "letterbox", Placement(0, 0, 64, 64)),
        (50, 100, "letterbox", Placement(0, 16, 64, 32)),
        (100, 50, "letterbox", Placement(16, 0, 32, 64)),
        (1, 1000, "letterbox", Placement(0, 31, 64, 1)),
        (50, 100, "stretch", Placement(0, 0, 64, 64)),
    ],
)
def test_placement(height: int, width: int, fit: str, expected: Placement) -> None:
    spec = Preprocessing.model_validate({"size": 64, "fit": fit})
    assert placement(height, width, spec) == expected


def test_a_letterbox_is_centred_on_black_and_normalised() -> None:
    spec = Preprocessing(size=64)
    network_input = preprocess(np.full((50, 100), 255, dtype=np.uint8), spec)
    assert network_input.shape == (3, 64, 64)
    assert network_input.dtype == np.float32
    mean, std = np.asarray(spec.mean), np.asarray(spec.std)
    assert np.allclose(network_input[:, 16:48], ((1 - mean) / std)[:, None, None])
    assert np.allclose(network_input[:, :16], (-mean / std)[:, None, None])
    assert np.allclose(network_input[:, 48:], (-mean / std)[:, None, None])


def test_colour_becomes_luma() -> None:
    spec = Preprocessing(size=64)
    red = np.zeros((64, 64, 3), dtype=np.uint8)
    red[..., 0] = 200
    assert np.array_equal(preprocess(red, spec), preprocess(np.full((64, 64), 60, np.uint8), spec))


@pytest.mark.parametrize(("height", "width"), [(300, 300), (150, 300), (300, 140)])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_a_cam_comes_back_to_where_it_was(height: int, width: int, fit: str) -> None:
    """The CAM of a network that sees brightness has its peak where the image has a bright spot."""
    spec = Preprocessing.model_validate({"size": 128, "fit": fit})
    image = np.zeros((height, width), dtype=np.uint8)
    row, column = height // 3, width // 4
    image[row - 12 : row + 12, column - 12 : column + 12] = 255
    grid = preprocess(image, spec)[0].reshape(16, 8, 16, 8).mean(axis=(1, 3))
    cam = cam_to_image(grid - grid.min(), height, width, spec)
    assert cam.shape == (height, width)
    found = np.unravel_index(cam.argmax(), cam.shape)
    assert np.hypot(found[0] - row, found[1] - column) < 0.05 * max(height, width)


@pytest.fixture(scope="module")
def scorer(package: ModelPackage, settings: AnalysisSettings) -> Scorer:
    return Scorer(package, settings)


@pytest.mark.parametrize("shape", [(90, 120), (90, 120, 3), (300, 200, 3)])
def test_the_service_feeds_the_network_what_preprocess_gives(
    shape: tuple[int, ...], scorer: Scorer, package: ModelPackage
) -> None:
    image = noise(*shape)
    session = ort.InferenceSession(package.model_path, providers=["CPUExecutionProvider"])
    network_input = preprocess(image, package.manifest.preprocessing)[None]
    probabilities, cam, cam_benign = session.run(list(OUTPUTS), {"image": network_input})
    score = scorer.score(image)
    assert score.probability_malignant == pytest.approx(probabilities[0, 1], abs=1e-7)
    assert np.array_equal(score.cams[Decision.MALIGNANT], cam[0])
    assert np.array_equal(score.cams[Decision.BENIGN], cam_benign[0])


def test_a_view_of_a_frame_is_scored_like_its_copy(scorer: Scorer) -> None:
    frame = noise(200, 300, 3)
    cut = frame[20:180, 30:270]
    one, two = scorer.score(cut), scorer.score(cut.copy())
    assert one.probability_malignant == two.probability_malignant


def test_probabilities_sum_to_exactly_1(scorer: Scorer) -> None:
    for grey in range(0, 256, 5):
        score = scorer.score(np.full((64, 64), grey, dtype=np.uint8))
        assert score.probability_malignant + score.probability_benign == 1
        assert 0 < score.probability_malignant < 1


def test_the_brighter_the_more_malignant(scorer: Scorer) -> None:
    scores = [scorer.score(np.full((64, 64), grey, dtype=np.uint8)) for grey in (0, 128, 255)]
    probabilities = [score.probability_malignant for score in scores]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] < 0.2
    assert probabilities[-1] > 0.8


def test_the_heatmap_is_that_of_the_asked_logit(scorer: Scorer) -> None:
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    image[:, 150:] = 255
    score = scorer.score(image)
    malignant = scorer.heatmap(score, Decision.MALIGNANT, Box(10, 10, 210, 110))
    benign = scorer.heatmap(score, Decision.BENIGN, Box(10, 10, 210, 110))
    assert malignant.shape == benign.shape == (100, 200)
    assert malignant.max() == benign.max() == 1
    assert malignant[:, 170:].mean() > 0.8 > 0.2 > malignant[:, :100].mean()
    assert benign[:, 170:].mean() < benign[:, :100].mean()


def test_a_cam_without_a_peak_is_all_zero(scorer: Scorer) -> None:
    score = scorer.score(np.zeros((64, 64), dtype=np.uint8))
    heatmap = scorer.heatmap(score, Decision.MALIGNANT, Box(0, 0, 64, 64))
    assert not heatmap.any()


def test_require_gpu_refuses_a_cpu(package: ModelPackage, settings: AnalysisSettings) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this machine may have a GPU")
    with pytest.raises(InferenceError, match=r"analysis\.require_gpu"):
        Scorer(package, settings.model_copy(update={"require_gpu": True}))


def test_the_provider_that_really_runs_is_told(scorer: Scorer) -> None:
    assert scorer.provider in ort.get_available_providers()


def test_providers_that_are_not_installed_are_refused(
    package: ModelPackage, settings: AnalysisSettings
) -> None:
    if "TensorrtExecutionProvider" in ort.get_available_providers():
        pytest.skip("TensorRT is installed here")
    only = settings.model_copy(update={"providers": ("TensorrtExecutionProvider",)})
    with pytest.raises(InferenceError, match=r"analysis\.providers"):
        Scorer(package, only)


def test_an_answer_that_is_no_probability_is_refused(
    broken_package: ModelPackage, settings: AnalysisSettings
) -> None:
    with pytest.raises(InferenceError, match="not a probability"):
        Scorer(broken_package, settings)
