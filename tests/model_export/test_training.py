"""Training on a handful of synthetic images: it runs, resumes, and keeps patients apart."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_export.augmentation import augment
from model_export.dataset import in_folds, read_manifest
from model_export.network import Classifier
from model_export.training import TrainingPlan, train

PLAN = TrainingPlan(stages=((64, 1), (96, 1)), batch_size=2, bfloat16=False)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Eight images of eight patients in folds 1 and 4, dark discs with their masks."""
    folder = tmp_path / "collection"
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
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
        fold = 1 if number < 4 else 4
        rows.append([f"{label}/case{number}.png", label, f"patient{number}", fold])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "label", "patient_id", "fold5"], *rows])
    return folder


def _run(collection: Path, out: Path, plan: TrainingPlan = PLAN) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    images = read_manifest(collection)
    train(Classifier(), in_folds(images, (1,)), in_folds(images, (4,)), plan, out)
    state: dict[str, torch.Tensor] = torch.load(out / "last.pt", weights_only=True)["averaged"]
    return state


def test_an_interrupted_run_continues_where_it_stopped(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _run(collection, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop_in_the_second_epoch(plan: TrainingPlan, epoch: int) -> int:
        if epoch == 1:
            raise Interrupted
        return 64

    with monkeypatch.context() as patch:
        patch.setattr(TrainingPlan, "size_at", stop_in_the_second_epoch)
        with pytest.raises(Interrupted):
            _run(collection, tmp_path / "parts")
    continued = _run(collection, tmp_path / "parts")

    epochs = [
        json.loads(line)["epoch"]
        for line in (tmp_path / "parts" / "history.jsonl").read_text().splitlines()
    ]
    assert epochs == [1, 2]
    for name, value in whole.items():
        torch.testing.assert_close(continued[name], value, rtol=1e-3, atol=1e-4)


def test_a_run_folder_of_another_plan_is_refused(collection: Path, tmp_path: Path) -> None:
    _run(collection, tmp_path / "run", replace(PLAN, stages=((64, 1),)))
    with pytest.raises(ValueError, match="another plan"):
        _run(collection, tmp_path / "run", replace(PLAN, stages=((64, 2),)))


def test_a_patient_on_both_sides_of_the_split_is_refused(collection: Path) -> None:
    images = read_manifest(collection)
    images[0] = replace(images[0], patient=images[7].patient)
    with pytest.raises(ValueError, match="both sides"):
        in_folds(images, (1,))


def test_the_official_folds_keep_patients_apart(data_folder: Path) -> None:
    images = read_manifest(data_folder / "bus-bra")
    assert len(images) == 1875
    parts = [in_folds(images, (fold,)) for fold in range(1, 6)]
    assert sum(len(part) for part in parts) == 1875


def test_every_lesion_of_both_collections_has_its_mask(data_folder: Path) -> None:
    for name in ("bus-bra", "breast-lesions-usg"):
        images = read_manifest(data_folder / name)
        assert [image.path.name for image in images if image.mask_path is None] == []
        assert images[0].mask().shape == images[0].pixels().shape


def test_augmentation_keeps_the_lesion_and_is_repeatable(data_folder: Path) -> None:
    for image in read_manifest(data_folder / "bus-bra")[::400]:
        for seed in range(5):
            pixels, mask = augment(image.pixels(), image.mask(), np.random.default_rng(seed))
            again, _ = augment(image.pixels(), image.mask(), np.random.default_rng(seed))
            assert pixels.shape == mask.shape
            assert pixels.dtype == np.uint8
            assert mask.any()
            np.testing.assert_array_equal(pixels, again)
