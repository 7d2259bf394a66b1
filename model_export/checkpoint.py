"""What a training run ends with: ``model.pt``, from which a package is exported."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_export.backbones import BackboneName
from model_export.calibration import Calibration, OperatingPoint
from model_export.network import Classifier
from service.analysis.preprocessing import Preprocessing

CHECKPOINT_FILE = "model.pt"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier and all that a model package has to say of it.

    model: in evaluation mode, weights as trained (the temperature is not yet applied).
    calibration: fixed on the validation images.
    gate: tensors of the out-of-distribution gate (see :mod:`model_export.gate`); empty without one.
    training_digests, validation_digests: ``LabelledImage.digest`` of the images it has seen.
    facts: for manifest and card, in the reader's order: data, initial weights, epochs, seconds …
    """

    backbone: BackboneName
    model: Classifier
    preprocessing: Preprocessing
    calibration: Calibration
    gate: dict[str, Tensor]
    training_digests: tuple[str, ...]
    validation_digests: tuple[str, ...]
    facts: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write it whole or not at all."""
    content = {
        "format": _FORMAT,
        "backbone": checkpoint.backbone,
        "state": checkpoint.model.state_dict(),
        "preprocessing": checkpoint.preprocessing.model_dump(),
        "calibration": asdict(checkpoint.calibration),
        "gate": checkpoint.gate,
        "training_digests": list(checkpoint.training_digests),
        "validation_digests": list(checkpoint.validation_digests),
        "facts": checkpoint.facts,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read ``model.pt``, or that of a run folder. Raises ValueError if it is something else."""
    if path.is_dir():
        path = path / CHECKPOINT_FILE
    if not path.is_file():
        raise ValueError(f"{path} does not exist: the training run has not finished")
    content = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} is no checkpoint of `secondread-model train`")
    preprocessing = Preprocessing(**content["preprocessing"])
    model = Classifier(content["backbone"], preprocessing.size)
    model.load_state_dict(content["state"])
    calibration = content["calibration"]
    points = tuple(OperatingPoint(**point) for point in calibration.pop("operating_points"))
    return Checkpoint(
        backbone=content["backbone"],
        model=model.eval(),
        preprocessing=preprocessing,
        calibration=Calibration(operating_points=points, **calibration),
        gate=content["gate"],
        training_digests=tuple(content["training_digests"]),
        validation_digests=tuple(content["validation_digests"]),
        facts=content["facts"],
    )
