"""The model package: a folder with ``model.onnx``, ``manifest.json`` and ``model_card.md``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dicom_sr.finding import ModelIdentity
from service.analysis.preprocessing import Preprocessing

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
CARD_FILE = "model_card.md"


class ModelPackageError(Exception):
    """The folder is not a model package that may be used; the text says what to do."""


class ManifestOperatingPoint(BaseModel):
    """A threshold on the malignant probability (0–1), fixed on validation data.

    name: what a site chooses it by. rule: how it was found, in words.
    sensitivity, specificity: on those validation images, 0–1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    threshold: float = Field(ge=0, le=1)
    rule: str
    sensitivity: float = Field(ge=0, le=1)
    specificity: float = Field(ge=0, le=1)


class OutOfDistribution(BaseModel):
    """The gate that the graph's output ``distance`` is held against.

    limit: an image with a larger distance is unlike those the model was trained on.
    method, rule: how distance and limit were found, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: float = Field(gt=0)
    method: str
    rule: str


class ReferenceScores(BaseModel):
    """How the malignant probability is spread over known images: what drift is measured from.

    edges: inner bounds of the bins, ascending, 0–1; a bin holds what is below its upper bound.
    counts: images in each bin, one more than edges. data: which images, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[float, ...] = Field(min_length=1)
    counts: tuple[int, ...]
    data: str

    @model_validator(mode="after")
    def _bins(self) -> Self:
        if (
            list(self.edges) != sorted(set(self.edges))
            or not 0 < self.edges[0] <= self.edges[-1] < 1
        ):
            raise ValueError("edges must ascend between 0 and 1")
        if len(self.counts) != len(self.edges) + 1 or min(self.counts) < 0 or not any(self.counts):
            raise ValueError("counts must be one more than edges")
        return self


class VariantValidation(BaseModel):
    """How a variant answers beside the package that it was made from, on the same images.

    data: which images, in words. images, malignant: how many.
    auc, auc_before: of the variant and of the package it was made from, 0–1.
    threshold: of the default operating point. flipped: decisions that differ there.
    probability_mean, probability_most: mean and largest difference of the malignant probability.
    cam_moved: share (0–1) of the images whose CAM, of the logit decided for before, has its
        maximum more than one cell of the network's grid away, or has it in one package alone.
    gate_flipped: images that the gate calls unlike the training images in one package alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(min_length=1)
    images: int = Field(ge=1)
    malignant: int = Field(ge=1)
    auc: float = Field(ge=0, le=1)
    auc_before: float = Field(ge=0, le=1)
    threshold: float = Field(ge=0, le=1)
    flipped: int = Field(ge=0)
    probability_mean: float = Field(ge=0, le=1)
    probability_most: float = Field(ge=0, le=1)
    cam_moved: float = Field(ge=0, le=1)
    gate_flipped: int = Field(ge=0)


class Variant(BaseModel):
    """What makes a package compute otherwise than the one that it was made from.

    kind: int8 weights and activations. made_from: sha256 of that package's ``model.onnx``.
    method: in words. validation: without it nobody knows what the variant is worth, so a manifest
        that lacks it is not valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["int8"]
    made_from: str = Field(pattern="^[0-9a-f]{64}$")
    method: str
    validation: VariantValidation


class Manifest(BaseModel):
    """``manifest.json``: all that the service needs to know of a model.

    sha256: hex digest of ``model.onnx``.
    classes: order of the two outputs.
    threshold: of the default operating point, the first one where several are listed.
    out_of_distribution: None in packages without a gate.
    reference_scores: None in packages without them: no drift is measured then.
    variant: None in packages that a training run was exported to.
    training: facts for a reader (data, split, figures, seconds); the service only shows them.
    training_images, validation_images: what the model has seen, 16 hex digits of each file's
        sha256; empty where the package keeps no list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    architecture: str
    classes: tuple[Literal["benign", "malignant"], Literal["benign", "malignant"]]
    threshold: float = Field(ge=0, le=1)
    operating_points: tuple[ManifestOperatingPoint, ...] = ()
    out_of_distribution: OutOfDistribution | None = None
    reference_scores: ReferenceScores | None = None
    variant: Variant | None = None
    preprocessing: Preprocessing
    intended_use: str
    training: dict[str, Any] = Field(default_factory=dict)
    training_images: tuple[str, ...] = ()
    validation_images: tuple[str, ...] = ()

    @field_validator("classes")
    @classmethod
    def _two_classes(cls, classes: tuple[str, str]) -> tuple[str, str]:
        if set(classes) != {"benign", "malignant"}:
            raise ValueError("classes must name benign and malignant once each")
        return classes

    @model_validator(mode="after")
    def _default_comes_first(self) -> Self:
        names = [point.name for point in self.operating_points]
        if len(set(names)) != len(names):
            raise ValueError("each operating point needs a name of its own")
        if self.operating_points and self.operating_points[0].threshold != self.threshold:
            raise ValueError("threshold must be that of the first operating point")
        return self

    def threshold_of(self, operating_point: str) -> float:
        """The threshold of an operating point by its name; an empty name is the default.

        Raises ModelPackageError if the package has none of that name.
        """
        if not operating_point:
            return self.threshold
        for point in self.operating_points:
            if point.name == operating_point:
                return point.threshold
        known = ", ".join(point.name for point in self.operating_points) or "none by name"
        raise ModelPackageError(
            f"{self.name} {self.version} has no operating point {operating_point!r}; it has "
            f"{known}: set analysis.operating_point to one of them, or leave it empty"
        )

    def sensitivity_of(self, operating_point: str) -> float | None:
        """On the validation images, 0–1; None if the package does not tell. An empty name is the
        default."""
        for point in self.operating_points:
            if operating_point in ("", point.name):
                return point.sensitivity
        return None

    @property
    def malignant_index(self) -> int:
        return self.classes.index("malignant")


@dataclass(frozen=True)
class ModelPackage:
    """A package whose manifest was read and whose ``model.onnx`` has the manifest's sha256."""

    folder: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL_FILE

    @property
    def identity(self) -> ModelIdentity:
        spec, variant = self.manifest.preprocessing, self.manifest.variant
        return ModelIdentity(
            name=self.manifest.name,
            version=self.manifest.version,
            sha256=self.manifest.sha256,
            parameters=(
                f"input={spec.size}x{spec.size} {spec.colour}",
                f"fit={spec.fit} {spec.interpolation}",
                *([f"variant={variant.kind}"] if variant else []),
            ),
        )


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_model_package(folder: Path) -> ModelPackage:
    """Read and check a package. Raises ModelPackageError with what is wrong and where."""
    manifest = read_manifest(folder)
    model_path = folder / MODEL_FILE
    if not model_path.is_file():
        raise ModelPackageError(f"{folder} has no {MODEL_FILE}")
    found = file_sha256(model_path)
    if found != manifest.sha256:
        raise ModelPackageError(
            f"{model_path} is not the file that the manifest describes: its sha256 is {found}, "
            f"the manifest says {manifest.sha256}; copy the package again"
        )
    return ModelPackage(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, the model unseen. Raises ModelPackageError."""
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelPackageError(
            f"{folder} is not a model package: it has no {MANIFEST_FILE}"
        ) from None
    except OSError as error:
        raise ModelPackageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise ModelPackageError(f"{path} is not valid: {error}") from error
