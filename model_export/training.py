"""Fine-tunes the reference model: the training loop, its checkpoints and its schedule.

Besides the diagnosis, two auxiliary 1×1 convolutions learn the lesion's mask from the last two
stages (they are not exported), and the evidence that the head draws from each place, which is what
Grad-CAM shows, is asked to come from the lesion. Without the latter the diagnosis was right while
the map lay on the background.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from model_export.augmentation import augment
from model_export.dataset import LabelledImage
from model_export.network import Classifier
from model_export.statistics import auc
from service.analysis.preprocessing import Preprocessing, placement, preprocess


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides the outcome of a training run, besides the images.

    stages: (input size in pixels, epochs) in order; the last size is the deployed one.
    mask_weight: weight of the auxiliary lesion-mask loss; 0 switches it off.
    evidence_weight: weight of :func:`_evidence_loss`; 0 switches it off.
    """

    stages: tuple[tuple[int, int], ...] = ((224, 7), (288, 5))
    batch_size: int = 16
    learning_rate: float = 2e-4
    head_learning_rate: float = 8e-4
    weight_decay: float = 0.05
    warmup: float = 0.1
    dropout: float = 0.3
    label_smoothing: float = 0.05
    mask_weight: float = 0.5
    evidence_weight: float = 0.5
    ema_decay: float = 0.99
    bfloat16: bool = True
    seed: int = 20261123

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.stages)

    def size_at(self, epoch: int) -> int:
        """Input size of the epoch (counted from 0)."""
        for size, epochs in self.stages:
            if epoch < epochs:
                return size
            epoch -= epochs
        return self.stages[-1][0]

    def preprocessing(self, size: int | None = None) -> Preprocessing:
        return Preprocessing(size=size or self.stages[-1][0])


class _TrainingSet(Dataset[tuple[Tensor, Tensor, int]]):
    """Augmented inputs, lesion masks at the size of the input, and labels."""

    def __init__(self, images: Sequence[LabelledImage], plan: TrainingPlan) -> None:
        self._images = [(image.pixels(), image.mask(), image.label) for image in images]
        self._plan = plan
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        pixels, mask, label = self._images[index]
        rng = np.random.default_rng([self._plan.seed, self.epoch, index])
        pixels, mask = augment(pixels, mask, rng)
        spec = self._plan.preprocessing(self._plan.size_at(self.epoch))
        return torch.from_numpy(preprocess(pixels, spec)), _place_mask(mask, spec), label


def _place_mask(mask: NDArray[np.uint8], spec: Preprocessing) -> Tensor:
    """``(H, W)`` 0/1 to ``(1, size, size)`` float32, placed as :func:`preprocess` places it."""
    place = placement(mask.shape[0], mask.shape[1], spec)
    fitted = functional.interpolate(
        torch.from_numpy(mask).float()[None, None], (place.height, place.width), mode="nearest"
    )[0]
    left, top = place.left, place.top
    right, bottom = spec.size - left - place.width, spec.size - top - place.height
    return functional.pad(fitted, (left, right, top, bottom))


class _Trainee(nn.Module):
    """The classifier with its auxiliary mask outputs."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.mask3 = nn.Conv2d(1024, 1, 1)
        self.mask4 = nn.Conv2d(2048, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, mask logits at stride 16 and 32, and the last stage's feature maps."""
        third, last = self.model.stages(x)
        return self.model.head(last), self.mask3(third), self.mask4(last), last


