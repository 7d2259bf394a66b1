"""Labelled breast ultrasound from a manifest, with lesion masks where they exist."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.network import BENIGN, MALIGNANT


@dataclass(frozen=True)
class LabelledImage:
    """One row of a ``manifest.csv``; ``fold`` is 0 where the manifest has no folds."""

    path: Path
    mask_path: Path | None
    label: int
    patient: str
    fold: int

    def pixels(self) -> NDArray[np.uint8]:
        """``(H, W)`` uint8 grey levels."""
        with Image.open(self.path) as image:
            return np.asarray(image.convert("L"))

    def mask(self) -> NDArray[np.uint8]:
        """``(H, W)`` uint8, 1 inside the lesion; all 0 where there is no mask."""
        if self.mask_path is None:
            with Image.open(self.path) as image:
                return np.zeros((image.height, image.width), dtype=np.uint8)
        with Image.open(self.mask_path) as image:
            return (np.asarray(image.convert("L")) > 0).astype(np.uint8)


def read_manifest(folder: Path) -> list[LabelledImage]:
    """Read ``folder/manifest.csv`` (columns file, label, patient_id and, optionally, fold5).

    Raises FileNotFoundError without a manifest and ValueError for an unknown label.
    """
    masks = {
        mask.stem.rsplit("_", 1)[0]: mask
        for mask in folder.glob("masks/*/*.png")
        if mask.stem.endswith(("_mask", "_tumor"))
    }
    labels = {"benign": BENIGN, "malignant": MALIGNANT}
    images = []
    with (folder / "manifest.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["label"] not in labels:
                raise ValueError(f"{row['file']}: the label {row['label']!r} is not in {labels}")
            path = folder / row["file"]
            images.append(
                LabelledImage(
                    path=path,
                    mask_path=masks.get(path.stem),
                    label=labels[row["label"]],
                    patient=row["patient_id"],
                    fold=int(row.get("fold5") or 0),
                )
            )
    return images


def in_folds(images: Sequence[LabelledImage], folds: Sequence[int]) -> list[LabelledImage]:
    """The images of these folds. Raises ValueError if one of their patients stands outside."""
    inside = [image for image in images if image.fold in folds]
    outside = {image.patient for image in images if image.fold not in folds}
    shared = outside & {image.patient for image in inside}
    if shared:
        raise ValueError(f"{len(shared)} patients stand on both sides of the split")
    return inside
