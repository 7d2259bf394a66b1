"""From a model and images to heatmaps, and to what these are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_sr.finding import Decision
from model_export.calibration import OperatingPoint
from model_export.dataset import LabelledImage
from model_export.explanation.choices import Method, Removed
from model_export.explanation.faithfulness import (
    CENTRE,
    RANDOM,
    Measures,
    centre_map,
    measure,
    random_map,
)
from model_export.explanation.methods import Explainer
from model_export.explanation.pictures import Explanation, file_names
from model_export.network import BENIGN
from model_export.prediction import Predictor, predict_all
from service.still_image import SUFFIXES


def unlabelled(paths: Sequence[Path]) -> list[LabelledImage]:
    """Pictures outside of a data folder: no diagnosis, no mask, each of a patient of its own.

    Raises ValueError for a file that is no picture by its name.
    """
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{path} is no picture ({', '.join(sorted(SUFFIXES))}): DICOM files go through "
                "`secondread-model prepare`, which decodes and crops them as the service does"
            )
    # The label stands for nothing: what is shown as truth is the column, which is absent.
    return [LabelledImage(str(path), path, None, BENIGN, str(path)) for path in paths]


def spread(images: Sequence[LabelledImage], limit: int | None) -> list[LabelledImage]:
    """At most ``limit`` images, evenly spread over the manifest's order (often by class)."""
    if limit is None or limit >= len(images):
        return list(images)
    return [images[index * len(images) // limit] for index in range(limit)]


def explain_images(
    predictor: Predictor,
    point: OperatingPoint,
    explainer: Explainer,
    images: Sequence[LabelledImage],
    methods: Sequence[Method],
    decision: Decision | None = None,
) -> Iterator[Explanation]:
    """Score each image and make its heatmaps, one after the other.

    decision: whose logit the maps are for; None for the one that is reported.
    Raises ValueError if a method does not fit the network, InferenceError as predict does.
    """
    names = dict(zip([image.file for image in images], file_names(images), strict=True))
    for image, prediction in predict_all(predictor, images):
        reported = prediction.decision(point.threshold)
        logit = decision or reported
        pixels = image.pixels()
        yield Explanation(
            names[image.file],
            image,
            prediction.probability_malignant,
            reported,
            logit,
            {
                method: explainer.heatmap(method, pixels, prediction, logit)
                for method in dict.fromkeys(methods)
            },
        )


def judge_heatmaps(
    predictor: Predictor, found: Explanation, steps: int, removed: Removed
) -> dict[str, Measures]:
    """The measures of each of the image's maps, and of the two that know nothing of the model.

    The curves are the probability of the decision that the maps are for.
    """
    pixels, mask = found.image.pixels(), found.image.mask()
    height, width = pixels.shape

    def probabilities(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        malignant = predictor.probabilities(images)
        return malignant if found.decision is Decision.MALIGNANT else 1 - malignant

    maps = {
        **{str(method): heatmap for method, heatmap in found.heatmaps.items()},
        CENTRE: centre_map(height, width),
        RANDOM: random_map(height, width, seed=int(found.image.digest(), 16)),
    }
    return {
        name: measure(heatmap, pixels, mask, probabilities, steps, removed)
        for name, heatmap in maps.items()
    }
