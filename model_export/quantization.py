"""An INT8 variant of a package, and what that does to its answers.

Static quantisation by ONNX Runtime: the convolutions alone, weights per output channel, activations
by their range on calibration images. The first convolution and those of the last stage, whose map
the CAM is a sum over, stay in float32 with all the rest (head, CAM, gate).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.progress import track

from dicom_sr.finding import Decision
from model_export.dataset import LabelledImage
from model_export.gate import PERCENTILE
from model_export.package import write_manifest
from model_export.statistics import auc
from service.analysis.inference import INPUT, Scorer
from service.analysis.model_package import (
    MODEL_FILE,
    ModelPackage,
    Variant,
    VariantValidation,
    file_sha256,
)
from service.analysis.preprocessing import Preprocessing, preprocess
from service.sections import AnalysisSettings

_Item = TypeVar("_Item")

_BACKBONE = "ResNet50"
_LAST_STAGE = 10
"""Convolutions of its last stage."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Sequence[LabelledImage], spec: Preprocessing) -> None:
        self._inputs: Iterator[dict[str, NDArray[np.float32]]] = (
            {INPUT: preprocess(image.pixels(), spec)[None]} for image in images
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


def spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most so many of them, evenly spread over their order."""
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def quantise(package: ModelPackage, calibration: Sequence[LabelledImage], path: Path) -> str:
    """Write the INT8 graph of a package. Returns how it was made, in words.

    calibration: their activations set the ranges; they must not be among those it is judged on.
    Raises ValueError without an image, for a package that is a variant already, and for another
    backbone than ResNet50: which layers those must keep was never measured.
    """
    if not package.manifest.architecture.startswith(_BACKBONE):
        raise ValueError(f"only packages of a {_BACKBONE} can be quantised")
    if package.manifest.variant is not None:
        raise ValueError(f"{package.folder} is a variant already")
    if not calibration:
        raise ValueError("there is no image to calibrate on")
    with tempfile.TemporaryDirectory(prefix="secondread-") as scratch:
        prepared = Path(scratch) / MODEL_FILE
        # Folds each BatchNorm and each Cast of a float16 weight away.
        quant_pre_process(str(package.model_path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
        kept = [convolutions[0], *convolutions[-_LAST_STAGE:]]
        quantize_static(
            str(prepared),
            str(path),
            _Reader(calibration, package.manifest.preprocessing),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return (
        f"{len(convolutions) - len(kept)} of {len(convolutions)} convolutions in INT8, weights per "
        f"channel, ranges (MinMax) from {len(calibration)} images; the rest in float32"
    )


def with_new_limit(variant: ModelPackage, images: Sequence[LabelledImage]) -> ModelPackage:
    """The variant with its gate's limit fixed anew, by the rule of training.

    Rounding makes every image look farther from the training images, all by nearly as much.
    images: like the validation images of the training, and none of those it is judged on.
    """
    gate = variant.manifest.out_of_distribution
    if gate is None:
        return variant
    scorer = Scorer(variant, AnalysisSettings(model=variant.folder))
    bar = track(images, "the gate's limit", console=Console(stderr=True), transient=True)
    distances = [scorer.score(image.pixels()).distance for image in bar]
    limit = float(np.percentile(np.array(distances, dtype=np.float64), PERCENTILE))
    rule = (
        f"percentile {PERCENTILE:g} of the variant's distances of {len(images)} calibration images"
    )
    renewed = gate.model_copy(update={"limit": limit, "rule": rule})
    manifest = variant.manifest.model_copy(update={"out_of_distribution": renewed})
    return ModelPackage(variant.folder, manifest)


def write_variant(
    package: ModelPackage, judged: ModelPackage, method: str, validation: VariantValidation
) -> ModelPackage:
    """Manifest and card beside the graph that ``quantise`` wrote into the folder of ``judged``.

    The figures that were measured on the package it was made from are left out: they are not the
    variant's.
    """
    before, folder = package.manifest, judged.folder
    facts = {name: value for name, value in before.training.items() if name != "evaluations"}
    return write_manifest(
        folder,
        judged.manifest.model_copy(
            update={
                "name": f"{before.name} INT8",
                "sha256": file_sha256(folder / MODEL_FILE),
                "variant": Variant(
                    kind="int8", made_from=before.sha256, method=method, validation=validation
                ),
                "training": {**facts, "weights stored as": "int8 and float32"},
            }
        ),
    )


def compare(
    before: Scorer, variant: Scorer, threshold: float, images: Sequence[LabelledImage], data: str
) -> VariantValidation:
    """Both on the same images. Raises ValueError unless both classes are there, InferenceError if
    an answer cannot be used.

    threshold: of the default operating point, 0–1. data: the images' name, for the card.
    """
    labels = np.array([image.label for image in images], dtype=np.int64)
    if len(set(labels.tolist())) < 2:
        raise ValueError("a variant is judged on images of both classes")
    pairs = []
    for image in track(images, "both models", console=Console(stderr=True), transient=True):
        pixels = image.pixels()
        pairs.append((before.score(pixels), variant.score(pixels)))
    scores = np.array(
        [(old.probability_malignant, new.probability_malignant) for old, new in pairs]
    )
    gaps = np.abs(scores[:, 0] - scores[:, 1])
    malignant = scores >= threshold
    logits = [Decision.MALIGNANT if yes else Decision.BENIGN for yes in malignant[:, 0]]
    moved = [
        peak_moves(old.cams[logit], new.cams[logit])
        for (old, new), logit in zip(pairs, logits, strict=True)
    ]
    unlike = [before.unlike_training(old) != variant.unlike_training(new) for old, new in pairs]
    return VariantValidation(
        data=data,
        images=len(images),
        malignant=int(labels.sum()),
        auc=auc(labels, scores[:, 1]),
        auc_before=auc(labels, scores[:, 0]),
        threshold=threshold,
        flipped=int((malignant[:, 0] != malignant[:, 1]).sum()),
        probability_mean=float(gaps.mean()),
        probability_most=float(gaps.max()),
        cam_moved=float(np.mean(moved)),
        gate_flipped=sum(unlike),
    )


def peak_moves(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two CAMs ``(h, w)`` have their maxima more than one cell apart, in rows or columns,
    or one of them alone is empty."""
    if not (one.any() and other.any()):
        return bool(one.any() != other.any())
    steps = np.subtract(
        np.unravel_index(one.argmax(), one.shape), np.unravel_index(other.argmax(), other.shape)
    )
    return bool(np.abs(steps).max() > 1)
