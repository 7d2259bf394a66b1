from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model_export.backbones import BackboneName
from model_export.calibration import Calibration, OperatingPoint
from model_export.checkpoint import CHECKPOINT_FILE, Checkpoint, save_checkpoint
from model_export.dataset import LabelledImage, read_manifest, select
from model_export.initial import load_initial
from model_export.network import Classifier
from service.analysis.preprocessing import Preprocessing


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
