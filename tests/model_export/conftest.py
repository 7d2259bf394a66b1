from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_export.initial import load_initial
from model_export.network import Classifier


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
