"""What a package has to prove beyond its contract: parity with torch, and what its gate tells."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_sr.finding import Box, Decision
from model_export.dataset import LabelledImage
from model_export.prediction import CheckpointPredictor
from model_export.statistics import AucInterval, Proportion, auc_interval
from service.analysis.content_box import content_box
from service.analysis.decode import Decoder
from service.analysis.decode_error import DecodeError
from service.analysis.inference import Scorer
from service.analysis.model_package import ModelPackage, ModelPackageError
from service.offline import as_part10, files_in
from service.sections import AnalysisSettings
from service.still_image import UnreadableImage

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Parity:
    """Largest differences between a package and the run it was made from.

    probability: of the malignant class, 0–1. cam: of the maps on the image, maximum 1.
    correlation: the smallest between two maps, over those that are not empty; nan if all are.
    """

    images: int
    probability: float
    cam: float
    correlation: float


def parity(
    package: ModelPackage, torch_model: CheckpointPredictor, images: Sequence[Pixels]
) -> Parity:
    """Score the images by ONNX Runtime as the service does, and by torch."""
    scorer = Scorer(package, AnalysisSettings(model=package.folder))
    probabilities, cams, correlations = [0.0], [0.0], []
    for pixels in images:
        score, expected = scorer.score(pixels), torch_model.predict(pixels)
        difference = score.probability_malignant - expected.probability_malignant
        probabilities.append(abs(difference))
        box = Box(0, 0, pixels.shape[1], pixels.shape[0])
        for decision in Decision:
            ours, theirs = scorer.heatmap(score, decision, box), expected.heatmap(decision)
            cams.append(float(np.abs(ours - theirs).max()))
            if ours.any() and theirs.any():
                correlations.append(float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]))
    lowest = min(correlations, default=math.nan)
    return Parity(len(images), max(probabilities), max(cams), lowest)


@dataclass(frozen=True)
class GateReport:
    """How the gate tells images that the model is for (inliers) from others (outliers).

    auc: of the distance, an outlier being the positive. inliers_flagged, outliers_flagged: shares
    beyond the limit. inliers, outliers: the distances. left_out: outlier files that could not be
    decoded.
    """

    auc: AucInterval
    limit: float
    inliers_flagged: Proportion
    outliers_flagged: Proportion
    inliers: NDArray[np.float64]
    outliers: NDArray[np.float64]
    left_out: int


def gate_report(
    package: ModelPackage, inliers: Iterable[LabelledImage], outliers: Path
) -> GateReport:
    """Distances of labelled images, and of a folder's DICOM files and pictures.

    outliers: each file's first frame, decoded by the service and cut to its content box, so that a
        screen's black border is not what tells it apart. The service's screen is not applied: the
        gate stands alone here.
    Raises ModelPackageError if the package has no gate, ValueError with fewer than two of a kind.
    """
    gate = package.manifest.out_of_distribution
    if gate is None:
        raise ModelPackageError(f"{package.folder} has no out-of-distribution gate")
    scorer = Scorer(package, AnalysisSettings(model=package.folder))
    near = _distances(scorer, (image.pixels() for image in inliers))
    pictures = list(_first_frames(outliers))
    far = _distances(scorer, (picture for picture in pictures if picture is not None))
    labels = np.repeat([0, 1], [near.size, far.size]).astype(np.int64)
    return GateReport(
        auc=auc_interval(labels, np.concatenate([near, far])),
        limit=gate.limit,
        inliers_flagged=Proportion(int((near > gate.limit).sum()), near.size),
        outliers_flagged=Proportion(int((far > gate.limit).sum()), far.size),
        inliers=near,
        outliers=far,
        left_out=len(pictures) - far.size,
    )


def _distances(scorer: Scorer, images: Iterable[Pixels]) -> NDArray[np.float64]:
    return np.array([scorer.score(pixels).distance for pixels in images], dtype=np.float64)


def _first_frames(folder: Path) -> Iterator[Pixels | None]:
    """Each file's first frame inside its content box, ``(h, w, 3)`` RGB; None if undecodable."""
    settings = AnalysisSettings()
    with (
        Decoder(settings.decode_seconds, settings.decode_megabytes) as decoder,
        tempfile.TemporaryDirectory(prefix="secondread-") as scratch,
    ):
        for file in files_in([folder]):
            try:
                frame = decoder.frame(as_part10(file, Path(scratch)), 1)
            except (DecodeError, UnreadableImage):
                yield None
                continue
            box = content_box(frame)
            if box is not None:
                frame = frame[box.top : box.bottom, box.left : box.right]
            yield np.ascontiguousarray(frame)
