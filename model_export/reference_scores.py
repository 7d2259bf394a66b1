"""How a package scores its own validation images: what the service measures drift from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.progress import track

from model_export.dataset import LabelledImage
from model_export.package import write_manifest
from model_export.prediction import PackagePredictor
from service.analysis.model_package import ModelPackage, ReferenceScores
from service.monitoring.drift import binned

_BINS = 10


def record_reference_scores(
    package: ModelPackage, images: Sequence[LabelledImage], data: str
) -> ModelPackage:
    """Score the package's validation images; the histogram goes into manifest and card.

    Ten bins, bounded by the deciles of these scores.
    images: among them all that the package was validated on; others are left out.
    data: which images they are, in words.
    Raises ValueError if any of them is missing, or the package lists none; InferenceError.
    """
    listed = set(package.manifest.validation_images)
    chosen = {image.digest(): image for image in images}
    if not listed or not listed <= chosen.keys():
        raise ValueError(
            f"the package was validated on {len(listed)} images, of which"
            f" {len(listed & chosen.keys())} are here: give the data that it was trained on"
        )
    predictor = PackagePredictor(package.folder)
    pixels = (chosen[digest].pixels() for digest in track(sorted(listed), "scoring"))
    scores = np.concatenate([predictor.probabilities([each]) for each in pixels])
    deciles = np.quantile(scores, np.arange(1, _BINS) / _BINS)
    edges = tuple(edge for edge in np.unique(deciles.round(4)).tolist() if 0 < edge < 1)
    reference = ReferenceScores(
        edges=edges, counts=tuple(binned(scores.tolist(), edges)), data=data
    )
    return write_manifest(
        package.folder, package.manifest.model_copy(update={"reference_scores": reference})
    )
