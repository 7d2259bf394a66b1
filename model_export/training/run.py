"""One training run: from images and a plan to ``model.pt`` in the run's folder."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from torch.utils.data import DataLoader

from model_export.checkpoint import Checkpoint
from model_export.dataset import LabelledImage, refuse_shared_patients
from model_export.initial import load_initial, unfold_batch_norm
from model_export.network import Classifier
from model_export.training.data import TrainingSet, ValidationSet
from model_export.training.finishing import BEST_FILE, finish
from model_export.training.history import History
from model_export.training.module import TrainingModule
from model_export.training.plan import TrainingPlan
from service.analysis.preprocessing import preprocess

_LAST, _PLAN_FILE = "last.ckpt", "plan.json"
_STATISTICS_IMAGES = 192


class _Images(lightning.LightningDataModule):
    """Loads a new training set each epoch, for size and augmentation hang on its number."""

    def __init__(
        self,
        training: Sequence[LabelledImage],
        validation: Sequence[LabelledImage],
        plan: TrainingPlan,
    ) -> None:
        super().__init__()
        self._training = [(image.pixels(), image.mask(), image.label) for image in training]
        self._validation = validation
        self._plan = plan

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer is not None else 0

    def train_dataloader(self) -> DataLoader[Any]:
        plan, epoch = self._plan, self._epoch()
        # A fixed order, not a generator: on resuming, Lightning takes two iterators of one loader.
        order = np.random.default_rng([plan.seed, epoch]).permutation(len(self._training))
        return DataLoader(
            TrainingSet(self._training, plan, epoch),
            plan.batch_size,
            sampler=order.tolist(),
            drop_last=True,
            num_workers=plan.workers,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        plan = self._plan
        spec = plan.preprocessing(plan.judged_size_at(self._epoch()))
        return DataLoader(ValidationSet(self._validation, spec), 8, num_workers=plan.workers)


def train(
    plan: TrainingPlan,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    folder: Path,
    *,
    weights: str | None = None,
    facts: dict[str, Any] | None = None,
    accelerator: str = "auto",
    devices: str = "auto",
) -> Checkpoint:
    """Train into ``folder``; continue there if a run of the same plan was interrupted.

    weights: see :func:`model_export.initial.load_initial`; None starts from random ones.
    facts: what the card should say besides, such as the name and licence of the data.
    accelerator, devices: Lightning's.

    Leaves ``model.pt`` (averaged weights of the epoch with the highest validation AUC at the
    deployed size, calibrated), ``history.csv``, Lightning's checkpoints and its logs.
    Raises ValueError if a patient stands on both sides, a class is missing, or ``folder`` belongs
    to another plan.
    """
    refuse_shared_patients(training=training, validation=validation)
    for name, part in (("training", training), ("validation", validation)):
        if len({image.label for image in part}) < 2:
            raise ValueError(f"the {name} images are all of one class")
    if len(training) < plan.batch_size:
        raise ValueError(
            f"{len(training)} training images do not fill a batch of {plan.batch_size}"
        )
    console = Console(stderr=True)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, plan, training, validation, weights)
    _quiet()
    lightning.seed_everything(plan.seed, verbose=False)
    model = Classifier(plan.backbone, plan.stages[0][0], plan.dropout)
    interrupted = (folder / _LAST).exists()
    origin = _initial_weights(model, weights, training, plan, unfold=not interrupted)
    labels = np.array([image.label for image in training])
    history = History(folder, plan, console)
    trainer = _trainer(folder, plan, history, accelerator, devices)
    steps = max(1, len(training) // plan.batch_size // trainer.world_size) * plan.epochs
    module = TrainingModule(model, plan, _class_weights(labels, plan), steps)
    module.to(memory_format=torch.channels_last)
    trainer.fit(
        module,
        datamodule=_Images(training, validation, plan),
        ckpt_path=str(folder / _LAST) if interrupted else None,
        weights_only=False,
    )
    return finish(
        folder, plan, training, validation, rows=history.rows, facts={**(facts or {}), **origin}
    )


def _initial_weights(
    model: Classifier,
    weights: str | None,
    training: Sequence[LabelledImage],
    plan: TrainingPlan,
    *,
    unfold: bool,
) -> dict[str, str]:
    """Load them and tell what they were, for the card."""
    if weights is None:
        return {"initial weights": "random"}
    origin = load_initial(model, weights)
    if unfold:
        spec = plan.preprocessing(plan.stages[0][0])
        every = max(1, len(training) // _STATISTICS_IMAGES)
        inputs = np.stack([preprocess(image.pixels(), spec) for image in training[::every]])
        unfold_batch_norm(model, torch.from_numpy(inputs))
    return {"initial weights": origin}


def _trainer(
    folder: Path, plan: TrainingPlan, history: History, accelerator: str, devices: str
) -> lightning.Trainer:
    callbacks: list[Callback] = [
        EMAWeightAveraging(decay=plan.ema_decay),
        history,
        ModelCheckpoint(
            folder,
            filename=BEST_FILE.removesuffix(".ckpt"),
            monitor="deployed_auc",
            mode="max",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
    ]
    terminal = sys.stderr.isatty()
    if terminal:
        callbacks.append(RichProgressBar(leave=False, console_kwargs={"stderr": True}))
    if plan.patience is not None:
        # Judged at the deployed size alone: what is logged before it would use the patience up.
        before = sum(epochs for _, epochs in plan.stages[:-1])
        callbacks.append(
            EarlyStopping(
                "deployed_auc",
                mode="max",
                patience=plan.patience + before,
                check_on_train_epoch_end=True,
            )
        )
    return lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=plan.precision,
        max_epochs=plan.epochs,
        gradient_clip_val=1.0,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        callbacks=callbacks,
        logger=[
            CSVLogger(folder, name="logs", version="csv"),
            TensorBoardLogger(folder, name="logs", version="tensorboard"),
        ],
        enable_model_summary=False,
        enable_progress_bar=terminal,
        default_root_dir=folder,
    )


def _claim(
    folder: Path,
    plan: TrainingPlan,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    weights: str | None,
) -> None:
    """Write down what the folder is for. Raises ValueError if it is for something else."""
    mine = {
        "plan": plan.model_dump(mode="json"),
        "weights": None if weights is None else Path(weights).name,
        "training": len(training),
        "validation": len(validation),
    }
    path = folder / _PLAN_FILE
    if path.exists():
        if json.loads(path.read_text()) != mine:
            raise ValueError(f"{folder} belongs to a run of another plan; choose another folder")
    else:
        path.write_text(json.dumps(mine, indent=2) + "\n")


def _class_weights(labels: np.ndarray[Any, Any], plan: TrainingPlan) -> torch.Tensor:
    if plan.class_weights == "none":
        return torch.ones(2)
    counts = np.bincount(labels, minlength=2)
    return torch.tensor(labels.size / (2 * counts), dtype=torch.float32)


def _quiet() -> None:
    """Lightning's hints are for whoever writes the loop, not for whoever runs it."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
