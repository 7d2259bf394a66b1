"""Several models on the same images: what Table 2 and DeLong's tests are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from model_export.calibration import OperatingPoint
from model_export.dataset import LabelledImage
from model_export.prediction import Predictor, load_predictor, predict_all
from model_export.provenance import digests_of, refuse_training_images, standing
from model_export.statistics import (
    AucInterval,
    Confusion,
    DeLongTest,
    auc_interval,
    delong_test,
)


@dataclass(frozen=True)
class Candidate:
    """A model in the comparison. point: its operating point, fixed on its validation images."""

    name: str
    point: OperatingPoint


@dataclass(frozen=True)
class ImageSet:
    """One set of images with each model's scores of them.

    name: ``train``, ``test`` or ``external``. described: data folder and condition.
    scores: ``(N,)`` malignant probability, 0–1, by the model's name. marks: what its row has to
    say of these images, by the model's name; see :mod:`model_export.provenance`.
    """

    name: str
    described: str
    images: tuple[LabelledImage, ...]
    scores: Mapping[str, NDArray[np.float64]]
    marks: Mapping[str, str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """``(N,)``, 1 malignant."""
        return np.array([image.label for image in self.images], dtype=np.int64)

    @property
    def mark(self) -> str:
        """All marks, for what shows all models."""
        return "; ".join(sorted({mark for mark in self.marks.values() if mark}))


@dataclass(frozen=True)
class Part:
    """Images to score. name: ``train``, ``test`` or ``external``. described: as ImageSet's.

    folder: all images of their data folder, which tell a patient's other views.
    """

    name: str
    described: str
    images: Sequence[LabelledImage]
    folder: Sequence[LabelledImage]


@dataclass(frozen=True)
class Row:
    """One row of Table 2."""

    model: str
    images: str
    mark: str
    auc: AucInterval
    threshold: float
    confusion: Confusion


@dataclass(frozen=True)
class Pair:
    """DeLong's test of two models on one set; adjusted: its P by Holm, over the set's pairs."""

    images: str
    first: str
    second: str
    test: DeLongTest
    adjusted: float


def rows(candidates: Sequence[Candidate], found: ImageSet) -> list[Row]:
    """Table 2's rows of one set. Raises ValueError with fewer than two images of a class."""
    return [
        Row(
            model=candidate.name,
            images=found.name,
            mark=found.marks[candidate.name],
            auc=auc_interval(found.labels, found.scores[candidate.name]),
            threshold=candidate.point.threshold,
            confusion=Confusion.at(
                found.labels, found.scores[candidate.name], candidate.point.threshold
            ),
        )
        for candidate in candidates
    ]


def pairs(candidates: Sequence[Candidate], found: ImageSet) -> list[Pair]:
    """Each model against each other on one set; empty for a single model."""
    named = list(combinations([candidate.name for candidate in candidates], 2))
    tests = [
        delong_test(found.labels, found.scores[first], found.scores[second])
        for first, second in named
    ]
    if not tests:
        return []
    adjusted = multipletests([test.p_value for test in tests], method="holm")[1]
    return [
        Pair(found.name, first, second, test, float(p_value))
        for (first, second), test, p_value in zip(named, tests, adjusted, strict=True)
    ]


TRAIN = "train"
_REMEDY = "Choose a test set with --test, or an --external folder, that no model has seen"


def score_models(
    paths: Sequence[Path], parts: Sequence[Part], operating_point: str | None
) -> tuple[list[Candidate], list[ImageSet]]:
    """Load one model after the other and let it score all parts.

    operating_point: by its name; None for each model's default.
    Raises ValueError, before anything is scored by it, if a model was trained on images or
    patients of a part that is not ``train``; ModelPackageError or InferenceError if one cannot
    be used.
    """
    digests = {part.name: digests_of(part.folder) for part in parts}
    candidates: list[Candidate] = []
    scores: dict[str, dict[str, NDArray[np.float64]]] = {part.name: {} for part in parts}
    marks: dict[str, dict[str, str]] = {part.name: {} for part in parts}
    for path in paths:
        predictor = load_predictor(path)
        name = _new_name(predictor, path, candidates)
        candidates.append(Candidate(name, predictor.operating_point(operating_point)))
        for part in parts:
            found = standing(predictor, part.images, part.folder, digests[part.name])
            if part.name != TRAIN:
                refuse_training_images(name, found, _REMEDY)
            marks[part.name][name] = found.mark(training_set=part.name == TRAIN)
        for part in parts:
            answers = predict_all(predictor, part.images)
            scores[part.name][name] = np.array([one.probability_malignant for _, one in answers])
    sets = [
        ImageSet(part.name, part.described, tuple(part.images), scores[part.name], marks[part.name])
        for part in parts
    ]
    return candidates, sets


def _new_name(predictor: Predictor, path: Path, candidates: Sequence[Candidate]) -> str:
    """The model's name, with its folder's where another has the same."""
    taken = {candidate.name for candidate in candidates}
    if predictor.name not in taken:
        return predictor.name
    folder = path if path.is_dir() else path.parent
    longer = f"{predictor.name} ({folder.resolve().name})"
    return longer if longer not in taken else f"{longer} {len(taken) + 1}"
