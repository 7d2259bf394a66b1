"""Writes model packages: the graph, the manifest and the card that is made from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from model_export.card import model_card
from model_export.checkpoint import Checkpoint
from model_export.evaluation import Evaluation
from model_export.export import export_checkpoint
from model_export.gate import Gate
from service.analysis.model_package import (
    CARD_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    ManifestOperatingPoint,
    ModelPackage,
    OutOfDistribution,
    file_sha256,
)

INTENDED_USE = (
    "Research use only. Not a medical device; no diagnosis or treatment may rest on its output. "
    "It scores one B-mode image of a breast lesion as malignant or benign for a reader who also "
    "sees the image."
)
HEAD = "global average pooling, FC 512, ReLU, FC 2, softmax"


def write_package(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    name: str,
    version: str,
    size: int | None = None,
    half: bool = True,
    note: str | None = None,
) -> ModelPackage:
    """Export a checkpoint into ``folder``: graph, manifest and card.

    size: edge of the input in pixels, that of the training by default; operating points and gate
        were fixed at that of the training.
    half: store the weights as float16 (computed in float32).
    note: what else a reader of the card should know of the run.
    Raises ValueError for a size that the backbone cannot take.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_checkpoint(checkpoint, folder / MODEL_FILE, size=size, half=half)
    trained = checkpoint.preprocessing
    spec = trained if size is None else trained.model_copy(update={"size": size})
    calibration = checkpoint.calibration
    gate = Gate.from_tensors(checkpoint.gate) if checkpoint.gate else None
    manifest = Manifest(
        name=name,
        version=version,
        sha256=file_sha256(folder / MODEL_FILE),
        architecture=f"{checkpoint.model.backbone.title}, {HEAD}",
        classes=("benign", "malignant"),
        threshold=calibration.operating_points[0].threshold,
        operating_points=tuple(
            ManifestOperatingPoint(**asdict(point)) for point in calibration.operating_points
        ),
        out_of_distribution=None
        if gate is None
        else OutOfDistribution(limit=gate.limit, method=gate.method, rule=gate.rule),
        preprocessing=spec,
        intended_use=INTENDED_USE,
        training={
            **checkpoint.facts,
            "calibration": f"temperature {calibration.temperature:.4f}, "
            f"bias {calibration.bias:.4f}",
            "calibration error on validation": round(calibration.calibration_error, 4),
            "weights stored as": "float16, computed in float32" if half else "float32",
            **({"input": f"trained at {trained.size} px"} if spec.size != trained.size else {}),
            **({"note": note} if note else {}),
        },
        training_images=checkpoint.training_digests,
        validation_images=checkpoint.validation_digests,
    )
    return write_manifest(folder, manifest)


def record_evaluation(package: ModelPackage, title: str, evaluation: Evaluation) -> ModelPackage:
    """Add (or replace) the figures of one test set in the manifest, and renew the card."""
    training = dict(package.manifest.training)
    figures = json.loads(json.dumps(asdict(evaluation)))
    training["evaluations"] = {**training.get("evaluations", {}), title: figures}
    return write_manifest(
        package.folder, package.manifest.model_copy(update={"training": training})
    )


def write_manifest(folder: Path, manifest: Manifest) -> ModelPackage:
    """Write ``manifest.json``, a list of digests on one line, and the card that follows from it."""
    content = manifest.model_dump(mode="json")
    digests = {name: content.pop(name) for name in ("training_images", "validation_images")}
    text = json.dumps(content, indent=2, ensure_ascii=False).removesuffix("\n}")
    lists = "".join(f',\n  "{name}": {json.dumps(values)}' for name, values in digests.items())
    (folder / MANIFEST_FILE).write_text(f"{text}{lists}\n}}\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(model_card(manifest), encoding="utf-8")
    return ModelPackage(folder, manifest)
