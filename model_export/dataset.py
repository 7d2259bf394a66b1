"""Labelled breast ultrasound from a manifest, with lesion masks where they exist."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.network import BENIGN, MALIGNANT
from service.analysis.model_package import file_sha256

LABELS = {"benign": BENIGN, "malignant": MALIGNANT}
_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class LabelledImage:
    """One row of a ``manifest.csv``.

    file: as the manifest names it. label: 1 malignant, 0 benign. patient: its ``patient_id``.
    columns: all columns of the row, as they are written there (birads, device, split …).
    """

    file: str
    path: Path
    mask_path: Path | None
    label: int
    patient: str
    columns: Mapping[str, str] = field(default_factory=dict)

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

    def digest(self) -> str:
        """What a model package names this image by: 16 hex digits of the file's sha256."""
        return file_sha256(self.path)[:_DIGEST_DIGITS]


def read_manifest(folder: Path) -> list[LabelledImage]:
    """Read ``folder/manifest.csv`` (columns file, label, patient_id; others are kept as they are).

    The mask of ``any/NAME.jpg`` is ``masks/any/NAME_mask.png``, or ``NAME_tumor.png``.
    Raises FileNotFoundError without a manifest and ValueError for an unknown label or a missing
    column.
    """
    masks = {
        mask.stem.rsplit("_", 1)[0]: mask
        for mask in folder.glob("masks/*/*.png")
        if mask.stem.endswith(("_mask", "_tumor"))
    }
    images = []
    with (folder / "manifest.csv").open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        absent = {"file", "label", "patient_id"} - set(reader.fieldnames or ())
        if absent:
            raise ValueError(f"{folder / 'manifest.csv'} lacks the columns {sorted(absent)}")
        for row in reader:
            if row["label"] not in LABELS:
                raise ValueError(f"{row['file']}: the label {row['label']!r} is not in {LABELS}")
            path = folder / row["file"]
            images.append(
                LabelledImage(
                    file=row["file"],
                    path=path,
                    mask_path=masks.get(path.stem),
                    label=LABELS[row["label"]],
                    patient=row["patient_id"],
                    columns=row,
                )
            )
    return images


def select(images: Sequence[LabelledImage], where: str | None) -> list[LabelledImage]:
    """The images of a condition on one column, such as ``split=test`` or ``fold5=1,2,3``.

    None or an empty text selects all. Raises ValueError if the condition cannot be read, names a
    column that is not there, or selects nothing.
    """
    if not where:
        return list(images)
    column, equals, values = (part.strip() for part in where.partition("="))
    if not equals or not values:
        raise ValueError(f"{where!r} is not of the form COLUMN=VALUE[,VALUE…]")
    if images and column not in images[0].columns:
        known = ", ".join(images[0].columns)
        raise ValueError(f"the manifest has no column {column!r}; it has {known}")
    wanted = {value.strip() for value in values.split(",")}
    chosen = [image for image in images if image.columns[column] in wanted]
    if not chosen:
        raise ValueError(f"no image has {where}")
    return chosen


def refuse_shared_patients(**parts: Sequence[LabelledImage]) -> None:
    """Raises ValueError if a patient stands in two of the named parts."""
    seen: dict[str, str] = {}
    shared: set[str] = set()
    for name, images in parts.items():
        patients = {image.patient for image in images}
        shared |= {patient for patient in patients if seen.get(patient, name) != name}
        seen.update(dict.fromkeys(patients, name))
    if shared:
        raise ValueError(f"{len(shared)} patients stand on both sides of the split")
