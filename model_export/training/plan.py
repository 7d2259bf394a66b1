"""Everything that decides the outcome of a training run, besides the images."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_export.backbones import BackboneName
from service.analysis.preprocessing import Preprocessing


class TrainingPlan(BaseModel):
    """The plan of one run; a TOML file holds the same keys.

    backbone: one of the study's six.
    stages: (input size in pixels, epochs) in order.
    deployed_size: input size in pixels at which the last stage is judged and the model calibrated
        and exported; None takes the last stage's.
    learning_rate, head_learning_rate: peaks of the backbone's last layer and of the head.
    first_layer_share: the first layer's rate as a share of the last one's; between them the rate
        grows geometrically (layer-wise rates). 1 gives all layers the same.
    warmup: share of all steps with a rising rate; half a cosine follows.
    class_weights: ``balanced`` weighs the diagnosis inversely to the classes' frequencies.
    mask_weight: weight of the auxiliary lesion-mask loss; 0 switches it off.
    evidence_weight: weight of the evidence loss (``losses.py``); 0 switches it off.
    lesion_crops: share (0–1) of training images that are cut around the lesion.
    ema_decay: of the exponential moving average of the weights, which is what is judged and kept.
    patience: epochs without a better validation AUC after which the run ends; None never does.
    precision: Lightning's; ``bf16-mixed`` is automatic mixed precision.
    workers: processes that load images; 0 does it in the main one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneName = "resnet50"
    stages: tuple[tuple[int, int], ...] = ((224, 7), (288, 5))
    deployed_size: int | None = Field(default=None, ge=32)
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=2e-4, gt=0)
    head_learning_rate: float = Field(default=8e-4, gt=0)
    first_layer_share: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.1, gt=0, lt=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    mask_weight: float = Field(default=0.5, ge=0)
    evidence_weight: float = Field(default=0.5, ge=0)
    lesion_crops: float = Field(default=0.0, ge=0, le=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    workers: int = Field(default=0, ge=0)
    seed: int = 20261123

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.stages or any(size < 32 or epochs < 1 for size, epochs in self.stages):
            raise ValueError("stages need at least one (size ≥ 32, epochs ≥ 1)")
        sizes = {size for size, _ in self.stages} | {self.final_size}
        if self.backbone == "vit_b_16" and len(sizes) > 1:
            raise ValueError("the Vision Transformer is bound to one input size in all stages")
        return self

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.stages)

    @property
    def final_size(self) -> int:
        """Input size in pixels of the model that comes out."""
        return self.deployed_size or self.stages[-1][0]

    def size_at(self, epoch: int) -> int:
        """Input size that the epoch (counted from 0) trains at."""
        for size, epochs in self.stages:
            if epoch < epochs:
                return size
            epoch -= epochs
        return self.stages[-1][0]

    def in_last_stage(self, epoch: int) -> bool:
        """Whether the weights of the epoch (counted from 0) may become the model."""
        return epoch >= self.epochs - self.stages[-1][1]

    def judged_size_at(self, epoch: int) -> int:
        """Input size that the epoch's weights are judged at."""
        return self.final_size if self.in_last_stage(epoch) else self.size_at(epoch)

    def preprocessing(self, size: int | None = None) -> Preprocessing:
        return Preprocessing(size=size or self.final_size)


def read_plan(path: Path | None, overrides: dict[str, Any]) -> TrainingPlan:
    """A plan from a TOML file (or the defaults), with ``overrides`` on top.

    Raises ValueError: one line a mistake, each naming its key.
    """
    try:
        content = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
        return TrainingPlan(**{**content, **overrides})
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc'])) or 'plan'}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise ValueError("\n".join(lines)) from error
