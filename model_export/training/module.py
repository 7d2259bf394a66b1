"""The Lightning module: one step, one validation pass, the optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.network import Classifier
from model_export.statistics import auc
from model_export.training.losses import evidence_loss, mask_loss
from model_export.training.plan import TrainingPlan

_DEPTHS = 6


class TrainingModule(lightning.LightningModule):
    """The classifier with its auxiliary mask outputs, which are not exported.

    class_weights: ``(2,)`` for the cross-entropy, mean 1. steps: optimiser steps of the whole run.
    Logs ``loss``, ``validation_auc`` of the averaged weights at the size of the epoch, and
    ``deployed_auc``, which is −1 before the last stage.
    """

    def __init__(
        self, model: Classifier, plan: TrainingPlan, class_weights: Tensor, steps: int
    ) -> None:
        super().__init__()
        self.model = model
        self.mask_middle = nn.Conv2d(model.backbone.widths[0], 1, 1)
        self.mask_last = nn.Conv2d(model.backbone.widths[1], 1, 1)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.plan = plan
        self._steps = steps
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Dropout hangs on the step's number alone: a run that went on later is the same."""
        torch.manual_seed(self.plan.seed + 1_000_003 * self.global_rank + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        """Diagnosis, lesion mask and evidence; see :mod:`model_export.training.losses`."""
        x, mask, y = batch
        middle, last = self.model.stages(x.contiguous(memory_format=torch.channels_last))
        logits = self.model.head(last).float()
        weights = self.get_buffer("class_weights")
        loss = functional.cross_entropy(
            logits, y, weight=weights, label_smoothing=self.plan.label_smoothing
        )
        if self.plan.mask_weight:
            outlines = mask_loss(self.mask_middle(middle), mask) + mask_loss(
                self.mask_last(last), mask
            )
            loss = loss + self.plan.mask_weight * outlines
        if self.plan.evidence_weight:
            with torch.autocast(self.device.type, enabled=False):
                evidence = evidence_loss(self.model, last, mask, y)
            loss = loss + self.plan.evidence_weight * evidence
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(y))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """In float32, as the package is computed."""
        x, y = batch
        with torch.autocast(self.device.type, enabled=False):
            logits = self.model(x.float())
        self._scores.append(logits[:, 1] - logits[:, 0])
        self._labels.append(y)

    def on_validation_epoch_end(self) -> None:
        """AUC over all devices' images."""
        scores = self._gathered(self._scores).double().numpy()
        labels = self._gathered(self._labels).numpy()
        self._scores.clear()
        self._labels.clear()
        value = auc(labels.astype(np.int64), scores) if len(set(labels.tolist())) == 2 else 0.0
        self.log("validation_auc", value, prog_bar=True)
        last = self.plan.in_last_stage(self.current_epoch)
        self.log("deployed_auc", value if last else -1.0)

    def _gathered(self, parts: list[Tensor]) -> Tensor:
        """One vector of all devices' values."""
        gathered = self.all_gather(torch.cat(parts))
        if not isinstance(gathered, Tensor):
            raise TypeError(type(gathered).__name__)
        return gathered.flatten().cpu()

    def configure_optimizers(self) -> Any:
        """AdamW with layer-wise rates, linear warm-up and half a cosine down to 1 %."""
        plan = self.plan
        optimizer = torch.optim.AdamW(list(self._groups()))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step / self._steps, plan.warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Parameters by depth; biases and norms without weight decay."""
        plan = self.plan
        body = list(self.model.backbone.parameters())
        per_group = math.ceil(len(body) / _DEPTHS)
        starts = range(0, len(body), per_group)
        for number, start in enumerate(starts):
            depth = number / max(len(starts) - 1, 1)
            rate = plan.learning_rate * plan.first_layer_share ** (1 - depth)
            yield from _with_decay(body[start : start + per_group], rate, plan.weight_decay)
        in_body = {id(parameter) for parameter in body}
        head = [parameter for parameter in self.parameters() if id(parameter) not in in_body]
        yield from _with_decay(head, plan.head_learning_rate, plan.weight_decay)


def rate_factor(done: float, warmup: float) -> float:
    """Learning rate as a share of its peak; ``done`` runs from 0 to 1 over the run."""
    if done < warmup:
        return 0.05 + 0.95 * done / warmup
    rest = min((done - warmup) / (1 - warmup), 1.0)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * rest))


def _with_decay(
    parameters: Iterable[nn.Parameter], rate: float, decay: float
) -> Iterator[dict[str, Any]]:
    parameters = list(parameters)
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    for chosen, weight_decay in ((matrices, decay), (vectors, 0.0)):
        if chosen:
            yield {"params": chosen, "lr": rate, "weight_decay": weight_decay}
