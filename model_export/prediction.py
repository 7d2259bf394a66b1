"""One way to score an image, whether the model is a package or a training run's checkpoint."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dicom_sr.finding import Decision
from model_export.calibration import OperatingPoint, apply_calibration
from model_export.checkpoint import Checkpoint, load_checkpoint
from model_export.dataset import LabelledImage
from model_export.network import MALIGNANT, AnalyticCam
from service.analysis.inference import Scorer, heatmap_of
from service.analysis.model_package import MANIFEST_FILE, Manifest, load_model_package
from service.analysis.preprocessing import Preprocessing, preprocess
from service.sections import AnalysisSettings

_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image of H × W pixels.

    probability_malignant: 0–1, calibrated.
    grids: raw Grad-CAM of each decision's logit, ``(h, w)`` float32 on the network's own grid.
    height, width: H and W. preprocessing: of the image.
    """

    probability_malignant: float
    grids: Mapping[Decision, NDArray[np.float32]]
    height: int
    width: int
    preprocessing: Preprocessing

    def decision(self, threshold: float) -> Decision:
        """Malignant from the threshold on."""
        positive = self.probability_malignant >= threshold
        return Decision.MALIGNANT if positive else Decision.BENIGN

    def heatmap(self, decision: Decision) -> NDArray[np.float32]:
        """Grad-CAM of the decision's logit on the image, by the service's own code.

        Returns ``(H, W)`` float32, maximum 1, or all 0 if no place raised that logit. Raises
        InferenceError if the network's CAM is not finite.
        """
        return heatmap_of(self.grids[decision], self.height, self.width, self.preprocessing)


class Predictor(ABC):
    """A model that scores images, and what it says of its own making.

    name: for tables and legends.
    operating_points: the first one is used unless another is asked for.
    training_images, validation_images: ``LabelledImage.digest`` of the images that it has seen;
        None if the model keeps no such list.
    """

    name: str
    preprocessing: Preprocessing
    operating_points: tuple[OperatingPoint, ...]
    training_images: frozenset[str] | None
    validation_images: frozenset[str] | None

    @abstractmethod
    def predict(self, pixels: NDArray[np.uint8]) -> Prediction:
        """Score ``(H, W)`` grey levels as they are, without cropping.

        Raises InferenceError if the network's answer cannot be used.
        """

    @abstractmethod
    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """``(N,)`` malignant probabilities of images of any sizes, without their CAMs.

        Raises InferenceError if the network's answer cannot be used.
        """

    def operating_point(self, name: str | None) -> OperatingPoint:
        """The one of that name, or the default. Raises ValueError for a name that is not there."""
        if name is None:
            return self.operating_points[0]
        for point in self.operating_points:
            if point.name == name:
                return point
        known = ", ".join(point.name for point in self.operating_points)
        raise ValueError(f"{self.name} has no operating point {name!r}; it has {known}")


class PackagePredictor(Predictor):
    """A model package, scored by the service's own code.

    Raises ModelPackageError or InferenceError if the package cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        package = load_model_package(folder)
        manifest = package.manifest
        self._scorer = Scorer(package, AnalysisSettings(model=folder))
        self.name = f"{manifest.name} {manifest.version}"
        self.preprocessing = manifest.preprocessing
        self.operating_points = _operating_points(manifest)
        self.training_images = _listed(manifest.training_images)
        self.validation_images = _listed(manifest.validation_images)

    def predict(self, pixels: NDArray[np.uint8]) -> Prediction:
        score = self._scorer.score(pixels)
        height, width = pixels.shape[:2]
        return Prediction(
            score.probability_malignant, score.cams, height, width, self.preprocessing
        )

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        return np.array([self._scorer.score(image).probability_malignant for image in images])


class CheckpointPredictor(Predictor):
    """A training run's ``model.pt``, run by torch in float32 with its calibration."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        apply_calibration(checkpoint.model, checkpoint.calibration)
        self._graph = AnalyticCam(checkpoint.model).eval()
        self.name = checkpoint.model.backbone.title
        self.preprocessing = checkpoint.preprocessing
        self.operating_points = checkpoint.calibration.operating_points
        self.training_images = _listed(checkpoint.training_digests)
        self.validation_images = _listed(checkpoint.validation_digests)

    def predict(self, pixels: NDArray[np.uint8]) -> Prediction:
        network_input = torch.from_numpy(preprocess(pixels, self.preprocessing))[None]
        with torch.inference_mode():
            probabilities, malignant, benign = self._graph(network_input)
        grids = {Decision.MALIGNANT: malignant[0].numpy(), Decision.BENIGN: benign[0].numpy()}
        height, width = pixels.shape[:2]
        return Prediction(
            float(probabilities[0, MALIGNANT]), grids, height, width, self.preprocessing
        )

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        inputs = np.stack([preprocess(image, self.preprocessing) for image in images])
        with torch.inference_mode():
            answers = [
                self._graph(batch)[0] for batch in torch.split(torch.from_numpy(inputs), _BATCH)
            ]
        return np.asarray(torch.cat(answers)[:, MALIGNANT].numpy().astype(np.float64))


def is_package(path: Path) -> bool:
    """Whether the folder is meant as a model package rather than a training run."""
    return (path / MANIFEST_FILE).is_file()


def load_predictor(path: Path) -> Predictor:
    """A model package (folder with manifest.json), or a training run's folder or ``model.pt``.

    Raises ValueError, ModelPackageError or InferenceError if it is neither or cannot be used.
    """
    if is_package(path):
        return PackagePredictor(path)
    try:
        return CheckpointPredictor(load_checkpoint(path))
    except ValueError as error:
        raise ValueError(
            f"{path} is not a model package (no {MANIFEST_FILE}), and {error}"
        ) from error


def predict_all(
    predictor: Predictor, images: Sequence[LabelledImage]
) -> Iterator[tuple[LabelledImage, Prediction]]:
    """Score the images in their order, with a progress bar on the terminal's error stream."""
    # The stream is held, as pytorch-grad-cam's own bars are kept silent by redirecting it.
    console = Console(file=sys.stderr)
    for image in track(images, predictor.name, console=console, transient=True):
        yield image, predictor.predict(image.pixels())


def _operating_points(manifest: Manifest) -> tuple[OperatingPoint, ...]:
    listed = tuple(OperatingPoint(**dict(point)) for point in manifest.operating_points)
    unnamed = OperatingPoint(
        "default", manifest.threshold, "the manifest's only threshold", math.nan, math.nan
    )
    return listed or (unnamed,)


def _listed(digests: Sequence[str]) -> frozenset[str] | None:
    return frozenset(digests) or None
