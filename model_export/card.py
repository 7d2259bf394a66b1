"""The model card: a page in Markdown, made from the manifest alone."""

from __future__ import annotations

from typing import Any

from service.analysis.model_package import Manifest

_HEADER = (
    "| images | n (malignant) | patients | AUC (95 % CI) | operating point | sensitivity "
    "| specificity | accuracy | Brier | ECE | CAM hit | CAM inside | lesion |"
)


def model_card(manifest: Manifest) -> str:
    """What the model is, what it was trained on, how it does on data it never saw, its limits."""
    facts = manifest.training
    spec = manifest.preprocessing
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        f"**{manifest.intended_use}**",
        "",
        f"- Architecture: {manifest.architecture}",
        f"- Input: one grey image, {spec.size}×{spec.size}, {spec.fit}, {spec.interpolation}",
        "- Output: probability of malignant and benign (calibrated softmax), and the "
        "Grad-CAM of either logit from the same pass",
        *_operating_points(manifest),
        *_gate(manifest),
        *_reference_scores(manifest),
        f"- sha256 of `model.onnx`: `{manifest.sha256}`",
        "",
        *_variant(manifest),
        "## Trained on",
        "",
        *(f"- {key}: {value}" for key, value in facts.items() if key != "evaluations"),
        "",
        "## Figures on images it never saw",
        "",
        *_table(facts.get("evaluations", {})),
        "",
        "AUC with DeLong's 95 % interval over images; *by patient*: a bootstrap over patients, "
        "who may have two images. Shares with Wilson's interval. *ECE*: expected calibration "
        "error. *CAM hit*: the map's maximum lies inside the lesion mask; *CAM inside*: share of "
        "the map's sum inside it; *lesion*: mean share of the image that the lesion covers, which "
        "is what chance would hit.",
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


def _operating_points(manifest: Manifest) -> list[str]:
    if not manifest.operating_points:
        return [f"- Operating point: malignant from {manifest.threshold:.3f} on"]
    return [
        f"- Operating point `{point.name}`{' (default)' if number == 0 else ''}: malignant from "
        f"{point.threshold:.3f} on; {point.rule} (there: sensitivity {point.sensitivity:.3f}, "
        f"specificity {point.specificity:.3f})"
        for number, point in enumerate(manifest.operating_points)
    ]


def _reference_scores(manifest: Manifest) -> list[str]:
    reference = manifest.reference_scores
    if reference is None:
        return []
    return [f"- Reference for drift: the scores of {reference.data}"]


def _gate(manifest: Manifest) -> list[str]:
    gate = manifest.out_of_distribution
    if gate is None:
        return []
    return [
        f"- Out-of-distribution gate: flagged above a distance of {gate.limit:.3f}; {gate.method}; "
        f"limit: {gate.rule}"
    ]


def _variant(manifest: Manifest) -> list[str]:
    if manifest.variant is None:
        return []
    variant, found = manifest.variant, manifest.variant.validation
    images = found.images
    rows = [
        ("AUC before; of this variant", f"{found.auc_before:.3f}; {found.auc:.3f}"),
        (
            f"decisions that flip at {found.threshold:.3f}",
            f"{found.flipped} of {images} ({100 * found.flipped / images:.1f} %)",
        ),
        (
            "malignant probability, difference: mean; largest",
            f"{found.probability_mean:.4f}; {found.probability_most:.4f}",
        ),
        ("CAM's maximum moves by more than one cell", f"{100 * found.cam_moved:.1f} % of images"),
        ("the gate judges otherwise", f"{found.gate_flipped} of {images}"),
    ]
    return [
        f"## Variant: {variant.kind}",
        "",
        f"Made from the package whose model has the sha256 `{variant.made_from}`: "
        f"{variant.method}. Thresholds are that package's; the gate's limit was fixed anew.",
        "",
        f"| on {found.data}: {images} images, {found.malignant} malignant | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
    ]


def _table(evaluations: dict[str, dict[str, Any]]) -> list[str]:
    if not evaluations:
        return ["None recorded yet: `secondread-model evaluate … --record TITLE`."]
    rows = [_HEADER, "|" + "---|" * (_HEADER.count("|") - 1)]
    for title, e in evaluations.items():
        cells = [
            title,
            f"{e['images']} ({e['malignant']})",
            str(e["patients"]),
            _auc(e["auc"], e.get("auc_by_patient")),
            f"{e['operating_point']} ({e['threshold']:.3f})" if "operating_point" in e else "–",
            *(_share(e[name]) for name in ("sensitivity", "specificity", "accuracy")),
            *(_number(e.get(name), 3) for name in ("brier", "calibration_error")),
            *(_number(e.get(name), 2) for name in ("pointing_hits", "energy_inside")),
            _number(e.get("lesion_share"), 2),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _auc(auc: dict[str, float], by_patient: dict[str, float] | None) -> str:
    text = f"{auc['auc']:.3f} ({auc['lower']:.3f}–{auc['upper']:.3f})"
    if by_patient is None:
        return text
    return f"{text}; by patient {by_patient['lower']:.3f}–{by_patient['upper']:.3f}"


def _share(share: Any) -> str:
    """A share with its interval, or without one as packages of version 1 have it."""
    if isinstance(share, dict):
        return f"{share['value']:.3f} ({share['lower']:.3f}–{share['upper']:.3f})"
    return _number(share, 3)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
