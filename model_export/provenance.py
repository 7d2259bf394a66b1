"""Whether a model has seen the images that it is judged on; figures on those flatter it.

A model package and a checkpoint name the images of their training and validation by digests of the
files. An image counts as seen if it is one of those, or shows a patient of whom one stands in the
data folder. A copy that was saved anew has other bytes and is not recognised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_export.dataset import LabelledImage
from model_export.prediction import Predictor

CHOOSE_OTHERS = (
    "Choose others with --where (such as --where split=test), or say --training-set to have them "
    "marked as such"
)
TRAINING_MARK = "TRAINING IMAGES"
VALIDATION_MARK = "validation images (threshold was fixed on them)"
UNKNOWN_MARK = (
    "WARNING: the model lists no training images, so whether it was trained on these could not "
    "be checked"
)


@dataclass(frozen=True)
class Standing:
    """How many of the chosen images a model has seen.

    images: chosen. training, validation: of them seen there, their patient's other views too;
    training is None where the model keeps no list.
    """

    images: int
    training: int | None
    validation: int

    def mark(self, training_set: bool = False) -> str:
        """What every table and figure on these images has to say; empty if all are new to it.

        training_set: the user says that these are training images.
        """
        if training_set or self.training:
            if self.training is None or self.training == self.images:
                return TRAINING_MARK
            return f"{TRAINING_MARK} ({self.training} of {self.images})"
        if self.training is None:
            return UNKNOWN_MARK
        if not self.validation:
            return ""
        if self.validation == self.images:
            return VALIDATION_MARK
        return f"{self.validation} of {self.images} are {VALIDATION_MARK}"


def digests_of(images: Sequence[LabelledImage]) -> dict[Path, str]:
    """Digest by path, of the files that are there."""
    return {image.path: image.digest() for image in images if image.path.is_file()}


def standing(
    predictor: Predictor,
    chosen: Sequence[LabelledImage],
    folder: Sequence[LabelledImage],
    digests: Mapping[Path, str],
) -> Standing:
    """Compare the chosen images with the model's lists.

    folder: all images of the data folder, which tell a patient's other views. digests: theirs.
    """
    trained = _patients(predictor.training_images, folder, digests)
    validated = _patients(predictor.validation_images, folder, digests) - trained
    training = sum(image.patient in trained for image in chosen)
    return Standing(
        images=len(chosen),
        training=None if predictor.training_images is None else training,
        validation=sum(image.patient in validated for image in chosen),
    )


def refuse_training_images(name: str, found: Standing, remedy: str) -> None:
    """Raises ValueError if the model was trained on some of the images, or on their patients.

    remedy: a sentence that says what to do instead.
    """
    if found.training:
        raise ValueError(
            f"{name} was trained on {found.training} of these {found.images} images, or on other "
            f"images of their patients: figures on them say nothing. {remedy}"
        )


def _patients(
    seen: frozenset[str] | None, folder: Sequence[LabelledImage], digests: Mapping[Path, str]
) -> set[str]:
    if seen is None:
        return set()
    return {image.patient for image in folder if digests.get(image.path) in seen}
