"""The training folder: whole or not at all, and nothing in it that names a patient."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.preparation.clinical import ClinicalRow
from model_export.preparation.labelme import Annotation, rasterise, write_annotation

MANIFEST, FLOW, TABLE_ONE = "manifest.csv", "flow", "table_one"
_OURS = (MANIFEST, f"{FLOW}.csv")
MANIFEST_COLUMNS = (
    *("file", "label", "patient_id", "lesion_id", "birads", "pathology", "age", "diameter_mm"),
    *("side", "device", "width", "height", "split"),
)
KEY_COLUMNS = ("file", "patient_id", "lesion_id", "outcome", "new_file", "new_patient_id")


@dataclass(frozen=True)
class StudyImage:
    """An image of the study, under its new names.

    name: without ending. patient: pseudonym. annotation: in pixels of the crop.
    """

    name: str
    row: ClinicalRow
    patient: str
    split: str
    device: str
    height: int
    width: int
    annotation: Annotation | None

    @property
    def file(self) -> str:
        """Relative to the training folder."""
        return f"{self.row.label}/{self.name}.jpg"


def refuse_places(
    images: Path, clinical: Path, out: Path, key: Path | None, *, force: bool
) -> None:
    """Raises ValueError where writing would mix up or lose something.

    The training folder and the image folder do not lie in each other; the key and the clinical
    table do not lie in the training folder. A folder that is not empty is replaced only if
    ``force`` is set and ``prepare`` has written it.
    """
    target = out.resolve()
    source = images.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise ValueError("the training folder and the image folder must not lie in each other")
    if clinical.resolve().is_relative_to(target):
        raise ValueError("the clinical table must not lie in the training folder")
    if key is not None:
        if key.resolve().is_relative_to(target):
            raise ValueError("the key must not lie in the training folder, which may be passed on")
        if key.exists() and not force:
            raise ValueError(f"{key} exists: --force replaces it")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is not a folder")
    if out.exists() and any(out.iterdir()):
        if not force:
            raise ValueError(f"{out} is not empty: --force replaces it")
        if not all((out / name).is_file() for name in _OURS):
            raise ValueError(f"{out} is not a folder that `prepare` wrote: it is not replaced")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside ``out`` that takes its place at the end, whole.

    If anything is raised it goes away; what a kill leaves is called ``.OUT.….partial``.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        yield partial
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
            out.replace(old)
            partial.replace(out)
            shutil.rmtree(old)
        else:
            partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def save_jpeg(pixels: NDArray[np.uint8], path: Path, quality: int) -> None:
    """``(H, W)`` uint8 as a grey JPEG without metadata."""
    Image.fromarray(pixels).save(path, "JPEG", quality=quality)


def write_image(image: StudyImage, staged: Path, folder: Path) -> None:
    """Move the JPEG ``staged`` to its place, and write mask and annotation beside it."""
    path = folder / image.file
    path.parent.mkdir(exist_ok=True)
    staged.replace(path)
    if image.annotation is None or image.row.label is None:
        return
    if image.annotation.polygons(image.row.label):
        masks = folder / "masks" / image.row.label
        masks.mkdir(parents=True, exist_ok=True)
        mask = rasterise(image.annotation, image.row.label)
        Image.fromarray(mask).save(masks / f"{image.name}_mask.png")
    write_annotation(image.annotation, path.with_suffix(".json"))


def write_manifest(images: Iterable[StudyImage], folder: Path) -> None:
    """In the order of the new names, which says nothing of the old order."""
    rows = [
        {
            "file": image.file,
            "label": image.row.label,
            "patient_id": image.patient,
            "lesion_id": f"{image.patient}-1",
            "birads": image.row.birads,
            "pathology": image.row.pathology,
            "age": _number(image.row.age),
            "diameter_mm": _number(image.row.diameter_mm),
            "side": image.row.side,
            "device": image.device,
            "width": image.width,
            "height": image.height,
            "split": image.split,
        }
        for image in sorted(images, key=lambda image: image.name)
    ]
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_key(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """The table that leads back to the patients; only its owner may read it. Whole or not at all.

    rows: one for each file of the image folder, with the columns ``KEY_COLUMNS``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes a file that only its owner may read.
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, KEY_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
