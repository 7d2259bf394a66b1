"""From the best epoch to ``model.pt``: calibrated, with its gate and what a card has to say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_export.calibration import calibrate
from model_export.checkpoint import CHECKPOINT_FILE, Checkpoint, save_checkpoint
from model_export.dataset import LabelledImage
from model_export.gate import Features, fit_gate, pooled_features
from model_export.network import Classifier
from model_export.training.plan import TrainingPlan

BEST_FILE = "best.ckpt"


def finish(
    folder: Path,
    plan: TrainingPlan,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    *,
    rows: Sequence[dict[str, Any]],
    facts: dict[str, Any],
) -> Checkpoint:
    """Calibrate the best epoch's averaged weights, fit the gate, write ``folder/model.pt``.

    rows: the run's history. facts: what the card should say besides.
    """
    best = torch.load(folder / BEST_FILE, weights_only=False, map_location="cpu")
    model = Classifier(plan.backbone, plan.final_size)
    model.load_state_dict(
        {
            name.removeprefix("model."): value
            for name, value in best["state_dict"].items()
            if name.startswith("model.")
        }
    )
    model.eval()
    spec = plan.preprocessing()
    labels = np.array([image.label for image in validation])
    features = pooled_features(model, validation, spec)
    gate = fit_gate(pooled_features(model, training, spec), features)
    epoch = int(best["epoch"]) + 1
    chosen = next(row for row in rows if row["epoch"] == epoch)
    stages = ", ".join(f"{size} px × {epochs}" for size, epochs in plan.stages)
    checkpoint = Checkpoint(
        backbone=plan.backbone,
        model=model,
        preprocessing=spec,
        calibration=calibrate(labels, _logits(model, features)),
        gate=gate.tensors(),
        training_digests=tuple(sorted({image.digest() for image in training})),
        validation_digests=tuple(sorted({image.digest() for image in validation})),
        facts={
            **facts,
            "images": f"{_counts(training)}, {sum(image.label for image in training)} malignant",
            "validation": f"{_counts(validation)}: chose the epoch, the calibration, the "
            "operating points and the limit of the out-of-distribution gate",
            "epochs": f"{epoch} of {plan.epochs} ({stages})",
            "validation AUC": chosen["validation_auc"],
            "training seconds": round(sum(row["seconds"] for row in rows)),
            "seed": plan.seed,
        },
    )
    save_checkpoint(checkpoint, folder / CHECKPOINT_FILE)
    return checkpoint


@torch.no_grad()
def _logits(model: Classifier, features: Features) -> Features:
    """``(N, 2)`` logits of pooled features, of which the last map's come last."""
    pooled = torch.from_numpy(features[:, model.backbone.widths[0] :]).float()
    return np.asarray(model.classify(pooled).double().numpy())


def _counts(images: Sequence[LabelledImage]) -> str:
    return f"{len(images)} images of {len({image.patient for image in images})} patients"
