"""Writes model packages: the graph, the manifest and the card that is made from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_export.evaluation import Evaluation
from service.analysis.model_package import (
    CARD_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    ModelPackage,
    file_sha256,
)
from service.analysis.preprocessing import Preprocessing

INTENDED_USE = (
    "Research use only. Not a medical device; no diagnosis or treatment may rest on its output. "
    "It scores one B-mode image of a breast lesion as malignant or benign for a reader who also "
    "sees the image."
)


def write_package(
    folder: Path,
    *,
    name: str,
    version: str,
    threshold: float,
    preprocessing: Preprocessing,
    training: dict[str, Any],
) -> ModelPackage:
    """Write manifest and card beside the ``model.onnx`` that lies in ``folder`` already."""
    manifest = Manifest(
        name=name,
        version=version,
        sha256=file_sha256(folder / MODEL_FILE),
        architecture="ResNet50, global average pooling, FC 512, ReLU, FC 2, softmax",
        classes=("benign", "malignant"),
        threshold=threshold,
        preprocessing=preprocessing,
        intended_use=INTENDED_USE,
        training=training,
    )
    return _write(folder, manifest)


def record_evaluation(package: ModelPackage, title: str, evaluation: Evaluation) -> ModelPackage:
    """Add (or replace) the figures of one test set in the manifest, and renew the card."""
    training = dict(package.manifest.training)
    figures = json.loads(json.dumps(asdict(evaluation)))
    training["evaluations"] = {**training.get("evaluations", {}), title: figures}
    return _write(package.folder, package.manifest.model_copy(update={"training": training}))


def _write(folder: Path, manifest: Manifest) -> ModelPackage:
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(model_card(manifest), encoding="utf-8")
    return ModelPackage(folder, manifest)


def model_card(manifest: Manifest) -> str:
    """The card in Markdown, made from the manifest alone."""
    facts = manifest.training
    spec = manifest.preprocessing
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        f"**{manifest.intended_use}**",
        "",
        f"- Architecture: {manifest.architecture}",
        f"- Input: one grey image, {spec.size}×{spec.size}, {spec.fit}, {spec.interpolation}",
        "- Output: probability of malignant and benign (softmax, temperature-scaled), and the "
        "Grad-CAM of either logit from the same pass",
        f"- Operating point: malignant from {manifest.threshold:.3f} on",
        f"- sha256 of `model.onnx`: `{manifest.sha256}`",
        "",
        "## Trained on",
        "",
        *(f"- {key}: {value}" for key, value in facts.items() if key != "evaluations"),
        "",
        "## Figures on images it never saw",
        "",
        *_table(facts.get("evaluations", {})),
        "",
        "AUC with DeLong's 95 % interval over images. *CAM hit*: the map's maximum lies inside the "
        "lesion mask; *CAM inside*: share of the map's sum inside it; *lesion*: mean share of the "
        "image that the lesion covers, which is what chance would hit.",
        "",
        "## Limits",
        "",
        "- Trained on one public collection from one hospital and four scanners; other scanners, "
        "presets and populations can shift the score. Compare on your own cases first.",
        "- Every training image shows a lesion: the score says nothing about normal tissue, and an "
        "image without a lesion still gets one.",
        "- B-mode only. Doppler, elastography and other organs are outside what it knows.",
        "- The score is not a BI-RADS category and not the patient's risk: benign and malignant "
        "are mixed otherwise in daily work than in the collections.",
        "",
    ]
    return "\n".join(lines)


def _table(evaluations: dict[str, dict[str, Any]]) -> list[str]:
    if not evaluations:
        return ["None recorded yet: `secondread-model evaluate … --record TITLE`."]
    rows = [
        "| images | n (malignant) | patients | AUC (95 % CI) | sensitivity | specificity "
        "| accuracy | Brier | CAM hit | CAM inside | lesion |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, e in evaluations.items():
        auc = e["auc"]
        rows.append(
            f"| {title} | {e['images']} ({e['malignant']}) | {e['patients']} "
            f"| {auc['auc']:.3f} ({auc['lower']:.3f}–{auc['upper']:.3f}) "
            f"| {e['sensitivity']:.3f} | {e['specificity']:.3f} | {e['accuracy']:.3f} "
            f"| {e['brier']:.3f} | {e['pointing_hits']:.2f} | {e['energy_inside']:.2f} "
            f"| {e['lesion_share']:.2f} |"
        )
    return rows
