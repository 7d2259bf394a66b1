from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from pydicom import dcmread

from dicom_sr.finding import Box
from model_export.backbones import BackboneName
from model_export.calibration import Calibration, OperatingPoint
from model_export.checkpoint import CHECKPOINT_FILE, Checkpoint, save_checkpoint
from model_export.dataset import LabelledImage, read_manifest, select
from model_export.initial import load_initial
from model_export.network import CLASSES, Classifier
from model_export.preparation.labelme import Annotation, Shape, write_annotation
from model_export.preparation.preparing import Preparation, Prepared, prepare
from service.analysis.preprocessing import Preprocessing
from service.sections import AnalysisSettings


@pytest.fixture(scope="session")
def classifier(data_folder: Path) -> Classifier:
    """The pruned ImageNet backbone with a random head: real features, no training needed."""
    torch.manual_seed(7)
    model = Classifier()
    load_initial(model, str(data_folder / "weights" / "resnet50_imagenet_pruned.npz"))
    return model.eval()


@pytest.fixture(scope="session")
def breast_images(data_folder: Path) -> list[Path]:
    """Six real images, both classes."""
    folder = data_folder / "breast-lesions-usg"
    return [*sorted(folder.glob("benign/*.jpg"))[:3], *sorted(folder.glob("malignant/*.jpg"))[:3]]


@pytest.fixture(scope="session")
def study_data(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 24 real images with masks: 12 patients with two views each.

    Of each class two patients are ``train``, one is ``validation`` and three are ``test``.
    """
    source, folder = data_folder / "bus-bra", tmp_path_factory.mktemp("study") / "study-data"
    by_patient: dict[str, list[LabelledImage]] = {}
    for image in read_manifest(source):
        by_patient.setdefault(image.patient, []).append(image)
    pairs = [images for images in by_patient.values() if len(images) == 2]
    splits = ("train", "train", "validation", "test", "test", "test")
    rows = ["file,label,patient_id,birads,device,split"]
    for label, name in ((0, "benign"), (1, "malignant")):
        chosen = [images for images in pairs if images[0].label == label][: len(splits)]
        for split, image in (
            (s, i) for s, images in zip(splits, chosen, strict=True) for i in images
        ):
            device = image.columns["device"].replace(",", " ")
            birads = image.columns["birads"]
            rows.append(f"{image.file},{name},{image.patient},{birads},{device},{split}")
            for path in (image.path, image.mask_path):
                assert path is not None
                copy = folder / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_run(study_data: Path) -> Callable[..., Path]:
    """``make_run(folder, backbone, seed=0, …)``: a run folder with an untrained 64-px network.

    It lists as seen the images of ``training`` and ``validation``, conditions on ``study_data``;
    None lists none.
    """

    def make(
        folder: Path,
        backbone: BackboneName = "alexnet",
        *,
        seed: int = 0,
        training: str | None = "split=train",
        validation: str | None = "split=validation",
        threshold: float = 0.5,
    ) -> Path:
        torch.manual_seed(seed)
        model = Classifier(backbone, 64).eval()
        images = read_manifest(study_data)
        listed = [
            () if where is None else tuple(image.digest() for image in select(images, where))
            for where in (training, validation)
        ]
        points = (
            OperatingPoint("sensitive", threshold, "by hand", 0.95, 0.5),
            OperatingPoint("youden", 0.9, "by hand, too", 0.8, 0.8),
        )
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(
            backbone,
            model,
            Preprocessing(size=64),
            Calibration(1.5, points, 0.02),
            gate={},
            training_digests=listed[0],
            validation_digests=listed[1],
            facts={"data": folder.name},
        )
        save_checkpoint(checkpoint, folder / CHECKPOINT_FILE)
        return folder

    return make


_CLINICAL_COLUMNS = (
    *("file", "sop_instance_uid", "patient_id", "lesion_id", "BI-RADS", "pathology", "age"),
)
_CATEGORIES = ("3", "4A", "4B", "4C")


@dataclass(frozen=True)
class Hospital:
    """images: the folder. clinical: the table. outlines: box of a lesion by annotated file."""

    images: Path
    clinical: Path
    outlines: dict[str, Box]

    SECRET: ClassVar[str] = "MILLER^ANNA"
    """Stands in every patient's identifier, lesion's identifier, folder and file name."""
    SETTINGS: ClassVar[AnalysisSettings] = AnalysisSettings(
        decode_seconds=30, decode_megabytes=1024
    )

    def prepare(
        self,
        out: Path,
        track: Callable[[Sequence[str], str], Iterable[str]] = lambda files, _: files,
        **changes: Any,
    ) -> Prepared:
        """Run ``prepare`` into ``out``; changes: of the Preparation's fields."""
        plan = Preparation(images=self.images, clinical=self.clinical, out=out)
        return prepare(replace(plan, **changes), self.SETTINGS, track)

    def rows(self) -> list[dict[str, str]]:
        with self.clinical.open(newline="") as stream:
            return list(csv.DictReader(stream))

    def write(self, rows: Sequence[dict[str, str]]) -> None:
        with self.clinical.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def hospital(data_folder: Path, tmp_path: Path) -> Hospital:
    """Ten DICOM files, one patient each, by UID; 24 JPEGs of 12 more by name, all outlined."""
    images = tmp_path / Hospital.SECRET
    rows, outlines = [], {}
    (images / "dicom").mkdir(parents=True)
    for number, file in enumerate(sorted((data_folder / "us-dicom/breast").glob("*.dcm"))):
        shutil.copy(file, images / "dicom")
        uid = str(dcmread(file, stop_before_pixels=True).SOPInstanceUID)
        label = CLASSES[number % 2]
        rows.append(["", uid, f"{Hospital.SECRET}{number}", "", "4A", label, str(40 + number)])
    bus = data_folder / "bus-bra"
    with (bus / "manifest.csv").open(newline="") as stream:
        pairs = [row for row in csv.DictReader(stream) if row["file"][-6:] in ("-l.jpg", "-r.jpg")]
    of_label = {label: [row for row in pairs if row["label"] == label] for label in CLASSES}
    for row in of_label["benign"][:12] + of_label["malignant"][:12]:
        name = f"{Hospital.SECRET}-{Path(row['file']).name}"
        shutil.copy(bus / row["file"], images / name)
        stem = Path(row["file"]).stem
        with Image.open(bus / "masks" / row["label"] / f"{stem}_mask.png") as mask:
            left, top, right, bottom = mask.convert("L").getbbox() or (0, 0, 0, 0)
            height, width = mask.height, mask.width
        outlines[name] = Box(left, top, right, bottom)
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        shape = Shape(row["label"], corners, description=Hospital.SECRET)
        note = Annotation(name, height, width, (shape,), {"calipers": True})
        write_annotation(note, (images / name).with_suffix(".json"))
        patient, category = f"{Hospital.SECRET}{row['patient_id']}", _CATEGORIES[len(rows) // 2 % 4]
        rows.append([name, "", patient, f"{Hospital.SECRET}L", category, row["label"], "50"])
    found = Hospital(images, tmp_path / "clinical.csv", outlines)
    found.write([dict(zip(_CLINICAL_COLUMNS, row, strict=True)) for row in rows])
    return found


@pytest.fixture(scope="session")
def secondread_model() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``secondread_model("verify", folder)`` runs the command line as a user does."""
    code = "from model_export.cli import main; main()"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