def _mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice against the mask's share of each cell."""
    target = functional.interpolate(mask, logits.shape[2:], mode="area")
    logits = logits.float()
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum(dim=(1, 2, 3))
    total = (probability + target).sum(dim=(1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()


def _evidence_loss(model: Classifier, features: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """−log of the share of the evidence that lies in cells which touch the lesion.

    The evidence for class c at a place is ``M_c = Σ_k α_ck A_k`` with Grad-CAM's weights α (see
    :class:`model_export.network.AnalyticCam`): its mean over the places is the logit but for a
    constant. For the true class only positive evidence counts as right, so that Grad-CAM, which
    shows just that, lies on the lesion; for the other class either sign does. Images without a
    mask do not count.
    """
    features = features.float()
    target = functional.adaptive_max_pool2d(mask, features.shape[2:])
    known = (mask.amax(dim=(1, 2, 3)) > 0).float()
    hidden = functional.linear(features.mean(dim=(2, 3)), model.fc1.weight, model.fc1.bias)
    gate = (hidden > 0).float()
    alpha = (gate[:, None] * model.fc2.weight) @ model.fc1.weight
    evidence = torch.einsum("nck,nkhw->nchw", alpha, features)
    true_class = functional.one_hot(labels, evidence.shape[1])[:, :, None, None].bool()
    right = torch.where(true_class, torch.relu(evidence), evidence.abs()) * target
    share = right.sum(dim=(2, 3)) / (evidence.abs().sum(dim=(2, 3)) + 1e-6)
    loss = -torch.log(share + 1e-3).mean(dim=1)
    return (loss * known).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def logits_of(
    model: Classifier, images: Sequence[LabelledImage], spec: Preprocessing
) -> NDArray[np.float64]:
    """``(N, 2)`` logits of images that were preprocessed as the service does it, in float32."""
    model.eval()
    rows = [
        model(torch.from_numpy(preprocess(image.pixels(), spec))[None])[0].double().numpy()
        for image in images
    ]
    return np.stack(rows)


def train(
    initial: Classifier,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    plan: TrainingPlan,
    folder: Path,
) -> None:
    """Train into ``folder``; continue there if it holds a ``last.pt`` of the same plan.

    Writes ``last.pt`` after each epoch, ``best.pt`` (averaged weights of the epoch with the
    highest validation AUC at the deployed size) and ``history.jsonl``.
    Raises ValueError if ``folder`` belongs to another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    trainee = _Trainee(initial).to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(trainee.model)
    head = [*trainee.model.fc1.parameters(), *trainee.model.fc2.parameters()]
    head += [*trainee.mask3.parameters(), *trainee.mask4.parameters()]
    in_head = {id(parameter) for parameter in head}
    body = [p for p in trainee.parameters() if id(p) not in in_head]
    optimizer = torch.optim.AdamW(
        [
            {"params": body, "peak": plan.learning_rate},
            {"params": head, "peak": plan.head_learning_rate},
        ],
        weight_decay=plan.weight_decay,
    )
    images = _TrainingSet(training, plan)
    labels = np.array([image.label for image in validation])
    steps = len(training) // plan.batch_size
    start, best = _resume(folder, plan, trainee, averaged, optimizer)
    for epoch in range(start, plan.epochs):
        began = time.monotonic()
        images.epoch = epoch
        torch.manual_seed(plan.seed + epoch)
        order = torch.Generator().manual_seed(plan.seed + epoch)
        loader = DataLoader(images, plan.batch_size, shuffle=True, drop_last=True, generator=order)
        trainee.train()
        losses = []
        with Progress(console=console, transient=True) as progress:
            for step, (x, mask, y) in enumerate(
                progress.track(loader, description=f"epoch {epoch + 1}/{plan.epochs}")
            ):
                _set_learning_rate(optimizer, (epoch + step / steps) / plan.epochs, plan)
                losses.append(_step(trainee, averaged, optimizer, x, mask, y, plan))
        spec = plan.preprocessing(plan.size_at(epoch))
        scores = logits_of(averaged, validation, spec)
        score = auc(labels, scores[:, 1] - scores[:, 0])
        deployed = plan.size_at(epoch) == plan.stages[-1][0]
        if deployed and score > best:
            best = score
            _save(folder / "best.pt", {"model": averaged.state_dict(), "epoch": epoch + 1})
        state = {
            "plan": asdict(plan),
            "epoch": epoch + 1,
            "best": best,
            "trainee": trainee.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        _save(folder / "last.pt", state)
        row = {
            "epoch": epoch + 1,
            "size": spec.size,
            "loss": round(float(np.mean(losses)), 4),
            "validation_auc": round(score, 4),
            "seconds": round(time.monotonic() - began, 1),
        }
        with (folder / "history.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        console.print(json.dumps(row))


def _step(
    trainee: _Trainee,
    averaged: Classifier,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    mask: Tensor,
    y: Tensor,
    plan: TrainingPlan,
) -> float:
    x = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=plan.bfloat16):
        logits, mask3, mask4, features = trainee(x)
    loss = functional.cross_entropy(logits.float(), y, label_smoothing=plan.label_smoothing)
    if plan.mask_weight:
        loss = loss + plan.mask_weight * (_mask_loss(mask3, mask) + _mask_loss(mask4, mask))
    if plan.evidence_weight:
        loss = loss + plan.evidence_weight * _evidence_loss(trainee.model, features, mask, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        live = trainee.model.state_dict()
        for key, value in averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(live[key], 1 - plan.ema_decay)
            else:
                value.copy_(live[key])
    return float(loss.item())


def _set_learning_rate(optimizer: torch.optim.Optimizer, done: float, plan: TrainingPlan) -> None:
    """Linear warm-up, then half a cosine down to 1 % (``done`` runs from 0 to 1)."""
    if done < plan.warmup:
        factor = 0.05 + 0.95 * done / plan.warmup
    else:
        rest = (done - plan.warmup) / (1 - plan.warmup)
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * rest))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _save(path: Path, state: object) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _resume(
    folder: Path,
    plan: TrainingPlan,
    trainee: _Trainee,
    averaged: Classifier,
    optimizer: torch.optim.Optimizer,
) -> tuple[int, float]:
    """Load ``last.pt`` if there is one; returns the next epoch and the best AUC so far."""
    last = folder / "last.pt"
    if not last.exists():
        return 0, 0.0
    state = torch.load(last, weights_only=True)
    if state["plan"] != asdict(plan):
        raise ValueError(f"{last} was written by another plan; choose another folder")
    trainee.load_state_dict(state["trainee"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"]), float(state["best"])
