"""The torch network behind a run folder or a package, for methods that need its gradients."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from model_export.backbones import BY_NAME, BackboneName
from model_export.calibration import apply_calibration
from model_export.checkpoint import load_checkpoint
from model_export.initial import load_package
from model_export.network import CLASSES, Classifier
from model_export.prediction import is_package
from service.analysis.model_package import MODEL_FILE, Manifest, load_model_package

_BY_TITLE = {backbone.title: name for name, backbone in BY_NAME.items()}


class Explained(nn.Module):
    """A classifier whose last feature map passes through the module ``last``.

    pytorch-grad-cam hooks a module. Not every backbone ends in one (DenseNet121's last map is
    rectified by a function, the Vision Transformer's is made from tokens), so all get this one.
    Input ``(N, 3, S, S)`` float32, output ``(N, 2)`` logits in the order of ``CLASSES``.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.last = nn.Identity()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head(self.last(self.model.stages(x)[1]))


def load_network(path: Path) -> Explained:
    """The network of a run folder, its ``model.pt`` or a model package, temperature applied.

    Raises ValueError if a package's architecture is none of the study's backbones.
    """
    if not is_package(path):
        checkpoint = load_checkpoint(path)
        apply_calibration(checkpoint.model, checkpoint.calibration)
        return Explained(checkpoint.model)
    manifest = load_model_package(path).manifest
    model = Classifier(_backbone(manifest), manifest.preprocessing.size)
    load_package(model, path / MODEL_FILE)
    return Explained(model)


def _backbone(manifest: Manifest) -> BackboneName:
    for title, name in _BY_TITLE.items():
        if manifest.architecture.startswith(title) and manifest.classes == CLASSES:
            return name
    raise ValueError(
        f"{manifest.name} {manifest.version} can be explained by gradcam alone, which its own "
        f"graph computes: the other methods need a network of {', '.join(_BY_TITLE)} with the "
        f"classes {', '.join(CLASSES)}, and this is {manifest.architecture!r}"
    )
