"""The run's curve: one row an epoch, which an interrupted run does not lose."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from rich.console import Console

from model_export.training.plan import TrainingPlan

HISTORY_FILE = "history.csv"


class History(Callback):
    """One row an epoch in ``history.csv`` and on the terminal; it lives in the checkpoint."""

    def __init__(self, folder: Path, plan: TrainingPlan, console: Console) -> None:
        self.rows: list[dict[str, Any]] = []
        self._folder, self._plan, self._console = folder, plan, console
        self._began = 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch + 1,
            "size": self._plan.size_at(trainer.current_epoch),
            "loss": round(float(metrics["loss_epoch"]), 4),
            "validation_auc": round(float(metrics["validation_auc"]), 4),
            "seconds": round(time.monotonic() - self._began, 1),
        }
        self.rows.append(row)
        if trainer.is_global_zero:
            with (self._folder / HISTORY_FILE).open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
                writer.writerows(self.rows)
            self._console.print(json.dumps(row), highlight=False)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
