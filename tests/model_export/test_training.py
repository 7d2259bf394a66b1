"""Training on a handful of images: it runs, resumes, keeps patients apart, ends in a checkpoint."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_export.checkpoint import load_checkpoint
from model_export.dataset import LabelledImage, read_manifest, select
from model_export.training.plan import TrainingPlan
from model_export.training.run import train

PLAN = TrainingPlan(
    backbone="alexnet", stages=((64, 1), (96, 2)), batch_size=2, precision="32-true"
)
_MAIN = "from model_export.cli import main; main()"


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Twelve images of twelve patients, dark discs with their masks, six to train."""
    folder = tmp_path / "collection"
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        label = ("benign", "malignant")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / "masks" / label).mkdir(parents=True, exist_ok=True)
        y, x = np.ogrid[:80, :100]
        lesion = (y - 40) ** 2 + (x - 50) ** 2 < 200
        pixels = rng.integers(90, 160, (80, 100)).astype(np.uint8)
        pixels[lesion] = 20 + 60 * (number % 2)
        Image.fromarray(pixels).save(folder / label / f"case{number}.png")
        mask = Image.fromarray((lesion * 255).astype(np.uint8))
        mask.save(folder / "masks" / label / f"case{number}_mask.png")
        split = "train" if number < 6 else "validation"
        rows.append([f"{label}/case{number}.png", label, f"patient{number}", split])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "label", "patient_id", "split"], *rows])
    return folder


@pytest.fixture
def parts(collection: Path) -> tuple[list[LabelledImage], list[LabelledImage]]:
    images = read_manifest(collection)
    return select(images, "split=train"), select(images, "split=validation")


def _command(collection: Path, out: Path) -> list[str]:
    return [
        *(sys.executable, "-c", _MAIN, "train", "--data", str(collection), "--out", str(out)),
        *("--backbone", "alexnet", "--set", "stages=[[64,1],[96,3]]", "--set", "batch_size=2"),
        *("--set", "precision=32-true", "--accelerator", "cpu", "--fact", "data=dark discs"),
    ]


def _history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        del row["seconds"]
    return rows


def _kill_in_the_third_epoch(command: Sequence[str], out: Path) -> None:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            # A checkpoint of the second epoch is complete once the third is under way.
            if (out / "history.csv").exists() and len(_history(out)) >= 2:
                break
            time.sleep(0.02)
        assert process.poll() is None, "the run ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()


def test_a_run_killed_with_sigkill_goes_on_to_the_same_curve(
    collection: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(_command(collection, whole), check=True, capture_output=True, timeout=240)
    _kill_in_the_third_epoch(_command(collection, killed), killed)
    assert not (killed / "model.pt").exists()
    subprocess.run(_command(collection, killed), check=True, capture_output=True, timeout=240)
    assert _history(killed) == _history(whole)
    assert [row["epoch"] for row in _history(killed)] == ["1", "2", "3", "4"]
    one, other = load_checkpoint(whole), load_checkpoint(killed)
    assert one.calibration == other.calibration
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, rtol=0, atol=0)


def test_the_checkpoint_says_what_it_was_made_from(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    training, validation = parts
    train(PLAN, training, validation, tmp_path / "run", facts={"data": "dark discs"})
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.backbone == "alexnet"
    assert checkpoint.preprocessing.size == 96
    assert set(checkpoint.training_digests) == {image.digest() for image in training}
    assert set(checkpoint.validation_digests) == {image.digest() for image in validation}
    assert checkpoint.facts["data"] == "dark discs"
    assert checkpoint.facts["initial weights"] == "random"
    assert checkpoint.facts["epochs"].startswith(("2 of 3", "3 of 3")), "a deployed-size epoch"
    assert [point.name for point in checkpoint.calibration.operating_points] == [
        "sensitive",
        "youden",
    ]
    assert not checkpoint.model.training


def test_the_best_epoch_is_one_of_the_deployed_size(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"stages": ((64, 2), (96, 1))})
    train(plan, *parts, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run").facts["epochs"].startswith("3 of 3")


def test_patience_ends_a_run_that_does_not_improve(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    plan = PLAN.model_copy(
        update={
            "stages": ((64, 30),),
            "precision": "bf16-mixed",
            "patience": 1,
            "learning_rate": 1e-9,
            "head_learning_rate": 1e-9,
        }
    )
    train(plan, *parts, tmp_path / "run")
    assert len(_history(tmp_path / "run")) < 30


def test_a_run_starts_from_an_earlier_one(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    still = PLAN.model_copy(
        update={
            "stages": ((64, 1),),
            "learning_rate": 1e-12,
            "head_learning_rate": 1e-12,
            "weight_decay": 0.0,
        }
    )
    first = train(still, *parts, tmp_path / "first")
    second = train(still, *parts, tmp_path / "second", weights=str(tmp_path / "first"))
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=0, atol=1e-6)
    assert "earlier run" in second.facts["initial weights"]


def test_a_run_folder_of_another_plan_is_refused(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"stages": ((64, 1),)})
    train(plan, *parts, tmp_path / "run")
    with pytest.raises(ValueError, match="another plan"):
        train(PLAN, *parts, tmp_path / "run")


def test_a_patient_on_both_sides_is_refused(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    training, validation = parts
    shared = [replace(validation[0], patient=training[0].patient), *validation[1:]]
    with pytest.raises(ValueError, match="1 patients stand on both sides"):
        train(PLAN, training, shared, tmp_path / "run")


def test_one_class_alone_is_refused(
    parts: tuple[list[LabelledImage], list[LabelledImage]], tmp_path: Path
) -> None:
    training, validation = parts
    with pytest.raises(ValueError, match="validation images are all of one class"):
        train(PLAN, training, [i for i in validation if i.label], tmp_path / "run")
